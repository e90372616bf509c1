"""One rank of a slot: a Ray actor that owns the CPUs and GPUs of one process of each trial.

`Rank` is a plain class that `rank_group.py` makes an actor of; only its slot calls it. It runs each attempt in a
process of its own (`forked/`) or in the actor's process (`resident/`). Errors of a trainable are returned as data, so
that an exception from a call means that the rank itself is lost.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hpsearch.cluster.nodes import moved, this_node
from hpsearch.devices.requests import workers_on
from hpsearch.paths import trials_dir
from hpsearch.slots.dashboard_names import process_name
from hpsearch.slots.process_file import Process, RankProcess
from hpsearch.slots.process_tree import claim_descendants
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import RankPosition, Rendezvous, without_rank_variables
from hpsearch.slots.replies import CleanupResult, Reply
from hpsearch.slots.resident.termination import die_by_sigterm
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.trial_log import replace_standard_streams

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]


class Trials(Protocol):
    """How a rank runs attempts: `ForkedTrials` or `ResidentTrials`."""

    def load(self) -> str | None:
        """Prepare for the first attempt; returns what is wrong with the trainable, if that is known already."""

    def begin(self, assignment: Assignment, rendezvous: Rendezvous | None) -> Process:
        """Begin an attempt; returns the process that trains it."""

    def step(self, *, save: bool) -> Reply:
        """Train one epoch; with `save`, write a checkpoint after it."""

    def end(self) -> None:
        """End the attempt at once; called from another thread than `step`."""

    def finish(self, *, save: bool, run_to_end: bool) -> CleanupResult:
        """End the attempt; with `save`, write a checkpoint first; with `run_to_end`, run the code after its loop."""


class Rank:
    """One rank of a slot.

    Args:
        settings: Settings of the sweep.
        rank: The rank, in [0, workers).
        slot: The slot's number, from 1, for the name of the actor.
    """

    def __init__(self, settings: SlotSettings, rank: int, *, slot: int) -> None:
        self.settings = settings
        self.rank, self.slot = rank, slot
        self._trials: Trials | None = None
        self._ranks_here = settings.concurrent * settings.request.workers
        self._position = RankPosition()
        self._store: TCPStore | None = None
        replace_standard_streams()
        if settings.isolation == "slot":
            claim_descendants()
            die_by_sigterm()
        self._enter_driver_environment()

    def __repr__(self) -> str:
        return process_name(sweep=self.settings.sweep, slot=self.slot, rank=self.rank)

    def _enter_driver_environment(self) -> None:
        """Use the driver's environment, working directory and module search path, but keep Ray's choice of devices."""
        for name in os.environ.keys() - without_rank_variables(os.environ).keys():
            del os.environ[name]
        os.environ.update(self.settings.environment)
        self._here = os.getcwd() if self.settings.ships_code else self.settings.working_dir  # noqa: PTH109
        os.chdir(self._here)
        found = [self._moved(path) for path in self.settings.sys_path]
        sys.path[:] = [*found, *(path for path in sys.path if path not in found)]

    def _moved(self, path: str) -> str:
        """The path on this node for a path of the driver."""
        return moved(path, old=self.settings.working_dir, new=self._here)

    def describe(self) -> dict[str, Any]:
        """Process, node, address and GPUs of this rank, and whether it sees the folder of the trials."""
        import ray

        node = this_node()
        if node is not None:
            self._ranks_here = workers_on(self.settings.request, node.cpus, node.gpus)
        return {
            "pid": os.getpid(),
            "process": Process.of(os.getpid()),
            "node": ray.get_runtime_context().get_node_id(),
            "sees_trials": os.path.isdir(trials_dir(Path(self.settings.sweep_dir))),  # noqa: PTH112
            "address": ray.util.get_node_ip_address(),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "") if self.settings.request.gpu else "",
        }

    def load(self, position: RankPosition) -> str | None:
        """Prepare for the first attempt.

        Args:
            position: This rank among those of its slot.

        Returns:
            What is wrong with the trainable; None if nothing is wrong with it, or nothing is known yet.
        """
        from hpsearch.slots.forked.forked_trials import ForkedTrials
        from hpsearch.slots.resident.resident_trials import ResidentTrials

        self._position = position
        if position.rank == 0 and position.world_size > 1:
            import hpsearch.training.parallel  # noqa: F401  # imported here, so that no attempt has to wait for it
        if self.settings.isolation == "slot":
            self._trials = ResidentTrials(
                self.settings, working_dir=self._here, position=position, ranks_here=self._ranks_here
            )
        else:
            self._trials = ForkedTrials(
                self.settings,
                working_dir=self._here,
                sys_path=tuple(sys.path),
                position=position,
                ranks_here=self._ranks_here,
            )
        return self._trials.load()

    def host(self) -> Rendezvous:
        """Start a store where the ranks of the next attempt meet, as the agent of `torchrun` does."""
        from hpsearch.training.parallel import host_store

        address = self._position.address
        self._store = host_store(address)
        return Rendezvous(address=address, port=self._store.port, run=uuid.uuid4().hex)

    def begin(self, assignment: Assignment, rendezvous: Rendezvous | None) -> RankProcess:
        """Begin an attempt; returns the process that trains it.

        Args:
            assignment: The attempt.
            rendezvous: Where the ranks of the attempt meet; None for one rank.
        """
        return RankProcess(process=self._loaded_trials.begin(assignment, rendezvous), gpus=self._position.gpus)

    def step(self, save: bool) -> Reply:
        """Train one epoch.

        A checkpoint is written where `save` asks for it, which the slot decides for all ranks, after the epochs that
        the assignment names, and at the end.
        """
        return self._loaded_trials.step(save=save)

    def end(self) -> None:
        """End the attempt at once, while another thread of this actor waits in `step`."""
        self._loaded_trials.end()

    def finish(self, save: bool = False, run_to_end: bool = False) -> CleanupResult:
        """End the attempt, if there is one.

        Args:
            save: Whether to write a checkpoint first.
            run_to_end: Whether the code after the last epoch still runs; otherwise the trainable is stopped.
        """
        result = self._loaded_trials.finish(save=save, run_to_end=run_to_end)
        self._store = None
        return result

    @property
    def _loaded_trials(self) -> Trials:
        assert self._trials is not None
        return self._trials


faulthandler.enable()
