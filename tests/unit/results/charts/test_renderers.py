"""The same chart as plotly's JSON, as PNG, SVG and HTML."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hpsearch.api.results import Results
from hpsearch.errors import LedgerError, SpecError
from hpsearch.results.charts.description import GAP, Axis, Chart, Label, Mark, Series
from hpsearch.results.figure import Figure
from tests.support import curves, hostile

SERIES = Series(name="done", role="done", kind="lines", x=(1, 10, GAP), y=(0.5, 0.25, GAP), trials=(7, 7, 7))
CHART = Chart(
    title="A chart",
    x=Axis(name="epoch", is_log=True, limits=(1, 10)),
    y=Axis(name="loss"),
    series=(SERIES,),
    marks=(Mark(x=10, text="rung"),),
    labels=(Label(x=10, y=0.25, text="trial 7"),),
    alternative="One falling line.",
)


def test_plotly_gets_gaps_as_null_and_places_on_a_logarithmic_axis_as_powers():
    drawn = Figure(CHART).to_plotly()
    (trace,) = drawn["data"]
    assert (trace["x"], trace["y"]) == ([1, 10, None], [0.5, 0.25, None])
    assert drawn["layout"]["xaxis"]["range"] == [0, 1]
    assert {note["x"] for note in drawn["layout"]["annotations"] if note["text"] in ("rung", "trial 7")} == {1.0}
    json.dumps(drawn, allow_nan=False)


def test_plotly_itself_takes_what_we_make(home: Path):
    import plotly.graph_objects as go

    curves.run(home)
    plot = Results(home).plot
    for figure in (plot.curves(), plot.progress(), plot.importance(), plot.parallel(), plot.slices()):
        go.Figure(figure.to_plotly())  # it refuses names that it does not know


def test_several_charts_stand_beside_each_other_with_axes_of_their_own():
    layout = Figure(CHART, CHART, CHART).to_plotly()["layout"]
    assert {"xaxis", "xaxis2", "xaxis3", "yaxis3"} <= layout.keys()
    assert layout["xaxis"]["domain"][1] < layout["xaxis2"]["domain"][0]
    assert layout["yaxis3"]["domain"][1] < layout["yaxis"]["domain"][0]


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("html", b"<!doctype html>")])
def test_a_figure_saves_itself(ending, start, tmp_path: Path):
    path = Figure(CHART, CHART).save(tmp_path / f"chart.{ending}")
    assert path.read_bytes().startswith(start)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_same_chart_is_the_same_svg_with_text_as_text(tmp_path: Path):
    one, other = (Figure(CHART).save(tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert one == other
    assert b">A chart</text>" in one
    assert len(one) < 20_000


def test_an_ending_that_is_not_known_is_refused_with_what_to_write(tmp_path: Path):
    with pytest.raises(SpecError, match=r"curves\.jpg: expected a name that ends in .png, .svg or .html, got '.jpg'"):
        Figure(CHART).save(tmp_path / "curves.jpg")


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path):
    with pytest.raises(LedgerError, match=r"missing/a.svg: can't be written: No such file or directory"):
        Figure(CHART).save(tmp_path / "missing" / "a.svg")


def test_a_notebook_gets_plotly_an_image_with_its_text_and_a_line():
    bundle = Figure(CHART)._repr_mimebundle_()
    assert bundle["application/vnd.plotly.v1+json"]["data"]
    assert bundle["text/html"].startswith("<img ")
    assert 'alt="One falling line."' in bundle["text/html"]
    assert bundle["text/plain"] == "<Figure A chart>"


def test_hostile_texts_are_drawn_as_text(home: Path, tmp_path: Path):
    hostile.run(home)
    plot = Results(home).plot
    for figure in (plot.curves(), plot.importance(), plot.parallel(), plot.slices()):
        drawn = json.dumps(figure.to_plotly())
        assert "<b onclick" not in drawn and "<script" not in drawn and "<img" not in drawn
        figure.save(tmp_path / "a.png")
        svg = ElementTree.parse(figure.save(tmp_path / "a.svg"))
        assert not {each.tag.rpartition("}")[2] for each in svg.iter()} & {"script", "a", "img", "b"}
        assert "<img src=x" not in figure._repr_html_()
