/* ---------------------------------------------------------------------------------- replay viewer */
const READ = { normalised: "read after tidying", retry: "read at another try", fallback: "not usable: a legal move was drawn",
  forfeit: "not usable: forfeit", truncated: "cut to the permitted length", skip: "not usable: passed at a price" };

function nameOf(film, move) {
  if (move && typeof move === "object") return "forfeit" in move ? `forfeit (${move.forfeit})` : JSON.stringify(move);
  return String(move);
}
function pays(paid) {
  return Object.entries(paid || {}).filter(([, x]) => x).map(([seat, x]) => h("span", {}, ` ${seat} `, h(x > 0 ? "b.gain" : "b.loss", {}, signed(x, 2))));
}
function viewer(films, number) {
  const holder = h("div.viewer", { tabindex: "0", "aria-label": "Replay viewer" });
  const state = { film: films[0], at: 0, timer: null, show: "all" };
  const kinds = [...new Set(films.map((f) => f.group))];
  const pick = h("select", { onchange: (e) => open(films[+e.currentTarget.value]) });
  const group = h("select", { onchange: (e) => { state.show = e.currentTarget.value; list(); open(films[+pick.value]); } },
    h("option", { value: "all" }, `all (${films.length})`), kinds.map((k) => h("option", { value: k }, `${k} (${films.filter((f) => f.group === k).length})`)));
  const seats = h("div.seats"), deed = h("div.deed"), log = h("ol.log");
  const slider = h("input", { type: "range", min: "0", value: "0", "aria-label": "Position", oninput: (e) => go(+e.currentTarget.value) });
  const out = h("output"), back = h("button", { type: "button", onclick: () => go(state.at - 1), "aria-label": "Back" }, "\u2039 back");
  const next = h("button", { type: "button", onclick: () => go(state.at + 1), "aria-label": "Forward" }, "forward \u203a");
  const first = h("button.ends", { type: "button", onclick: () => go(0), "aria-label": "To the start" }, "\u00ab");
  const last = h("button.ends", { type: "button", onclick: () => go(Infinity), "aria-label": "To the end" }, "\u00bb");
  const run = h("button", { type: "button", onclick: () => (state.timer ? stop() : start()) }, "play");
  function stop() { clearInterval(state.timer); state.timer = null; run.textContent = "play"; }
  function start() {
    if (state.at >= state.film.frames.length - 1) go(0);
    run.textContent = "pause";
    state.timer = setInterval(() => { go(state.at + 1, true); if (state.at >= state.film.frames.length - 1) stop(); }, 1100);
  }
  function list() {
    pick.replaceChildren(...films.map((f, k) => (state.show === "all" || f.group === state.show) ? h("option", { value: k }, f.title) : null).filter(Boolean));
  }
  function open(film) {
    stop();
    state.film = film;
    slider.max = film.frames.length - 1;
    log.replaceChildren(...film.frames.map((f, k) => h("li", {}, h("button", { type: "button", onclick: () => go(k) }, h("span", {}, k || ""),
      f.kind === "start" ? h("em", {}, f.chance.length ? "the deal" : "the start") : h("span", {}, h("em", {}, f.seat + " "), brief(f))))));
    go(0);
  }
  function brief(f) {
    const text = nameOf(state.film, f.name ?? f.move);
    return text.length > 60 ? text.slice(0, 58) + "\u2026" : text;
  }
  function go(k, running = false) {
    if (!running && state.timer) stop();
    const film = state.film, most = film.frames.length - 1;
    state.at = Math.max(0, Math.min(most, k));
    slider.value = state.at;
    out.textContent = `${state.at} of ${most}`;
    back.disabled = first.disabled = state.at === 0;
    next.disabled = last.disabled = state.at === most;
    const frame = film.frames[state.at], coming = film.frames[state.at + 1];
    seats.replaceChildren(...film.seats.map((s, i) => seat(s, i, frame, coming)));
    deed.replaceChildren(...told(film, frame, state.at === most));
    [...log.children].forEach((li, i) => li.firstChild.setAttribute("aria-current", i === state.at));
    const on = log.children[state.at];
    if (on.offsetTop < log.scrollTop || on.offsetTop + on.offsetHeight > log.scrollTop + log.clientHeight) log.scrollTop = on.offsetTop - log.clientHeight / 2;
  }
  function seat(s, i, frame, coming) {
    const acts = coming && coming.seat === s.seat, sum = frame.sums[i];
    return h("div.seat" + (acts ? ".acts" : ""), {}, h("header", {}, h("b", {}, s.agent), h("span", {}, s.seat + (acts ? " \u00b7 to move" : "")),
      sum === null ? null : h("span.paid" + (sum > 0 ? ".gain" : sum < 0 ? ".loss" : ""), {}, signed(sum, 2))),
      h("pre", {}, frame.views[i] === null ? "" : DATA.texts[frame.views[i]]));
  }
  function told(film, f, end) {
    const found = [];
    if (f.kind === "start") found.push(h("div", {}, f.chance.length ? `Nature drew ${f.chance.join(", ")} from seed ${film.seed}.` : `Seed ${film.seed}.`, pays(f.paid)));
    else {
      const chosen = nameOf(film, f.name ?? f.move);
      found.push(h("div", {}, h("b", {}, film.agents[f.seat]), ` (${f.seat}) `, f.legal ? "chose " : "wrote ", f.legal ? null : h("div.raw", {}, chosen),
        f.legal ? f.legal.map((n) => h("span.chip" + (n === chosen ? ".on" : ""), {}, n)) : null,
        f.legal && !f.legal.includes(chosen) ? h("span.chip.on", {}, chosen) : null));
      for (const reply of f.rejected || []) found.push(h("div.raw.bad", {}, reply || "(nothing)"));
      if (f.raw !== undefined && f.raw !== null && f.raw !== chosen) found.push(h("div.raw", { title: "the reply as it came" }, f.raw || "(nothing)"));
      if (READ[f.read]) found.push(h("div.dim", {}, "Reply " + READ[f.read] + "."));
      if (f.note) found.push(h("div.dim", {}, f.note));
      if (f.value !== undefined && f.value !== null) found.push(h("div.dim", {}, `It expected to earn ${signed(f.value, 2)}.`));
      if (f.chance.length) found.push(h("div", {}, `Then nature drew ${f.chance.join(", ")}.`));
      if (Object.values(f.paid || {}).some(Boolean)) found.push(h("div", {}, "Paid:", pays(f.paid)));
    }
    if (end) found.push(h("div", { style: "margin-top:8px" }, h("b", {}, { over: "The game is over.", forfeit: "Ended by forfeit.", cut: "Cut by the limit on steps.", error: "Machinery broke: " + film.fault }[film.end]),
      film.seats.filter((s) => s.return !== null).map((s) => h("span", {}, `  ${s.agent} `, h(s.return > 0 ? "b.gain" : s.return < 0 ? "b.loss" : "b", {}, signed(s.return, 2))))));
    return found;
  }
  holder.addEventListener("keydown", (e) => {
    if (e.target.tagName === "SELECT" || e.target.type === "range") return;
    const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (by) { go(state.at + by); e.preventDefault(); }
  });
  holder.append(h("div.pick", {}, kinds.length > 1 ? h("label", {}, "Show", group) : null, h("label.wide", {}, "Game", pick)),
    h("div.stage", {}, h("div", {}, seats, deed), log), h("div.controls", {}, first, back, run, next, last, slider, out));
  list();
  section("replay", "Games, move by move", null, holder,
    h("p.caption", {}, h("b", {}, `Figure ${number}. `), "Recorded games, replayed by the rules from seed and moves alone. Each card is what that seat sees, and nothing else; arrow keys step."));
  const longest = films.reduce((a, b) => (b.frames.length > a.frames.length ? b : a));
  pick.value = films.indexOf(longest);
  open(longest);
}

/* --------------------------------------------------------------------------------------- the page */
function compose() {
  $("title").textContent = DATA.title;
  $("lead").textContent = DATA.lead;
  $("facts").append(...DATA.facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))));
  let figure = 1;
  DATA.boards.forEach((board, k) => { standings(board, k + 1); heat(board, figure++); });
  if (DATA.curves.length) curves(DATA.curves, figure++);
  if (DATA.films.length) viewer(DATA.films, figure++);
  $("footer").append(...DATA.notes.map((text) => h("p", {}, text)),
    DATA.command ? h("p", {}, "Made by ", h("code", {}, DATA.command), ".") : "");
}
compose();
