"""The ranks of one slot as a whole: started, asked, and, when one is lost, ended together and started again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
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
from hpsearch.slots.process_file import Process, RankProcess
from hpsearch.slots.process_tree import kill_tree
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank import Rank
from hpsearch.slots.rank_environment import rank_positions
from hpsearch.slots.settings import SlotSettings
from hpsearch.training.data.sealed_memory import HeldBlocks

POLL_S = 0.25
"""How often a process is looked at besides Ray: with forked children alive Ray tells of a death after 5 s or never."""
NODE_VERDICT_S = 60.0
"""How long Ray has to find out whether a node that it can't reach is dead: by its own settings about a minute."""
START_TIMEOUT_S = 300.0
"""Ranks that are not up by then (torch on a cold network disk is slow) count as lost."""
END_TIMEOUT_S = 5.0
"""Ranks that have not ended the processes of a trial by then are killed themselves."""
PEER_GRACE_S = {"failed": 2.0, "ended": 60.0}
"""How long the other ranks may go on after the first has failed, or has ended: they may still write a checkpoint."""


class RankLost(Exception):
    """A rank's process is gone."""

    def __init__(self, rank: int, pid: int, why: str = "") -> None:
        super().__init__(f"rank {rank} (process {pid}) is gone{f': {why}' if why else ''}")
        self.rank, self.pid, self.why = rank, pid, why


class NodeLost(RankLost):
    """A rank's process is gone with its machine, or its machine can't be used."""


class RanksTimedOut(Exception):
    """A call did not come back in time; `behind` are the ranks that owe an answer."""

    def __init__(self, behind: list[int]) -> None:
        super().__init__(f"ranks {behind} did not answer in time")
        self.behind = behind


class PeersTimedOut(RanksTimedOut):
    """Some ranks failed or ended, and the others hang in a collective that will never end."""

    def __init__(self, answers: dict[int, Any], behind: list[int]) -> None:
        super().__init__(behind)
        self.answers = answers


@dataclass(frozen=True)
class _Process:
    actor: Any
    pid: int
    node: str
    as_of: Process | None = None
    """Known once the rank is up."""


class RankGroup:
    """`request.workers` warm processes in the bundles of one placement group."""

    def __init__(self, settings: SlotSettings, placement: PlacementGroup | None) -> None:
        self.settings = settings
        self.slot = 0
        self._placement = placement
        self._processes: list[_Process] = []
        self.members: tuple[RankProcess, ...] = ()
        self._shared_data = HeldBlocks()
        self._manager = os.getppid()
        """Process id of the raylet that started this process: a process gets another parent when its own is gone."""

    def start(self) -> str | None:
        """Bring the ranks up, each with its place among the others, ready for the first attempt.

        Returns:
            What is wrong with the trainable; None if nothing is, or is known yet.

        Raises:
            RankLost: A rank died on the way.
            NodeLost: So did its node; or the node does not see the sweep's folder.
            RanksTimedOut: A rank was not up within START_TIMEOUT_S.
        """
        request = self.settings.request
        actors = [self._make_actor(rank) for rank in range(request.workers)]
        self._processes = [_Process(actor, pid=0, node="") for actor in actors]
        facts = self.call("describe", timeout_s=START_TIMEOUT_S)
        self._processes = [
            _Process(actor, fact["pid"], fact["node"], fact["process"])
            for actor, fact in zip(actors, facts, strict=True)
        ]
        for rank, fact in enumerate(facts):
            if not fact["sees_trials"]:
                trials = trials_dir(Path(self.settings.sweep_dir))
                blind = f"node {fact['address']} does not see {trials}: it needs the same disk"
                raise NodeLost(rank, fact["pid"], blind)
        nodes, gpus, addresses = ([fact[name] for fact in facts] for name in ("node", "gpus", "address"))
        mistakes = self.call("load", each=rank_positions(nodes, gpus, addresses), timeout_s=START_TIMEOUT_S)
        return next((trainable_error for trainable_error in mistakes if trainable_error is not None), None)

    def begin(self, assignment: Assignment) -> None:
        """Begin an attempt on every rank; `members` are the processes that train it.

        Raises:
            RankLost: A rank is gone.
            RanksTimedOut: A rank does not answer.
        """
        rendezvous = None
        if self.settings.request.workers > 1:
            rendezvous = ray.get(self._processes[0].actor.host.remote(), timeout=START_TIMEOUT_S)
        self.members = tuple(self.call("begin", assignment, rendezvous, timeout_s=START_TIMEOUT_S))

    def end(self) -> None:
        """End the attempt on every rank at once; the ranks live on, unless the attempt runs in them, or they hang."""
        if self.settings.isolation == "process":
            with suppress(RayError, GetTimeoutError):
                ray.get([process.actor.end.remote() for process in self._processes], timeout=END_TIMEOUT_S)
                return
        self.kill()

    def call(
        self,
        method: str,
        *args: Any,
        each: Sequence[Any] | None = None,
        timeout_s: float | None = None,
        name: str | None = None,
        is_last: Callable[[Any], str | None] = lambda answer: None,
    ) -> list[Any]:
        """The answer of each rank, by rank.

        Args:
            method: A method of `Rank`.
            args: The same for every rank.
            each: One further argument for each rank, by rank.
            timeout_s: Seconds for all answers together; None for ever.
            name: What Ray's dashboard shows while the call runs.
            is_last: Key of PEER_GRACE_S for an answer after which its rank calls no other; None for any other answer.

        Raises:
            RankLost: A rank's process is gone; the others are still there.
            PeersTimedOut: After the last answer of one rank, others did not answer within their grace.
            RanksTimedOut: Not all answered in time.
        """
        options = {"name": name} if name else {}
        refs = [
            getattr(process.actor, method).options(**options).remote(*args, *([] if each is None else [each[rank]]))
            for rank, process in enumerate(self._processes)
        ]
        waiting = dict(zip(refs, range(len(refs)), strict=True))
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        grace_ends: float | None = None
        answers: dict[int, Any] = {}
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=_wait_s(deadline, grace_ends))
            arrived = [ref for ref in done if self._arrives(ref, waiting[ref], answers)]
            for ref in arrived:
                rank = waiting.pop(ref)
                if (kind := is_last(answers[rank])) is not None:
                    ends = time.monotonic() + PEER_GRACE_S[kind]
                    grace_ends = ends if grace_ends is None else min(ends, grace_ends)
            if not arrived:
                self._check_alive(waiting.values())
                if grace_ends is not None and time.monotonic() >= grace_ends:
                    raise PeersTimedOut(answers, sorted(waiting.values()))
                if deadline is not None and time.monotonic() >= deadline:
                    raise RanksTimedOut(sorted(waiting.values()))
        return [answers[rank] for rank in range(len(refs))]

    def hold_shared_data(self) -> None:
        """Hold the data sets that the ranks hold, so that those that take their place find them."""
        here = ray.get_runtime_context().get_node_id()
        self._shared_data.sync(process.pid for process in self._processes if process.node == here)

    def kill(self) -> None:
        """End every rank at once, with all that it has started, so that no child of its keeps a GPU."""
        here = ray.get_runtime_context().get_node_id()
        for process in self._processes:
            if process.as_of is not None and process.node == here:
                kill_tree(process.as_of)
            with suppress(RayError):
                ray.kill(process.actor)
        for member in self.members:
            if member.process.is_here and self.settings.isolation == "process":
                kill_tree(member.process)
        self._processes, self.members = [], ()

    @property
    def alive(self) -> bool:
        """Whether ranks were started and not killed since."""
        return bool(self._processes)

    def _make_actor(self, rank: int) -> Any:
        request = self.settings.request
        options: dict[str, Any] = {"num_cpus": request.cpu, "num_gpus": request.gpu, "max_restarts": 0}
        if self.settings.isolation == "process":
            options["max_concurrency"] = 2  # `end` reaches a rank that waits for an epoch
        if self._placement is not None:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._placement, rank)
        actor_class = ray.remote(Rank)
        return actor_class.options(**options).remote(self.settings, rank, slot=self.slot)

    def _arrives(self, ref: Any, rank: int, answers: dict[int, Any]) -> bool:
        """Whether an answer that is there could be fetched; a busy machine may need another try."""
        try:
            answers[rank] = ray.get(ref, timeout=POLL_S)
        except GetTimeoutError:
            return False
        except RayTaskError:
            raise  # a defect of ours: a rank answers a trainable's mistakes with data
        except RayError as error:
            unreachable = isinstance(error, ActorUnavailableError)
            raise self._loss(rank, _start_failure(error), patience_s=NODE_VERDICT_S * unreachable) from error
        return True

    def _check_alive(self, ranks: Any) -> None:
        here = ray.get_runtime_context().get_node_id()
        for rank in ranks:
            process = self._processes[rank]
            if process.pid and process.node == here and is_dead(process.pid):
                raise self._loss(rank)

    def _loss(self, rank: int, why: str = "", *, patience_s: float = 0.0) -> RankLost:
        """What has gone with a lost rank: its process, or the whole node.

        A node dies one process after the other, the one that manages it first. So this slot, on the same node, may live
        for a second longer than its rank, and a rank elsewhere is out of reach before Ray calls its node dead.
        """
        process = self._processes[rank]
        deadline = time.monotonic() + patience_s
        while process.node:
            is_here = process.node == ray.get_runtime_context().get_node_id()
            if os.getppid() != self._manager if is_here else not is_alive(process.node):
                return NodeLost(rank, process.pid, f"the node of rank {rank} is gone")
            if is_here or time.monotonic() >= deadline:
                break
            time.sleep(POLL_S)
        return RankLost(rank, process.pid, why)


def is_dead(pid: int) -> bool:
    """Whether a process of this machine is gone or a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return Path("/proc/self").exists()  # where there is no /proc, Ray alone tells
    return state in "ZX"


def _wait_s(*deadlines: float | None) -> float:
    left = [deadline - time.monotonic() for deadline in deadlines if deadline is not None]
    return max(0.0, min([POLL_S, *left]))


def _start_failure(error: BaseException) -> str:
    """What a rank's constructor raised, which Ray hides in the end of a long text; empty if it did not raise."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines and "creation task" in str(error) else ""
