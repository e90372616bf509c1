"""A rank that gives each attempt a process of its own, forked from the preload server of its node.

The rank itself runs none of the user's code and needs no torch: it asks for a process, passes on what the slot wants,
and learns how the process ended from the server, which is its parent.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import final

from hpsearch.paths import log_path
from hpsearch.slots.diagnosis import exit_evidence, exit_text
from hpsearch.slots.forked.channel import Channel, ChannelClosed, Message, wait_for_any
from hpsearch.slots.forked.messages import (
    Closed,
    Exited,
    Finish,
    Forked,
    Kill,
    Launch,
    Listed,
    Saved,
    Step,
    TrialSetup,
    UsesBlock,
)
from hpsearch.slots.forked.preload_client import ServerLost, connect
from hpsearch.slots.forked.preload_server import ServerOptions, server_name
from hpsearch.slots.process_file import Process
from hpsearch.slots.process_tree import kill_tree
from hpsearch.slots.protocol import Assignment, Failed
from hpsearch.slots.rank_environment import RankPosition, Rendezvous, rank_variables
from hpsearch.slots.replies import LOOP_TOO_LONG, CleanupResult, Reply
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.trial_log import log_size, log_tail
from hpsearch.slots.with_parameters import refers_to_ray, resolve
from hpsearch.training.data.sealed_memory import RecentBlocks

FORK_TIMEOUT_S = 60.0
"""A server that has not forked by then hangs."""
FORK_TRIES = 3
"""Servers that may be gone one after the other before an attempt is given up."""
SAVE_TIMEOUT_S = 25.0
"""A trial that is being ended may take so long to write its last checkpoint."""
STOP_TIMEOUT_S = 5.0
"""A trainable that is stopped may take so long to end."""
KILL_TIMEOUT_S = 5.0
"""What was killed is gone by then, unless the system itself hangs."""


@final
class ForkedTrials:
    """The attempts of one rank, one after the other, each in a process of its own.

    Args:
        settings: Of the sweep.
        working_dir: Of the user's code on this machine.
        sys_path: Search path of modules on this machine.
        place: This rank among those of its trials.
        ranks_here: Ranks, of all trials together, that fit on this machine.
    """

    def __init__(
        self,
        settings: SlotSettings,
        *,
        working_dir: str,
        sys_path: tuple[str, ...],
        position: RankPosition,
        ranks_here: int,
    ) -> None:
        self._settings, self._position, self._ranks_here = settings, position, ranks_here
        self._working_dir, self._sys_path = working_dir, sys_path
        self._server: Channel | None = None
        self._trial: _Trial | None = None
        self._listings: dict[str, str] = {}
        self._shelf = RecentBlocks()
        self._busy = threading.Lock()
        self._loop_is_too_long = False
        """Whether the trainable's loop is longer than `limits.epochs`: it would train one epoch for nothing."""
        self._function: int | None = None
        """An open file with the function, where objects in Ray's store are bound to it."""

    def load(self) -> str | None:
        """Have the server ready; whether the trainable can be imported is known with the first attempt.

        Raises:
            ServerLost: It does not come up.
        """
        self._connected()
        if refers_to_ray(self._settings.trainable):
            self._function = resolve(self._settings.trainable)
        return None

    def begin(self, assignment: Assignment, rendezvous: Rendezvous | None) -> Process:
        """Have a process for a new attempt; it imports the user's code at once, and waits there.

        Raises:
            ServerLost: The server is gone, and so are others that were started in its place.
        """
        log = log_path(Path(self._settings.sweep_dir), assignment.number)
        log_start = log_size(log)  # what earlier attempts wrote is no evidence
        for tries_left in reversed(range(FORK_TRIES)):
            try:
                pid, channel = self._fork(assignment, rendezvous)
                break
            except ServerLost:
                if not tries_left:
                    raise
        self._trial = _Trial(pid, channel, log, log_start)
        self._shelf.begin_trial()
        return self._trial.process

    def step(self, *, save: bool) -> Reply:
        """Train one epoch; the end of the process is a reply like any other."""
        trial = self._trial
        assert trial is not None
        with self._busy:
            if not trial.is_over:
                with suppress(ChannelClosed):
                    trial.channel.send(Step(save))
            while (reply := trial.take_reply()) is None:
                if trial.status is not None:
                    return self._lost(trial)
                self._listen(trial, None)
            trial.has_ended = reply.is_last
            return reply

    def end(self) -> None:
        """Kill the process of the attempt; may be called while `step` waits for it in another thread."""
        if self._trial is not None:
            self._kill(self._trial)

    def finish(self, *, save: bool, run_to_end: bool) -> CleanupResult:
        """End the attempt; returns when its process, and all that it has started, is gone.

        Args:
            save: Whether a checkpoint is written first.
            run_to_end: Whether what comes after the last epoch still runs, for at most `limits.grace`.
        """
        with self._busy:  # a step that `end` has cut short may still be on its way out
            trial, self._trial = self._trial, None
            return (
                CleanupResult(reusable=True) if trial is None else self._finish(trial, save=save, run_to_end=run_to_end)
            )

    def _finish(self, trial: _Trial, *, save: bool, run_to_end: bool) -> CleanupResult:
        run_to_end = run_to_end and self._settings.grace_s > 0 and not self._loop_is_too_long
        self._say_finish(trial, Finish(save, run_to_end))
        own_end = run_to_end or trial.has_ended
        limit = max(self._settings.grace_s, STOP_TIMEOUT_S) if own_end else STOP_TIMEOUT_S
        if not trial.has_ended:
            self._wait(trial, SAVE_TIMEOUT_S if save else limit, until_saved=True)
        self._wait(trial, limit)
        notes = [trial.note] if trial.note is not None else []
        if trial.reported_again:
            self._loop_is_too_long = True
            notes.append(LOOP_TOO_LONG)
        if trial.status is None:
            notes.append(_overrun(limit) if own_end else "the trainable ignored its end and was killed")
            self._kill(trial)
            self._wait(trial, KILL_TIMEOUT_S)
            if trial.status is None:
                kill_tree(trial.process)
        elif own_end and trial.note is None and trial.status and not trial.has_failed:
            notes.append(f"after its last epoch its process {exit_text(trial.status)}")
        trial.channel.close()
        return CleanupResult(reusable=True, notes=tuple(notes))

    def close(self) -> None:
        """Leave the server, which ends what is left of the attempt."""
        if self._trial is not None:
            self._trial.channel.close()
        self._trial = None
        self._forget_server()
        self._shelf.close()
        if self._function is not None:
            os.close(self._function)
            self._function = None

    def _fork(self, assignment: Assignment, rendezvous: Rendezvous | None) -> tuple[int, Channel]:
        """A new process, and the channel to it; raises ServerLost if the server is gone or hangs."""
        mine, theirs = Channel.pair()
        try:
            server = self._connected()
            files = (theirs.fileno(), *([] if self._function is None else [self._function]))
            server.send(Launch(self._setup(assignment, rendezvous)), files)
            message = server.receive(FORK_TIMEOUT_S)
            if message is not None and isinstance(message.content, Forked):
                return message.content.pid, mine
        except ChannelClosed:
            message = None
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
        mine.close()
        self._forget_server()
        raise ServerLost("the preload server of its node is gone")

    def _connected(self) -> Channel:
        """The server, started if there is none; raises ServerLost if it does not come up."""
        if self._server is None:
            settings, code = self._settings, self._settings.code_dir
            options = ServerOptions(
                name=server_name(settings.run),
                sweep=settings.sweep,
                modules=settings.preload,
                differing=self._differing(),
                snapshot=None if code is None else (code, settings.working_dir, self._working_dir),
            )
            self._server = connect(options, self._environment(), self._sys_path)
        return self._server

    def _differing(self) -> frozenset[str]:
        """Variables that trials have otherwise than the server, which has no GPU and is no rank."""
        rendezvous = Rendezvous(address="", port=0, run="") if self._position.world_size > 1 else None
        gpus = {"CUDA_VISIBLE_DEVICES"} if self._settings.request.gpu else set()
        return frozenset(rank_variables(self._position, rendezvous).keys() | gpus)

    def _environment(self) -> dict[str, str]:
        """Of the server, and of every trial; the number of threads is Ray's."""
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, int(self._settings.request.cpu)))
        return {**self._settings.environment, "OMP_NUM_THREADS": threads}

    def _trial_environment(self) -> dict[str, str]:
        """Of a trial, but for what says which rank it is: the Pythons that it starts import the snapshot too."""
        settings, environment = self._settings, self._environment()
        if settings.code_dir is None:
            return environment
        from hpsearch.trainable.code_snapshot import child_environment

        roots = {"old_root": settings.working_dir, "new_root": self._working_dir}
        return environment | child_environment(settings.code_dir, environment, **roots)

    def _setup(self, assignment: Assignment, rendezvous: Rendezvous | None) -> TrialSetup:
        return TrialSetup(
            settings=self._settings,
            assignment=assignment,
            position=self._position,
            rendezvous=rendezvous,
            ranks_here=self._ranks_here,
            working_dir=self._working_dir,
            sys_path=self._sys_path,
            environment=self._trial_environment(),
            listings=self._listings,
        )

    def _forget_server(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None

    # -- the trial ----------------------------------------------------------------------------------------------------

    def _listen(self, trial: _Trial, timeout_s: float | None) -> None:
        """Take in what the process or the server says next; returns after a message, or in time."""
        server = self._server
        watched: list[Channel] = [*([] if trial.is_mute else [trial.channel]), *([] if server is None else [server])]
        if not watched:
            trial.status = 0
            return
        ready = wait_for_any(watched, timeout_s)
        if trial.channel in ready:
            self._hear(trial)
        elif server is not None and server in ready:
            self._hear_server(trial, server)

    def _hear(self, trial: _Trial) -> None:
        try:
            message = trial.channel.receive(timeout_s=0)
        except ChannelClosed:
            trial.is_mute = True
            return
        if message is not None:
            self._take(trial, message)

    def _take(self, trial: _Trial, message: Message) -> None:
        content = message.content
        if isinstance(content, Reply):
            trial.reply = content
            trial.has_failed |= content.failure is not None
        elif isinstance(content, UsesBlock):
            self._shelf.add(content.name, message.files[0])
        elif isinstance(content, Listed):
            self._listings[content.path] = content.text
        elif isinstance(content, Saved):
            trial.is_saved = True
        elif isinstance(content, Closed):
            trial.note, trial.reported_again = content.note, content.reported_again

    def _hear_server(self, trial: _Trial, server: Channel) -> None:
        try:
            message = server.receive(timeout_s=0)
        except ChannelClosed:
            self._forget_server()
            kill_tree(trial.process)  # the kernel has ended it with the server, but not what it had started
            trial.status, trial.lost_server = 0, True
            return
        if message is not None and isinstance(message.content, Exited) and message.content.pid == trial.process.pid:
            while not trial.is_mute and wait_for_any([trial.channel], 0):  # what it said before
                self._hear(trial)
            trial.status = message.content.status

    def _say_finish(self, trial: _Trial, word: Finish) -> None:
        if trial.status is None and not trial.has_ended:
            with suppress(ChannelClosed):
                trial.channel.send(word)

    def _wait(self, trial: _Trial, timeout_s: float, *, until_saved: bool = False) -> None:
        deadline = time.monotonic() + timeout_s
        while trial.status is None and not (until_saved and trial.is_saved):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._listen(trial, left)

    def _kill(self, trial: _Trial) -> None:
        if self._server is not None and trial.status is None:
            with suppress(ChannelClosed):
                self._server.send(Kill(trial.process.pid))

    def _lost(self, trial: _Trial) -> Reply:
        """The process is gone without a reply."""
        trial.has_ended = trial.has_failed = True
        if trial.lost_server:
            gone = Failed(cause="node_lost", evidence="the preload server of its node is gone, and its process with it")
            return Reply(failure=gone)
        evidence = exit_evidence(
            rank=self._position.rank, pid=trial.process.pid, log_tail=trial.log_tail(), status=trial.status
        )
        return Reply(failure=Failed(cause="killed", evidence=evidence))


@final
class _Trial:
    """The process of an attempt, as its rank sees it."""

    def __init__(self, pid: int, channel: Channel, log: Path, log_start: int) -> None:
        self.process, self.channel = Process.of(pid), channel
        self._log, self._log_start = log, log_start
        self.reply: Reply | None = None
        self.status: int | None = None
        """Its exit status, once it is gone."""
        self.note: str | None = None
        self.is_saved = self.is_mute = self.lost_server = self.reported_again = False
        self.has_ended = self.has_failed = False
        """Whether the trainable came to an end, or failed, before the slot ended it."""

    @property
    def is_over(self) -> bool:
        return self.has_ended or self.status is not None

    def take_reply(self) -> Reply | None:
        reply, self.reply = self.reply, None
        return reply

    def log_tail(self) -> str:
        """The end of what this attempt has printed."""
        return log_tail(self._log, start=self._log_start)


def _overrun(limit_s: float) -> str:
    return f"it was still running {limit_s:g} s after its last epoch (limits.grace) and was killed"
