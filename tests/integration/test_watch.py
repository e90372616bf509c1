"""`hpsearch watch` on a sweep that trains, from outside of it: the processes of its trials, by trial."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.monitored import Watched, until_seen, watched_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def look(watched: Watched, *flags: str) -> str:
    command = [sys.executable, "-m", "hpsearch", "watch", *flags]
    done = subprocess.run(command, cwd=watched.folder, capture_output=True, text=True, check=True)
    return done.stdout


def both_train(watched: Watched) -> dict[str, Any] | None:
    found: dict[str, Any] = json.loads(look(watched, "--json"))
    ready = [trial for trial in found["running"] if trial["processes"] and trial["epochs_trained"]]
    return found if len(ready) == 2 else None


def test_a_sweep_that_runs_is_seen_from_another_terminal(tmp_path: Path):
    with watched_sweep(tmp_path) as watched:
        found = until_seen(lambda: both_train(watched))
        assert found is not None
        assert found["state"] == "running"
        assert all(trial["memory_gib"] > 0.1 and trial["last"] is not None for trial in found["running"])
        processes = [json.loads(path.read_text()) for path in tmp_path.glob("sweeps/watched/trials/*/processes.json")]
        titles = [psutil.Process(roster["ranks"][0]["process"]["pid"]).cmdline()[0] for roster in processes]
        assert len(titles) == 2 and all(title.startswith("hpsearch watched trial ") for title in titles)
        text = look(watched, "--once")
        assert f"is running in process {watched.process.pid}" in text
        assert text.count("GiB") >= 4
    assert "watched is done" in look(watched)
    assert not list(tmp_path.glob("sweeps/watched/trials/*/processes.json"))
    assert not (tmp_path / "sweeps" / "watched" / "live.json").exists()
