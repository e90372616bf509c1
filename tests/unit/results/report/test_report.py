"""The report as text: what it says, of any sweep, and what it costs. How it looks: `tests/integration`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.api.results import Results
from hpsearch.cli import app
from hpsearch.ledger.lock import writer_lock
from hpsearch.ledger.provenance import append_provenance, read_provenance, take_provenance
from hpsearch.ledger.store import Ledger
from hpsearch.paths import provenance_path
from hpsearch.results.analysis.findings import read_findings
from hpsearch.results.report.sections import _broken
from hpsearch.results.report.write import report_html
from tests.support import curves, hostile
from tests.support.calls import calls_of
from tests.test_layers import loaded_by
from tests.unit.results.charts.test_charts import AWKWARD, of_a_thousand


def text_of(html: str) -> str:
    """What a reader sees of a static report."""
    import html as entities

    body = html[html.index("<body>") :]
    return entities.unescape(re.sub(r"<[^>]+>", " ", body))


def static(home: Path, **keys: Any) -> str:
    return report_html(read_findings(home, curves.run(home, **keys)), is_static=True)


def test_it_says_how_far_how_good_what_matters_and_what_failed(home: Path):
    found = read_findings(home, curves.run(home))
    said = text_of(report_html(found, is_static=True))
    first = found.importance.rows[0]
    assert "64 of 64" in said
    assert "0.2814" in said
    assert f"{first.parameter} {first.importance:.0%}" in said
    assert "3 oom_gpu" in said
    assert "width >= 128 and batch_size >= 512: 3 of 3 failed (oom_gpu)" in said
    assert "early stopping saved 1428 (87% of full training)" in said
    assert "--set lr=0.0050326" in said
    assert "batch_size 512 needs about 9.1 GiB on GPU 1, 6.0 GiB were free" in said


def test_the_best_configuration_is_a_spec_that_loads(home: Path):
    import html as entities

    from ruamel.yaml import YAML

    from hpsearch.spec.sweep import Sweep

    block = re.search(r"<pre[^>]*>(name: .*?)</pre>", static(home), flags=re.DOTALL)
    assert block is not None
    tree = YAML(typ="safe", pure=True).load(entities.unescape(block[1]))
    assert Sweep.from_dict(tree).space.searched == {}


def test_the_command_is_broken_only_where_a_shell_reads_the_same():
    assert _broken("python x --set a=1 --set 'b=2'") == "python x \\\n  --set a=1 \\\n  --set 'b=2'"
    assert _broken("python x --set 'a= --set '") == "python x --set 'a= --set '"


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_sweeps_have_a_report(case, home: Path):
    said = text_of(static(home, **AWKWARD[case]))
    assert "How it was made" in said
    assert "nan" not in said.lower().split()


def test_no_tag_of_a_hostile_sweep_comes_through(home: Path):
    html = report_html(read_findings(home, hostile.run(home)), is_static=True)
    tags = set(re.findall(r"<([a-zA-Z!/][a-zA-Z0-9]*)", html))
    assert not tags & {"script", "svg", "a href", "b", "iframe"}
    assert html.count("<img ") == html.count('src="data:image/svg+xml;base64,')
    assert not re.search(r"<[^>]*\son[a-z]+=", re.sub(r"alt=\"[^\"]*\"", "", html))
    assert "script-src &#x27;none&#x27;" in html


def test_a_killed_sweep_is_told_from_one_that_runs(home: Path):
    name = curves.run(home, max_reports=20)
    assert "the sweep was killed and can be resumed." in text_of(Results(home).report(static=True).read_text())
    with writer_lock(home / name, name):
        said = text_of(Results(home).report(static=True).read_text())
    assert "the sweep is running." in said
    assert ", unfinished" in said  # the best so far is none of those that ended


def test_a_failure_of_which_nothing_is_known_is_told(home: Path):
    name = curves.run(home, limits={"trials": 2, "epochs": 2, "concurrent": 1})
    with Ledger(home) as ledger:
        trial = ledger.trials(ledger.sweep(name))[0]
        ledger.update_trial(trial.id, state="failed", cause="killed", evidence=None)
    assert "killed" in text_of(report_html(read_findings(home, name), is_static=True))


def test_the_command_writes_it_into_the_folder_or_where_it_is_told(home: Path, tmp_path: Path):
    curves.run(home)
    run = CliRunner().invoke
    assert run(app, ["report", "--home", str(home), "--static"]).exit_code == 0
    assert (home / "curves" / "report.html").stat().st_size < 1_000_000
    elsewhere = tmp_path / "a.html"
    done = run(app, ["report", "curves", "--home", str(home), "-o", str(elsewhere), "--json"])
    assert json.loads(done.stdout) == {"path": str(elsewhere), "trials": 64, "bytes": elsewhere.stat().st_size}
    assert run(app, ["report", "--home", str(home), "--static", "-o", "-"]).stdout.startswith("<!doctype html>")


def test_results_write_it_too(home: Path):
    curves.run(home)
    path = Results(home).report(static=True)
    assert path == home / "curves" / "report.html"


def test_a_thousand_full_trials_are_a_second_of_work_and_8_mb(home: Path):
    found, pages = of_a_thousand(home), []
    assert calls_of(lambda: pages.append(report_html(found))) < 6_000_000, "two million, imports included"
    assert len(pages[0]) < 8_000_000


def test_a_run_is_told_with_versions_commit_and_machine(home: Path):
    name = curves.run(home, max_reports=5)
    append_provenance(home / name, take_provenance(None))
    append_provenance(home / name, {"commit": "abc, with changes", "gpus": ["<b>"]})
    said = text_of(report_html(read_findings(home, name), is_static=True))
    assert "Run 2 of 2" in said
    assert "abc, with changes" in said
    assert "torch" in said


def test_a_planted_record_of_runs_harms_nobody(tmp_path: Path):
    path = provenance_path(tmp_path)
    path.symlink_to("/etc/hostname")
    assert read_provenance(tmp_path) == []
    with pytest.raises(OSError, match="symbolic"):
        append_provenance(tmp_path, {})
    path.unlink()
    path.write_bytes(b"\xff\xfe\n[1]\n" + b"[" * 100_000 + b'\n{"a": {"b": ' + b"[" * 50 + b"]" * 50 + b"}}\n")
    assert [list(run) for run in read_provenance(tmp_path)] == [["a"]]


def test_the_verb_loads_neither_ray_nor_torch_nor_pandas(home: Path):
    curves.run(home)
    code = f"""
from hpsearch.cli import app
try:
    app(["report", "--home", {str(home)!r}])
except SystemExit:
    pass
"""
    assert loaded_by(code, "ray", "torch", "pandas", "optuna", "hyperopt", "matplotlib") == set()
