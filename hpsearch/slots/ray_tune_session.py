"""The seam that lets an unchanged Ray Tune function run in a rank: `ray.tune.report` reaches `hpsearch.report`.

Tune's functions call `get_session()`, which returns one private module variable of Ray. This is the only place that
knows it; `tests/integration/test_trials.py` fails when Ray moves it. In a rank that has no use for it Ray's
training package, which takes a second to import, stays out.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

from hpsearch.paths import checkpoint_dir, trial_dir
from hpsearch.trainable.script import Script
from hpsearch.training.context import TrialContext, report


def uses_ray_tune(function: Callable[..., Any]) -> bool:
    """Whether the function's file, or the function where it has no file, speaks of Ray Tune."""
    if "ray.tune" in sys.modules:
        return True
    try:
        if isinstance(function, Script):
            source = function.path.read_text()
        else:
            source = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):
        return False
    return "ray.tune" in source or "ray import" in source or "import ray" in source


@final
class RayTuneSession:
    """What Tune's functions ask of their session; within `active`, Ray hands it out."""

    world_rank = None  # None is how Tune's functions tell a tuning session from a training worker
    world_size = 1
    local_rank = 0
    metadata = None
    trial_resources = None

    def __init__(self, context: TrialContext, sweep_dir: Path, *, known_epochs: int) -> None:
        self._context, self._known_epochs = context, known_epochs
        number = context.number or 0
        self._checkpoints = checkpoint_dir(sweep_dir, number)
        self.checkpoint_epoch: int | None = None
        self.trial_dir = str(trial_dir(sweep_dir, number))
        self.trial_id = self.trial_name = f"{number:04d}"
        self.experiment_name = self.run_id = sweep_dir.name

    def report(self, metrics: Mapping[str, Any], checkpoint: Any = None) -> None:
        """One row, and the state after it."""
        if checkpoint is not None and not self._context.is_over:
            self._persist(checkpoint, epoch=self._context.epochs_done + 1)
        report(metrics)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within the block `ray.tune.report` and its relatives speak of this trial."""
        import ray.train._internal.session as ray_session_module

        ray_session_module._session = self  # type: ignore[assignment]
        try:
            yield
        finally:
            ray_session_module._session = None

    @property
    def loaded_checkpoint(self) -> Any:
        """The newest checkpoint that an earlier attempt handed in; its epochs count as done."""
        from ray.tune import Checkpoint

        told = (path for path in self._checkpoints.glob("ray-epoch-*") if _epoch_of(path) <= self._known_epochs)
        folders = sorted(told, key=_epoch_of)
        if not folders:
            return None
        if self._context.epochs_done == 0:
            self._context.epochs_done = self.checkpoint_epoch = _epoch_of(folders[-1])
        return Checkpoint.from_directory(str(folders[-1]))

    def _persist(self, checkpoint: Any, *, epoch: int) -> None:
        """Copy beside, rename into place, then drop the ones before.

        Several ranks make one folder: rank 0's, and of the others' what has a name of its own, for example each rank's
        random state. Whichever rank comes second finds the other's and adds what is missing.
        """
        self._checkpoints.mkdir(exist_ok=True)
        whole = self._checkpoints / f"ray-epoch-{epoch}"
        parts = self._checkpoints / f"ray-part-{os.environ.get('TORCHELASTIC_RUN_ID', '')}-{epoch}"
        mine = whole if self._context.rank == 0 else parts.with_name(f"{parts.name}.{self._context.rank}")
        beside = self._checkpoints / f"ray-tmp-{os.getpid()}"
        shutil.rmtree(beside, ignore_errors=True)  # an earlier copy, for which the disk had no room
        with checkpoint.as_directory() as folder:
            shutil.copytree(folder, beside)
        shutil.rmtree(mine, ignore_errors=True)
        beside.rename(mine)
        kept = {epoch, self.checkpoint_epoch}  # the one before stays: this one's report may get lost
        self.checkpoint_epoch = epoch
        if whole.exists():
            for part in parts.parent.glob(f"{parts.name}.*") if self._context.rank == 0 else [mine]:
                _add_missing(part, whole)
        self._drop_old(kept, mine)

    def _drop_old(self, kept: set[int | None], mine: Path) -> None:
        if self._context.rank:
            for old in self._checkpoints.glob(f"ray-part-*.{self._context.rank}"):
                if old != mine:
                    shutil.rmtree(old, ignore_errors=True)
            return
        for old in self._checkpoints.glob("ray-epoch-*"):
            if _epoch_of(old) not in kept:
                shutil.rmtree(old, ignore_errors=True)


def _add_missing(part: Path, whole: Path) -> None:
    """Link what one folder has and the other has not; two processes may do so at once."""
    with suppress(FileNotFoundError):  # rank 0 replaces the folder of an earlier attempt, and will find the part
        for path in part.rglob("*"):
            target = whole / path.relative_to(part)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            elif not target.exists():
                _link(path, target)


def _link(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except (FileExistsError, FileNotFoundError):
        return
    except OSError:  # a file system without links
        shutil.copy2(path, target)


def _epoch_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
