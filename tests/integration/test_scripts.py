"""A W&B sweep file and its script, unchanged but for `hpsearch.report`, in a real sweep."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from hpsearch.api.results import Results
from hpsearch.driver.driver import Run
from hpsearch.spec.file import load_sweep

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
