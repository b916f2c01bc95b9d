"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);

/* An element: h("td.n", {title: "x"}, child, ...); text is always text, never markup. */
function h(what, given = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const el = document.createElement(tag || "div");
  if (classes.length) el.className = classes.join(" ");
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    if (key === "style") el.style.cssText = value;
    else if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else el.setAttribute(key, value);
  }
  el.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return el;
}
function svg(tag, given = {}, ...children) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(given)) el.setAttribute(key, value);
  el.append(...children.flat());
  return el;
}
const $ = (id) => document.getElementById(id);
const minus = (text) => String(text).replace(/^-/, "\u2212");
const signed = (x, d = 3) => (x === null ? "\u2013" : (x > 0 ? "+" : "") + minus(x.toFixed(d)));
const plain = (x, d = 0) => (x === null || x === undefined ? "\u2013" : minus(x.toFixed(d)));
const count = (n) => n.toLocaleString("en").replace(/,/g, "\u2009");
const colour = (name) => `var(${DATA.hues[name]})`;
const RANGE = "95\u00a0%\u00a0interval";

/* About five round numbers from lo to hi. */
function ticks(lo, hi, n = 5) {
  const raw = (hi - lo) / n || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(lo / step - 1e-9); k * step <= hi + step * 1e-9; k++) found.push(+(k * step).toPrecision(12));
  return found;
}
const decimals = (marks) => Math.max(0, ...marks.map((t) => (String(t).split(".")[1] || "").length));

/* ------------------------------------------------------------------------- tip, theme, masthead */
function tip(el, content) {
  const show = (e) => {
    $("tip").replaceChildren(...[content()].flat());
    $("tip").hidden = false;
    place(e);
  };
  el.addEventListener("pointerenter", show);
  el.addEventListener("pointermove", place);
  el.addEventListener("pointerleave", hide);
}
function place(e) {
  const box = $("tip").getBoundingClientRect(), gap = 14;
  const x = e.clientX + gap + box.width > innerWidth - 8 ? e.clientX - gap - box.width : e.clientX + gap;
  const y = e.clientY + gap + box.height > innerHeight - 8 ? e.clientY - gap - box.height : e.clientY + gap;
  $("tip").style.left = Math.max(8, x) + "px";
  $("tip").style.top = Math.max(8, y) + "px";
}
function hide() { $("tip").hidden = true; }

function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "\u2600" : "\u263e";
}
theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
$("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

function section(id, heading, of, ...children) {
  $("contents").append(h("a", { href: "#" + id }, heading));
  const title = h("h2", {}, heading, of ? h("span.of", {}, " \u00b7 " + of) : null);
  const el = h("section", { id }, title, ...children);
  $("main").append(el);
  return el;
}

/* ------------------------------------------------------------------------------------ standings */
const ELO_WORDS = "Bradley\u2013Terry on the Elo scale: 400 points make the odds of earning more ten to one; the field\u2019s mean is 1000.";

function span(rows, key) {
  const all = rows.flatMap((r) => r[key]).filter((x) => x !== null);
  const lo = Math.min(...all, ...(key === "payoff" ? [0] : [])), hi = Math.max(...all, ...(key === "payoff" ? [0] : []));
  const pad = (hi - lo || 1) * 0.07;
  return [lo - pad, hi + pad];
}
function whisker([mean, low, high], [lo, hi], hue, zero) {
  const at = (x) => (100 * (x - lo)) / (hi - lo) + "%";
  return h("div.whisker", { style: `color:${hue}`, "aria-hidden": "true" },
    h("div.zero", { style: `left:${at(zero)}` }),
    low === null ? null : h("div.span", { style: `left:${at(low)};width:${(100 * (high - low)) / (hi - lo)}%` }),
    h("div.dot", { style: `left:${at(mean)}` }));
}
function axis([lo, hi], d) {
  const marks = ticks(lo, hi, 5);
  const places = Math.max(d, decimals(marks));
  return h("div.figure", {}, h("span"), h("div.axis", {}, marks.map((t) =>
    h("span", { style: `left:${(100 * (t - lo)) / (hi - lo)}%` }, minus(t.toFixed(places))))));
}
function estimate(value, range, hue, zero, format, name, label) {
  const el = h("td.bar95", { "data-label": label }, h("div.figure", {}, h("span", {}, format(value[0])), whisker(value, range, hue, zero)));
  tip(el, () => [h("b", {}, name), h("br"), format(value[0]), value[1] === null ? "" : `, ${RANGE} ${format(value[1])} to ${format(value[2])}`]);
  return el;
}
function figure(label, value) {
  return value === 0 ? h("td.n.none", { "data-label": label }, h("span.dim", {}, "0")) : h("td.n", { "data-label": label }, value);
}
function standings(board, number) {
  const ratings = span(board.rows, "rating"), pays = span(board.rows, "payoff");
  const exact = board.rows.some((r) => r.exploitability !== null);
  const mishaps = [["illegal", "Illegal"], ["forfeits", "Forfeits"], ["truncated", "Truncated"], ["cut", "Cut short"], ["errors", "Errors"]];
  const seen = mishaps.filter(([key]) => board.rows.some((r) => r[key]));
  const never = mishaps.filter((m) => !seen.includes(m)).map(([key]) => ({ illegal: "illegal reply", forfeits: "forfeit", truncated: "truncated reply", cut: "game cut short", errors: "error of machinery" })[key]);
  const head = h("tr", {}, h("th"), h("th.who", {}, "Agent"),
    h("th.bar95", {}, "Rating", h("small", {}, "who beats this field")),
    h("th.bar95", {}, "Mean payoff", h("small", {}, "a game, all opponents")),
    exact ? h("th.n", {}, "Exploitability", h("small", {}, "0 is equilibrium")) : null,
    h("th.n", {}, "Games"), seen.map(([, label]) => h("th.n", {}, label, label === "Illegal" ? h("small", {}, "of decisions") : null)));
  const best = Math.min(...board.rows.map((r) => r.exploitability).filter((x) => x !== null));
  const body = board.rows.map((r, k) => {
    const hue = colour(r.agent);
    const row = h("tr", {}, h("td.rank", {}, k + 1), h("td.who", { title: r.on, "data-rank": k + 1 }, h("i", { style: `background:${hue}` }), r.agent),
      estimate(r.rating, ratings, hue, 1000, (x) => plain(x), r.agent, "Rating"),
      estimate(r.payoff, pays, hue, 0, (x) => signed(x), r.agent, "Mean payoff"),
      exact ? figure("Exploitability", r.exploitability === best ? h("b", {}, plain(r.exploitability, 4)) : plain(r.exploitability, 4)) : null,
      figure("Games", count(r.games)),
      seen.map(([key, label]) => figure(label, key === "illegal" && r[key] ? (100 * r[key]).toFixed(2) + "\u00a0%" : r[key])));
    return row;
  });
  const foot = h("tr", {}, h("td"), h("td.who"), h("td.bar95", {}, axis(ratings, 0)), h("td.bar95", {}, axis(pays, 1)),
    h("td", { colspan: seen.length + (exact ? 2 : 1) }));
  const caption = h("p.caption", {}, h("b", {}, `Table ${number}. `), `${count(board.games)} games of ${board.game} on ${count(board.seeds)} seeds; every pairing is played on the same seeds with seats exchanged. ${ELO_WORDS} ${DATA.order} Bars are 95\u00a0% intervals from resampling seeds, not games. `,
    exact ? "A rating says who beats this field; exploitability, what a best response wins from the agent above the game\u2019s value, says who is hard to beat. " + DATA.exploitability + " " : "",
    exact && board.rows.some((r) => r.illegal && r.exploitability !== null) ? "Of a language model it is that of its mixing over the legal replies. " : "",
    board.errors ? `${board.errors} games in which machinery broke are counted and left out. ` : "", never.length ? `There was no ${never.join(", no ")}.` : "");
  section(`standings-${number}`, "Standings", board.game,
    h("div.scroll", {}, h("table.board", {}, h("thead", {}, head), h("tbody", {}, body), h("tfoot", {}, foot))), caption);
}

/* ------------------------------------------------------------------------------------- heat map */
function shade(x, most) {
  if (!most) return "transparent";
  const share = Math.min(1, Math.abs(x) / most);
  return `rgba(var(--${x >= 0 ? "gain" : "loss"}), ${(0.06 + 0.74 * share).toFixed(3)})`;
}
function heat(board, number) {
  const { agents, cells } = board.payoffs;
  const most = Math.max(...cells.flat().filter(Boolean).map((c) => Math.abs(c[0])), 1e-9);
  const head = h("tr", {}, h("th"), agents.map((a, j) => h("th", { title: a, scope: "col" }, h("div", {}, a), h("span.dim", {}, j + 1))));
  const body = agents.map((a, i) => h("tr", {}, h("th", { scope: "row" }, h("i", {}, i + 1), a), agents.map((b, j) => {
    const c = cells[i][j];
    if (!c) return h("td.empty");
    const strong = Math.abs(c[0]) / most > 0.72 && document.documentElement.dataset.theme === "light";
    const half = c[1] === null ? null : h("small", {}, "\u00b1" + ((c[2] - c[1]) / 2).toFixed(2));
    const cell = h("td", { style: `background:${shade(c[0], most)}${strong ? ";color:#fff" : ""}` }, signed(c[0], 2), half);
    tip(cell, () => [h("b", {}, a), " against ", h("b", {}, b), h("br"), `earns ${signed(c[0])} a game`,
      c[1] === null ? "" : [h("br"), `${RANGE} ${signed(c[1])} to ${signed(c[2])}`], h("br"), `${count(c[3])} games, both sides`].flat());
    return cell;
  })));
  const ramp = [-1, -0.5, 0, 0.5, 1].map((s) => shade(s * most, most)).join(",");
  const legend = h("div.legend", {}, "Row\u2019s payoff a game against column", h("div.ramp", { style: `background:linear-gradient(90deg,${ramp})` }),
    h("div.ends", {}, h("span", {}, signed(-most, 2)), h("span", {}, "0"), h("span", {}, signed(most, 2))));
  section(`payoffs-${number}`, "Who beats whom", null,
    h("div.heatrow", {}, h("div.scroll", {}, h("table.heat", {}, h("thead", {}, head), h("tbody", {}, body))), legend),
    h("p.caption", {}, h("b", {}, `Figure ${number}. `), "Mean payoff of the row agent against the column agent, in the order of the standings, with half the width of its 95\u00a0% interval. Rest the pointer on a cell for the interval and the number of games."));
}
