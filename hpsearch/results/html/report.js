"use strict";
// Draws each figure of the page with plotly, and adds brushing to the parallel coordinates.

// On a touch screen, dragging over a chart scrolls the page.
const isTouched = matchMedia("(pointer: coarse)").matches;
const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false, // otherwise a button uploads the chart
  plotlyServerURL: "",
  displayModeBar: isTouched ? false : "hover",
  modeBarButtonsToRemove: ["lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};

// The trials of the selected points are drawn again on top of all others, which fade.
function brush(plot, figure) {
  const base = plot.data.length;
  const faded = Array.from({ length: base }, (_, at) => at);
  const solid = plot.data.map((trace) => trace.opacity ?? 1);
  let busy = false;

  async function choose(chosen) {
    if (busy) return;
    busy = true;
    try {
      if (plot.data.length > base) await Plotly.deleteTraces(plot, base);
      await Plotly.restyle(plot, { opacity: chosen ? 0.1 : solid }, faded);
      if (chosen) await Plotly.addTraces(plot, overlay(chosen));
    } finally {
      busy = false;
    }
  }

  function overlay(chosen) {
    const found = { x: [], y: [], hovertext: [] };
    for (const trace of plot.data.slice(0, base)) {
      trace.customdata.forEach((trial, at) => {
        if (!chosen.has(trial)) return;
        found.x.push(trace.x[at]);
        found.y.push(trace.y[at]);
        found.hovertext.push(trace.hovertext[at]);
      });
    }
    return {
      ...found, type: "scatter", mode: "lines+markers", hoverinfo: "text", showlegend: false,
      name: `${chosen.size} chosen`, line: { color: figure.brushcolor, width: 2 }, marker: { size: 4 },
    };
  }

  plot.on("plotly_selected", (event) => {
    if (!event) return;
    const chosen = new Set(event.points.map((point) => point.customdata));
    choose(chosen.size ? chosen : null);
  });
  plot.on("plotly_deselect", () => choose(null));
}

// Colours are given for light mode; each has a counterpart for dark mode.
const IN_THE_DARK = JSON.parse(document.getElementById("in-the-dark").textContent);
const asksForDark = matchMedia("(prefers-color-scheme: dark)");

// A copy of part of a figure with dark or unchanged colours. Only values of properties named "...color" are replaced.
function painted(value, isDark, key = "") {
  if (Array.isArray(value)) return value.map((each) => painted(each, isDark));
  if (value === null || typeof value !== "object") {
    return isDark && key.endsWith("color") ? IN_THE_DARK[value] ?? value : value;
  }
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, painted(part, isDark, name)]));
}

const PAPER_PX = 680; // width on paper; a chart as wide as the window would be cut off
const figures = [...document.querySelectorAll("figure.live")].map((figure) => ({
  canvas: figure.querySelector(".canvas"),
  source: JSON.parse(figure.querySelector("script").textContent),
}));

function show(figure, isOnPaper = false) {
  const { data, layout, brushcolor } = painted(figure.source, asksForDark.matches && !isOnPaper);
  if (isTouched) layout.dragmode = false;
  if (isOnPaper) layout.width = PAPER_PX;
  layout.uirevision = "kept"; // keeps what the reader has zoomed in on
  figure.brushcolor = brushcolor;
  return Plotly.react(figure.canvas, data, layout, CONFIG);
}

asksForDark.addEventListener("change", () => figures.forEach((figure) => show(figure)));
addEventListener("beforeprint", () => figures.forEach((figure) => show(figure, true)));
addEventListener("afterprint", () => figures.forEach((figure) => show(figure)));
const drawn = figures.map((figure) => show(figure).then((plot) => figure.brushcolor && brush(plot, figure)));
Promise.all(drawn).then(() => document.documentElement.classList.add("is-drawn"));
