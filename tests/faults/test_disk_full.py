"""Fault 26: the disk of the results is full, really: a small tmpfs is mounted in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpsearch.slots.diagnosis import failure_of
from tests.faults.checker import Reader, Watch
from tests.support.real import ROOT
from tests.support.waiting import PATIENCE_S, until


@contextmanager
def small_disk(folder: Path, *, mib: int) -> Iterator[Path]:
    """A file system of its own at `folder`; only root may mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a tmpfs can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """A file that takes whatever room there is."""
    with path.open("wb", buffering=0) as file:
        block = bytes(2**20)
        while len(block) > 0:
            try:
                while file.write(block):
                    pass
            except OSError:
                block = block[: len(block) // 2]


def test_a_checkpoint_without_room_is_a_full_disk_and_leaves_the_one_before(tmp_path):
    torch = pytest.importorskip("torch")
    from hpsearch.training.checkpoint import load_checkpoint, save_checkpoint

    model = torch.nn.Linear(200, 200)
    with small_disk(tmp_path / "disk", mib=2) as disk:
        about = {"rank": 0, "world_size": 1, "objects": {"model": model}, "device": torch.device("cpu")}
        save_checkpoint(disk / "checkpoint", epoch=1, **about)
        fill(disk / "ballast")
        with pytest.raises((OSError, RuntimeError)) as caught:
            save_checkpoint(disk / "checkpoint", epoch=2, previous=1, **about)
        assert failure_of(caught.value).cause == "disk_full"
        (disk / "ballast").unlink()
        found, warning = load_checkpoint(disk / "checkpoint", rank=0)
        assert found is not None and found.epoch == 1 and warning is None


LIFE = """
import sys
from pathlib import Path
from tests.support.simulated import Scenario, live
scenario = Scenario(trials=6, epochs=9, holds_after=12, checkpoint_bytes=2**18, concurrent=3)
sys.exit(live(Path(sys.argv[1]), scenario)[0])
"""


def test_a_full_disk_stops_starts_and_commits_and_costs_no_trial_anything(tmp_path):
    """Simulated slots, a real disk: checkpoints fail, trials wait, and go on by themselves."""
    watch = Watch(tmp_path / "sweeps", "victim", tmp_path / "diary.txt")
    with small_disk(tmp_path / "sweeps", mib=96) as disk:
        process = subprocess.Popen([sys.executable, "-c", LIFE, str(tmp_path)], cwd=ROOT)
        until(lambda: len(watch.diary_lines()) > 12, process=process)
        with Reader(watch):
            fill(disk / "ballast")
            (tmp_path / "go-on").touch()
            until((tmp_path / "said.txt").exists, process=process)
            assert process.poll() is None, "it waits"
            (disk / "ballast").unlink()
            assert process.wait(PATIENCE_S) == 0
        watch.check_end(interruptions=3)
        assert watch.figures.problems == []
        assert [row.state for row in watch.rows()] == ["done"] * 6
    said = (tmp_path / "said.txt").read_text().splitlines()
    assert " MiB short in " in said[0] and said[0].startswith("disk full: ")
    assert said[-1] == "There is space on the disk again: the sweep continues."


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_full_disk_makes_the_sweep_wait_and_it_goes_on_by_itself_when_there_is_room(victim):
    sweep = victim(trials=3, epochs=25)
    with small_disk(sweep.home, mib=128) as disk:
        sweep.hold_at(3)
        sweep.start()
        with Reader(sweep.watch):
            sweep.wait_for_epochs(6)
            fill(disk / "ballast")
            sweep.let_go()
            sweep.wait_for(lambda: "disk full: " in sweep.console(), "the sweep waits")
            assert {row.state for row in sweep.watch.rows()} <= {"done", "running", "queued"}, "nothing failed"
            (disk / "ballast").unlink()
            code, output = sweep.wait()
        assert code == 0, output
        assert "disk full: " in output and " MiB short in " in output
        assert output.count("There is space on the disk again") == output.count("disk full: ")
        sweep.watch.check_end(interruptions=2)
        assert sweep.watch.figures.problems == []
        assert {row.state for row in sweep.watch.rows()} == {"done"}
    assert sweep.left_over() == {}
