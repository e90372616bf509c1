"""How a rank runs each attempt in a new process, forked from the preload server of its node.

The rank itself runs no code of the user's and needs no torch. It requests a process from the server, passes the slot's
calls on to that process, and gets its exit status from the server, which is the parent of the process.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import final

from hpsearch.paths import log_path
from hpsearch.slots.diagnosis import exit_evidence, exit_text, is_abort_of_watchdog
from hpsearch.slots.forked.channel import Channel, ChannelClosed, Message, wait_for_any
from hpsearch.slots.forked.messages import (
    Begins,
    Closed,
    Exited,
    Finish,
    Forked,
    Kill,
    Launch,
    NotForked,
    Saved,
    SharesBlock,
    SharesListing,
    Step,
    TrialSetup,
)
from hpsearch.slots.forked.preload_client import ServerLost, connect
from hpsearch.slots.forked.preload_server import ServerOptions, server_name
from hpsearch.slots.forked.running_trial import RunningTrial
from hpsearch.slots.not_begun import could_not_begin
from hpsearch.slots.process_file import Process
from hpsearch.slots.process_tree import kill_tree
from hpsearch.slots.protocol import Assignment, Failed
from hpsearch.slots.rank_environment import RankPosition, Rendezvous, rank_variables
from hpsearch.slots.replies import LOOP_TOO_LONG, CleanupResult, Reply
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.trial_log import log_size
from hpsearch.slots.with_parameters import refers_to_ray, resolve
from hpsearch.training.data.sealed_memory import RecentBlocks

FORK_TIMEOUT_S = 60.0
"""Seconds until a server that has not forked counts as lost."""
FORK_TRIES = 3
"""Number of times that a process is requested, each time from another server, before the attempt fails."""
SAVE_TIMEOUT_S = 25.0
"""Seconds within which a trial that is ended must have written its last checkpoint."""
STOP_TIMEOUT_S = 5.0
"""Seconds within which a trainable that is stopped must have ended."""
KILL_TIMEOUT_S = 5.0
"""Seconds to wait for the end of a process that was killed."""


@final
class ForkedTrials:
    """Runs the attempts of one rank, one after another, each in a new process.

    Args:
        settings: Settings of the sweep.
        working_dir: Working directory of the user's code on this node.
        sys_path: Module search path on this node.
        position: This rank among those of its slot.
        ranks_here: Number of ranks, of all trials together, that fit on this node.
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
        self._trial: RunningTrial | None = None
        self._listings: dict[str, str] = {}
        """Digests of the files at paths that earlier trials have listed, see `SharedDataHost`."""
        self._shared_blocks = RecentBlocks()
        self._lock = threading.Lock()
        """Held by `step` and `finish`, but not by `end`, which another thread calls during a `step`."""
        self._loop_is_too_long = False
        """Whether the trainable's loop is longer than `limits.epochs`, so that the code after it can't be reached."""
        self._function: int | None = None
        """Open file of a block with the function, if objects in Ray's store are bound to it; see `with_parameters`."""

    def load(self) -> str | None:
        """Connect to the server; whether the trainable can be imported is known only with the first attempt.

        Raises:
            ServerLost: The server does not start.
        """
        self._connected()
        if refers_to_ray(self._settings.trainable):
            self._function = resolve(self._settings.trainable)
        return None

    def begin(self, assignment: Assignment, rendezvous: Rendezvous | None) -> Process:
        """Start a process for an attempt, which imports the user's code and then waits for the first `step`.

        Raises:
            ServerLost: The server has ended, and so have others that were started to replace it.
            OSError: The kernel refuses a further process or open file.
        """
        log = log_path(Path(self._settings.sweep_dir), assignment.number)
        log_start = log_size(log)  # what earlier attempts wrote is no evidence for this one
        for tries_left in reversed(range(FORK_TRIES)):
            try:
                pid, channel = self._fork(assignment, rendezvous)
                break
            except ServerLost:
                if not tries_left:
                    raise
        self._trial = RunningTrial(pid, channel, log, log_start)
        self._shared_blocks.begin_trial()
        return self._trial.process

    def step(self, *, save: bool) -> Reply:
        """Train one epoch; if the process ends instead, that is a reply with a failure."""
        trial = self._trial
        assert trial is not None
        with self._lock:
            if not trial.is_over:
                with suppress(ChannelClosed):
                    trial.channel.send(Step(save))
            while (reply := trial.take_reply()) is None:
                if trial.status is not None:
                    return self._reply_without_process(trial)
                self._receive_next(trial, None)
            trial.has_ended = reply.is_last
            return reply

    def end(self) -> None:
        """Kill the process of the attempt; may be called while another thread waits in `step`."""
        if self._trial is not None:
            self._kill(self._trial)

    def finish(self, *, save: bool, run_to_end: bool) -> CleanupResult:
        """End the attempt; returns when its process, and all processes that it has started, have ended.

        Args:
            save: Whether a checkpoint is written first.
            run_to_end: Whether the code after the last epoch still runs, for at most `limits.grace`.
        """
        with self._lock:  # a `step` that `end` has cut short may not have returned yet
            trial, self._trial = self._trial, None
            if trial is None:
                return CleanupResult(reusable=True)
            return self._finish(trial, save=save, run_to_end=run_to_end)

    def _finish(self, trial: RunningTrial, *, save: bool, run_to_end: bool) -> CleanupResult:
        run_to_end = run_to_end and self._settings.grace_s > 0 and not self._loop_is_too_long
        self._send_finish(trial, Finish(save, run_to_end))
        own_end = run_to_end or trial.has_ended
        limit = max(self._settings.grace_s, STOP_TIMEOUT_S) if own_end else STOP_TIMEOUT_S
        if not trial.has_ended:
            self._wait_for_end(trial, SAVE_TIMEOUT_S if save else limit, until_saved=True)
        self._wait_for_end(trial, limit)
        notes = [trial.note] if trial.note is not None else []
        if trial.reported_again:
            self._loop_is_too_long = True
            notes.append(LOOP_TOO_LONG)
        if trial.status is None:
            notes.append(_overrun(limit) if own_end else "the trainable did not stop when asked to and was killed")
            self._kill(trial)
            self._wait_for_end(trial, KILL_TIMEOUT_S)
            if trial.status is None:
                kill_tree(trial.process)
        elif own_end and trial.note is None and trial.status and not trial.has_failed:
            notes.append(f"after its last epoch its process {exit_text(trial.status)}")
        trial.channel.close()
        return CleanupResult(reusable=True, notes=tuple(notes))

    def close(self) -> None:
        """Disconnect from the server, which kills what is left of the attempt."""
        if self._trial is not None:
            self._trial.channel.close()
        self._trial = None
        self._forget_server()
        self._shared_blocks.close()
        if self._function is not None:
            os.close(self._function)
            self._function = None

    def _fork(self, assignment: Assignment, rendezvous: Rendezvous | None) -> tuple[int, Channel]:
        """Ask the server for a process: (process id, channel to it). Raises ServerLost if it is gone or hangs."""
        mine, theirs = Channel.pair()
        try:
            server = self._connected()
            files = (theirs.fileno(), *([] if self._function is None else [self._function]))
            server.send(Launch(self._setup(assignment, rendezvous)), files)
            message = server.receive(FORK_TIMEOUT_S)
            if message is not None and isinstance(message.content, Forked):
                return message.content.pid, mine
            if message is not None and isinstance(message.content, NotForked):
                raise OSError(message.content.number, f"{os.strerror(message.content.number)}: no process was forked")
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
        """The connection to the server, which is started if there is none; raises ServerLost if it does not start."""
        if self._server is None:
            settings, code = self._settings, self._settings.code_dir
            options = ServerOptions(
                name=server_name(settings.run),
                sweep=settings.sweep,
                modules=settings.preload,
                differing=self._differing_variables(),
                snapshot=None if code is None else (code, settings.working_dir, self._working_dir),
            )
            self._server = connect(options, self._environment(), self._sys_path)
        return self._server

    def _differing_variables(self) -> frozenset[str]:
        """Variables with other values in a trial than in the server, which has no GPU and is no rank."""
        rendezvous = Rendezvous(address="", port=0, run="") if self._position.world_size > 1 else None
        gpus = {"CUDA_VISIBLE_DEVICES"} if self._settings.request.gpu else set()
        return frozenset(rank_variables(self._position, rendezvous).keys() | gpus)

    def _environment(self) -> dict[str, str]:
        """Environment of the server and of every trial; the number of threads is the one that Ray has set."""
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, int(self._settings.request.cpu)))
        return {**self._settings.environment, "OMP_NUM_THREADS": threads}

    def _trial_environment(self) -> dict[str, str]:
        """Environment of a trial without its rank's variables; Pythons that it starts import the snapshot too."""
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

    def _receive_next(self, trial: RunningTrial, timeout_s: float | None) -> None:
        """Wait for the next message of the process or the server, at most `timeout_s`, and handle it."""
        server = self._server
        watched: list[Channel] = [
            *([] if trial.is_disconnected else [trial.channel]),
            *([] if server is None else [server]),
        ]
        if not watched:
            trial.status = 0
            return
        ready = wait_for_any(watched, timeout_s)
        if trial.channel in ready:
            self._receive_from_trial(trial)
        elif server is not None and server in ready:
            self._receive_from_server(trial, server)

    def _receive_from_trial(self, trial: RunningTrial) -> None:
        try:
            message = trial.channel.receive(timeout_s=0)
        except ChannelClosed:
            trial.is_disconnected = True
            return
        if message is not None:
            self._handle(trial, message)

    def _handle(self, trial: RunningTrial, message: Message) -> None:
        content = message.content
        if isinstance(content, Reply):
            trial.reply = content
            trial.has_failed |= content.failure is not None
        elif isinstance(content, Begins):
            trial.has_begun = True
        elif isinstance(content, SharesBlock):
            if message.files:  # else this process has no free descriptor, and the next trial makes the block again
                self._shared_blocks.add(content.name, message.files[0])
        elif isinstance(content, SharesListing):
            self._listings[content.path] = content.digest
        elif isinstance(content, Saved):
            trial.is_saved = True
        elif isinstance(content, Closed):
            trial.note, trial.reported_again = content.note, content.reported_again

    def _receive_from_server(self, trial: RunningTrial, server: Channel) -> None:
        try:
            message = server.receive(timeout_s=0)
        except ChannelClosed:
            self._forget_server()
            # The kernel has killed the process with the server, but not the processes that it had started.
            kill_tree(trial.process)
            trial.status, trial.lost_server = 0, True
            return
        if message is not None and isinstance(message.content, Exited) and message.content.pid == trial.process.pid:
            while not trial.is_disconnected and wait_for_any([trial.channel], 0):  # messages that it sent before
                self._receive_from_trial(trial)
            trial.status = message.content.status

    def _send_finish(self, trial: RunningTrial, request: Finish) -> None:
        if trial.status is None and not trial.has_ended:
            with suppress(ChannelClosed):
                trial.channel.send(request)

    def _wait_for_end(self, trial: RunningTrial, timeout_s: float, *, until_saved: bool = False) -> None:
        """Wait until the process has ended or, with `until_saved`, its last checkpoint is on disk."""
        deadline = time.monotonic() + timeout_s
        while trial.status is None and not (until_saved and trial.is_saved):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._receive_next(trial, left)

    def _kill(self, trial: RunningTrial) -> None:
        if self._server is not None and trial.status is None:
            with suppress(ChannelClosed):
                self._server.send(Kill(trial.process.pid))

    def _reply_without_process(self, trial: RunningTrial) -> Reply:
        """The reply for a process that has ended without one."""
        trial.has_ended = trial.has_failed = True
        if trial.lost_server:
            evidence = "the preload server of its node is gone, and its process with it"
            return Reply(failure=Failed(cause="node_lost", evidence=evidence, has_begun=trial.has_begun))
        log_tail, status = trial.log_tail(), trial.status
        evidence = exit_evidence(rank=self._position.rank, pid=trial.process.pid, log_tail=log_tail, status=status)
        if not trial.has_begun:
            return Reply(failure=could_not_begin(evidence, during="set-up of the trial's process"))
        has_waited = status is not None and is_abort_of_watchdog(status, log_tail)
        evidence += "; an operation of NCCL had timed out" if has_waited else ""
        return Reply(failure=Failed(cause="killed", evidence=evidence), is_secondary=has_waited)


def _overrun(limit_s: float) -> str:
    return f"it was still running {limit_s:g} s after its last epoch (limits.grace) and was killed"
