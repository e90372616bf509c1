"""One attempt at one trial, in one rank's process: the user's function, its log, its checkpoints, its memory."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from hpsearch.devices.inventory import host_cpus
from hpsearch.slots.causes import check_metrics, failure_of, is_echo, poisons_process
from hpsearch.slots.console import TrialLog
from hpsearch.slots.events import Assignment, Failed
from hpsearch.slots.ray_session import RaySession
from hpsearch.slots.settings import SlotSettings
from hpsearch.training.stepper import make_stepper
from hpsearch.training.trial import TrialContext, activate


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a rank answers to one call of `step`."""

    metrics: Mapping[str, float] | None = None
    """The numbers of the row that the trainable yielded, if it did; empty but for rank 0."""
    ended: bool = False
    """The trainable came to its end."""
    failure: Failed | None = None
    """The trainable raised."""
    echo: bool = False
    """The failure only says that another rank failed first."""
    poisoned: bool = False
    """The process can't be trusted with another trial."""
    epoch: int = 0
    """Epochs done, those before a checkpoint included."""
    checkpoint_epoch: int | None = None
    """Epoch of the newest checkpoint of this attempt, or of the one that it began with."""
    save_s: float = 0.0
    """Seconds that the last checkpoint took to write."""
    gpu_gib: float | None = None
    """Most GPU memory reserved by this process during the attempt."""
    host_gib: float | None = None
    """Most memory resident of this process during the attempt."""


@final
class Attempt:
    """One attempt at one trial in this process."""

    def __init__(
        self,
        assignment: Assignment,
        function: Callable[..., Any],
        *,
        settings: SlotSettings,
        rank: int,
        ranks_here: int,
        in_ray_session: bool,
    ) -> None:
        self._assignment, self._rank, self._objective = assignment, rank, settings.metric
        self._trial_dir = Path(settings.trials_dir) / f"{assignment.number:04d}"
        self._trial_dir.mkdir(parents=True, exist_ok=True)
        self._log = TrialLog(self._trial_dir / "log.txt")
        self._context = TrialContext(
            number=assignment.number,
            rank=rank,
            world_size=settings.request.workers,
            device=device(),
            seed=assignment.seed,
            data=dict(settings.data),
            precision=settings.precision,
            parallel=settings.parallel,
            leak_warnings=settings.leak_warnings,
            loader_workers=_loader_workers(settings, ranks_here),
            checkpoint_dir=self._trial_dir / "checkpoint",
            resume_at_most=assignment.known_epochs,
        )
        self._ray = (
            RaySession(self._context, self._trial_dir, known_epochs=assignment.known_epochs) if in_ray_session else None
        )
        self._stepper = make_stepper(function, dict(assignment.config), self._context)
        self._save_s, self._has_begun = 0.0, False
        self.checkpoint_epoch: int | None = None
        _reset_peaks()

    def advance(self, *, save: bool) -> Reply:
        """Train one epoch; whatever the user's code raises comes back as data."""
        metrics: Mapping[str, float] | Failed | None = None
        with self._log.capture():
            try:
                row = self._next_row(save=save)
                if row is not None:
                    metrics = check_metrics(row, objective=self._objective) if self._rank == 0 else {}
            except BaseException as error:
                if isinstance(error, SystemExit) and not error.code:
                    return self._reply(ended=True)
                traceback.print_exc()
                failure = failure_of(error)
                return self._reply(failure=failure, echo=is_echo(error), poisoned=poisons_process(error))
        if metrics is None:
            return self._reply(ended=True)
        return self._reply(failure=metrics) if isinstance(metrics, Failed) else self._reply(metrics=metrics)

    def _next_row(self, *, save: bool) -> object:
        with self._active():
            row = self._stepper.advance()
            self._note_beginning()
            if save or row is None or self._context.epochs_done in self._assignment.save_epochs:
                self._save()
        return row

    def _note_beginning(self) -> None:
        """Say once, in the log, where a trial that was trained before goes on."""
        first, known = self._context.epochs_done, self._assignment.known_epochs
        if self._has_begun or not first:
            return
        self._has_begun = True
        if self._rank == 0 and first > 1:
            self._log.note(f"goes on from its checkpoint of epoch {first - 1}")
        elif self._rank == 0 and known:
            self._log.note(f"has no checkpoint and begins anew; epochs up to {known} are on record and not told twice")

    @contextmanager
    def _active(self) -> Iterator[None]:
        """The user's code finds this attempt, as `current_trial` and, if it asks for it, as Ray Tune's session."""
        with activate(self._context), self._ray.active() if self._ray else nullcontext():
            yield
        if self._ray is not None:
            self.checkpoint_epoch = self._ray.checkpoint_epoch or self.checkpoint_epoch

    def _save(self) -> None:
        if not self._context.kept or self.checkpoint_epoch == self._context.epochs_done:
            return
        start = time.monotonic()
        self.checkpoint_epoch = self._context.save()
        self._save_s = time.monotonic() - start

    def close(self, *, save: bool) -> bool:
        """Whether the trainable is really over."""
        closed = True
        with self._log.capture():
            try:
                with self._active():
                    if save:
                        self._save()
                    closed = self._stepper.close()
            except BaseException:  # a `finally` of the user's that fails: the trial is over all the same
                traceback.print_exc()
        self._log.close()
        return closed

    def _reply(self, **values: Any) -> Reply:
        if self.checkpoint_epoch is None:
            self.checkpoint_epoch = self._context.resumed_from or None
        warning, self._context.checkpoint_warning = self._context.checkpoint_warning, None
        if warning and self._rank == 0:  # every rank has come to the same verdict
            self._log.note(warning)
        gpu_gib, host_gib = _peaks()
        return Reply(
            epoch=self._context.epochs_done,
            checkpoint_epoch=self.checkpoint_epoch,
            save_s=self._save_s,
            gpu_gib=gpu_gib,
            host_gib=host_gib,
            **values,
        )


def device() -> str:
    """Where this process computes: the first GPU that it sees, if any."""
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _loader_workers(settings: SlotSettings, ranks_here: int) -> int:
    """This rank's share of the DataLoader processes that all trials of the machine may start together.

    Args:
        settings: Of the sweep.
        ranks_here: Ranks that find a place on this machine.
    """
    from hpsearch.training.data import loader_workers

    if settings.loaders is not None:
        return settings.loaders
    ranks = max(min(settings.concurrent * settings.request.workers, ranks_here), 1)
    return loader_workers(settings.request.gpu * ranks, host_cpus(), ranks)


def _reset_peaks() -> None:
    import torch

    for index in range(torch.cuda.device_count()):
        torch.cuda.reset_peak_memory_stats(index)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of resident memory


def _peaks() -> tuple[float | None, float | None]:
    """(GPU, host) GiB: most memory reserved on any GPU and most memory resident since the attempt began."""
    import torch

    gpus = [torch.cuda.max_memory_reserved(index) / 2**30 for index in range(torch.cuda.device_count())]
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        host = next(int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        host = None
    return max(gpus, default=None), host
