"""A slot: the ranks that train one assignment after another, and the outcome of an assignment when they fail.

A slot uses Ray's actors but nothing of Ray Tune, which is in `supervisor.py`. An error of a trainable, or the end of
its process, raises nothing here: it becomes an event, and the slot stays ready for the next assignment.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import final

from ray.exceptions import RayError, RayTaskError

from hpsearch.slots.attempt_progress import AttemptProgress
from hpsearch.slots.dashboard_names import CallNames
from hpsearch.slots.diagnosis import exit_evidence, is_timeout
from hpsearch.slots.forked.preload_client import ServerLost
from hpsearch.slots.late_ranks import abort_late_ranks
from hpsearch.slots.not_begun import could_not_begin
from hpsearch.slots.process_file import TrialProcesses, remove_process_file, write_process_file
from hpsearch.slots.protocol import Assignment, Ended, Event, Failed, Report, Unusable
from hpsearch.slots.rank_group import STOPPED_S, RankGroup
from hpsearch.slots.rank_losses import NodeLost, PeersTimedOut, RankLost, RanksStopped, RanksTimedOut
from hpsearch.slots.replies import Reply
from hpsearch.slots.settings import SlotSettings

FINISH_TIMEOUT_S = 45.0
"""Seconds, beyond `limits.grace`, after which a rank that has not ended a trial is replaced."""
START_ATTEMPTS = 3
"""Number of times that ranks are started before their death while starting counts as a failure to begin."""
BEGIN_FAILURES = 2
"""Ranks are replaced after this many attempts in a row that could not begin."""
MAX_BEGIN_PAUSE_S = 8.0
"""The longest wait, in seconds, after an attempt that could not begin; the first such wait is 1 s."""
MAX_EVIDENCE = 300
"""Most characters of an unexpected error that are kept as evidence."""


@final
class Slot:
    """Trains assignments on a group of ranks, and returns each outcome as an event."""

    def __init__(self, settings: SlotSettings, ranks: RankGroup) -> None:
        """Make a slot without an assignment.

        Args:
            settings: Settings of the sweep.
            ranks: The slot's own ranks; they are started by the first `next_event`.
        """
        self._settings, self._ranks = settings, ranks
        self._progress: AttemptProgress | None = None
        self._lost_node: NodeLost | None = None
        """A node that was lost while an assignment was ended: reported with the next one."""
        self._begin_failures = 0
        """Attempts in a row that failed before the first line of the user's code."""
        self._call_names = CallNames(settings)

    def assign(self, assignment: Assignment) -> None:
        """Begin the next assignment; one that has not ended yet is ended first."""
        self.finish()
        is_new_process = self._settings.isolation == "process"
        self._progress = AttemptProgress(assignment, Path(self._settings.sweep_dir), has_setup=is_new_process)
        self._call_names.first(assignment)

    def next_event(self) -> Event:
        """Train one epoch of the assignment; starts the ranks if there are none.

        Returns:
            The report of the epoch, the end of the trainable, or the failure of the attempt.

        Raises:
            NodeLost: A node of this slot is gone, and its resources with it: Ray must place the slot elsewhere.
        """
        assert self._progress is not None
        progress, start = self._progress, time.monotonic()
        try:
            if self._lost_node is not None:
                raise self._lost_node
            without_ranks = None if self._ranks.alive else self._start_ranks()
            start = time.monotonic()  # the start of the ranks does not count as the trial's time
            event = without_ranks or self._begin(progress) or self._train_epoch(progress)
        except NodeLost as lost:
            self._replace_ranks(progress, f"the slot is closed: {lost.why}")
            raise
        except RankLost as lost:
            event = self._after_loss(progress, lost)
        except (RanksTimedOut, RayError) as error:
            event = self._after_loss(progress, RankLost(0, 0, _one_line(error)))
        if isinstance(event, Failed) and not event.has_begun:
            self._after_no_begin(progress, event)
            return event
        self._begin_failures = 0
        progress.add_time(time.monotonic() - start)
        return progress.with_facts(event)

    def set_number(self, number: int) -> None:
        """Number the slot, from 1; ranks that are started later have the number in their names."""
        self._ranks.slot = number

    def finish(self, *, save: bool = False, run_to_end: bool = False) -> None:
        """End the assignment, if there is one, and replace ranks whose process is not fit for another trial.

        Args:
            save: Whether to write a checkpoint first.
            run_to_end: Whether the code after the last epoch still runs; otherwise the trainable is stopped.
        """
        progress, self._progress = self._progress, None
        if progress is None:
            return
        remove_process_file(progress.processes_path)
        if not self._ranks.alive:
            return
        try:
            limit = FINISH_TIMEOUT_S + self._settings.grace_s
            results = self._ranks.call("finish", save, run_to_end, timeout_s=limit)
        except (RankLost, RanksTimedOut, RayError) as error:
            self._lost_node = error if isinstance(error, NodeLost) else None
            self._replace_ranks(progress, f"the ranks are replaced: {_one_line(error)}")
            return
        for rank, result in enumerate(results):
            for note in result.notes:
                progress.log(f"rank {rank}: {note}")
        if not all(result.reusable for result in results):
            self._replace_ranks(progress, "the ranks are replaced, since their processes can't be reused")

    def close(self) -> None:
        """End the slot: its assignment and its ranks."""
        self.finish()
        self._ranks.kill()

    def _begin(self, progress: AttemptProgress) -> Failed | None:
        """Begin the attempt on all ranks, unless it has begun; returns None, or the failure if that is not possible.

        Raises:
            NodeLost: A node is gone.
        """
        if not progress.is_new:
            return None
        try:
            self._ranks.begin(progress.assignment)
        except NodeLost:
            raise
        except (RankLost, RanksTimedOut, RayError, ServerLost) as error:
            if not isinstance(error, RayTaskError):  # which is an answer of a rank that lives
                self._replace_ranks(progress, f"the ranks are replaced: {_one_line(error)}")
            return could_not_begin(error, during="start of the trial")
        processes = TrialProcesses(attempt=progress.assignment.attempt, ranks=self._ranks.members)
        write_process_file(progress.processes_path, processes)
        return None

    def _after_no_begin(self, progress: AttemptProgress, failure: Failed) -> None:
        """Log why the attempt could not begin, replace ranks that fail in this way twice in a row, and wait a little.

        The wait is longer with each such failure, in case the machine has too many processes or open files for a while.
        """
        self._begin_failures += 1
        progress.log(failure.evidence)
        if self._begin_failures % BEGIN_FAILURES == 0 and self._ranks.alive:
            self._replace_ranks(progress, f"the ranks are replaced: {BEGIN_FAILURES} trials in a row could not begin")
        if self._begin_failures > BEGIN_FAILURES:
            time.sleep(min(2.0 ** (self._begin_failures - BEGIN_FAILURES - 1), MAX_BEGIN_PAUSE_S))

    def _train_epoch(self, progress: AttemptProgress) -> Event:
        try:
            replies = self._ranks.call(
                "step",
                progress.is_save_due,
                timeout_s=progress.time_left_s,
                name=str(self._call_names),
                end_of=_end_of,
            )
        except PeersTimedOut as late:
            event = self._event_without_peers(progress, late)
            self._end_attempt(progress, "one rank ended and the others did not answer after that: all ranks are ended")
            return event
        except RanksStopped as late:
            late_ranks = self._abort(progress, late.behind)
            self._end_attempt(progress, "some ranks are stopped: all ranks are ended")
            return Failed(cause="hung", evidence=f"{late_ranks}; it has not run for {STOPPED_S:.0f} s")
        except RanksTimedOut as late:
            return self._after_time_limit(progress, late)
        if progress.is_new:
            self._ranks.hold_shared_data()
        progress.is_new = False
        progress.update(replies)
        trainable_error = next((reply.trainable_error for reply in replies if reply.trainable_error is not None), None)
        if trainable_error is not None:
            return Unusable(evidence=trainable_error)
        return self._event_of(progress, replies)

    def _event_of(self, progress: AttemptProgress, replies: list[Reply]) -> Event:
        """The event that the replies of all ranks amount to: a failure, the end, or a report."""
        failed = _failed_first(replies)
        if failed:
            return self._after_failure(progress, replies, failed[0])
        ended = [rank for rank, reply in enumerate(replies) if reply.ended]
        if len(ended) == len(replies):
            return Ended(elapsed_s=0.0)
        if ended:
            self._end_attempt(progress, "some ranks ended before the others: all ranks are ended")
            return Failed(
                cause="rank_lost",
                evidence=f"rank {ended[0]} ended after {replies[ended[0]].epoch} epochs, others did not",
            )
        assert replies[0].metrics is not None
        progress.check_ranks_agree(replies, objective=self._settings.metric)
        value = replies[0].metrics[self._settings.metric]
        self._call_names.next(progress.assignment, epochs=replies[0].epoch, value=value)
        return Report(epoch=replies[0].epoch, metrics=replies[0].metrics, elapsed_s=0.0)

    def _event_without_peers(self, progress: AttemptProgress, late: PeersTimedOut) -> Failed:
        """The failure of an attempt in which some ranks failed or ended, and the others did not answer after that."""
        first = next(iter(_failed_first(late.answers.values())), None)
        if first is None or first.failure is None:
            rank = min(late.answers)
            ended = f"rank {rank} ended after {late.answers[rank].epoch} epochs"
            return Failed(cause="rank_lost", evidence=f"{ended}, {self._abort(progress, late.behind)}")
        if not first.is_secondary:
            return first.failure
        rank = next(rank for rank, reply in late.answers.items() if reply is first)
        late_ranks = self._abort(progress, late.behind)
        waited = f"rank {rank} waited for it in epoch {first.epoch + 1}: {first.failure.evidence}"
        return Failed(cause="hung", evidence=f"{late_ranks}; {waited}")

    def _abort(self, progress: AttemptProgress, ranks: list[int]) -> str:
        """End the processes of ranks that the others wait for; returns where they were, for a message."""
        return abort_late_ranks(
            {rank: self._ranks.members[rank].process for rank in ranks},
            log=progress.log_path,
            working_dir=self._settings.working_dir,
            in_actor=self._settings.isolation == "slot",
        )

    def _after_failure(self, progress: AttemptProgress, replies: list[Reply], first: Reply) -> Event:
        """The failure of an attempt in which all ranks answered; ranks whose CUDA context is broken are replaced."""
        assert first.failure is not None
        if self._settings.isolation == "slot" and any(reply.is_fatal_to_process for reply in replies):
            self._replace_ranks(progress, "CUDA is unusable after this error: the ranks are replaced")
        return _failure_in_collective(replies) if first.is_secondary else first.failure

    def _after_loss(self, progress: AttemptProgress, lost: RankLost) -> Event:
        evidence = lost.why or exit_evidence(rank=lost.rank, pid=lost.pid, log_tail=progress.log_tail())
        self._replace_ranks(progress, evidence)
        return Failed(cause="killed", evidence=evidence)

    def _after_time_limit(self, progress: AttemptProgress, late: RanksTimedOut) -> Event:
        running = _still_running(late.behind)
        self._end_attempt(progress, f"killed: over its time limit; {running}")
        used = progress.elapsed_s + (progress.time_left_s or 0.0)
        return Failed(
            cause="hung",
            evidence=f"over limits.trial_time after {used:.0f} s of this attempt; {running}",
        )

    def _start_ranks(self) -> Unusable | Failed | None:
        """Start the ranks.

        Returns:
            That the trainable can't be used at all, or the failure if the ranks did not start in START_ATTEMPTS
            attempts; None otherwise.

        Raises:
            NodeLost: A node is gone.
        """
        failure: Failed | None = None
        for _ in range(START_ATTEMPTS):
            try:
                trainable_error = self._ranks.start()
                return None if trainable_error is None else Unusable(evidence=trainable_error)
            except NodeLost:
                raise
            except (RankLost, RanksTimedOut, RayError, ServerLost) as error:
                self._ranks.kill()
                failure = could_not_begin(error, during="start of the ranks")
        return failure

    def _end_attempt(self, progress: AttemptProgress, why: str) -> None:
        """End the attempt on all ranks, which themselves may stay, and log why."""
        progress.log(why)
        self._ranks.end()

    def _replace_ranks(self, progress: AttemptProgress, why: str) -> None:
        """End the ranks, and log why; the next `next_event` starts new ones."""
        progress.log(why)
        self._ranks.kill()


def _one_line(error: Exception) -> str:
    """The message of an error on one line; of a long one the end, where Ray puts what was raised."""
    return " ".join(str(error).split())[-MAX_EVIDENCE:]


def _still_running(ranks: list[int]) -> str:
    listed = ", ".join(map(str, ranks))
    return f"rank {listed} was still running" if len(ranks) == 1 else f"ranks {listed} were still running"


def _end_of(reply: Reply) -> str | None:
    """How a rank has ended with this reply, as a key of PEER_GRACE_S; None if it has not ended."""
    if reply.failure is not None:
        return "lost a peer" if reply.is_secondary else "failed"
    return "ended" if reply.ended else None


def _failed_first(replies: Iterable[Reply]) -> list[Reply]:
    """The replies with a failure: first those of ranks that could not begin, last those that follow from others."""
    return sorted(
        (reply for reply in replies if reply.failure is not None),
        key=lambda reply: (reply.failure is None or reply.failure.has_begun, reply.is_secondary),
    )


def _failure_in_collective(replies: list[Reply]) -> Failed:
    """The failure of an attempt in which all ranks answered, and those that failed only say that another one did not.

    A rank that ran into a time-out had waited the longest.
    """
    failures = {rank: reply.failure for rank, reply in enumerate(replies) if reply.failure is not None}
    waited = [rank for rank, failure in failures.items() if is_timeout(failure)]
    if not waited:
        return next(iter(failures.values()))
    first, late = failures[waited[0]], [str(rank) for rank in failures if rank not in waited]
    if late:
        return Failed(
            cause="hung", evidence=f"rank {waited[0]} waited too long for rank {' or '.join(late)}: {first.evidence}"
        )
    done = [str(rank) for rank in range(len(replies)) if rank not in failures]
    hint = f"; rank {' and '.join(done)} had finished the epoch without this operation" if done else ""
    return replace(first, evidence=first.evidence + hint)
