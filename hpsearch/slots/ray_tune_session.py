"""Ray Tune's session for an unchanged Ray Tune function, so that its `ray.tune.report` calls `hpsearch.report`.

The functions of `ray.tune` call `get_session()`, which returns one private module variable of Ray. Only this module
sets it; `tests/integration/test_trials.py` fails when Ray moves it. Where no trainable needs it, Ray's training
package is not imported, which would take a second.
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

from hpsearch.links import IN_TRIAL, make_folder
from hpsearch.paths import checkpoint_dir, trial_dir
from hpsearch.trainable.script import Script
from hpsearch.training.context import TrialContext, report


def uses_ray_tune(function: Callable[..., Any]) -> bool:
    """Whether a function may use Ray Tune: it is imported already, or the source of the function's file mentions it."""
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
    """The attributes and methods that the functions of `ray.tune` use of their session.

    Args:
        context: The trial.
        sweep_dir: The folder of the sweep, in which checkpoints are stored.
        known_epochs: Epochs in the ledger: checkpoints of later epochs are not loaded.
    """

    world_rank = None  # which means to the functions of Tune that this is a trial, and not a worker of Ray Train
    world_size = 1
    local_rank = 0
    metadata = None
    trial_resources = None

    def __init__(self, context: TrialContext, sweep_dir: Path, *, known_epochs: int) -> None:
        self._context, self._known_epochs = context, known_epochs
        number = context.number or 0
        self._checkpoints = checkpoint_dir(sweep_dir, number)
        self.checkpoint_epoch: int | None = None
        """Epoch of the newest checkpoint that this attempt has stored or loaded; None without one."""
        self.trial_dir = str(trial_dir(sweep_dir, number))
        self.trial_id = self.trial_name = f"{number:04d}"
        self.experiment_name = self.run_id = sweep_dir.name

    def report(self, metrics: Mapping[str, Any], checkpoint: Any = None) -> None:
        """Store the checkpoint, if there is one, and report the metrics of an epoch."""
        if checkpoint is not None and not self._context.is_over:
            self._persist(checkpoint, epoch=self._context.epochs_done + 1)
        report(metrics)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within the block, `ray.tune.report` and the other functions of `ray.tune` use this session."""
        import ray.train._internal.session as ray_session_module

        ray_session_module._session = self  # type: ignore[assignment]
        try:
            yield
        finally:
            ray_session_module._session = None

    @property
    def loaded_checkpoint(self) -> Any:
        """The newest checkpoint of an earlier attempt, of Ray's class; its epochs count as done. None without one."""
        from ray.tune import Checkpoint

        there = (path for path in self._checkpoints.glob("ray-epoch-*") if not path.is_symlink())
        known = (path for path in there if _epoch_of(path) <= self._known_epochs)
        folders = sorted(known, key=_epoch_of)
        if not folders:
            return None
        if self._context.epochs_done == 0:
            self._context.epochs_done = self.checkpoint_epoch = _epoch_of(folders[-1])
        return Checkpoint.from_directory(str(folders[-1]))

    def _persist(self, checkpoint: Any, *, epoch: int) -> None:
        """Store a checkpoint: copy it to a temporary folder, rename that, then remove older checkpoints.

        The ranks of a trial make one folder: that of rank 0, and those files of the others that rank 0 does not have,
        for example each rank's random state. Of rank 0 and another rank, the later one adds the missing files.
        """
        make_folder(self._checkpoints, parts=IN_TRIAL)
        whole = self._checkpoints / f"ray-epoch-{epoch}"
        parts = self._checkpoints / f"ray-part-{os.environ.get('TORCHELASTIC_RUN_ID', '')}-{epoch}"
        mine = whole if self._context.rank == 0 else parts.with_name(f"{parts.name}.{self._context.rank}")
        beside = self._checkpoints / f"ray-tmp-{os.getpid()}"
        shutil.rmtree(beside, ignore_errors=True)  # left by an earlier copy for which the disk had no room
        with checkpoint.as_directory() as folder:
            shutil.copytree(folder, beside)
        shutil.rmtree(mine, ignore_errors=True)
        beside.rename(mine)
        kept = {epoch, self.checkpoint_epoch}  # the previous one too: the report of this epoch may get lost
        self.checkpoint_epoch = epoch
        if whole.exists():
            for part in parts.parent.glob(f"{parts.name}.*") if self._context.rank == 0 else [mine]:
                _add_missing(part, whole)
        self._remove_old(kept, mine)

    def _remove_old(self, kept: set[int | None], mine: Path) -> None:
        if self._context.rank:
            for old in self._checkpoints.glob(f"ray-part-*.{self._context.rank}"):
                if old != mine:
                    shutil.rmtree(old, ignore_errors=True)
            return
        for old in self._checkpoints.glob("ray-epoch-*"):
            if _epoch_of(old) not in kept:
                shutil.rmtree(old, ignore_errors=True)


def _add_missing(part: Path, whole: Path) -> None:
    """Add the files of one folder that the other does not have, as links; two processes may do so at once."""
    with suppress(FileNotFoundError):  # rank 0 is replacing the folder just now, and will add the part itself
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
