"""Loaders: processes that load the batches of a rank, each under a random state of its own.

That state is made of (seed, epoch, step, rank). So augmentation does not depend on the number of loader workers, a
resumed epoch sees what an uninterrupted one would, and `persistent_workers` costs nothing in reproducibility. Which
samples a batch has is in `sharding.py`.
"""

from __future__ import annotations

import ctypes
import random
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol, TypeVar, final

import numpy
import torch
from numpy.random.mtrand import get_bit_generator, set_bit_generator
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset, default_collate

from hpsearch.errors import InvalidConfig
from hpsearch.training.context import TrialContext
from hpsearch.training.data.sharding import EvalSampler, StepSamples, TrainSampler

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


class SizedDataset(Protocol):
    """A map-style data set of (inputs, targets)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class Batch(NamedTuple):
    """One rank's samples of one step; `inputs` and `targets` are tensors or lists, tuples and dicts of them."""

    inputs: Any
    """First axis: sample."""
    targets: Any
    """First axis: sample."""
    num_samples: int
    """Samples that count: all of them, or 0 for a stand-in."""
    num_global: int
    """Samples of this step over all ranks."""


@final
class LoaderWorkers:
    """What loads the batches of one rank: processes that live for the whole trial, or this one where there are none.

    Loaders that take turns, for training and for validation, share them, so that a trial has as many as it was given
    and not twice as many. A loader that begins an epoch ends that of another one.
    """

    def __init__(self, context: TrialContext) -> None:
        workers = context.loader_workers
        self._datasets: list[SizedDataset] = []
        self._turn = _Turn()
        self._loader: DataLoader[Batch] = DataLoader(
            _Batches(self._datasets),
            batch_size=None,  # an item of _Batches is a batch already
            sampler=self._turn,
            collate_fn=_as_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_die_with_parent,
            pin_memory=context.device.type == "cuda",
            generator=torch.Generator().manual_seed(context.seed),  # else each epoch would draw from the global state
        )

    def add(self, dataset: SizedDataset) -> int:
        """The position of a data set; to be added before the first epoch of any."""
        self._datasets.append(dataset)
        return len(self._datasets) - 1

    def batches(self, position: int, steps: Iterable[StepSamples]) -> Iterator[Batch]:
        """One epoch of the data set at `position`."""
        self._turn.position, self._turn.steps = position, steps
        return iter(self._loader)

    def close(self) -> None:
        """End the processes now.

        PyTorch has no public call for it: they live as long as the iterator, and so as long as any traceback that
        mentions it.
        """
        iterator = self._loader._iterator
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._loader._iterator = None


@final
class Loader:
    """The batches of one rank, epoch after epoch. Iterate one epoch to its end, or `close`."""

    def __init__(self, position: int, sampler: TrainSampler | EvalSampler, processes: LoaderWorkers) -> None:
        self._position, self._steps, self._processes = position, sampler, processes

    def set_epoch(self, epoch: int) -> None:
        """Shuffle for `epoch`, counted from 0; to be called before each epoch."""
        self._steps.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        return self._processes.batches(self._position, self._steps)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self._steps)

    def close(self) -> None:
        """End the worker processes now, for all loaders that share them."""
        self._processes.close()


def make_loader(
    dataset: SizedDataset,
    *,
    batch_size: int,
    train: bool,
    context: TrialContext,
    processes: LoaderWorkers | None = None,
) -> Loader:
    """The loader of this rank.

    Args:
        dataset: Has a length. What it draws at random it must draw from the global generators.
        batch_size: Samples of a step over all ranks.
        train: Shuffled anew each epoch, every rank in every step; else in order, each sample exactly once over ranks.
        context: Rank, world size, device, seed and number of loader workers.
        processes: Shared with other loaders of the same trial; None for some of its own.

    Raises:
        InvalidConfig: The batch can't be split over the ranks.
        ValueError: The data set is empty.
    """
    if len(dataset) == 0:
        raise ValueError(f"the {'training' if train else 'validation'} set is empty.")
    if batch_size < 1 or (train and batch_size % context.world_size):
        raise InvalidConfig(
            f"batch_size {batch_size} can't be split over {context.world_size} workers. Use a multiple of that."
        )
    steps = TrainSampler if train else EvalSampler
    processes = processes or LoaderWorkers(context)
    return Loader(processes.add(dataset), steps(len(dataset), batch_size, context), processes)


@final
class _Turn(Sampler[tuple[int, StepSamples]]):
    """Whose epoch it is: (position of the data set, step)."""

    position = 0
    steps: Iterable[StepSamples] = ()

    def __iter__(self) -> Iterator[tuple[int, StepSamples]]:
        return ((self.position, step) for step in self.steps)


@final
class _Batches(Dataset[Batch]):
    """Data sets, one of which an item is a batch of; it runs in the loader workers."""

    def __init__(self, datasets: list[SizedDataset]) -> None:
        self._datasets = datasets

    def __getitem__(self, item: tuple[int, StepSamples]) -> Batch:
        position, step = item
        dataset = self._datasets[position]
        if isinstance(dataset, TensorDataset):  # nothing random, and one lookup for all samples
            samples = dataset[step.indices]
        else:
            with _random_state(step.random_seed):
                samples = default_collate([dataset[index] for index in step.indices])
        try:
            inputs, targets = samples
        except (TypeError, ValueError):
            raise TypeError("each sample of a data set must be a pair of inputs and targets.") from None
        return Batch(inputs, targets, step.num_samples, step.num_global)


_spare_bits = numpy.random.MT19937(0)


@contextmanager
def _random_state(seed: int) -> Iterator[None]:
    """Within the block, the global generators of the CPU stand where `seed` says; afterwards where they stood before.

    NumPy's generator is exchanged, since copying its state takes 35 us each way; what that forgets is the second half
    of a pair of gaussians.
    """
    before = torch.get_rng_state(), random.getstate(), get_bit_generator()
    set_bit_generator(_spare_bits)
    numpy.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        set_bit_generator(before[2])


def _as_is(batch: T) -> T:
    return batch


def _die_with_parent(worker: int) -> None:
    """The kernel kills a loader process with its parent; PyTorch looks after its own every 5 s, between batches."""
    with suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
