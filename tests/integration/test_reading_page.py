"""The page of the guide on reading a sweep: its blocks run on a sweep of that name."""

from __future__ import annotations

from pathlib import Path

from tests.support import curves
from tests.support.blocks import run_command, run_page

PAGE = Path(__file__).parents[2] / "docs" / "reading.md"


def test_every_block_runs(tmp_path: Path):
    curves.run(tmp_path / "sweeps", name="tpe", method="optuna", seed=2)
    curves.run(tmp_path / "sweeps")
    printed = run_page(PAGE, tmp_path)
    assert "sweeps/curves/report.html: 64 trials" in printed
    assert "val_loss, lower is better; equal budgets: " in printed
    made = {path.name for path in tmp_path.iterdir()} - {"sweeps", "block.py"}
    assert made == {
        "small.html", "elsewhere.html", "curves.png", "progress.svg", "importance.svg", "parallel.html", "slices.png",
        "compared.png",
    }  # fmt: skip
    assert (tmp_path / "elsewhere.html").read_text().startswith("<!doctype html>")


def test_the_commands_that_watch_work_after_the_sweep_too(tmp_path: Path):
    curves.run(tmp_path / "sweeps")
    assert "64/64 trials" in run_command("python -m hpsearch watch curves --once", tmp_path)
    assert run_command("python -m hpsearch watch curves --json", tmp_path).startswith("{")
