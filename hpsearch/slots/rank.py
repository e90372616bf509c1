"""One process of a slot: it imports torch once, then trains trial after trial.

A `Rank` is a plain class that Ray turns into an actor (`rank_group.py`); it never sees the driver. One call does one
epoch. Whatever a trainable does wrong comes back as data, so that an exception from a call means that the process is
lost.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hpsearch.devices.requests import workers_on
from hpsearch.nodes import moved, this_node
from hpsearch.slots.attempt import Attempt, Reply, device
from hpsearch.slots.causes import failure_of
from hpsearch.slots.console import own_streams
from hpsearch.slots.events import Assignment
from hpsearch.slots.naming import process_name
from hpsearch.slots.offspring import adopt, bury
from hpsearch.slots.process_state import ProcessState
from hpsearch.slots.roster import Process
from hpsearch.slots.settings import SlotSettings

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    from hpsearch.trainable import TrainableSource

LEAK_BYTES = 64 * 2**20
"""Tensors that a trial leaves behind below this size never cost a restart."""
LEAKS_IN_A_ROW = 3
"""A rank is restarted after so many trials in a row that each left more behind: a cache stops growing."""


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What a rank says after it let go of a trial."""

    fit: bool
    """Whether it can take another trial."""
    notes: tuple[str, ...] = ()
    """What did not come clean, in sentences."""


class Rank:
    """Rank `rank` of a slot."""

    def __init__(self, settings: SlotSettings, rank: int, *, slot: int) -> None:
        self.settings = settings
        self.rank, self.slot = rank, slot
        self._function: Callable[..., Any] | None = None
        self._attempt: Attempt | None = None
        self._stray_bytes: list[int] = []
        self._in_ray_session = False
        self._ranks_here = settings.concurrent * settings.request.workers
        self._clean_state: ProcessState | None = None
        self._store: TCPStore | None = None
        own_streams()
        self._enter_driver_environment()
        adopt()
        import torch

        if not torch.cuda.is_available():
            torch.set_num_threads(max(1, int(settings.request.cpu)))

    def __repr__(self) -> str:
        return process_name(sweep=self.settings.sweep, slot=self.slot, rank=self.rank)

    def _enter_driver_environment(self) -> None:
        """Look like the driver to the user's code, but for the devices, which Ray chose."""
        os.environ.update(self.settings.environment)
        if not self.settings.request.gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves every GPU visible to who asked for none
        self._here = os.getcwd() if self.settings.ships_code else self.settings.working_dir  # noqa: PTH109
        os.chdir(self._here)
        found = [self._moved(path) for path in self.settings.sys_path]
        sys.path[:] = [*found, *(path for path in sys.path if path not in found)]

    def _moved(self, path: str) -> str:
        """Where a path of the driver is here."""
        return moved(path, old=self.settings.working_dir, new=self._here)

    def describe(self) -> dict[str, Any]:
        """Process id, node and the GPUs that this process sees."""
        import ray

        node = this_node()
        if node is not None:
            self._ranks_here = workers_on(self.settings.request, node.cpus, node.gpus)
        return {
            "pid": os.getpid(),
            "process": Process.of(os.getpid()),
            "node": ray.get_runtime_context().get_node_id(),
            "sees_trials": os.path.isdir(self.settings.trials_dir),  # noqa: PTH112
            "address": ray.util.get_node_ip_address(),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }

    def rendezvous(self) -> tuple[str, int]:
        """Address and port of this process, which is rank 0, where the ranks can meet."""
        import ray

        from hpsearch.training.parallel import host_store

        address = ray.util.get_node_ip_address()
        self._store = host_store(address)
        return address, self._store.port

    def join(self, address: str, port: int) -> None:
        """Meet the other ranks in a process group that lasts as long as the slot."""
        from hpsearch.training.parallel import find_store, join

        store = self._store or find_store(address, port)
        join(self.rank, self.settings.request.workers, store=store, device=device())

    def leave(self) -> None:
        """Leave the process group."""
        from hpsearch.training.parallel import leave

        leave()
        self._store = None

    def load(self) -> str | None:
        """Import the trainable, so that what is wrong with it is known before the first trial; None if nothing is."""
        import cloudpickle

        from hpsearch.slots.ray_session import uses_ray_tune
        from hpsearch.trainable import TrainableSource, load

        try:
            found = cloudpickle.loads(self.settings.trainable)
            self._function = load(self._here_is(found)) if isinstance(found, TrainableSource) else found
            self._in_ray_session = uses_ray_tune(cast(Callable[..., Any], self._function))
        except BaseException as error:  # SystemExit too: a module may call sys.exit on import
            return _import_error(error)
        self._clean_state = ProcessState.take()
        gc.collect()
        gc.freeze()  # what is alive now stays: collections between trials take a millisecond instead of 80
        return None

    def step(self, assignment: Assignment | None, save: bool) -> Reply:
        """Train one epoch; of a new attempt, if there is an assignment.

        State is written when `save` says so (the supervisor's clock, one for all ranks), at the epochs that the
        assignment names, and at the end.
        """
        try:
            if assignment is not None:
                self._attempt = self._begin(assignment)
            assert self._attempt is not None
            return self._attempt.advance(save=save)
        except Exception as error:  # the log's disk is full, say: one trial fails, not the slot
            return Reply(failure=failure_of(error))

    def _here_is(self, source: TrainableSource) -> TrainableSource:
        path = source.file_path
        return source if path is None else replace(source, file_path=Path(self._moved(str(path))))

    def _begin(self, assignment: Assignment) -> Attempt:
        return Attempt(
            assignment,
            cast(Callable[..., Any], self._function),
            settings=self.settings,
            rank=self.rank,
            ranks_here=self._ranks_here,
            in_ray_session=self._in_ray_session,
        )

    def finish(self, save: bool = False) -> Cleaned:
        """Let go of the attempt and leave the process clean for the next; does nothing if there is none."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return Cleaned(fit=True)
        closed = attempt.close(save=save)
        notes = [] if closed else ["the trainable ignored its end and still runs"]
        del attempt
        if self._clean_state is not None:
            self._clean_state.put_back()
        notes += self._sweep_up()
        bury()
        return Cleaned(fit=closed and not self._leaks(), notes=tuple(notes))

    def _sweep_up(self) -> list[str]:
        """Collect garbage, empty the GPU's cache, count the tensors that a trial left behind."""
        import torch

        from hpsearch.training.live_tensors import describe, keeper_of, live_tensors, size_of

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        stray = live_tensors()
        size = size_of(stray)
        self._stray_bytes = [*self._stray_bytes[-LEAKS_IN_A_ROW:], size]
        if size <= LEAK_BYTES:
            return []
        largest = max(stray, key=lambda tensor: tensor.nbytes)
        return [
            f"{len(stray)} tensors of {size / 2**20:.0f} MiB are still alive after the trial;"
            f" the largest, {describe(largest)}, is kept in {keeper_of(largest) or 'what has no name in Python'}"
        ]

    def _leaks(self) -> bool:
        sizes = self._stray_bytes
        grew = all(later > earlier for earlier, later in pairwise(sizes))
        return len(sizes) > LEAKS_IN_A_ROW and grew and sizes[-1] > LEAK_BYTES


def _import_error(error: BaseException) -> str:
    """The last frame of the user's own code, and what was raised there."""
    from hpsearch.slots.causes import user_place

    return f"it can't be imported: {type(error).__name__}: {error} ({user_place(error.__traceback__)})"


faulthandler.enable()
