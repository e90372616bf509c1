"""The supervisor: the Tune trainable of a slot. It owns the ranks, needs no torch, and lives through any trial.

Tune calls `step` again and again; each call is one event of the current attempt. Nothing that a trainable does, dying
included, raises here: it becomes an event, and the slot takes the next trial.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.tune import PlacementGroupFactory, Trainable

from hpsearch.slots.attempt import Reply
from hpsearch.slots.causes import exit_evidence
from hpsearch.slots.console import open_log
from hpsearch.slots.events import Assignment, Ended, Event, Failed, Peaks, Report, Unusable
from hpsearch.slots.naming import CallNames
from hpsearch.slots.rank_group import NodeGone, PeersLate, RankGroup, RankLost, RanksLate
from hpsearch.slots.roster import Roster, remove_roster, write_roster
from hpsearch.slots.settings import SlotSettings

ASSIGNMENT_KEY = "assignment"
"""Key of the one entry in a Tune trial's config: the assignment as JSON."""
EVENT_KEY = "event"
"""Key of the event in a Tune result."""
FINISH_TIMEOUT_S = 30.0
"""A rank that takes longer to let go of a trial is replaced."""
START_ATTEMPTS = 3
"""Times in a row that ranks may die while they come up."""
SAVE_SHARE = 20
"""A checkpoint that nobody asked for is written when training took at least this many times as long as the last one."""
LOG_TAIL_BYTES = 16_384
MAX_WHY = 300
"""Characters of an unexpected error that become evidence."""


class Slot:
    """The ranks of one slot and the attempt that they are at; knows Ray's actors, not Tune."""

    def __init__(self, settings: SlotSettings, ranks: RankGroup) -> None:
        self.settings = settings
        self._ranks = ranks
        self._assignment: Assignment | None = None
        self._fresh = True
        self._rejoin = False
        self._gone: NodeGone | None = None
        self._elapsed_s = 0.0
        self._checkpoint_epoch: int | None = None
        self._peaks = Peaks()
        self._saved_at = 0.0
        self._save_s = 0.0
        self._log_start = 0
        self._call_names = CallNames(settings)

    def assign(self, assignment: Assignment) -> None:
        """Take the next attempt; the one before is over."""
        self.finish(save=False)
        self._assignment, self._fresh = assignment, True
        self._elapsed_s, self._checkpoint_epoch, self._peaks = 0.0, None, Peaks()
        self._saved_at, self._save_s = time.monotonic(), 0.0
        self._call_names.first(assignment)
        log = self._trial_dir(assignment.number) / "log.txt"
        self._log_start = log.stat().st_size if log.exists() else 0  # what earlier attempts wrote is no evidence

    def next_event(self) -> Event:
        """Train one epoch.

        Raises:
            NodeGone: A machine of this slot is gone, and its place with it: Ray must find the trial another one.
        """
        assert self._assignment is not None
        start = time.monotonic()
        try:
            if self._gone is not None:
                raise self._gone
            mistake = self._start_ranks() if not self._ranks.alive else None
            if mistake is not None:
                return Unusable(evidence=mistake)
            self._rejoin_ranks()
            start = time.monotonic()  # a warm slot costs nothing; a cold one is not the trial's time
            event = self._step(self._assignment)
        except NodeGone as gone:
            self._replace_ranks(self._assignment.number, f"this slot is given up: {gone.why}")
            raise
        except RankLost as lost:
            event = self._lost(lost)
        except (RanksLate, RayError) as error:
            event = self._lost(RankLost(0, 0, " ".join(str(error).split())[-MAX_WHY:]))
        self._elapsed_s += time.monotonic() - start
        return self._with_facts(event)

    def be(self, number: int) -> None:
        """Have a number, counted from 1, that the names of ranks to come tell."""
        self._ranks.slot = number

    def finish(self, *, save: bool) -> int | None:
        """Let go of the attempt, replace ranks that did not come clean.

        Returns:
            Epoch of the newest checkpoint, if there was an attempt to let go of.
        """
        if self._assignment is not None:
            remove_roster(self._trial_dir(self._assignment.number))
        if self._assignment is None or not self._ranks.alive:
            self._assignment = None
            return self._checkpoint_epoch
        number, self._assignment = self._assignment.number, None
        try:
            cleaned = self._ranks.call("finish", save, timeout_s=FINISH_TIMEOUT_S)
        except (RankLost, RanksLate) as error:
            self._gone = error if isinstance(error, NodeGone) else None
            self._replace_ranks(number, f"the ranks are replaced: {error}")
            return self._checkpoint_epoch
        notes = [f"rank {rank}: {note}" for rank, answer in enumerate(cleaned) for note in answer.notes]
        for note in notes:
            self._note(number, note)
        if not all(answer.fit for answer in cleaned):
            self._replace_ranks(number, "the ranks are replaced, since they did not come clean")
        return min((answer.checkpoint_epoch or 0 for answer in cleaned), default=0) or None

    def close(self) -> None:
        """End the slot."""
        self.finish(save=False)
        self._ranks.kill()

    def _step(self, assignment: Assignment) -> Event:
        begin = assignment if self._fresh else None
        if self._fresh:
            roster = Roster(attempt=assignment.attempt, ranks=self._ranks.members)
            write_roster(self._trial_dir(assignment.number), roster)
        try:
            replies = self._ranks.call(
                "step",
                begin,
                time.monotonic() - self._saved_at >= SAVE_SHARE * self._save_s,
                timeout_s=self._time_left(assignment),
                name=str(self._call_names),
                is_last=_last_answer,
            )
        except PeersLate as late:
            self._replace_ranks(assignment.number, "one rank was over and the others waited for it: all are replaced")
            return self._without_late(late)
        except RanksLate as late:
            return self._hung(assignment, late)
        if self._fresh:
            self._ranks.hold_shared_data()
        self._fresh = False
        return self._event(assignment, replies)

    def _event(self, assignment: Assignment, replies: list[Reply]) -> Event:
        self._note_facts(replies)
        failed = sorted((reply for reply in replies if reply.failure), key=lambda reply: reply.echo)
        if failed:
            return self._after_failure(assignment, replies, failed[0])
        ended = [rank for rank, reply in enumerate(replies) if reply.ended]
        if len(ended) == len(replies):
            return Ended(elapsed_s=0.0)
        if ended:
            self._replace_ranks(assignment.number, "the ranks came to different ends and are replaced")
            return Failed(
                cause="rank_lost",
                evidence=f"rank {ended[0]} ended after {replies[ended[0]].epoch} epochs, others did not",
            )
        assert replies[0].metrics is not None
        value = replies[0].metrics[self.settings.metric]
        self._call_names.next(assignment, epochs=replies[0].epoch, value=value)
        return Report(epoch=replies[0].epoch, metrics=replies[0].metrics, elapsed_s=0.0)

    def _without_late(self, late: PeersLate) -> Event:
        """Some ranks failed or ended while the ranks behind hung."""
        replies: list[Reply] = sorted(late.answers.values(), key=lambda reply: reply.echo)
        failure = next((reply.failure for reply in replies if reply.failure is not None), None)
        if failure is not None:
            return failure
        over = min(late.answers)
        ended = f"rank {over} ended after {late.answers[over].epoch} epochs"
        return Failed(cause="rank_lost", evidence=f"{ended}, rank {late.behind[0]} never came to an end")

    def _after_failure(self, assignment: Assignment, replies: list[Reply], first: Reply) -> Event:
        """The first rank's own failure; ranks in a broken process group meet anew before the next trial."""
        assert first.failure is not None
        if any(reply.poisoned for reply in replies):
            self._replace_ranks(assignment.number, "CUDA is unusable after this error: the ranks are replaced")
        elif self.settings.request.workers > 1 and self._ranks.alive:
            self._rejoin = True
        return first.failure

    def _lost(self, lost: RankLost) -> Event:
        number = self._assignment.number if self._assignment else 0
        evidence = lost.why or exit_evidence(rank=lost.rank, pid=lost.pid, log_tail=self._log_tail(number))
        self._replace_ranks(number, evidence)
        return Failed(cause="killed", evidence=evidence)

    def _hung(self, assignment: Assignment, late: RanksLate) -> Event:
        behind = ", ".join(str(rank) for rank in late.behind)
        self._replace_ranks(assignment.number, f"killed: over its time limit; rank {behind} was still at work")
        used = self._elapsed_s + (self._time_left(assignment) or 0.0)
        return Failed(
            cause="hung",
            evidence=f"over limits.trial_time after {used:.0f} s of this attempt; rank {behind} was still at work",
        )

    def _start_ranks(self) -> str | None:
        for attempt in range(START_ATTEMPTS):
            try:
                return self._ranks.start()
            except NodeGone:
                raise
            except (RankLost, RanksLate):
                self._ranks.kill()
                if attempt == START_ATTEMPTS - 1:
                    raise
        return None

    def _rejoin_ranks(self) -> None:
        """After a failure in one of several ranks nobody knows what is left in the process group: make it anew."""
        if self._rejoin and self._fresh and self._ranks.alive:
            self._ranks.join()
        self._rejoin = False

    def _replace_ranks(self, number: int, why: str) -> None:
        self._note(number, why)
        self._ranks.kill()

    def _note_facts(self, replies: list[Reply]) -> None:
        newest = min(reply.checkpoint_epoch or 0 for reply in replies) or None
        if newest != self._checkpoint_epoch:
            self._checkpoint_epoch, self._saved_at = newest, time.monotonic()
            self._save_s = max(reply.save_s for reply in replies)
        gpus = [reply.gpu_gib for reply in replies if reply.gpu_gib is not None]
        hosts = [reply.host_gib for reply in replies if reply.host_gib is not None]
        self._peaks = Peaks(gpu_gib=max(gpus, default=None), host_gib=sum(hosts) if hosts else None)

    def _with_facts(self, event: Event) -> Event:
        if isinstance(event, Unusable):
            return event
        facts: dict[str, Any] = {"elapsed_s": self._elapsed_s, "peaks": self._peaks}
        if not isinstance(event, Failed):
            facts["checkpoint_epoch"] = self._checkpoint_epoch
        return type(event)(**{**vars(event), **facts})

    def _time_left(self, assignment: Assignment) -> float | None:
        return None if assignment.time_left_s is None else max(assignment.time_left_s - self._elapsed_s, 0.0)

    def _trial_dir(self, number: int) -> Path:
        return Path(self.settings.trials_dir) / f"{number:04d}"

    def _log_tail(self, number: int) -> str:
        try:
            with (self._trial_dir(number) / "log.txt").open("rb") as file:
                file.seek(max(file.seek(0, 2) - LOG_TAIL_BYTES, self._log_start))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _note(self, number: int, text: str) -> None:
        folder = self._trial_dir(number)
        with suppress(OSError):  # a note that can't be written is no reason to lose the trial
            folder.mkdir(parents=True, exist_ok=True)
            with open_log(folder / "log.txt") as file:
                print(f"hpsearch: {text}", file=file)


def _last_answer(reply: Reply) -> str | None:
    return "failed" if reply.failure is not None else "ended" if reply.ended else None


class SlotTrainable(Trainable):
    """The slot as Tune sees it; `make_slot_class` adds the settings."""

    settings: SlotSettings

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """An empty head bundle for the supervisor, which costs nothing, and one bundle for each rank."""
        request = cls.settings.request
        bundle = {"CPU": request.cpu} | ({"GPU": request.gpu} if request.gpu else {})
        return PlacementGroupFactory([{}] + [bundle] * request.workers)

    def __repr__(self) -> str:
        return f"{self.settings.sweep} supervisor"

    def setup(self, config: dict[str, Any]) -> None:
        """Make the slot; its ranks start with the first step."""
        self._slot = Slot(self.settings, RankGroup(self.settings, ray.util.get_current_placement_group()))
        self._slot.assign(Assignment.from_json(config[ASSIGNMENT_KEY]))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        self._slot.assign(Assignment.from_json(new_config[ASSIGNMENT_KEY]))
        return True

    def step(self) -> dict[str, Any]:
        """One event."""
        return {EVENT_KEY: self._slot.next_event()}

    def be_slot(self, number: int) -> None:
        """Called by the driver before the first step: how the ranks are called in Ray's dashboard."""
        self._slot.be(number)

    def end_leg(self, save: bool) -> int | None:
        """Called by the driver as soon as a trial is over, so that memory is free before the next one comes."""
        return self._slot.finish(save=save)

    def cleanup(self) -> None:
        """End the slot."""
        self._slot.close()


def make_slot_class(settings: SlotSettings) -> type[SlotTrainable]:
    """The trainable of one sweep; Ray's dashboard shows its name."""
    return type("Slot", (SlotTrainable,), {"settings": settings, "__module__": SlotTrainable.__module__})
