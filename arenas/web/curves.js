/* -------------------------------------------------------------------------------- learning curves */
const BOX = { w: 480, h: 270, left: 50, right: 14, top: 12, bottom: 40 };

function scale(lo, hi, from, to, log) {
  const f = log ? Math.log10 : (x) => x, a = f(lo), b = f(hi);
  return (x) => from + ((f(x) - a) / (b - a || 1)) * (to - from);
}
function logTicks(lo, hi) {
  const found = [];
  for (let p = Math.floor(Math.log10(lo)); p <= Math.ceil(Math.log10(hi)); p++)
    for (const m of [1, 2, 5]) { const t = m * 10 ** p; if (t >= lo * 0.999 && t <= hi * 1.001) found.push(+t.toPrecision(6)); }
  return found.length > 6 ? found.filter((t) => /^1/.test(t.toExponential())) : found;
}
function short(x) {
  if (Math.abs(x) >= 1e6) return +(x / 1e6).toFixed(2) + " M";
  if (Math.abs(x) >= 1e4) return +(x / 1e3).toFixed(1) + " k";
  return minus(+x.toPrecision(4));
}

/* One panel. `state` is {x: key of the abscissa, log: whether ordinates that can be are logarithmic}. */
function panel(curve, state) {
  const series = curve.series.map((s) => ({ name: s.name, faint: s.faint, hue: colour(s.name),
    points: s.y.map((y, k) => [s.x[state.x] ? s.x[state.x][k] : null, y]).filter(([x, y]) => x !== null && y !== null) }))
    .filter((s) => s.points.length);
  const log = state.log && curve.log && series.every((s) => s.points.every((p) => p[1] > 0));
  const xs = series.flatMap((s) => s.points.map((p) => p[0])), ys = series.flatMap((s) => s.points.map((p) => p[1]));
  if (!xs.length) return null;
  // lines of reference are named beside the plot, where no curve runs; on a phone, in the words above it
  const lines = (curve.lines || []).filter((l) => !log || l.y > 0), beside = BOX.w >= 440;
  const right = lines.length && beside ? 14 + 7 * Math.max(...lines.map((l) => l.label.length)) : BOX.right;
  const spread = new Set(series.map((s) => s.points.at(-1)[0])).size > 1 && Math.max(...xs) / Math.max(1, Math.min(...series.map((s) => s.points.at(-1)[0]))) > 8;
  const least = Math.min(...xs.filter((x) => x > 0)), xlog = spread && isFinite(least);
  let lo = Math.min(...ys, ...lines.map((l) => l.y)), hi = Math.max(...ys, ...lines.map((l) => l.y));
  if (log) { lo *= 0.8; hi *= 1.15; } else { if (curve.zero) lo = Math.min(0, lo); const pad = (hi - lo || 1) * 0.06; hi += pad; if (lo !== 0) lo -= pad; }
  const x0 = xlog ? least : Math.min(0, ...xs), X = scale(x0, Math.max(...xs), BOX.left, BOX.w - right, xlog);
  const Y = scale(lo, hi, BOX.h - BOX.bottom, BOX.top, log);
  const picture = svg("svg", { width: BOX.w, height: BOX.h, viewBox: `0 0 ${BOX.w} ${BOX.h}`, role: "img", "aria-label": curve.label });
  const yt = log ? logTicks(lo, hi) : ticks(lo, hi, 5), d = decimals(yt);
  for (const t of yt) picture.append(svg("line", { class: "grid", x1: BOX.left, x2: BOX.w - right, y1: Y(t), y2: Y(t) }),
    svg("text", { x: BOX.left - 8, y: Y(t) + 4, "text-anchor": "end" }, log ? short(t) : minus(t.toFixed(d))));
  const xt = xlog ? logTicks(x0, Math.max(...xs)).filter((t, k, all) => all.length < 6 || /^1/.test(t.toExponential())) : ticks(x0, Math.max(...xs), 4);
  for (const t of xt) picture.append(svg("line", { class: "base", x1: X(t), x2: X(t), y1: BOX.h - BOX.bottom, y2: BOX.h - BOX.bottom + 4 }),
    svg("text", { x: X(t), y: BOX.h - BOX.bottom + 18, "text-anchor": "middle" }, short(t)));
  picture.append(svg("line", { class: "base", x1: BOX.left, x2: BOX.w - right, y1: BOX.h - BOX.bottom, y2: BOX.h - BOX.bottom }),
    svg("text", { x: (BOX.left + BOX.w - right) / 2, y: BOX.h - 4, "text-anchor": "middle" }, (DATA.abscissae[state.x] || state.x) + (xlog ? ", logarithmic" : "")));
  for (const l of lines) picture.append(svg("line", { class: "ref", x1: BOX.left, x2: BOX.w - right, y1: Y(l.y), y2: Y(l.y) }));
  for (const s of series) draw(picture, s, X, Y, xlog ? x0 : -Infinity);
  if (beside) for (const l of lines) picture.append(svg("text", { class: "over", x: BOX.w - right + 8, y: Y(l.y) + 4 }, l.label));
  follow(picture, series, X, Y, curve, state, xlog ? x0 : -Infinity, right);
  const dashed = beside || !lines.length ? "" : ` Dashed: ${lines.map((l) => l.label).join(", ")}.`;
  return h("div.panel", {}, h("h3", {}, curve.label + (log ? " (logarithmic)" : "")), h("p", {}, (curve.says || "") + dashed), picture);
}
/* Noisy curves are drawn faintly as measured, and over them a running mean. */
function draw(picture, s, X, Y, least) {
  const kept = s.points.filter((p) => p[0] >= least);
  if (s.faint && kept.length < 2) return;
  const path = (points) => points.map(([x, y], k) => (k ? "L" : "M") + X(x).toFixed(1) + " " + Y(y).toFixed(1)).join("");
  if (s.faint) return picture.append(svg("path", { d: path(kept), fill: "none", style: `stroke:${s.hue}`, "stroke-width": 1, opacity: 0.4 }));
  const window = kept.length > 60 ? Math.round(kept.length / 30) : 0;
  const mean = kept.map((p, k) => {
    const reach = Math.min(window, k, kept.length - 1 - k), near = kept.slice(k - reach, k + reach + 1);
    return [p[0], near.reduce((sum, q) => sum + q[1], 0) / near.length];
  });
  if (window) picture.append(svg("path", { d: path(kept), fill: "none", style: `stroke:${s.hue}`, "stroke-width": 1, opacity: 0.28 }));
  picture.append(svg("path", { d: path(mean), fill: "none", style: `stroke:${s.hue}`, "stroke-width": 2, "stroke-linejoin": "round" }));
  const last = kept.at(-1);
  if (last) picture.append(svg("circle", { cx: X(last[0]), cy: Y(mean.at(-1)[1]), r: 3.5, style: `fill:${s.hue}` }));
}
function follow(picture, lines, X, Y, curve, state, least, right) {
  const series = lines.filter((s) => !s.faint);
  const line = svg("line", { class: "base", y1: BOX.top, y2: BOX.h - BOX.bottom, visibility: "hidden" });
  const dots = series.map((s) => svg("circle", { r: 4, style: `fill:${s.hue};stroke:var(--paper)`, "stroke-width": 1.5, visibility: "hidden" }));
  picture.append(line, ...dots);
  const away = () => { hide(); [line, ...dots].forEach((el) => el.setAttribute("visibility", "hidden")); };
  picture.addEventListener("pointerleave", away);
  picture.addEventListener("pointermove", (e) => {
    const box = picture.getBoundingClientRect(), at = ((e.clientX - box.left) * BOX.w) / box.width;
    if (at < BOX.left - 4 || at > BOX.w - right + 4) return away();
    line.setAttribute("x1", at); line.setAttribute("x2", at); line.setAttribute("visibility", "visible");
    const rows = series.map((s, k) => {
      const near = s.points.filter((p) => p[0] >= least).reduce((a, b) => (Math.abs(X(b[0]) - at) < Math.abs(X(a[0]) - at) ? b : a));
      const close = Math.abs(X(near[0]) - at) < 40;
      dots[k].setAttribute("visibility", close ? "visible" : "hidden");
      dots[k].setAttribute("cx", X(near[0])); dots[k].setAttribute("cy", Y(near[1]));
      return close ? h("div", {}, h("span.sw", { style: `background:${s.hue}` }), `${s.name}: `, h("b", {}, minus(+near[1].toPrecision(4))), ` at ${short(near[0])}`) : null;
    });
    $("tip").replaceChildren(h("div", {}, curve.label), ...rows.filter(Boolean));
    $("tip").hidden = false;
    place(e);
  });
}
function curves(list, number) {
  const names = [...new Set(list.flatMap((c) => c.series.map((s) => s.name)))];
  const keys = [...new Set(list.flatMap((c) => c.series.flatMap((s) => Object.keys(s.x))))];
  const ends = list[0].series.filter((s) => s.x.decisions).map((s) => s.x.decisions.at(-1));
  const alike = ends.length && Math.max(...ends) < 4 * Math.min(...ends); // else one learner would be squeezed into a corner
  const state = { x: alike || !keys.includes("step") ? keys[0] : "step", log: false };
  const holder = h("div.panels");
  const redraw = () => {
    const two = holder.clientWidth >= 916;
    BOX.w = Math.round(two ? (holder.clientWidth - 36) / 2 : holder.clientWidth) || 480;
    holder.replaceChildren(...list.map((c) => panel(c, state)).filter(Boolean));
  };
  const pressed = (group, on) => [...group.children].forEach((b) => b.setAttribute && b.tagName === "BUTTON" && b.setAttribute("aria-pressed", b === on));
  const by = h("div.group", {}, "against ", keys.map((key) => h("button", { type: "button", "aria-pressed": key === state.x,
    onclick: (e) => { state.x = key; pressed(by, e.currentTarget); redraw(); } }, DATA.abscissae[key] || key)));
  const log = h("button", { type: "button", "aria-pressed": false, onclick: (e) => {
    state.log = !state.log; e.currentTarget.setAttribute("aria-pressed", state.log); redraw(); } }, "logarithmic");
  const legend = h("div.keys", {}, names.map((n) => h("span", { style: `color:${colour(n)}` }, h("i"), h("b", { style: "color:var(--ink);font-weight:500" }, n))));
  section("curves", "Learning", null, h("div.tools", {}, legend, h("div.group", { style: "margin-left:auto" }, keys.length > 1 ? by : null, list.some((c) => c.log) ? log : null)), holder,
    h("p.caption", {}, h("b", {}, `Figure ${number}. `), DATA.curvesCaption || "What the learners measured while they trained. Thin lines are the values as measured, thick ones running means."));
  let width = 0;
  new ResizeObserver(() => { if (holder.clientWidth !== width) { width = holder.clientWidth; redraw(); } }).observe(holder);
  redraw();
}
