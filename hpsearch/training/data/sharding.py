"""Samplers: the samples that each rank sees in each step.

`batch_size` is always the global batch size. A step trains on the same samples with one rank and with eight, also the
last, incomplete step of an epoch: the padding of DistributedSampler is removed. A rank that would have no samples in a
step gets one stand-in sample with weight 0, because DDP needs all ranks in every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, final

import numpy
from torch.utils.data import DistributedSampler, Sampler

from hpsearch.training.context import TrialContext


class StepSamples(NamedTuple):
    """The samples of one step on one rank, as a loader worker gets them."""

    indices: list[int]
    """Positions in the data set."""
    random_seed: int
    """Seed of the random generators while these samples are loaded, in [0, 2**32)."""
    num_samples: int
    """Number of samples; 0 if the single index is a stand-in."""
    num_global: int
    """Number of samples of this step over all ranks."""


@final
class TrainSampler(Sampler[StepSamples]):
    """Shuffled samples, of which each rank gets every `world_size`-th.

    Args:
        size: Number of samples of the data set.
        batch_size: Samples of a step over all ranks; a multiple of the number of ranks.
        context: Rank, world size and seed of the trial.
    """

    epoch = 0
    """The epoch, counted from 0, whose order is used."""

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
    """Each sample exactly once over all ranks, in the same order in each epoch. Ranks may have fewer steps than others.

    Args:
        size: Number of samples of the data set.
        batch_size: Samples of a step over all ranks.
        context: Rank, world size and seed of the trial.
    """

    epoch = 0
    """Ignored."""

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
    """A seed for each of `count` steps, all computed at once: one alone takes 80 us."""
    seeds: list[int] = numpy.random.SeedSequence(key).generate_state(count).tolist()
    return seeds
