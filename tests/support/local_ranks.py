"""The ranks of a slot with their real trial processes, but without Ray: threads of this process are its actors."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, TimeoutError, wait
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
from ray.exceptions import GetTimeoutError

from hpsearch.devices.requests import WorkerRequest
from hpsearch.slots import rank_group
from hpsearch.slots.forked.forked_trials import ForkedTrials
from hpsearch.slots.process_file import RankProcess
from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import RankPosition, Rendezvous
from hpsearch.slots.rank_group import RankGroup
from hpsearch.slots.settings import SlotSettings
from hpsearch.slots.slot import Slot
from hpsearch.training.parallel import host_store
from tests.support.slot_settings import settings_of

HERE = "127.0.0.1"


class LocalRank:
    """What `Rank` does, without changing this process."""

    def __init__(self, settings: SlotSettings, rank: int) -> None:
        self._settings, self._rank = settings, rank

    def describe(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "process": None, "node": HERE, "sees_trials": True, "address": HERE, "gpus": ""}

    def load(self, position: RankPosition) -> str | None:
        folder = self._settings.working_dir
        self.trials = ForkedTrials(
            self._settings, working_dir=folder, sys_path=tuple(sys.path), position=position, ranks_here=8
        )
        return self.trials.load()

    def host(self) -> Rendezvous:
        self._store = host_store(HERE)
        return Rendezvous(address=HERE, port=self._store.port, run=uuid.uuid4().hex)

    def begin(self, assignment: Assignment, rendezvous: Rendezvous | None) -> RankProcess:
        return RankProcess(process=self.trials.begin(assignment, rendezvous), gpus="")

    def step(self, save: bool) -> Any:
        return self.trials.step(save=save)

    def end(self) -> None:
        self.trials.end()

    def finish(self, save: bool = False, run_to_end: bool = False) -> Any:
        return self.trials.finish(save=save, run_to_end=run_to_end)


class _Handle:
    """Calls the methods of a rank in threads, as an actor's handle calls them in its process."""

    def __init__(self, rank: LocalRank) -> None:
        self.rank, self._threads = rank, ThreadPoolExecutor(2)

    def __getattr__(self, method: str) -> Any:
        def remote(*args: Any) -> Future[Any]:
            return self._threads.submit(getattr(self.rank, method), *args)

        return SimpleNamespace(remote=remote, options=lambda **names: SimpleNamespace(remote=remote))


class LocalRanks(RankGroup):
    """A group of such ranks."""

    def _make_actor(self, rank: int) -> Any:
        return _Handle(LocalRank(self.settings, rank))

    def close(self) -> None:
        """Disconnect from the preload server, which then ends."""
        for actor in self._actors:
            actor.handle.rank.trials.close()


def local_slot(function: Callable[..., Any], *, folder: Any, ranks: int) -> tuple[Slot, LocalRanks]:
    """A slot that trains a function on some ranks."""
    settings = settings_of(
        trainable=cloudpickle.dumps(function),
        request=WorkerRequest(cpu=1, gpu=0, workers=ranks),
        run=uuid.uuid4().hex,
        sweep_dir=str(folder),
        working_dir=str(folder),
        environment={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
    )
    group = LocalRanks(settings, None)
    return Slot(settings, group), group


def replace_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `rank_group` wait for threads where it waits for actors."""
    names = SimpleNamespace(
        wait=_wait,
        get=_get,
        kill=lambda handle: None,
        get_runtime_context=lambda: SimpleNamespace(get_node_id=lambda: HERE),
    )
    monkeypatch.setattr(rank_group, "ray", names)


def _wait(refs: list[Future[Any]], timeout: float | None) -> tuple[list[Future[Any]], list[Future[Any]]]:
    done, others = wait(refs, timeout, FIRST_COMPLETED)
    return list(done), list(others)


def _get(refs: Any, timeout: float | None = None) -> Any:
    if isinstance(refs, list):
        return [_get(each, timeout) for each in refs]
    try:
        return refs.result(timeout)
    except TimeoutError as error:
        raise GetTimeoutError from error
