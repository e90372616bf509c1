"""The ranks of one slot as a group of Ray actors: started, called and ended together.

When one rank is lost the others can't continue without it, so that the whole group is ended and started again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hpsearch.cluster.nodes import is_alive
from hpsearch.paths import trials_dir
from hpsearch.slots.late_ranks import is_stopped, process_state
from hpsearch.slots.process_file import Process, RankProcess
from hpsearch.slots.process_tree import kill_tree
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank import Rank
from hpsearch.slots.rank_environment import rank_positions
from hpsearch.slots.rank_losses import NodeLost, PeersTimedOut, RankLost, RanksStopped, RanksTimedOut
from hpsearch.slots.settings import SlotSettings
from hpsearch.training.data.sealed_memory import HeldBlocks

POLL_S = 0.25
"""Seconds between two checks of the ranks' processes, besides Ray's own: Ray reports the death of an actor whose forked
children are alive after 5 s, or never."""
NODE_VERDICT_S = 60.0
"""Seconds in which Ray must decide whether a node that it can't reach is dead; its own settings take about a minute."""
START_TIMEOUT_S = 300.0
"""Seconds until ranks that have not started count as lost; importing torch from a cold network disk is slow."""
END_TIMEOUT_S = 5.0
"""Seconds until ranks that have not ended the processes of a trial are killed themselves."""
PEER_GRACE_S = {"failed": 2.0, "lost a peer": 6.0, "ended": 60.0}
"""Seconds that the other ranks have after the first one failed, failed only because of another rank, which may still
report its own error, or ended: they may still write a checkpoint."""
STOPPED_S = 125.0
"""Seconds after which a rank that is stopped by a signal is given up. A little more than the time-out of the process
group (120 s by default): its error says which rank waited where."""


@dataclass(frozen=True)
class _RankActor:
    """The Ray actor of one rank."""

    handle: Any
    """Ray's handle of it."""
    pid: int
    """Process id; 0 until the actor has started."""
    node: str
    """Ray's id of its node; empty until the actor has started."""
    process: Process | None = None
    """Its process; None until the actor has started."""


class RankGroup:
    """`request.workers` Ray actors, one in each bundle of the slot's placement group.

    Args:
        settings: Settings of the sweep.
        placement: The placement group that Ray Tune has made for the slot; None to let Ray choose.
    """

    def __init__(self, settings: SlotSettings, placement: PlacementGroup | None) -> None:
        self.settings = settings
        self._placement = placement
        self.slot = 0
        """The slot's number, from 1, for the actors' names; 0 until it has one."""
        self._actors: list[_RankActor] = []
        self.members: tuple[RankProcess, ...] = ()
        """The processes that train the current attempt, by rank."""
        self._shared_data = HeldBlocks()
        self._raylet_pid = os.getppid()
        """The raylet that started this process. When it is gone, this process has another parent."""

    def start(self) -> str | None:
        """Start the ranks and have each of them ready for its first attempt.

        Returns:
            What is wrong with the trainable; None if nothing is wrong with it, or nothing is known yet.

        Raises:
            RankLost: A rank died while it started.
            NodeLost: A rank's node is gone, or does not see the folder of the sweep.
            RanksTimedOut: A rank had not started after START_TIMEOUT_S.
        """
        request = self.settings.request
        handles = [self._make_actor(rank) for rank in range(request.workers)]
        self._actors = [_RankActor(handle, pid=0, node="") for handle in handles]
        facts = self.call("describe", timeout_s=START_TIMEOUT_S)
        self._actors = [
            _RankActor(handle, fact["pid"], fact["node"], fact["process"])
            for handle, fact in zip(handles, facts, strict=True)
        ]
        for rank, fact in enumerate(facts):
            if not fact["sees_trials"]:
                trials = trials_dir(Path(self.settings.sweep_dir))
                why = f"node {fact['address']} does not see {trials}: it needs the same disk"
                raise NodeLost(rank, fact["pid"], why)
        nodes, gpus, addresses = ([fact[name] for fact in facts] for name in ("node", "gpus", "address"))
        errors = self.call("load", each=rank_positions(nodes, gpus, addresses), timeout_s=START_TIMEOUT_S)
        return next((error for error in errors if error is not None), None)

    def begin(self, assignment: Assignment) -> None:
        """Begin an attempt on every rank, and set `members` to the processes that train it.

        Raises:
            RankLost: A rank is gone.
            RanksTimedOut: A rank does not answer.
            ServerLost: The preload server of a rank's node does not start.
            ray.exceptions.RayError: Rank 0 can't start the store through which the ranks find each other.
        """
        rendezvous = None
        if self.settings.request.workers > 1:
            rendezvous = ray.get(self._actors[0].handle.host.remote(), timeout=START_TIMEOUT_S)
        self.members = tuple(self.call("begin", assignment, rendezvous, timeout_s=START_TIMEOUT_S))

    def end(self) -> None:
        """End the attempt on every rank at once.

        The ranks stay, unless the attempt runs in their own processes (`isolation: slot`) or they do not answer.
        """
        if self.settings.isolation == "process":
            with suppress(RayError, GetTimeoutError):
                ray.get([actor.handle.end.remote() for actor in self._actors], timeout=END_TIMEOUT_S)
                return
        self.kill()

    def call(
        self,
        method: str,
        *args: Any,
        each: Sequence[Any] | None = None,
        timeout_s: float | None = None,
        name: str | None = None,
        end_of: Callable[[Any], str | None] = lambda answer: None,
    ) -> list[Any]:
        """Call a method of every rank and wait for all answers.

        Args:
            method: Name of a method of `Rank`.
            args: Arguments, the same for every rank.
            each: One further argument for each rank, in the order of the ranks.
            timeout_s: Seconds for all answers together; None for no limit.
            name: Name of the call, which Ray's dashboard shows while it runs.
            end_of: Called with each answer. Returns a key of PEER_GRACE_S if the rank takes part in no collective
                operation after this answer, else None.

        Returns:
            The answers, in the order of the ranks.

        Raises:
            RankLost: The process of a rank is gone; the others still run.
            PeersTimedOut: One rank gave its last answer, and others did not answer within PEER_GRACE_S after it.
            RanksStopped: Some ranks are stopped by a signal.
            RanksTimedOut: Not all ranks answered in time.
            ray.exceptions.RayTaskError: The method raised an error, which is of that class too, for example ServerLost.
        """
        options = {"name": name} if name else {}
        refs = [
            getattr(actor.handle, method).options(**options).remote(*args, *([] if each is None else [each[rank]]))
            for rank, actor in enumerate(self._actors)
        ]
        waiting = dict(zip(refs, range(len(refs)), strict=True))
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        grace_ends: float | None = None
        stopped_since: dict[int, float] = {}
        answers: dict[int, Any] = {}
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=_wait_s(deadline, grace_ends))
            arrived = [ref for ref in done if self._fetch(ref, waiting[ref], answers)]
            for ref in arrived:
                rank = waiting.pop(ref)
                if (kind := end_of(answers[rank])) is not None:
                    ends = time.monotonic() + PEER_GRACE_S[kind]
                    grace_ends = ends if grace_ends is None else min(ends, grace_ends)
            if not arrived:
                self._check_alive(waiting.values())
                if grace_ends is None:
                    self._check_stopped(stopped_since)
                if grace_ends is not None and time.monotonic() >= grace_ends:
                    raise PeersTimedOut(answers, sorted(waiting.values()))
                if deadline is not None and time.monotonic() >= deadline:
                    raise RanksTimedOut(sorted(waiting.values()))
        return [answers[rank] for rank in range(len(refs))]

    def hold_shared_data(self) -> None:
        """Keep the ranks' shared data in memory, so that ranks that replace them find it."""
        here = ray.get_runtime_context().get_node_id()
        self._shared_data.sync(actor.pid for actor in self._actors if actor.node == here)

    def kill(self) -> None:
        """End every rank at once, with all processes that it has started, so that none of them keeps a GPU."""
        here = ray.get_runtime_context().get_node_id()
        for actor in self._actors:
            if actor.process is not None and actor.node == here:
                kill_tree(actor.process)
            with suppress(RayError):
                ray.kill(actor.handle)
        for member in self.members:
            if member.process.is_here and self.settings.isolation == "process":
                kill_tree(member.process)
        self._actors, self.members = [], ()

    @property
    def alive(self) -> bool:
        """Whether ranks have been started and not killed since."""
        return bool(self._actors)

    def _make_actor(self, rank: int) -> Any:
        request = self.settings.request
        options: dict[str, Any] = {"num_cpus": request.cpu, "num_gpus": request.gpu, "max_restarts": 0}
        if self.settings.isolation == "process":
            options["max_concurrency"] = 2  # so that `end` can be called while `step` waits for an epoch
        if self._placement is not None:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._placement, rank)
        actor_class = ray.remote(Rank)
        return actor_class.options(**options).remote(self.settings, rank, slot=self.slot)

    def _fetch(self, ref: Any, rank: int, answers: dict[int, Any]) -> bool:
        """Fetch an answer that is ready; False where a busy machine needs another try."""
        try:
            answers[rank] = ray.get(ref, timeout=POLL_S)
        except GetTimeoutError:
            return False
        except RayTaskError:
            raise  # a defect of hpsearch: errors of a trainable are returned as data
        except RayError as error:
            unreachable = isinstance(error, ActorUnavailableError)
            raise self._loss_of(rank, _start_failure(error), patience_s=NODE_VERDICT_S * unreachable) from error
        return True

    def _check_alive(self, ranks: Iterable[int]) -> None:
        """Raise RankLost if one of these ranks has lost its process; Ray itself may report that late or never."""
        here = ray.get_runtime_context().get_node_id()
        for rank in ranks:
            actor = self._actors[rank]
            if actor.pid and actor.node == here and is_dead(actor.pid):
                raise self._loss_of(rank)

    def _check_stopped(self, since: dict[int, float]) -> None:
        """Raise RanksStopped if some of the training processes of this machine, not all, are stopped for too long.

        Args:
            since: Time at which each process that is stopped now was first found so; kept from call to call.
        """
        stopped = {rank for rank, member in enumerate(self.members) if is_stopped(member.process)}
        if len(stopped) == len(self.members):  # this includes every trial of one rank
            stopped.clear()
        now = time.monotonic()
        for rank in since.keys() - stopped:
            del since[rank]
        for rank in stopped:
            since.setdefault(rank, now)
        if late := sorted(rank for rank, start in since.items() if now - start >= STOPPED_S):
            raise RanksStopped(late)

    def _loss_of(self, rank: int, why: str = "", *, patience_s: float = 0.0) -> RankLost:
        """The error for a lost rank: NodeLost if its whole node is gone, else RankLost.

        The processes of a node end one after another, the raylet first. So this slot, on the same node, may live for a
        second longer than its rank, and a rank on another node is out of reach before Ray considers its node dead.

        Args:
            rank: The rank.
            why: What is known of the reason.
            patience_s: Seconds to wait for Ray's verdict on the node.
        """
        actor = self._actors[rank]
        deadline = time.monotonic() + patience_s
        while actor.node:
            is_here = actor.node == ray.get_runtime_context().get_node_id()
            if os.getppid() != self._raylet_pid if is_here else not is_alive(actor.node):
                return NodeLost(rank, actor.pid, f"the node of rank {rank} is gone")
            if is_here or time.monotonic() >= deadline:
                break
            time.sleep(POLL_S)
        return RankLost(rank, actor.pid, why)


def is_dead(pid: int) -> bool:
    """Whether a process id of this machine has no process, or a zombie."""
    state = process_state(pid)
    return Path("/proc/self").exists() if state is None else state in "ZX"  # without /proc only Ray can say


def _wait_s(*deadlines: float | None) -> float:
    """Seconds until the first of some deadlines, at least 0 and at most POLL_S."""
    left = [deadline - time.monotonic() for deadline in deadlines if deadline is not None]
    return max(0.0, min([POLL_S, *left]))


def _start_failure(error: BaseException) -> str:
    """The last line of what the constructor of a rank raised, out of Ray's long text; empty if it did not raise."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines and "creation task" in str(error) else ""
