"""What one rank reports of an attempt: replies to its slot, with checkpoints written and memory measured before.

Used by both ways to run a trial: in a new process for each attempt (`forked/trial_process.py`) and in one process for
all (`resident/attempt.py`). What a slot knows of an attempt over all ranks is in `attempt_progress.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from hpsearch.devices.inventory import host_cpus
from hpsearch.links import IN_TRIAL, check_unlinked
from hpsearch.paths import checkpoint_dir
from hpsearch.slots.diagnosis import failure_of, is_fatal_to_process, is_secondary
from hpsearch.slots.protocol import Assignment, Failed
from hpsearch.slots.rank_environment import RankPosition
from hpsearch.slots.ray_tune_session import RayTuneSession
from hpsearch.slots.replies import Reply
from hpsearch.slots.report_check import check_metrics
from hpsearch.slots.settings import SlotSettings
from hpsearch.training.context import SharedDataHost, TrialContext, activate
from hpsearch.training.environment import in_process_group
from hpsearch.training.output import log_exception, write_log
from hpsearch.training.stepper import LeakWatch


@final
class Reporter:
    """Makes the replies of one rank during an attempt, and the `TrialContext` that the user's code works with.

    Not thread-safe.

    Args:
        assignment: The attempt.
        settings: Settings of the sweep.
        position: This rank among those of the trial.
        ranks_here: Number of ranks, of all trials together, that fit on this node.
        in_ray_session: Whether the trainable uses Ray Tune's session.
        sharing: Keeps shared data beyond the end of this process; None where this process runs the next trial too.

    Raises:
        LinkRefused: The trial's folder of checkpoints, or a folder above it, is a link.
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
        self._checkpoints = check_unlinked(checkpoint_dir(sweep_dir, assignment.number), parts=IN_TRIAL)
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
            checkpoint_dir=self._checkpoints,
            resume_at_most=assignment.known_epochs,
            sharing=sharing,
        )
        known = assignment.known_epochs
        self._ray = RayTuneSession(self.context, sweep_dir, known_epochs=known) if in_ray_session else None
        self._watch = LeakWatch(self.context)
        self._save_s, self._has_begun = 0.0, False
        self.checkpoint_epoch: int | None = None
        """Epoch of the newest checkpoint; None where there is none, or no reply was made yet."""

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within the block, `current_trial` and the session of Ray Tune, if it is used, are those of this attempt."""
        with activate(self.context), self._ray.active() if self._ray else nullcontext():
            yield

    def next_epoch(self, metrics: Mapping[str, Any], *, save: bool) -> Reply:
        """Count an epoch in `context.epochs_done`, and make the reply with its metrics; see `epoch`."""
        self.context.epochs_done += 1
        self._watch.after_epoch()
        return self.epoch(metrics, save=save)

    def epoch(self, metrics: Mapping[str, Any], *, save: bool) -> Reply:
        """Make the reply with the metrics of an epoch that `context.epochs_done` includes already.

        Args:
            metrics: What the trainable reported; a report that can't be used becomes a failure.
            save: Whether to write a checkpoint first, which is also done after the epochs that the assignment names.
        """
        self._log_first_epoch()
        try:
            if save or self.context.epochs_done in self._assignment.save_epochs:
                self.save()
            checked = check_metrics(metrics, objective=self._objective, epoch=self.context.epochs_done)
        except Exception as error:  # for example a state that can't be written, or a value that can't be converted
            log_exception()
            return self.failed(error)
        if isinstance(checked, Failed):
            return self._reply(failure=self._with_rank(checked))
        return self._reply(metrics=checked)

    def ended(self) -> Reply:
        """Make the reply for a trainable that returned by itself; its last checkpoint is written first."""
        try:
            self.save()
        except Exception as error:
            log_exception()
            return self.failed(error)
        return self._reply(ended=True)

    def failed(self, error: BaseException) -> Reply:
        """Make the reply for an exception of the user's code."""
        return self._reply(
            failure=failure_of(error), is_secondary=is_secondary(error), is_fatal_to_process=is_fatal_to_process(error)
        )

    def save(self) -> None:
        """Write a checkpoint, unless the trial keeps no state or this epoch has one already."""
        if not self.context.kept or self._newest() == self.context.epochs_done:
            return
        start = time.monotonic()
        check_unlinked(self._checkpoints, parts=IN_TRIAL)
        self.checkpoint_epoch = self.context.save()
        self._save_s = time.monotonic() - start

    def _newest(self) -> int | None:
        if self._ray is not None and self._ray.checkpoint_epoch:
            self.checkpoint_epoch = self._ray.checkpoint_epoch
        if self.checkpoint_epoch is None:
            self.checkpoint_epoch = self.context.resumed_from or None
        return self.checkpoint_epoch

    def _log_first_epoch(self) -> None:
        """With the first epoch, log which checkpoint the trial continues from, and whether its ranks train alone."""
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
            note(f"continues from its checkpoint of epoch {first - 1}")
        elif self._rank == 0 and known:
            note(f"has no checkpoint and starts over; epochs up to {known} are in the ledger and not reported again")

    def _with_rank(self, failure: Failed) -> Failed:
        """The failure of a report, with the rank in its evidence where the trial has several."""
        if self.context.world_size == 1:
            return failure
        return replace(failure, evidence=f"rank {self._rank}: {failure.evidence}")

    def _reply(self, **values: Any) -> Reply:
        warning, self.context.checkpoint_warning = self.context.checkpoint_warning, None
        if warning and self._rank == 0:  # all ranks have the same warning
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
    """Write a line of hpsearch to the trial's log, to which the stderr of this process is redirected."""
    write_log(f"hpsearch: {text}\n")


def outside_code() -> dict[str, str]:
    """The user's files that were imported here and are not in the sweep's snapshot: path to SHA-256."""
    from hpsearch.trainable import code_finder

    finder = code_finder.installed()
    return {} if finder is None else dict(finder.outside)


def device_of(position: RankPosition) -> str:
    """The device of a rank: the GPU with the index of its local rank, or the CPU if this process sees no GPU."""
    import torch

    return f"cuda:{position.local_rank}" if torch.cuda.is_available() else "cpu"


def reset_peaks() -> None:
    """Reset the peaks of GPU and host memory, in a process that has run other trials before."""
    import torch

    for index in range(torch.cuda.device_count()):
        torch.cuda.reset_peak_memory_stats(index)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of resident memory


def _loader_workers(settings: SlotSettings, ranks_here: int) -> int:
    """This rank's share of the DataLoader processes that all trials of the node may start together."""
    from hpsearch.training.environment import loader_workers

    if settings.loaders is not None:
        return settings.loaders
    ranks = max(min(settings.concurrent * settings.request.workers, ranks_here), 1)
    return loader_workers(settings.request.gpu * ranks, host_cpus(), ranks)


def _peaks() -> tuple[float | None, float | None]:
    """(GPU, host) peaks in GiB: reserved on the GPU with the most; resident, with the children's memory of now."""
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
