"""A data set that the trials of a sweep share, in real slots."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.ray


def test_a_sweep_loads_its_data_once_whatever_becomes_of_its_ranks(sweep, tmp_path: Path, monkeypatch):
    notes = tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setenv("HPSEARCH_TEST_NOTES", str(notes))
    outcome = sweep("on_shared_data", trials=4, limits={"concurrent": 1, "retries": 1})
    trials, history = outcome.results.trials, outcome.results.history
    assert trials["state"].tolist() == ["done"] * 4
    assert trials["attempts"].tolist() == [1, 2, 1, 1]
    assert trials["last_pid"].nunique() == 4, "each has a process of its own"
    assert history[history["epoch"] == 1]["loss"].tolist() == [1000.0] * 4, "what a trial writes it alone sees"
    assert len(list(notes.iterdir())) == 1
