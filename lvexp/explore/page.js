"use strict";
// Texts come from models and files: they are put into the page as text, never as HTML.
const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C6D31"];
const SYMBOLS = ["circle", "triangle-up", "square", "diamond"];
const CONFIG = {displaylogo: false, responsive: true, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]};
const $ = id => document.getElementById(id);
const state = {ticked: new Map(), run: null, map: null, tools: [], tool: null, values: {}, curves: {}};

function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat());
  return made;
}

async function answered(response) {
  const found = await response.json().catch(() => ({error: "no answer: is python -m lvexp.explore still running?"}));
  if (!response.ok) throw new Error(found.error || response.statusText);
  return found;
}
const lost = () => { throw new Error("no answer: is python -m lvexp.explore still running?"); };
const get = (path, asked = {}) => fetch(path + "?" + new URLSearchParams(asked)).catch(lost).then(answered);
const ask = question => fetch("ask", {
  method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(question),
}).catch(lost).then(answered);
const failed = error => el("p", {class: "error", role: "alert"}, error.message);

function show(view) {
  for (const tab of document.querySelectorAll("nav [role=tab]")) tab.setAttribute("aria-selected", tab.dataset.view === view);
  for (const part of document.querySelectorAll("main > section")) part.hidden = part.id !== view;
  if (view === "curves") showCurves();
  if (view === "samples") showSamples();
  window.scrollTo(0, 0);
}

// --- the table ---------------------------------------------------------------------------------------------------

async function showTables() {
  const place = $("tables");
  let found;
  try { found = await get("tables", {under: $("sweep").value}); } catch (error) { place.replaceChildren(failed(error)); return; }
  $("folder").textContent = found.folder;
  if (!$("sweep").options.length) {
    $("sweep").append(el("option", {value: ""}, "all"), ...found.sweeps.filter(Boolean).map(name => el("option", {value: name}, name)));
    $("sweep").parentElement.hidden = found.sweeps.length < 2;
  }
  place.replaceChildren(...found.tables.map(table));
  if (!found.tables.length) place.append(el("p", {}, "There is no finished run in this folder."));
  if (found.notes.length) place.append(el("details", {class: "quiet"}, el("summary", {}, `${found.notes.length} left out`),
    el("ul", {}, found.notes.map(note => el("li", {}, note)))));
}

function table(one) {
  const body = el("tbody"), heads = [{label: ""}, {label: "run"}, {label: "seeds"}, ...one.columns, {label: "verdict"}];
  const fill = rows => body.replaceChildren(...rows.map(row => tableRow(row)));
  const sort = (at, button) => {
    const up = button.dataset.up === undefined ? !(one.columns[at] || {}).higher : button.dataset.up !== "true";
    for (const other of button.closest("tr").querySelectorAll("button")) delete other.dataset.up;
    button.dataset.up = up;
    const key = row => at < 0 ? row.name : row.values[at];
    fill([...one.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
    }));
  };
  const head = el("tr", {}, heads.map((column, at) => {
    const number = at > 2 && at < heads.length - 1;
    if (at !== 1 && !number) return el("th", {}, column.label);
    return el("th", {class: number ? "n" : ""}, el("button", {type: "button", onclick: event => sort(at - 3 < 0 ? -1 : at - 3, event.currentTarget)}, column.label));
  }));
  fill(one.rows);
  return el("div", {}, el("h2", {}, one.corpus), el("div", {class: "scroll"}, el("table", {}, el("thead", {}, head), body)));
}

function tableRow(row) {
  const ids = row.runs.map(run => run.id);
  const box = el("input", {type: "checkbox", checked: ids.every(id => state.ticked.has(id)), "aria-label": `tick ${row.name}`,
    onchange: event => {
      for (const id of ids) event.target.checked ? state.ticked.set(id, row.name) : state.ticked.delete(id);
      chosen();
    }});
  const seeds = row.runs.map(run => el("button", {class: "link", type: "button", onclick: () => openRun(run.id)}, String(run.seed ?? "–")));
  return el("tr", {}, el("td", {}, box),
    el("td", {class: "name"}, el("button", {class: "link", type: "button", title: row.name, onclick: () => openRun(ids[0])}, row.name)),
    el("td", {}, seeds.flatMap((seed, at) => at ? [" ", seed] : [seed])),
    row.cells.map(cell => el("td", {class: "n"}, cell)), el("td", {class: "verdict", title: row.verdict}, row.verdict.split(":")[0]));
}

function chosen() {
  $("chosen").textContent = state.ticked.size ? `${state.ticked.size} ticked` : "";
}
const selected = () => state.ticked.size ? [...state.ticked.keys()] : state.run ? [state.run] : [];

// --- one run -----------------------------------------------------------------------------------------------------

async function openRun(id) {
  Object.assign(state, {run: id, map: null, tools: [], tool: null, values: {}});
  document.querySelector("[data-view=run]").disabled = false;
  for (const part of ["map", "tools", "report", "pictures", "texts", "head"]) $(part).replaceChildren();
  $("mapbar").hidden = true;
  show("run");
  let page;
  try { page = await get("run", {run: id}); } catch (error) { $("head").replaceChildren(failed(error)); return; }
  $("head").append(el("p", {class: "verdict-line"}, el("b", {}, page.name), " — ", page.verdict),
    el("p", {class: "quiet"}, page.overrides.join(" ")));
  $("report").append(el("table", {}, page.groups.flatMap(([title, rows]) => [
    el("tr", {}, el("th", {colSpan: 4}, title)),
    ...rows.map(([name, value, unit, how]) => el("tr", {}, el("td", {}, name), el("td", {class: "n"}, value), el("td", {}, unit), el("td", {}, how))),
  ])));
  $("pictures").append(...page.pictures.map(name => el("img", {alt: name.replaceAll("_", " "), loading: "lazy", src: "picture?" + new URLSearchParams({run: id, name})})));
  $("texts").textContent = page.samples;
  $("map").replaceChildren(el("p", {class: "quiet"}, "placing the texts of the test set …"));
  let reason = null;
  try {
    const map = await ask({run: id, tool: "map"});
    if (state.run !== id) return;
    state.map = map;
  } catch (error) { reason = error; }
  if (state.run !== id) return;
  if (state.map) drawMap(); else $("map").replaceChildren(el("p", {class: "quiet", id: "nomap"}, "No map: " + reason.message));
  try {
    const found = await ask({run: id, tool: "open"});
    if (state.run !== id) return;
    Object.assign(state, {tools: found.tools, form: found.form});
    drawTools();
  } catch (error) { $("tools").replaceChildren(failed(error)); }
}

function drawMap() {
  const {map} = state, note = map.total > map.texts.length ? `, ${map.texts.length.toLocaleString("en")} of ${map.total.toLocaleString("en")}` : "";
  const kinds = [...Object.keys(map.classes), ...(map.rates.some(rate => rate !== null) ? ["rate"] : []), "length"];
  $("colour").replaceChildren(...kinds.map(kind => el("option", {value: kind}, kind)));
  $("mapnote").textContent = `test texts${note} on two principal components; hover to read, click to choose`;
  $("mapbar").hidden = false;
  $("map").replaceChildren();
  $("map").removeAttribute("class");
  paint();
}

function wrapped(text) {
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return (escaped.match(/.{1,70}(\s|$)|.{1,70}/g) || [""]).slice(0, 6).join("<br>");
}

function paint() {
  const {map} = state, kind = $("colour").value, rows = map.texts.map((_, at) => at);
  const trace = (some, more) => ({
    type: "scatter", mode: "markers", x: some.map(at => map.x[at]), y: some.map(at => map.y[at]), customdata: some,
    text: some.map(at => wrapped(map.texts[at])), hovertemplate: "%{text}<extra></extra>", ...more,
  });
  const size = rows.length > 500 ? 6 : 9;
  let traces;
  if (map.classes[kind]) {
    const {names, of} = map.classes[kind];
    const some = [...new Set(of)].sort((a, b) => a - b);
    traces = some.map(label => {
      const there = rows.filter(at => of[at] === label), look = label < 0 ? null : some.filter(one => one >= 0).indexOf(label);
      const marker = look === null || look >= COLOURS.length * SYMBOLS.length ? {color: "#c8c8c8"}
        : {color: COLOURS[look % COLOURS.length], symbol: SYMBOLS[Math.floor(look / COLOURS.length)]};
      return trace(there, {name: `${label < 0 ? "no label" : names[label] ?? label} (${there.length})`, marker: {size, opacity: .75, ...marker}});
    });
  } else {
    const values = kind === "rate" ? map.rates : map.lengths;
    traces = [trace(rows, {marker: {size, opacity: .8, color: values, colorscale: "Viridis", showscale: true,
      colorbar: {title: {text: kind === "rate" ? "nats" : "words"}, thickness: 12, outlinewidth: 0}}})];
  }
  const picked = Object.values(state.values).filter(value => value && value.row !== undefined).map(value => value.row);
  traces.push(trace(picked, {name: "chosen", showlegend: false, hoverinfo: "skip", hovertemplate: null,
    marker: {size: 15, symbol: "circle-open", color: "#000", line: {width: 2}}}));
  const axis = (at) => ({title: {text: `component ${at + 1} (${Math.round(100 * (map.shares[at] || 0))} % of the variance)`, font: {size: 12}},
    zeroline: false, gridcolor: "#eee", linecolor: "#ccc"});
  const layout = {margin: {l: 50, r: 10, t: 10, b: 44}, height: 540, xaxis: axis(0), yaxis: axis(1), hovermode: "closest", dragmode: "zoom",
    font: {family: "inherit", size: 12}, legend: {orientation: "h", y: -.14, yanchor: "top", font: {size: 11}}, showlegend: Boolean(map.classes[kind]),
    uirevision: state.run};
  Plotly.react("map", traces, layout, CONFIG);
  $("map").removeAllListeners?.("plotly_click");
  $("map").on("plotly_click", event => pick(event.points[0].customdata));
}

function pick(row) {
  const tool = state.tools.find(one => one.name === state.tool);
  const slots = tool ? tool.fields.filter(field => field.kind === "record").map(field => field.name) : [];
  if (!slots.length) return;
  if (slots.every(name => state.values[name])) for (const name of slots) delete state.values[name];
  const free = slots.find(name => !state.values[name]);
  state.values[free] = {row};
  drawForm();
  paint();
  if (slots.every(name => state.values[name])) $("tools").querySelector("form").requestSubmit();
}

function drawTools() {
  const tabs = el("div", {class: "tabs", role: "tablist"}, state.tools.map(tool => el("button", {
    type: "button", role: "tab", "data-tool": tool.name, disabled: Boolean(tool.why_not), title: tool.why_not || tool.hint,
    onclick: () => { state.tool = tool.name; drawForm(); if (state.map) paint(); },
  }, tool.title)));
  $("tools").replaceChildren(tabs, el("div", {id: "form"}));
  const grey = state.tools.filter(tool => tool.why_not);
  if (grey.length) {
    const reasons = new Map();
    for (const tool of grey) reasons.set(tool.why_not, [...(reasons.get(tool.why_not) || []), tool.title]);
    $("tools").append(el("p", {class: "quiet", id: "reasons"}, [...reasons].map(([reason, titles]) => `${titles.join(", ")}: not with this model, ${reason}. `)));
  }
  const first = state.tools.find(tool => !tool.why_not && (tool.name === "between" || !state.map)) || state.tools.find(tool => !tool.why_not);
  state.tool = first ? first.name : null;
  drawForm();
}

function drawForm() {
  for (const tab of $("tools").querySelectorAll("[data-tool]")) tab.setAttribute("aria-selected", tab.dataset.tool === state.tool);
  const tool = state.tools.find(one => one.name === state.tool);
  if (!tool) return;
  const small = el("div", {class: "small"}), wide = [];
  for (const field of tool.fields) {
    const input = control(field), label = el("label", {}, field.label, " ", input);
    if (["number"].includes(field.kind) || (field.kind === "choice" && field.name === "class")) small.append(label);
    else wide.push(el("div", {class: "row"}, el("label", {for: input.id}, field.label), input));
  }
  const answer = el("div", {class: "answer", "aria-live": "polite"}), button = el("button", {class: "act", type: "submit"}, "Show");
  const form = el("form", {onsubmit: async event => {
    event.preventDefault();
    const run = state.run, question = {run, tool: tool.name};
    for (const field of tool.fields) question[field.name] = value(field);
    button.disabled = true;
    try { const found = await ask(question); if (state.run === run) answer.replaceChildren(rows(found)); }
    catch (error) { answer.replaceChildren(failed(error)); }
    button.disabled = false;
  }}, el("p", {class: "hint"}, tool.hint), wide, small, button);
  $("form").replaceChildren(form, answer);
}

function control(field) {
  const id = "field-" + field.name;
  if (field.kind === "choice") return el("select", {id}, (field.options || []).map(([value, label]) => el("option", {value}, label)));
  if (field.kind === "area") return el("textarea", {id});
  if (field.kind === "number") return el("input", {id, type: "number", value: String(field.value), min: String(field.min), max: String(field.max), step: String(field.step)});
  if (field.kind !== "record") return el("input", {id, type: "text", autocomplete: "off"});
  const held = state.values[field.name], input = el("input", {id, type: "text", autocomplete: "off", placeholder: state.map ? `click a point, or type: ${state.form}` : `type: ${state.form}`});
  if (held) { input.value = held.row === undefined ? held.typed : state.map.texts[held.row]; input.classList.toggle("picked", held.row !== undefined); input.title = input.value; }
  input.addEventListener("input", () => {
    if (input.value.trim()) state.values[field.name] = {typed: input.value}; else delete state.values[field.name];
    input.classList.remove("picked");
    if (state.map) paint();
  });
  return input;
}

const value = field => field.kind === "record" ? state.values[field.name] || null : $("field-" + field.name).value;

function rows(found) {
  const empty = text => text === "" ? "(empty)" : text;
  const last = found.columns.length - 1;
  return el("div", {}, found.note ? el("p", {class: "quiet"}, found.note) : "", el("table", {},
    el("thead", {}, el("tr", {}, found.columns.map(name => el("th", {}, name)))),
    el("tbody", {}, found.rows.map(row => el("tr", {}, row.map((cell, at) => el("td", {class: at < last ? "n" : ""}, at === last ? empty(cell) : cell)))))));
}

// --- several runs ------------------------------------------------------------------------------------------------

async function showCurves() {
  const runs = selected();
  $("curvenote").textContent = runs.length ? "" : "Tick runs in the table.";
  if (!runs.length) { $("figure").replaceChildren(); Plotly.purge("plot"); return; }
  try { state.curves = await get("curves", {runs: runs.join("\n")}); } catch (error) { $("curvenote").textContent = error.message; return; }
  const names = Object.keys(state.curves), before = $("figure").value;
  $("figure").replaceChildren(...names.map(name => el("option", {value: name}, name)));
  $("figure").value = names.includes(before) ? before : names.includes("val/nelbo") ? "val/nelbo" : names[0] || "";
  drawCurves();
}

function drawCurves() {
  const name = $("figure").value, curves = state.curves[name] || [];
  if (!curves.length) { $("curvenote").textContent = "These runs have no metrics.csv."; Plotly.purge("plot"); return; }
  const dashes = ["solid", "dash", "dot"];
  Plotly.react("plot", curves.map((curve, at) => ({
    type: "scatter", mode: curve.x.length < 40 ? "lines+markers" : "lines", x: curve.x, y: curve.y, name: curve.name,
    line: {color: COLOURS[at % COLOURS.length], width: 1.8, dash: dashes[Math.floor(at / COLOURS.length) % 3]}, marker: {size: 5},
  })), {margin: {l: 60, r: 10, t: 10, b: 44}, xaxis: {title: {text: "step"}, gridcolor: "#eee"}, yaxis: {title: {text: name}, gridcolor: "#eee", zeroline: false},
    font: {family: "inherit", size: 12}, legend: {orientation: curves.length > 8 ? "v" : "h", y: curves.length > 8 ? 1 : -.12}, showlegend: true}, CONFIG);
}

async function showSamples() {
  const runs = selected(), place = $("beside");
  place.replaceChildren(el("p", {class: "quiet"}, runs.length ? "" : "Tick runs in the table."));
  $("draw").hidden = !runs.length;
  if (!runs.length) return;
  try {
    const found = await get("texts", {runs: runs.join("\n")});
    place.replaceChildren(...found.map(run => el("article", {"data-run": run.id}, el("h3", {}, run.name), el("pre", {}, run.text || "(no samples.txt)"))));
  } catch (error) { place.replaceChildren(failed(error)); }
}

function drawBar() {
  const number = (name, value, step, min, max) => el("label", {}, name, " ", el("input", {id: "draw-" + name, type: "number", value, step, min, max}));
  $("draw").append(el("span", {class: "quiet"}, "As in the reports; or"), number("texts", "10", "1", "1", "100"), number("temperature", "1", "0.1", "0.1", "3"),
    number("top-p", "1", "0.05", "0.05", "1"), number("seed", "1", "1", "0", "1000000"),
    el("button", {class: "act", type: "button", onclick: async event => {
      const button = event.currentTarget;
      button.disabled = true;
      for (const article of $("beside").querySelectorAll("article")) {
        const question = {run: article.dataset.run, tool: "sample", count: $("draw-texts").value, temperature: $("draw-temperature").value,
          top_p: $("draw-top-p").value, seed: $("draw-seed").value};
        let found;
        try { found = rows(await ask(question)); } catch (error) { found = failed(error); }
        article.replaceChildren(article.firstChild, found);
      }
      button.disabled = false;
    }}, "draw anew"));
}

for (const tab of document.querySelectorAll("nav [role=tab]")) tab.addEventListener("click", () => show(tab.dataset.view));
$("sweep").addEventListener("change", showTables);
$("colour").addEventListener("change", paint);
$("figure").addEventListener("change", drawCurves);
drawBar();
showTables();
