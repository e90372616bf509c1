"""Faults 1 and 2: kills at random instants, a slice of what `make faults` does; and one kill of a sweep on real Ray."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.checker import Reader
from tests.support.real import ROOT, RealSweep

SEEDS = 45


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_sweeps_killed_at_random_fail_points_lose_nothing_and_train_nothing_twice():
    """In a process of its own, which has a single thread and can fork."""
    command = [sys.executable, "-m", "tests.faults.campaign", "--seeds", str(SEEDS), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    tally = json.loads(done.stdout)
    assert tally["problems"] == []
    assert (tally["finished_lost"], tally["trained_twice"], tally["other_configurations"]) == (0, 0, 0)
    assert tally["sweeps"] == SEEDS and tally["kills"] > SEEDS / 2, "most of the deaths came before the end"
    assert tally["acknowledged"] > SEEDS, "and after something was finished"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_of_everything_on_real_ray_and_a_damaged_checkpoint_cost_a_few_epochs(victim):
    """Faults 2, 28, 29: everything dies at once, a checkpoint is flipped on disk, and the sweep goes on."""
    sweep = victim(trials=3, epochs=60, epoch_s=0.02)
    sweep.start()
    with Reader(sweep.watch):
        sweep.train_until(lambda: trial_with_two_checkpoints(sweep), "two checkpoints of a trial")
        in_use, output = second_driver(sweep)
        assert in_use == 6 and f"in use by pid {sweep.process.pid}" in output
        sweep.kill_everything()
        assert sweep.left_over() == {}
        number, epoch = flip_newest_checkpoint(sweep)
        sweep.let_go()
        code, output = sweep.run("resume")
    assert code == 0, output
    assert "(resuming with " in output
    sweep.watch.check_end(interruptions=1)
    assert sweep.watch.figures.problems == []
    assert sweep.left_over() == {}
    log = (sweep.home / "victim" / "trials" / f"{number:04d}" / "log.txt").read_text()
    found = re.search(rf"checkpoint of epoch {epoch} is damaged \(checksum\), went back to epoch (\d+)", log)
    assert found, log
    assert f"{number} begin {found[1]}\n" in (sweep.folder / "diary.txt").read_text()


def second_driver(sweep) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "hpsearch", "sweep", "victim.yaml"],
        cwd=sweep.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def trial_with_two_checkpoints(sweep: RealSweep) -> tuple[int, dict[int, Path]] | None:
    """A trial that runs, or ran when it was killed, and its checkpoints of epochs that are on record."""
    for row in sweep.watch.rows():
        epochs = len(sweep.watch.reports().get(row.number, []))
        files = sorted((sweep.home / "victim" / "trials" / f"{row.number:04d}").glob("checkpoint/epoch-*.rank-0.pt"))
        saved = {int(path.name.split(".")[0].removeprefix("epoch-")): path for path in files}
        usable = {epoch: path for epoch, path in saved.items() if epoch <= epochs}
        if row.state == "running" and len(usable) == 2:
            return row.number, usable
    return None


def flip_newest_checkpoint(sweep: RealSweep) -> tuple[int, int]:
    """One bit in the middle of the newest of a trial's two checkpoints; trial and epoch."""
    found = trial_with_two_checkpoints(sweep)
    assert found is not None
    number, saved = found
    newest = max(saved)
    data = bytearray(saved[newest].read_bytes())
    data[len(data) // 2] ^= 1
    saved[newest].write_bytes(data)
    return number, newest
