"use strict";
// Draws every figure of the page with plotly, and lets parallel coordinates be brushed.

// A finger that moves over a picture scrolls the page.
const isTouched = matchMedia("(pointer: coarse)").matches;
const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false, // else a button uploads the picture
  plotlyServerURL: "",
  displayModeBar: isTouched ? false : "hover",
  modeBarButtonsToRemove: ["lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};

// The trials of the chosen points are drawn once more on top of all others, which fade.
function brush(plot) {
  const base = plot.data.length;
  const faded = Array.from({ length: base }, (_, at) => at);
  const solid = plot.data.map((trace) => trace.opacity ?? 1);
  let busy = false;

  async function show(chosen) {
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
      name: `${chosen.size} chosen`, line: { color: "#0063a6", width: 2 }, marker: { size: 4 },
    };
  }

  plot.on("plotly_selected", (event) => {
    if (!event) return;
    const chosen = new Set(event.points.map((point) => point.customdata));
    show(chosen.size ? chosen : null);
  });
  plot.on("plotly_deselect", () => show(null));
}

const plots = [];
const drawn = [];
for (const figure of document.querySelectorAll("figure.live")) {
  const { data, layout, brush: canBrush } = JSON.parse(figure.querySelector("script").textContent);
  const canvas = figure.querySelector(".canvas");
  if (isTouched) layout.dragmode = false;
  plots.push(canvas);
  drawn.push(Plotly.newPlot(canvas, data, layout, CONFIG).then((plot) => canBrush && brush(plot)));
}

// A picture as wide as the window would be cut off on paper.
const PAPER_PX = 680;
addEventListener("beforeprint", () => plots.forEach((plot) => Plotly.relayout(plot, { width: PAPER_PX })));
addEventListener("afterprint", () => plots.forEach((plot) => Plotly.relayout(plot, { width: null, autosize: true })));
Promise.all(drawn).then(() => document.documentElement.classList.add("is-drawn"));
