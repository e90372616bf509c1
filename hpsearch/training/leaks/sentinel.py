"""The leak sentinel: samples live tensors and host memory after epochs, and warns once about what accumulates.

Memory that one epoch needs is freed before the next one ends. A leak is therefore what keeps growing from sample to
sample, or autograd graphs at the end of an epoch that span many steps, since no graph is needed between two epochs.

One sample takes 10 to 25 ms. Samples take at most one hundredth of the time, so after a short epoch there may be none.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TextIO, final

from torch import Tensor

from hpsearch.training.leaks.live_tensors import describe, find_holder, has_graph, live_tensors, size_of

Group = tuple[str, tuple[int, ...], bool]
"""A group of similar tensors: dtype, shape, and whether they have an autograd graph."""

COST_SHARE = 100
"""The time between two samples is at least this many times the duration of the last one."""
GROWTHS = 4
"""Number of consecutive samples that must each show growth; a cache usually stops growing before that."""
MIN_GROWTH_BYTES = 2**20
"""Tensors without a graph that grow by less in total are taken for a record of results, not for a leak."""
MAX_KEPT_GRAPHS = 32
"""More tensors with a graph than this at the end of an epoch must come from many steps."""
MAX_SUMMED = 16
"""More consecutive additions than this in the graph of a scalar are a sum of losses, not the terms of one loss."""
NUM_ASKED = 3
"""Most tensors of one group whose holders are searched for."""
MIN_HOST_MIB = 16.0
"""Growth of host memory in MiB, in each of GROWTHS samples, that causes a warning; the allocator may cause less."""


@dataclass(frozen=True, kw_only=True)
class MemorySample:
    """Tensors and host memory at the end of an epoch."""

    ids: frozenset[int]
    """`id` of each live tensor."""
    num_bytes: int
    """Bytes of all storages of live tensors."""
    num_graphs: int
    """Number of live tensors with an autograd graph."""
    groups: Counter[Group]
    """Number of live tensors of each group."""
    host_mib: float
    """Anonymous memory of this process, MiB."""


@final
class SampleInterval:
    """Limits the time that samples take, by the duration of the last one."""

    def __init__(self) -> None:
        self._sampled_at, self._cost_s = -math.inf, 0.0

    def is_due(self) -> bool:
        """Whether enough time has passed since the last sample."""
        return time.perf_counter() - self._sampled_at >= COST_SHARE * self._cost_s

    @contextmanager
    def sample(self) -> Iterator[None]:
        """Measure the duration of the block, in which a sample is taken."""
        start = time.perf_counter()
        yield
        self._sampled_at = time.perf_counter()
        self._cost_s = self._sampled_at - start


_INTERVAL = SampleInterval()
"""Shared by all trials of the process, because trials of a few milliseconds could not afford a sample each."""


@final
class Sentinel:
    """Looks for leaks in one attempt at a trial.

    Args:
        stream: Stream of the warning; None for stderr, which is part of the trial's log.
        interval: Limits the time of samples; shared with the trials before and after.
    """

    def __init__(self, stream: TextIO | None = None, *, interval: SampleInterval = _INTERVAL) -> None:
        self._stream, self._interval = stream, interval
        self._samples: list[MemorySample] = []
        self.warning: str | None = None
        """The warning that was printed. There is at most one, and no sample is taken after it."""

    def after_epoch(self) -> None:
        """Take a sample if one is due, and warn about a leak. Call this at the same point of each epoch."""
        if self.warning is not None or not self._interval.is_due():
            return
        with self._interval.sample():
            tensors = live_tensors()
            self._samples = [*self._samples[-GROWTHS:], _sample(tensors)]
            suspicion = self._suspicion(tensors)
            if suspicion is not None:
                self._warn(suspicion)

    def _suspicion(self, tensors: list[Tensor]) -> str | None:
        """A sentence about the likeliest leak; None if there is no sign of one."""
        graphs = [tensor for tensor in tensors if has_graph(tensor)]
        summed = next((tensor for tensor in graphs if tensor.numel() == 1 and _additions(tensor) > MAX_SUMMED), None)
        if summed is not None:
            return f"{_kept(summed)}: losses are summed together with their graphs; sum `loss.item()` instead"
        if len(graphs) > MAX_KEPT_GRAPHS or self._grows([sample.num_graphs for sample in self._samples]):
            return self._of_graphs(graphs)
        if self._grows([float(sample.num_bytes) for sample in self._samples], least=MIN_GROWTH_BYTES):
            return self._of_bytes(tensors)
        if self._grows([sample.host_mib for sample in self._samples], each=MIN_HOST_MIB):
            growth = (self._samples[-1].host_mib - self._samples[0].host_mib) / (len(self._samples) - 1)
            return f"host memory grows by {growth:.0f} MiB an epoch, but no tensors do; check lists, caches and loaders"
        return None

    def _of_graphs(self, graphs: list[Tensor]) -> str | None:
        (kind, _), *_ = Counter(map(_group, graphs)).most_common(1)
        alike = [tensor for tensor in graphs if _group(tensor) == kind]
        advice = "use `.item()`" if alike[0].numel() == 1 else "use `.detach()`, or evaluate under torch.no_grad()"
        return f"{_kept(*alike)}, and {len(alike)} such tensors are alive: {advice}"

    def _of_bytes(self, tensors: list[Tensor]) -> str | None:
        grown = self._samples[-1].groups - self._samples[0].groups
        new: dict[Group, list[Tensor]] = {}
        for tensor in tensors:
            if id(tensor) not in self._samples[0].ids and _group(tensor) in grown:
                new.setdefault(_group(tensor), []).append(tensor)
        culprits = max(new.values(), key=lambda alike: sum(tensor.nbytes for tensor in alike))
        epochs = len(self._samples) - 1
        growth = (self._samples[-1].num_bytes - self._samples[0].num_bytes) / epochs / 2**20
        return f"tensors grow by {growth:.1f} MiB an epoch: {_kept(*culprits)}; free it after its epoch"

    def _grows(self, values: Sequence[float], *, each: float = 0.0, least: float = 0.0) -> bool:
        """Whether each sample is larger than the one before, by similar amounts: a cache fills up and stops.

        Args:
            values: One value for each sample, oldest first.
            each: Minimum growth from one sample to the next.
            least: Minimum growth from the first sample to the last.
        """
        growths = [later - earlier for earlier, later in pairwise(values)]
        total = sum(growths)
        return len(growths) >= GROWTHS and total >= least and min(growths) > max(each, total / len(growths) / 4)

    def _warn(self, suspicion: str) -> None:
        self.warning = f"memory leak: {suspicion}"
        with suppress(Exception):  # the training code has closed or replaced the stream
            print(f"hpsearch: {self.warning}", file=self._stream or sys.stderr, flush=True)


def _sample(tensors: list[Tensor]) -> MemorySample:
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
    """A clause about tensors of one group, and about what holds them.

    A container is preferred: of a list of tensors, one may also be the value of a loop variable.
    """
    found = [holder for tensor in alike[:NUM_ASKED] if (holder := find_holder(tensor)) is not None]
    holder = next((holder for holder in found if holder.is_container), found[0] if found else None)
    return f"{describe(alike[0])} is kept" + (f" in {holder}" if holder is not None else ", but its holder is unknown")


def _additions(tensor: Tensor) -> int:
    """Number of consecutive additions at the top of a tensor's graph; counting stops just above MAX_SUMMED."""
    count, nodes = 0, [tensor.grad_fn]
    while nodes and count <= MAX_SUMMED:
        inner = [below for node in nodes[:2] if node is not None for below, _ in node.next_functions]
        nodes = [node for node in inner if type(node).__name__ == "AddBackward0"]
        count += bool(nodes)
    return count


def _host_mib() -> float:
    """Anonymous memory of this process, MiB; the kernel can reclaim pages of mapped files at any time."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))
    except (OSError, StopIteration):
        return 0.0
