"""The ranks of one slot and the assignment that they are at; knows Ray's actors, not Tune.

Nothing that a trainable does, dying included, raises here: it becomes an event, and the slot takes the next assignment.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import final

from ray.exceptions import RayError

from hpsearch.slots.attempt_progress import AttemptProgress
from hpsearch.slots.dashboard_names import CallNames
from hpsearch.slots.diagnosis import exit_evidence
from hpsearch.slots.forked.preload_client import ServerLost
from hpsearch.slots.process_file import TrialProcesses, remove_process_file, write_process_file
from hpsearch.slots.protocol import Assignment, Ended, Event, Failed, Report, Unusable
from hpsearch.slots.rank_group import NodeLost, PeersTimedOut, RankGroup, RankLost, RanksTimedOut
from hpsearch.slots.replies import Reply
from hpsearch.slots.settings import SlotSettings

FINISH_TIMEOUT_S = 45.0
"""A rank that takes longer to end a trial, beyond `limits.grace`, is replaced."""
START_ATTEMPTS = 3
"""Times in a row that ranks may die while they come up."""
MAX_WHY = 300
"""Characters of an unexpected error that become evidence."""


@final
class Slot:
    """Trains assignment after assignment."""

    def __init__(self, settings: SlotSettings, ranks: RankGroup) -> None:
        """No assignment yet, and the ranks need not run.

        Args:
            settings: Of the sweep.
            ranks: This slot's own.
        """
        self._settings, self._ranks = settings, ranks
        self._progress: AttemptProgress | None = None
        self._gone: NodeLost | None = None
        self._call_names = CallNames(settings)

    def assign(self, assignment: Assignment) -> None:
        """Take the next attempt; the one before is over."""
        self.finish()
        is_new = self._settings.isolation == "process"
        self._progress = AttemptProgress(assignment, Path(self._settings.sweep_dir), has_setup=is_new)
        self._call_names.first(assignment)

    def next_event(self) -> Event:
        """Train one epoch.

        Raises:
            NodeLost: A machine of this slot is gone, and its place with it: Ray must find the trial another one.
        """
        assert self._progress is not None
        progress, start = self._progress, time.monotonic()
        try:
            if self._gone is not None:
                raise self._gone
            trainable_error = self._start_ranks() if not self._ranks.alive else None
            if trainable_error is not None:
                return Unusable(evidence=trainable_error)
            start = time.monotonic()  # a warm slot costs nothing; a cold one is not the trial's time
            event = self._step(progress)
        except NodeLost as gone:
            self._replace_ranks(progress, f"this slot is given up: {gone.why}")
            raise
        except ServerLost as lost:
            self._replace_ranks(progress, str(lost))
            event = Failed(cause="node_lost", evidence=str(lost))
        except RankLost as lost:
            event = self._lost(progress, lost)
        except (RanksTimedOut, RayError) as error:
            event = self._lost(progress, RankLost(0, 0, _in_short(error)))
        progress.note_time(time.monotonic() - start)
        return progress.with_facts(event)

    def be(self, number: int) -> None:
        """Have a number, counted from 1, that the names of ranks to come tell."""
        self._ranks.slot = number

    def finish(self, *, save: bool = False, run_to_end: bool = False) -> None:
        """Let go of the attempt, if there is one; replace ranks that did not come clean.

        Args:
            save: Whether to write a checkpoint first.
            run_to_end: Whether what comes after the last epoch still runs; otherwise the trainable is stopped.
        """
        progress, self._progress = self._progress, None
        if progress is None:
            return
        remove_process_file(progress.processes_path)
        if not self._ranks.alive:
            return
        try:
            limit = FINISH_TIMEOUT_S + self._settings.grace_s
            cleaned = self._ranks.call("finish", save, run_to_end, timeout_s=limit)
        except (RankLost, RanksTimedOut, RayError) as error:
            self._gone = error if isinstance(error, NodeLost) else None
            self._replace_ranks(progress, f"the ranks are replaced: {_in_short(error)}")
            return
        for rank, answer in enumerate(cleaned):
            for note in answer.notes:
                progress.say(f"rank {rank}: {note}")
        if not all(answer.reusable for answer in cleaned):
            self._replace_ranks(progress, "the ranks are replaced, since they did not come clean")

    def close(self) -> None:
        """End the slot."""
        self.finish()
        self._ranks.kill()

    def _step(self, progress: AttemptProgress) -> Event:
        if progress.is_fresh:
            self._ranks.begin(progress.assignment)
            write_process_file(
                progress.processes_path, TrialProcesses(attempt=progress.assignment.attempt, ranks=self._ranks.members)
            )
        try:
            replies = self._ranks.call(
                "step",
                progress.is_to_save,
                timeout_s=progress.time_left_s,
                name=str(self._call_names),
                is_last=_last_answer,
            )
        except PeersTimedOut as late:
            self._end_attempt(progress, "one rank was over and the others waited for it: all are ended")
            return _without_late(late)
        except RanksTimedOut as late:
            return self._hung(progress, late)
        if progress.is_fresh:
            self._ranks.hold_shared_data()
        progress.is_fresh = False
        progress.take_note(replies)
        trainable_error = next((reply.trainable_error for reply in replies if reply.trainable_error is not None), None)
        if trainable_error is not None:
            return Unusable(evidence=trainable_error)
        return self._event(progress, replies)

    def _event(self, progress: AttemptProgress, replies: list[Reply]) -> Event:
        failed = sorted((reply for reply in replies if reply.failure), key=lambda reply: reply.is_secondary)
        if failed:
            return self._after_failure(progress, replies, failed[0])
        ended = [rank for rank, reply in enumerate(replies) if reply.ended]
        if len(ended) == len(replies):
            return Ended(elapsed_s=0.0)
        if ended:
            self._end_attempt(progress, "the ranks came to different ends and are ended")
            return Failed(
                cause="rank_lost",
                evidence=f"rank {ended[0]} ended after {replies[ended[0]].epoch} epochs, others did not",
            )
        assert replies[0].metrics is not None
        progress.compare(replies, objective=self._settings.metric)
        value = replies[0].metrics[self._settings.metric]
        self._call_names.next(progress.assignment, epochs=replies[0].epoch, value=value)
        return Report(epoch=replies[0].epoch, metrics=replies[0].metrics, elapsed_s=0.0)

    def _after_failure(self, progress: AttemptProgress, replies: list[Reply], first: Reply) -> Event:
        """The first rank's own failure."""
        assert first.failure is not None
        if self._settings.isolation == "slot" and any(reply.is_fatal_to_process for reply in replies):
            self._replace_ranks(progress, "CUDA is unusable after this error: the ranks are replaced")
        return first.failure

    def _lost(self, progress: AttemptProgress, lost: RankLost) -> Event:
        evidence = lost.why or exit_evidence(rank=lost.rank, pid=lost.pid, log_tail=progress.log_tail())
        self._replace_ranks(progress, evidence)
        return Failed(cause="killed", evidence=evidence)

    def _hung(self, progress: AttemptProgress, late: RanksTimedOut) -> Event:
        behind = ", ".join(str(rank) for rank in late.behind)
        self._end_attempt(progress, f"killed: over its time limit; rank {behind} was still at work")
        used = progress.elapsed_s + (progress.time_left_s or 0.0)
        return Failed(
            cause="hung",
            evidence=f"over limits.trial_time after {used:.0f} s of this attempt; rank {behind} was still at work",
        )

    def _start_ranks(self) -> str | None:
        """Bring the ranks up; why the trainable can't be used, if it can't."""
        for attempt in range(START_ATTEMPTS):
            try:
                return self._ranks.start()
            except NodeLost:
                raise
            except (RankLost, RanksTimedOut):
                self._ranks.kill()
                if attempt == START_ATTEMPTS - 1:
                    raise
        return None

    def _end_attempt(self, progress: AttemptProgress, why: str) -> None:
        """End what the ranks are at; they may stay."""
        progress.say(why)
        self._ranks.end()

    def _replace_ranks(self, progress: AttemptProgress, why: str) -> None:
        progress.say(why)
        self._ranks.kill()


def _in_short(error: Exception) -> str:
    """On one line; the end of a long text, where Ray has what was raised."""
    return " ".join(str(error).split())[-MAX_WHY:]


def _last_answer(reply: Reply) -> str | None:
    return "failed" if reply.failure is not None else "ended" if reply.ended else None


def _without_late(late: PeersTimedOut) -> Event:
    """Some ranks failed or ended while the ranks behind hung."""
    replies: list[Reply] = sorted(late.answers.values(), key=lambda reply: reply.is_secondary)
    failure = next((reply.failure for reply in replies if reply.failure is not None), None)
    if failure is not None:
        return failure
    over = min(late.answers)
    ended = f"rank {over} ended after {late.answers[over].epoch} epochs"
    return Failed(cause="rank_lost", evidence=f"{ended}, rank {late.behind[0]} never came to an end")
