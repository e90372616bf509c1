"""Figures as a notebook draws them that has plotly: several charts in one, as wide as a cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpsearch.api.results import Results
from hpsearch.results.charts.interactive import plotly_script
from tests.support import curves
from tests.support.browser import new_context

pytestmark = pytest.mark.browser

OVERLAPS = """() => {
  const texts = [...document.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()]);
  const meet = (low, high, from, to) => low < to - 2 && from < high - 2;
  const isOver = (a, b) => meet(a.left, a.right, b.left, b.right) && meet(a.top, a.bottom, b.top, b.bottom);
  const over = ([one, a], others) => others.filter(([, b]) => isOver(a, b)).map(([two]) => [one, two]);
  return texts.flatMap((text, at) => over(text, texts.slice(at + 1)));
}"""
"""Pairs of texts that lie on each other."""
SPANS = {
    "lr": {"min": 1e-4, "max": 0.03, "log": True},
    "decay": {"min": 1e-4, "max": 0.1, "log": True},
    "eps": {"min": 1e-8, "max": 1e-3, "log": True},
    "momentum": {"min": 0.8, "max": 0.99},
}


def loss(config: Any, epoch: int) -> dict[str, float]:
    return {"val_loss": config["lr"] + config["decay"] + 1 / epoch}


@pytest.mark.parametrize("width", [860, 700])
def test_no_text_lies_on_another(width, browser: Any, home: Path):
    landscape = curves.Landscape(report=loss, failure=lambda _: None)
    name = curves.run(home, parameters=SPANS, landscape=landscape, early_terminate={"type": "none"})
    drawn = Results(home, name).plot.slices().to_plotly()
    with new_context(browser, viewport={"width": width, "height": 700}) as context:
        page = context.new_page()
        page.set_content("<!doctype html><body style='margin: 0'><div id='figure'></div>")
        page.add_script_tag(content=plotly_script())
        page.evaluate("drawn => Plotly.newPlot('figure', drawn.data, drawn.layout)", json.loads(json.dumps(drawn)))
        assert page.locator("text.xtitle, text.x2title").count() == 2
        assert page.evaluate(OVERLAPS) == []
