"""Trials that were submitted to Ray and have no place there yet: why, and since when.

The place of a trial is the CPUs and GPUs that Ray reserves for its slot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import final

from hpsearch.cluster.autoscaler import Growth, growth_in_ray
from hpsearch.devices.requests import WorkerRequest
from hpsearch.engine.status import IdleReasons

PATIENCE_S = 1.0
"""A running slot starts its next trial within milliseconds; a trial that waits longer than this is reported."""
QUERY_EVERY_S = 2.0
"""Seconds between two queries of what Ray has free."""


@final
class PendingPlacements:
    """Reports to `IdleReasons` which trials wait for a place in Ray."""

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
        """Begin without trials that wait.

        Args:
            idle_reasons: Where the reason is set and cleared.
            request: What each trial asks for.
            is_ours: Whether only this sweep uses this Ray: then a trial waits only until a process has started.
            free: Returns the CPUs, GPUs and other resources that Ray could reserve now; None to ask Ray.
            growth: Returns what the cluster's autoscaler does.
            clock: Seconds that never go back.
        """
        self._idle_reasons, self._request, self._is_ours = idle_reasons, request, is_ours
        self._free, self._growth, self._clock = free or _free_in_ray, growth, clock
        self._pending: dict[str, tuple[int, float]] = {}
        self._last = -QUERY_EVERY_S

    def submitted(self, key: str, number: int) -> None:
        """Record that trial `number` was submitted to Ray under the id `key`."""
        self._pending[key] = (number, self._clock())

    def resolved(self, key: str) -> None:
        """Record that the trial with the id `key` in Ray has a place, or needs none any more."""
        self._pending.pop(key, None)

    def tick(self) -> None:
        """Update the reason. To be called often; queries Ray at most every QUERY_EVERY_S seconds."""
        now = self._clock()
        late = sorted(number for number, since in self._pending.values() if now - since >= PATIENCE_S)
        if not late:
            self._idle_reasons.clear("ray")
        elif now - self._last >= QUERY_EVERY_S:
            self._last = now
            self._idle_reasons.set("ray", "place", self._sentence(late))

    def _sentence(self, numbers: list[int]) -> str:
        waiting = f"trial {numbers[0]} waits" if len(numbers) == 1 else f"trials {_listed(numbers)} wait"
        if self._is_ours:
            return f"{waiting} for a slot: Ray starts its processes"
        request = self._request
        each = f"{request.workers} x " if request.workers > 1 else ""
        asked = f"{each}{request.cpu:g} CPU" + (f" + {request.gpu:g} GPU" if request.gpu else "")
        free = self._free()
        rest = f"{free.get('CPU', 0.0):g} CPU" + (f" + {free.get('GPU', 0.0):g} GPU" if request.gpu else "")
        growth = self._growth().text
        sentence = f"{waiting} for a place in Ray: asks for {asked}, free on all nodes together {rest}"
        return f"{sentence}; {growth}" if growth else sentence


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:4])) + (", ..." if len(numbers) > 4 else "")


def _free_in_ray() -> Mapping[str, float]:
    import ray

    free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return free
