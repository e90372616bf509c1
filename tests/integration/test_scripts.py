"""Scripts in real sweeps: one of a W&B sweep file, unchanged but for `hpsearch.report`, and what others need."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from hpsearch.api.results import Results
from hpsearch.driver.driver import Run
from hpsearch.spec.file import load_sweep
from hpsearch.spec.sweep import Sweep

pytestmark = pytest.mark.ray

SCRIPT = """
    import argparse, os
    import hpsearch

    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--optimizer.name", dest="optimizer", choices=["sgd", "adam"])
    parser.add_argument("--broken", action="store_true")
    settings = parser.parse_args()
    if settings.optimizer == "adam":
        parser.error("adam is out of order")
    for epoch in range(4):
        hpsearch.report({"val/loss": settings.lr, "pid": os.getpid()})
"""
AS_FOUND_IN_PROJECTS = """
    import argparse, json, signal
    from importlib import resources
    from pathlib import Path

    import hpsearch
    import settings
    from neighbour import FACTOR

    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", required=True)
    sizes = parser.parse_args().sizes
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopped.append(number))
    beside = json.loads((Path(__file__).parent / "beside.json").read_text())
    packaged = json.loads(resources.files(settings).joinpath("defaults.json").read_text())
    here = float(open("data.csv").read())
    for epoch in range(2):
        hpsearch.report(loss=sum(sizes) * FACTOR, beside=beside, packaged=packaged, here=here)
"""
SPEC = """
    program: train.py
    method: grid
    metric: {name: val/loss}
    project: vision
    parameters:
      lr: {distribution: categorical, values: [0.5, 0.25]}
      optimizer: {parameters: {name: {values: [sgd, adam]}}}
    early_terminate: {type: hyperband, min_iter: 2, eta: 2}
    command: ["${env}", "${interpreter}", "${program}", "${args}"]
"""


def test_a_wandb_sweep_runs_as_it_is(ray_session: None, tmp_path: Path, home: Path) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(SCRIPT))
    (tmp_path / "sweep.yaml").write_text(textwrap.dedent(SPEC))
    sweep = load_sweep(tmp_path / "sweep.yaml", overrides=["resources.gpu=0", "limits.concurrent=1"])
    exit_code = Run(sweep=sweep, home=home, spec_dir=tmp_path, show="none").start()
    results = Results(home, sweep.name)
    trials = dict(list(results.trials.groupby("optimizer.name")))
    assert exit_code == 0
    assert set(trials["sgd"]["state"]) <= {"done", "stopped"}
    assert set(trials["adam"]["state"]) == {"failed"}
    assert trials["sgd"]["best_val/loss"].min() == 0.25
    assert trials["sgd"]["last_pid"].nunique() == len(trials["sgd"])  # each is a run of the program
    assert "adam is out of order" in results.failed["evidence"].iloc[0]


@pytest.mark.parametrize("isolation", ["process", "slot"])
def test_lists_handlers_of_signals_and_files_reach_a_script_as_in_a_shell(
    ray_session: None, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    """The sweep is started in the folder above the script's: as for `python project/train.py`, `data.csv` is there."""
    files = {
        "project/train.py": textwrap.dedent(AS_FOUND_IN_PROJECTS),
        "project/neighbour.py": "FACTOR = 2",
        "project/beside.json": "5",
        "project/settings/__init__.py": "",
        "project/settings/defaults.json": "7",
        "data.csv": "9",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    tree = {
        "name": f"lists-{isolation}",
        "trainable": "project/train.py",
        "arguments": ["${args_list}"],
        "metric": {"name": "loss", "goal": "minimize"},
        "method": "grid",
        "parameters": {"sizes": {"values": [[1, 2], [4]]}},
        "resources": {"gpu": 0},
        "isolation": isolation,
    }
    assert Run(sweep=Sweep.from_dict(tree), home=home, show="none").start() == 0
    trials = Results(home, f"lists-{isolation}").trials
    assert trials["state"].tolist() == ["done", "done"]
    assert trials["last_loss"].tolist() == [6, 8]
    assert trials[["last_beside", "last_packaged", "last_here"]].drop_duplicates().values.tolist() == [[5, 7, 9]]
