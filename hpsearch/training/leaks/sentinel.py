"""The leak sentinel: looks at live tensors and host memory at the end of each epoch and says once who piles them up.

What one epoch leaves behind it leaves each time; what an epoch needs is let go of before the next look. So a leak is
what keeps growing from look to look, or a graph at the end of an epoch that only many steps together can have made:
nobody needs gradients between two epochs.

A look costs some 10 ms, and takes at most one part in a hundred of the time: after a short epoch there is none.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TextIO, final

from torch import Tensor

from hpsearch.training.leaks.live_tensors import describe, find_holder, has_graph, live_tensors, size_of

Group = tuple[str, tuple[int, ...], bool]
"""dtype, shape, whether there is a graph: tensors that are alike."""

COST_SHARE = 100
"""A look is taken when at least so many times the last one's time has gone by."""
GROWTHS = 4
"""Looks in a row that must each have found more: a cache stops growing before."""
MIN_GROWTH_BYTES = 2**20
"""Tensors without a graph that grow by less are a record of results, not a leak."""
MAX_KEPT_GRAPHS = 32
"""More tensors with a graph than this, at the end of an epoch, are kept from many steps."""
MAX_SUMMED = 16
"""Additions in a row below one scalar: so many losses were summed, not the terms of one."""
NUM_ASKED = 3
"""Tensors of a kind whose keeper is looked for."""
MIN_HOST_MIB = 16.0
"""Growth of the process in each of GROWTHS epochs that is worth a word; allocators breathe."""


@dataclass(frozen=True, kw_only=True)
class MemorySample:
    """What was alive at the end of an epoch."""

    ids: frozenset[int]
    num_bytes: int
    num_graphs: int
    groups: Counter[Group]
    host_mib: float


@final
class SampleInterval:
    """When the next look may be taken, so that looks take their share of the time and no more."""

    def __init__(self) -> None:
        self._looked_at, self._cost_s = -math.inf, 0.0

    def is_due(self) -> bool:
        """Whether enough time has gone by."""
        return time.perf_counter() - self._looked_at >= COST_SHARE * self._cost_s

    @contextmanager
    def look(self) -> Iterator[None]:
        """To be taken within the block."""
        start = time.perf_counter()
        yield
        self._looked_at = time.perf_counter()
        self._cost_s = self._looked_at - start


_PACE = SampleInterval()
"""One for the process: trials of a few milliseconds in a warm slot shall not each pay for a look."""


@final
class Sentinel:
    """Watches one attempt at a trial.

    Args:
        stream: Where the warning goes; None for stderr, which a trial's log takes.
        pace: Shared with the trials before and after.
    """

    def __init__(self, stream: TextIO | None = None, *, pace: SampleInterval = _PACE) -> None:
        self._stream, self._pace = stream, pace
        self._looks: list[MemorySample] = []
        self.warning: str | None = None
        """What was said; there is one warning, and nothing is looked at after it."""

    def after_epoch(self) -> None:
        """To be called at the same point of each epoch."""
        if self.warning is not None or not self._pace.is_due():
            return
        with self._pace.look():
            tensors = live_tensors()
            self._looks = [*self._looks[-GROWTHS:], _look(tensors)]
            suspicion = self._suspicion(tensors)
            if suspicion is not None:
                self._say(suspicion)

    def _suspicion(self, tensors: list[Tensor]) -> str | None:
        graphs = [tensor for tensor in tensors if has_graph(tensor)]
        summed = next((tensor for tensor in graphs if tensor.numel() == 1 and _additions(tensor) > MAX_SUMMED), None)
        if summed is not None:
            return f"{_kept(summed)}: losses are summed with all that led to them; add up `loss.item()`"
        if len(graphs) > MAX_KEPT_GRAPHS or self._grows([look.num_graphs for look in self._looks]):
            return self._of_graphs(graphs)
        if self._grows([float(look.num_bytes) for look in self._looks], least=MIN_GROWTH_BYTES):
            return self._of_bytes(tensors)
        if self._grows([look.host_mib for look in self._looks], each=MIN_HOST_MIB):
            growth = (self._looks[-1].host_mib - self._looks[0].host_mib) / (len(self._looks) - 1)
            return (
                f"host memory grows by {growth:.0f} MiB an epoch, and no tensors do: look at lists, caches and loaders"
            )
        return None

    def _of_graphs(self, graphs: list[Tensor]) -> str | None:
        (kind, _), *_ = Counter(map(_group, graphs)).most_common(1)
        alike = [tensor for tensor in graphs if _group(tensor) == kind]
        advice = "use `.item()`" if alike[0].numel() == 1 else "use `.detach()`, or evaluate under torch.no_grad()"
        return f"{_kept(*alike)}, {len(alike)} of its like are alive: {advice}"

    def _of_bytes(self, tensors: list[Tensor]) -> str | None:
        grown = self._looks[-1].groups - self._looks[0].groups
        new: dict[Group, list[Tensor]] = {}
        for tensor in tensors:
            if id(tensor) not in self._looks[0].ids and _group(tensor) in grown:
                new.setdefault(_group(tensor), []).append(tensor)
        culprits = max(new.values(), key=lambda alike: sum(tensor.nbytes for tensor in alike))
        epochs = len(self._looks) - 1
        growth = (self._looks[-1].num_bytes - self._looks[0].num_bytes) / epochs / 2**20
        return f"tensors grow by {growth:.1f} MiB an epoch: {_kept(*culprits)}; let go of it after its epoch"

    def _grows(self, values: Sequence[float], *, each: float = 0.0, least: float = 0.0) -> bool:
        """Whether every look found more than the one before, about as much each time: a cache fills and stops."""
        growths = [later - earlier for earlier, later in pairwise(values)]
        total = sum(growths)
        return len(growths) >= GROWTHS and total >= least and min(growths) > max(each, total / len(growths) / 4)

    def _say(self, suspicion: str) -> None:
        self.warning = f"memory leak: {suspicion}"
        print(f"hpsearch: {self.warning}", file=self._stream or sys.stderr, flush=True)


def _look(tensors: list[Tensor]) -> MemorySample:
    return MemorySample(
        ids=frozenset(map(id, tensors)),
        num_bytes=size_of(tensors),
        num_graphs=sum(map(has_graph, tensors)),
        groups=Counter(map(_group, tensors)),
        host_mib=_host_mib(),
    )


def _group(tensor: Tensor) -> Group:
    return str(tensor.dtype), tuple(tensor.shape), has_graph(tensor)


def _kept(*alike: Tensor) -> str:
    """Who keeps tensors that are alike; the last one may also be what a loop's variable still names."""
    found = [keeper for tensor in alike[:NUM_ASKED] if (keeper := find_holder(tensor)) is not None]
    keeper = next((keeper for keeper in found if keeper.is_container), found[0] if found else None)
    return f"{describe(alike[0])} is kept" + (f" in {keeper}" if keeper is not None else ", by whom Python can't tell")


def _additions(tensor: Tensor) -> int:
    """Additions one below the other at the top of a tensor's graph, counted up to a little over MAX_SUMMED."""
    count, nodes = 0, [tensor.grad_fn]
    while nodes and count <= MAX_SUMMED:
        inner = [below for node in nodes[:2] if node is not None for below, _ in node.next_functions]
        nodes = [node for node in inner if type(node).__name__ == "AddBackward0"]
        count += bool(nodes)
    return count


def _host_mib() -> float:
    """Anonymous memory of this process: what maps of files hold can be taken back at any time."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))
    except (OSError, StopIteration):
        return 0.0
