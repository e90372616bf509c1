"""One rank of a slot: a Ray actor that has its GPU, and sees trial after trial through.

A `Rank` is a plain class that Ray turns into an actor (`rank_group.py`); it never sees the driver. An attempt runs in a
process of its own (`slots/forked/forked_trials.py`) or in this one (`resident.py`). Whatever a trainable does wrong
comes back as data, so that an exception from a call means that the rank is lost.
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
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.trial_log import replace_standard_streams

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]


class Trials(Protocol):
    """How a rank runs its attempts."""

    def load(self) -> str | None:
        """Be ready for the first one; what is wrong with the trainable, if that is known."""

    def begin(self, assignment: Assignment, rendezvous: Rendezvous | None) -> Process:
        """Begin an attempt; the process that trains it."""

    def step(self, *, save: bool) -> Reply:
        """Train one epoch."""

    def end(self) -> None:
        """End the attempt at once, from another thread."""

    def finish(self, *, save: bool, run_to_end: bool) -> CleanupResult:
        """End the attempt."""


class Rank:
    """Rank `rank` of a slot."""

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
        self._enter_driver_environment()

    def __repr__(self) -> str:
        return process_name(sweep=self.settings.sweep, slot=self.slot, rank=self.rank)

    def _enter_driver_environment(self) -> None:
        """Look like the driver to the user's code, but for the devices, which Ray chose."""
        for name in os.environ.keys() - without_rank_variables(os.environ).keys():
            del os.environ[name]
        os.environ.update(self.settings.environment)
        self._here = os.getcwd() if self.settings.ships_code else self.settings.working_dir  # noqa: PTH109
        os.chdir(self._here)
        found = [self._moved(path) for path in self.settings.sys_path]
        sys.path[:] = [*found, *(path for path in sys.path if path not in found)]

    def _moved(self, path: str) -> str:
        """Where a path of the driver is here."""
        return moved(path, old=self.settings.working_dir, new=self._here)

    def describe(self) -> dict[str, Any]:
        """Process id, node and the GPUs that Ray gave to this process."""
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
        """Be ready for the first attempt: what is wrong with the trainable; None where nothing is, or is known yet."""
        from hpsearch.slots.forked.forked_trials import ForkedTrials
        from hpsearch.slots.resident.resident_trials import ResidentTrials

        self._position = position
        if position.rank == 0 and position.world_size > 1:
            import hpsearch.training.parallel  # noqa: F401  # here, so that no attempt waits for it
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
        """Where the ranks of the next attempt meet: a store in this process, as `torchrun`'s agent hosts one."""
        from hpsearch.training.parallel import host_store

        address = self._position.address
        self._store = host_store(address)
        return Rendezvous(address=address, port=self._store.port, run=uuid.uuid4().hex)

    def begin(self, assignment: Assignment, rendezvous: Rendezvous | None) -> RankProcess:
        """Begin an attempt; the process that trains it."""
        return RankProcess(process=self._run.begin(assignment, rendezvous), gpus=self._position.gpus)

    def step(self, save: bool) -> Reply:
        """Train one epoch.

        State is written when `save` says so (the supervisor's clock, one for all ranks), at the epochs that the
        assignment names, and at the end.
        """
        return self._run.step(save=save)

    def end(self) -> None:
        """End the attempt at once, while another call waits for it."""
        self._run.end()

    def finish(self, save: bool = False, run_to_end: bool = False) -> CleanupResult:
        """End the attempt; does nothing if there is none."""
        cleaned = self._run.finish(save=save, run_to_end=run_to_end)
        self._store = None
        return cleaned

    @property
    def _run(self) -> Trials:
        assert self._trials is not None
        return self._trials


faulthandler.enable()
