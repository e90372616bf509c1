"""The home, or the ledger, is removed under a running sweep: it ends at once, and says what is left and what to do."""

from __future__ import annotations

import shutil

import pytest

from tests.support.real import RealSweep

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def assert_it_ends_with(sweep: RealSweep, sentence: str) -> None:
    """With exit code 5 and this one line, and no process is left."""
    code, output = sweep.wait(60)
    assert (code, output.splitlines()[-1]) == (5, sentence), output
    assert "Traceback" not in output and "Warning" not in output
    assert sweep.left_over() == {}


def test_a_removed_home_ends_the_sweep_in_one_line(victim):
    sweep = victim(trials=2, epochs=20)
    sweep.hold_at(3)
    sweep.start()
    sweep.wait_for_epochs(6)
    shutil.rmtree(sweep.home)
    assert_it_ends_with(
        sweep,
        "Error: sweeps: was removed or moved while the sweep ran, so the sweep was ended. If it was moved, resume"
        " there: python -m hpsearch resume --home FOLDER",
    )
    assert not (sweep.home / "ledger.db").exists()


def test_a_removed_ledger_ends_the_sweep_and_is_rebuilt_without_loss(victim):
    sweep = victim(trials=2, epochs=20)
    sweep.hold_at(3)
    sweep.start()
    sweep.wait_for_epochs(6)
    before = sweep.watch.reports()
    (sweep.home / "ledger.db").unlink()
    assert_it_ends_with(
        sweep,
        "Error: sweeps/ledger.db: was removed or moved while the sweep ran, so the sweep was ended. Put it back, or"
        " rebuild it from the journals of its sweeps: python -m hpsearch resume --rebuild",
    )
    code, output = sweep.run("resume")
    assert code == 5 and "the ledger is gone, but not its sweeps" in output
    sweep.let_go()
    code, output = sweep.run("resume", "--rebuild")
    assert code == 0, output
    after = sweep.watch.reports()
    assert {number: rows[: len(before[number])] for number, rows in after.items()} == before
    assert sweep.watch.figures.problems == []
