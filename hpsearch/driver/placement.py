"""Trials that were handed to Ray and have no place there yet: which, since when, what is free, what starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import final

from hpsearch.cluster.autoscaler import Growth, growth_in_ray
from hpsearch.devices.requests import WorkerRequest
from hpsearch.engine.status import IdleReasons

PATIENCE_S = 1.0
"""A warm slot takes a trial in milliseconds: what waits longer is told."""
LOOK_EVERY_S = 2.0
"""Between two questions to Ray about what is free."""


@final
class PendingPlacements:
    """Tells `IdleReasons` of trials for which Ray has no place."""

    def __init__(
        self,
        idle_reasons: IdleReasons,
        request: WorkerRequest,
        *,
        is_ours: bool,
        free: Callable[[], Mapping[str, float]] | None = None,
        growth: Callable[[], Growth] = growth_in_ray,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nobody waits yet.

        Args:
            idle_reasons: Is told.
            request: What each trial asks for.
            is_ours: Whether nobody else uses this Ray: then a place is only a matter of a process that starts.
            free: CPUs, GPUs and so on that Ray could give away now; None to ask Ray.
            growth: What the cluster's autoscaler does.
            clock: Seconds that never go back.
        """
        self._idle_reasons, self._request, self._is_ours = idle_reasons, request, is_ours
        self._free, self._growth, self._clock = free or _free_in_ray, growth, clock
        self._wanted: dict[str, tuple[int, float]] = {}
        self._last = -LOOK_EVERY_S

    def wanted(self, key: str, number: int) -> None:
        """Trial `number` was handed to Ray, which calls it `key`."""
        self._wanted[key] = (number, self._clock())

    def found(self, key: str) -> None:
        """It has a place, or needs none any more."""
        self._wanted.pop(key, None)

    def tick(self) -> None:
        """To be called often; asks Ray at most every LOOK_EVERY_S seconds."""
        now = self._clock()
        late = sorted(number for number, since in self._wanted.values() if now - since >= PATIENCE_S)
        if not late:
            self._idle_reasons.clear("ray")
        elif now - self._last >= LOOK_EVERY_S:
            self._last = now
            self._idle_reasons.set("ray", "place", self._words(late))

    def _words(self, numbers: list[int]) -> str:
        who = f"trial {numbers[0]} waits" if len(numbers) == 1 else f"trials {_listed(numbers)} wait"
        if self._is_ours:
            return f"{who} for a slot: Ray starts its processes"
        request = self._request
        each = f"{request.workers} x " if request.workers > 1 else ""
        asked = f"{each}{request.cpu:g} CPU" + (f" + {request.gpu:g} GPU" if request.gpu else "")
        free = self._free()
        rest = f"{free.get('CPU', 0.0):g} CPU" + (f" + {free.get('GPU', 0.0):g} GPU" if request.gpu else "")
        growth = self._growth().words
        sentence = f"{who} for a place in Ray: asks for {asked}, free on all nodes together {rest}"
        return f"{sentence}; {growth}" if growth else sentence


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:4])) + (", ..." if len(numbers) > 4 else "")


def _free_in_ray() -> Mapping[str, float]:
    import ray

    free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return free
