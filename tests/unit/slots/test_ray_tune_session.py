"""Checkpoints of an unchanged Ray Tune function. No Ray runs."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from ray.tune import Checkpoint

from hpsearch.paths import checkpoint_dir, trial_dir
from hpsearch.slots.ray_tune_session import RayTuneSession
from hpsearch.training.context import TrialContext


def test_a_checkpoint_that_had_no_room_does_not_prevent_the_next(tmp_path: Path, monkeypatch):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "model").write_text("weights")
    trial_dir(tmp_path, 1).mkdir(parents=True)

    def full(source: str, target: Path, **more: Any) -> None:
        Path(target).mkdir()
        raise OSError(errno.ENOSPC, "no space")

    checkpoint = Checkpoint.from_directory(str(tmp_path / "state"))
    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(shutil, "copytree", full)
        RayTuneSession(TrialContext(number=1), tmp_path, known_epochs=0)._persist(checkpoint, epoch=1)
    RayTuneSession(TrialContext(number=1), tmp_path, known_epochs=0)._persist(checkpoint, epoch=1)
    assert (checkpoint_dir(tmp_path, 1) / "ray-epoch-1" / "model").read_text() == "weights"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_ranks_of_a_trial_make_one_checkpoint(tmp_path: Path, monkeypatch, order: tuple[int, int]):
    """Each rank stores a folder: rank 0's model, and a random state of each."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    trial_dir(tmp_path, 1).mkdir(parents=True)
    sessions = [
        RayTuneSession(TrialContext(number=1, rank=rank, world_size=2), tmp_path, known_epochs=2) for rank in order
    ]
    for epoch in (1, 2, 3):
        for rank, session in zip(order, sessions, strict=True):
            state = tmp_path / f"state-{epoch}-{rank}"
            (state / "random").mkdir(parents=True)
            (state / "random" / str(rank)).write_text(f"{epoch} of {rank}")
            (state / "model").write_text(f"weights of {rank}")
            session._persist(Checkpoint.from_directory(str(state)), epoch=epoch)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "resumed")
    for session in sessions:
        found = Path(session.loaded_checkpoint.path)
        assert found.name == "ray-epoch-2", "epoch 3 was handed in, and its report was lost"
        assert (found / "model").read_text() == "weights of 0"
        assert [(found / "random" / str(rank)).read_text() for rank in (0, 1)] == ["2 of 0", "2 of 1"]
    again = tmp_path / "again"
    (again / "random").mkdir(parents=True)
    for rank, session in zip(order, sessions, strict=True):
        (again / "random" / str(rank)).write_text(f"again of {rank}")
        session._persist(Checkpoint.from_directory(str(again)), epoch=3)
        (again / "random" / str(rank)).unlink()
    folders = {path.name for path in checkpoint_dir(tmp_path, 1).iterdir()}
    assert folders == {"ray-epoch-2", "ray-epoch-3", "ray-part-resumed-3.1"}, "what came before is dropped"
    left = checkpoint_dir(tmp_path, 1) / "ray-epoch-3" / "random"
    assert [(left / str(rank)).read_text() for rank in (0, 1)] == ["again of 0", "again of 1"]


@pytest.fixture
def session(tmp_path: Path) -> RayTuneSession:
    trial_dir(tmp_path, 1).mkdir(parents=True)
    return RayTuneSession(TrialContext(number=1, on_report=lambda row: None), tmp_path, known_epochs=0)


def report(session: RayTuneSession, folder: Path, epoch: int) -> None:
    session._context.epochs_done = epoch - 1
    session.report({"loss": 1.0}, checkpoint=Checkpoint.from_directory(str(folder)))


def test_of_checkpoints_that_are_epochs_apart_the_one_before_stays(session: RayTuneSession, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for epoch in (1, 4, 9):
        report(session, tmp_path / "state", epoch)
    assert {path.name for path in checkpoint_dir(tmp_path, 1).iterdir()} == {"ray-epoch-4", "ray-epoch-9"}


def test_a_trial_that_is_over_writes_no_checkpoint_over_its_last(session: RayTuneSession, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    report(session, tmp_path / "state", 3)
    session._context.is_over = True
    report(session, tmp_path / "state", 4)
    assert {path.name for path in checkpoint_dir(tmp_path, 1).iterdir()} == {"ray-epoch-3"}
