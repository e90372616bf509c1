"""Checkpoints of an unchanged Ray Tune function. No Ray runs."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from ray.tune import Checkpoint

from hpsearch.slots.ray_session import RaySession
from hpsearch.training.trial import TrialContext


def test_a_checkpoint_that_had_no_room_does_not_stand_in_the_way_of_the_next(tmp_path: Path, monkeypatch):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "model").write_text("weights")
    trial_dir = tmp_path / "0001"
    trial_dir.mkdir()

    def full(source: str, target: Path, **more: Any) -> None:
        Path(target).mkdir()
        raise OSError(errno.ENOSPC, "no space")

    checkpoint = Checkpoint.from_directory(str(tmp_path / "state"))
    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(shutil, "copytree", full)
        RaySession(TrialContext(number=1), trial_dir, known_epochs=0)._persist(checkpoint, epoch=1)
    RaySession(TrialContext(number=1), trial_dir, known_epochs=0)._persist(checkpoint, epoch=1)
    assert (trial_dir / "checkpoint" / "ray-epoch-1" / "model").read_text() == "weights"
