"""How far an attempt at a trial has come in this process: its context, checkpoints, memory, and replies.

The same in a process of its own (`slots/forked/trial_process.py`) and in a slot's process (`attempt.py`); what
differs is who calls whom. Notes go to descriptor 2, which is the trial's log.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from hpsearch.devices.inventory import host_cpus
from hpsearch.paths import checkpoint_dir
from hpsearch.slots.diagnosis import check_metrics, failure_of, is_fatal_to_process, is_secondary
from hpsearch.slots.protocol import Assignment, Failed
from hpsearch.slots.rank_environment import RankPosition
from hpsearch.slots.ray_tune_session import RayTuneSession
from hpsearch.slots.replies import Reply
from hpsearch.slots.settings import SlotSettings
from hpsearch.training.context import SharedDataHost, TrialContext, activate
from hpsearch.training.environment import in_process_group
from hpsearch.training.stepper import LeakWatch


@final
class Reporter:
    """What one rank knows of an attempt; not safe for threads.

    Args:
        assignment: The attempt.
        settings: Of the sweep.
        place: This rank among those of the trial.
        ranks_here: Ranks, of all trials together, that fit on this machine.
        in_ray_session: Whether the trainable speaks to Ray Tune's session.
        sharing: Hears of shared data; None where this process itself outlives the trial.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        settings: SlotSettings,
        position: RankPosition,
        ranks_here: int,
        in_ray_session: bool,
        sharing: SharedDataHost | None = None,
    ) -> None:
        sweep_dir = Path(settings.sweep_dir)
        self._assignment, self._rank, self._objective = assignment, position.rank, settings.metric
        self.context = TrialContext(
            number=assignment.number,
            rank=position.rank,
            world_size=position.world_size,
            device=device_of(position),
            seed=assignment.seed,
            data=dict(settings.data),
            precision=settings.precision,
            parallel=settings.parallel,
            leak_warnings=settings.leak_warnings,
            loader_workers=_loader_workers(settings, ranks_here),
            checkpoint_dir=checkpoint_dir(sweep_dir, assignment.number),
            resume_at_most=assignment.known_epochs,
            sharing=sharing,
        )
        known = assignment.known_epochs
        self._ray = RayTuneSession(self.context, sweep_dir, known_epochs=known) if in_ray_session else None
        self._watch = LeakWatch(self.context)
        self._save_s, self._has_begun = 0.0, False
        self.checkpoint_epoch: int | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """The user's code finds this attempt, as `current_trial` and, if it asks for it, as Ray Tune's session."""
        with activate(self.context), self._ray.active() if self._ray else nullcontext():
            yield

    def counted(self, row: Mapping[str, Any], *, save: bool) -> Reply:
        """The reply to one more row, which is counted here."""
        self.context.epochs_done += 1
        self._watch.after_epoch()
        return self.row(row, save=save)

    def row(self, row: Mapping[str, Any], *, save: bool) -> Reply:
        """The reply to a row that is counted in `context.epochs_done`; state is written first, if it is time for it."""
        self._note_beginning()
        try:
            if save or self.context.epochs_done in self._assignment.save_epochs:
                self.save()
            metrics = check_metrics(row, objective=self._objective)
        except Exception as error:  # a state that can't be written, a number that can't be read
            traceback.print_exc()
            return self.failed(error)
        if isinstance(metrics, Failed):
            return self._reply(failure=self._of_rank(metrics))
        return self._reply(metrics=metrics)

    def ended(self) -> Reply:
        """The reply when the trainable came to its end by itself; its last state is written first."""
        try:
            self.save()
        except Exception as error:
            traceback.print_exc()
            return self.failed(error)
        return self._reply(ended=True)

    def failed(self, error: BaseException) -> Reply:
        """The reply to what the user's code has raised."""
        return self._reply(
            failure=failure_of(error), is_secondary=is_secondary(error), is_fatal_to_process=is_fatal_to_process(error)
        )

    def save(self) -> None:
        """Write a checkpoint, if anything is kept and this epoch has none."""
        if not self.context.kept or self._newest() == self.context.epochs_done:
            return
        start = time.monotonic()
        self.checkpoint_epoch = self.context.save()
        self._save_s = time.monotonic() - start

    def _newest(self) -> int | None:
        if self._ray is not None and self._ray.checkpoint_epoch:
            self.checkpoint_epoch = self._ray.checkpoint_epoch
        if self.checkpoint_epoch is None:
            self.checkpoint_epoch = self.context.resumed_from or None
        return self.checkpoint_epoch

    def _note_beginning(self) -> None:
        """Say once, in the log, where a trial that was trained before goes on, and whether its ranks train alone."""
        first, known = self.context.epochs_done, self._assignment.known_epochs
        if self._has_begun or not first:
            return
        self._has_begun = True
        if self._rank == 0 and self.context.world_size > 1 and not in_process_group():
            note(
                f"its {self.context.world_size} ranks are in no process group, so each of them trains alone: call"
                " hpsearch.current_trial() or torch.distributed.init_process_group() in the training code"
            )
        if self._rank == 0 and first > 1:
            note(f"goes on from its checkpoint of epoch {first - 1}")
        elif self._rank == 0 and known:
            note(f"has no checkpoint and begins anew; epochs up to {known} are on record and not told twice")

    def _of_rank(self, failure: Failed) -> Failed:
        """A bad row, with the rank that gave it, where there are several."""
        if self.context.world_size == 1:
            return failure
        return replace(failure, evidence=f"rank {self._rank}: {failure.evidence}")

    def _reply(self, **values: Any) -> Reply:
        warning, self.context.checkpoint_warning = self.context.checkpoint_warning, None
        if warning and self._rank == 0:  # every rank has come to the same verdict
            note(warning)
        gpu_gib, host_gib = _peaks()
        return Reply(
            epoch=self.context.epochs_done,
            checkpoint_epoch=self._newest(),
            save_s=self._save_s,
            gpu_gib=gpu_gib,
            host_gib=host_gib,
            outside_code=outside_code(),
            **values,
        )


def note(text: str) -> None:
    """A line of ours in the trial's log."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the disk is full, or the user's code has closed the stream
            stream.flush()
    with suppress(OSError):
        os.write(2, f"hpsearch: {text}\n".encode(errors="backslashreplace"))


def outside_code() -> dict[str, str]:
    """The user's files that were imported here and are not in the sweep's snapshot, with their hashes."""
    from hpsearch.trainable import code_finder

    finder = code_finder.installed()
    return {} if finder is None else dict(finder.outside)


def device_of(position: RankPosition) -> str:
    """Where a rank computes: the GPU of its local rank, where this process sees any."""
    import torch

    return f"cuda:{position.local_rank}" if torch.cuda.is_available() else "cpu"


def reset_peaks() -> None:
    """Forget what the trials before have used, in a process that trains trial after trial."""
    import torch

    for index in range(torch.cuda.device_count()):
        torch.cuda.reset_peak_memory_stats(index)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of resident memory


def _loader_workers(settings: SlotSettings, ranks_here: int) -> int:
    """This rank's share of the DataLoader processes that all trials of the machine may start together."""
    from hpsearch.training.environment import loader_workers

    if settings.loaders is not None:
        return settings.loaders
    ranks = max(min(settings.concurrent * settings.request.workers, ranks_here), 1)
    return loader_workers(settings.request.gpu * ranks, host_cpus(), ranks)


def _peaks() -> tuple[float | None, float | None]:
    """(GPU, host) GiB: most memory reserved on any GPU, and most memory resident with that of the children now."""
    import torch

    from hpsearch.slots.process_tree import descendants_of

    gpus = []
    if torch.cuda.is_initialized():
        gpus = [torch.cuda.max_memory_reserved(index) / 2**30 for index in range(torch.cuda.device_count())]
    host = _status_gib("self", "VmHWM")
    if host is not None:
        host += sum(_status_gib(str(pid), "RssAnon") or 0.0 for pid in descendants_of())
    return max(gpus, default=None), host


def _status_gib(pid: str, field: str) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 2**20 for line in lines if line.startswith(f"{field}:"))
    except (OSError, StopIteration):
        return None
