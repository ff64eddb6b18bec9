"use strict";
// The figures hold every layer, view and step. This shows what is asked for, and moves the points with the slider.
const content = JSON.parse(document.getElementById("content").textContent);
const slider = document.getElementById("slider");
const playButton = document.getElementById("play");
const state = { view: "corrected", hidden: new Set(), stop: content.times.length - 1 };
const touch = window.matchMedia("(pointer: coarse)").matches;
const config = { responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"] };

function isShown(trace) {
  const { layer, view } = trace.meta;
  return (view === undefined || view === state.view) && !state.hidden.has(layer);
}

// How many snapshots of a layer are over at the stop of the slider.
function count(layer) {
  const step = content.times[state.stop].step;
  return layer.steps.filter((other) => other <= step).length;
}

function moved(trace, figure) {
  const layer = content.sets[figure.set][trace.meta.layer];
  if (layer === undefined) return trace;
  if (trace.meta.part === "way" || trace.meta.part === "curve") return { ...trace, text: layer.texts };
  if (trace.meta.part !== "trail" && trace.meta.part !== "now") return trace;
  const way = figure.data.find(
    (other) => other.meta.part === "way" && other.meta.layer === trace.meta.layer && other.meta.view === trace.meta.view,
  );
  const end = count(layer);
  if (trace.meta.part === "trail") return { ...trace, x: way.x.slice(0, end), y: way.y.slice(0, end) };
  const here = [Math.max(end - 1, 0), end];
  const bars = (axis) => {
    const ends = way.customdata[0][axis];
    return ends && { ...trace[`error_${axis}`], array: ends.array.slice(...here), arrayminus: ends.arrayminus.slice(...here) };
  };
  return {
    ...trace,
    x: way.x.slice(...here),
    y: way.y.slice(...here),
    text: layer.texts.slice(...here),
    marker: { ...trace.marker, symbol: way.marker.symbol.slice(...here) },
    error_x: bars("x") || undefined,
    error_y: bars("y") || undefined,
  };
}

function layoutOf(figure) {
  const layout = { ...figure.layout, dragmode: touch ? false : "zoom", uirevision: state.view };
  for (const [axis, look] of Object.entries(figure.views[state.view])) layout[axis] = { ...layout[axis], ...look };
  if (figure.kind === "curves") {
    const place = content.times[state.stop].place;
    const line = { color: "#222", width: 1 };
    layout.shapes = [{ type: "line", xref: "x", yref: "paper", x0: place, x1: place, y0: 0, y1: 1, line }];
  }
  return layout;
}

function draw() {
  for (const figure of content.figures) {
    const data = figure.data.filter(isShown).map((trace) => moved(trace, figure));
    Plotly.react(figure.id, data, layoutOf(figure), config);
  }
  const { step, epoch } = content.times[state.stop];
  document.getElementById("time").textContent = `step ${step}` + (epoch === null ? "" : `, epoch ${epoch.toFixed(2)}`);
}

let asked = false;
function drawSoon() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
}

function goTo(stop) {
  state.stop = stop;
  slider.value = stop;
  drawSoon();
}

let player = null;
function pause() {
  clearInterval(player);
  player = null;
  playButton.textContent = "▶";
  playButton.setAttribute("aria-label", "Play");
}
function play() {
  playButton.textContent = "❚❚";
  playButton.setAttribute("aria-label", "Pause");
  if (state.stop === content.times.length - 1) goTo(0);
  player = setInterval(() => {
    if (state.stop === content.times.length - 1) pause();
    else goTo(state.stop + 1);
  }, 250);
}

slider.max = content.times.length - 1;
slider.addEventListener("input", () => { pause(); goTo(Number(slider.value)); });
playButton.addEventListener("click", () => (player === null ? play() : pause()));
for (const radio of document.querySelectorAll("input[name=view]")) {
  radio.addEventListener("change", () => { state.view = radio.value; drawSoon(); });
}
for (const [name, look] of Object.entries(content.layers)) {
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
  box.addEventListener("change", () => { state.hidden[box.checked ? "delete" : "add"](name); drawSoon(); });
  const swatch = document.createElement("i");
  swatch.style.background = look.colour;
  const label = document.createElement("label");
  label.append(box, swatch, name);
  document.getElementById("layers").append(label);
}
goTo(state.stop);
