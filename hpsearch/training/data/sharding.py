"""Which samples a rank sees in which step.

`batch_size` is always the global one. Step k of an epoch trains on the same samples whether one rank does it or eight,
the last uneven step included: DistributedSampler's padding is cut off again, and where a rank would have nothing to do
it gets one stand-in sample that counts for nothing, since DDP needs every rank in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, final

import numpy
from torch.utils.data import DistributedSampler, Sampler

from hpsearch.training.context import TrialContext


class StepSamples(NamedTuple):
    """What a loader worker is asked for."""

    indices: list[int]
    """Positions in the data set."""
    random_seed: int
    """What is drawn while these samples are loaded follows from it."""
    num_samples: int
    """Samples that count: all of them, or 0 for a stand-in."""
    num_global: int
    """Samples of this step over all ranks."""


@final
class TrainSampler(Sampler[StepSamples]):
    """Shuffled samples, dealt out to the ranks like cards."""

    epoch = 0

    def __init__(self, size: int, batch_size: int, context: TrialContext) -> None:
        self._size, self._batch_size = size, batch_size
        self._seed, self._rank, self._world_size = context.seed, context.rank, context.world_size
        self._order: DistributedSampler[int] = DistributedSampler(
            range(size),  # type: ignore[arg-type]  # it only asks for the length
            num_replicas=context.world_size,
            rank=context.rank,
            seed=context.seed,
        )

    def __iter__(self) -> Iterator[StepSamples]:
        self._order.set_epoch(self.epoch)
        indices = list(self._order)
        own = len(range(self._rank, self._size, self._world_size))  # what follows in `indices` is padding
        share = self._batch_size // self._world_size
        for step, seed in enumerate(_random_seeds(len(self), self._seed, self.epoch + 1, self._rank)):
            start = step * share
            count = max(0, min(start + share, own) - start)
            yield StepSamples(
                indices=indices[start : start + max(count, 1)],
                random_seed=seed,
                num_samples=count,
                num_global=min(self._batch_size, self._size - step * self._batch_size),
            )

    def __len__(self) -> int:
        return (self._size + self._batch_size - 1) // self._batch_size


@final
class EvalSampler(Sampler[StepSamples]):
    """Each sample exactly once over ranks, whose numbers of steps may differ. Every epoch is the same."""

    epoch = 0

    def __init__(self, size: int, batch_size: int, context: TrialContext) -> None:
        self._indices = range(context.rank, size, context.world_size)
        self._share = max(1, batch_size // context.world_size)
        self._seed, self._rank = context.seed, context.rank

    def __iter__(self) -> Iterator[StepSamples]:
        for step, seed in enumerate(_random_seeds(len(self), self._seed, 0, self._rank)):
            indices = list(self._indices[step * self._share : (step + 1) * self._share])
            yield StepSamples(indices, seed, len(indices), len(indices))

    def __len__(self) -> int:
        return (len(self._indices) + self._share - 1) // self._share


def _random_seeds(count: int, *key: int) -> list[int]:
    """One for each of `count` steps, all at once: to mix a key takes 80 us between two steps of training."""
    seeds: list[int] = numpy.random.SeedSequence(key).generate_state(count).tolist()
    return seeds
