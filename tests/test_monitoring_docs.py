"""The page on monitoring, its Grafana dashboard and its Prometheus file name what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ruamel.yaml import YAML

from hpsearch.driver.gauges import MEASURES
from hpsearch.paths import targets_dir

FOLDER = Path(__file__).parents[1] / "docs"
GRAFANA = json.loads((FOLDER / "monitoring" / "grafana.json").read_text())


def test_every_gauge_is_on_the_page_with_its_labels_and_meaning():
    rows = re.findall(r"^\| `(hpsearch_\w+)` \| (.+) \| (.+) \|$", (FOLDER / "monitoring.md").read_text(), re.MULTILINE)
    told = [(name, tuple(re.findall(r"`(\w+)`", labels)), meaning) for name, labels, meaning in rows]
    assert told == [(each.name, each.tags[1:], each.meaning) for each in MEASURES]
    assert all(each.tags[0] == "sweep" for each in MEASURES)


def test_the_grafana_dashboard_asks_for_gauges_and_labels_that_there_are():
    tags = {f"ray_{each.name}": set(each.tags) for each in MEASURES}
    asked = set()
    for panel in GRAFANA["panels"]:
        for target in panel["targets"]:
            [name] = re.findall(r"ray_hpsearch_\w+", target["expr"])
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            labels = {*re.findall(r"(\w+)[=!]~", target["expr"]), *re.findall(r"{{(\w+)}}", target["legendFormat"])}
            labels |= {label.strip() for group in grouped for label in group.split(",")}
            assert labels <= tags[name], target
            asked.add(name)
    assert asked == tags.keys()


def test_the_panels_of_the_dashboard_do_not_overlap():
    boxes = [panel["gridPos"] for panel in GRAFANA["panels"]]
    cells = [(x, y) for box in boxes for x in range(box["x"], box["x"] + box["w"])
             for y in range(box["y"], box["y"] + box["h"])]  # fmt: skip
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24, "as wide as Grafana's grid"


def test_prometheus_looks_where_sweeps_write():
    config = YAML(typ="safe", pure=True).load(FOLDER / "monitoring" / "prometheus.yml")
    [pattern] = config["scrape_configs"][0]["file_sd_configs"][0]["files"]
    assert pattern.endswith(f"/{targets_dir(Path()).name}/*.json")
