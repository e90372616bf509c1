"""Data loaders: the batches of one rank, each loaded under a random state of its own.

That state follows from (seed, epoch, step, rank). Augmentation therefore does not depend on the number of loader
workers, a resumed epoch sees the same batches as an uninterrupted one, and persistent workers are reproducible. Which
samples a batch contains is decided in `sharding.py`.
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

_PR_SET_PDEATHSIG = 1
"""Option of prctl(2), which Python has no name for."""


class SizedDataset(Protocol):
    """A map-style data set with a length, whose samples are pairs (inputs, targets)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class Batch(NamedTuple):
    """The samples of one step on one rank."""

    inputs: Any
    """A pytree of tensors; the first axis is the sample. In pinned memory if the trial runs on a GPU."""
    targets: Any
    """Like `inputs`."""
    num_samples: int
    """Number of samples; 0 if it only fills the step of a rank that has no samples."""
    num_global: int
    """Number of samples of this step over all ranks."""


@final
class LoaderWorkers:
    """The worker processes that load the batches of one rank, for the whole trial.

    The loaders for training and validation share them, so a trial has as many workers as it was given, not twice as
    many. When one loader starts an epoch, an unfinished epoch of another loader ends. With `loader_workers` 0, batches
    are loaded in this process.

    Args:
        context: Device, seed and number of loader workers of the trial.
    """

    def __init__(self, context: TrialContext) -> None:
        workers = context.loader_workers
        self._datasets: list[SizedDataset] = []
        self._sampler = _CurrentSampler()
        self._loader: DataLoader[Batch] = DataLoader(
            _BatchDataset(self._datasets),
            batch_size=None,  # an item of _BatchDataset is a batch already
            sampler=self._sampler,
            collate_fn=_as_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_die_with_parent,
            pin_memory=context.device.type == "cuda",
            generator=torch.Generator().manual_seed(context.seed),  # else each epoch draws from the global generator
        )

    def add(self, dataset: SizedDataset) -> int:
        """Add a data set, and return its position. Call this before the first epoch of any data set."""
        self._datasets.append(dataset)
        return len(self._datasets) - 1

    def batches(self, position: int, steps: Iterable[StepSamples]) -> Iterator[Batch]:
        """Load one epoch of the data set at `position`, one batch for each of `steps`."""
        self._sampler.position, self._sampler.steps = position, steps
        return iter(self._loader)

    def close(self) -> None:
        """End the worker processes now.

        PyTorch has no public method for this: workers live as long as the iterator, which any traceback keeps alive.
        """
        iterator = self._loader._iterator
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._loader._iterator = None


@final
class Loader:
    """The batches of one data set on one rank. Iterate each epoch to its end, or call `close`.

    Args:
        position: Position of the data set among those of `workers`.
        sampler: The samples of each step.
        workers: The processes that load the batches.
    """

    def __init__(self, position: int, sampler: TrainSampler | EvalSampler, workers: LoaderWorkers) -> None:
        self._position, self._sampler, self._workers = position, sampler, workers

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, counted from 0, whose order is used next. Call this before each epoch."""
        self._sampler.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        return self._workers.batches(self._position, self._sampler)

    def __len__(self) -> int:
        """Number of steps of an epoch."""
        return len(self._sampler)

    def close(self) -> None:
        """End the worker processes now, for all loaders that share them."""
        self._workers.close()


def make_loader(
    dataset: SizedDataset,
    *,
    batch_size: int,
    train: bool,
    context: TrialContext,
    workers: LoaderWorkers | None = None,
) -> Loader:
    """Make the loader of a data set on this rank.

    Args:
        dataset: The data set. Its augmentation must draw from the global random generators.
        batch_size: Samples of a step over all ranks.
        train: True shuffles in each epoch and gives every rank a batch in every step. False keeps the order and loads
            each sample exactly once over all ranks.
        context: Rank, world size, device, seed and number of loader workers of the trial.
        workers: Processes shared with other loaders of the trial; None starts some for this loader.

    Raises:
        InvalidConfig: The batch can't be split evenly over the ranks.
        ValueError: The data set is empty.
    """
    if len(dataset) == 0:
        raise ValueError(f"fit: the {'training' if train else 'validation'} set is empty.")
    if batch_size < 1 or (train and batch_size % context.world_size):
        raise InvalidConfig(
            f"batch_size {batch_size} can't be split over {context.world_size} workers. Use a multiple of that."
        )
    sampler = TrainSampler if train else EvalSampler
    workers = workers or LoaderWorkers(context)
    return Loader(workers.add(dataset), sampler(len(dataset), batch_size, context), workers)


@final
class _CurrentSampler(Sampler[tuple[int, StepSamples]]):
    """The sampler of the shared DataLoader: the steps of the loader that is iterated now, with its data set."""

    position = 0
    """Position of the data set."""
    steps: Iterable[StepSamples] = ()
    """The samples of each step of this epoch."""

    def __iter__(self) -> Iterator[tuple[int, StepSamples]]:
        return ((self.position, step) for step in self.steps)


@final
class _BatchDataset(Dataset[Batch]):
    """A data set whose items are whole batches of one of several data sets; it runs in the loader workers."""

    def __init__(self, datasets: list[SizedDataset]) -> None:
        self._datasets = datasets

    def __getitem__(self, item: tuple[int, StepSamples]) -> Batch:
        position, step = item
        dataset = self._datasets[position]
        if isinstance(dataset, TensorDataset):  # not random, and faster as one lookup for all samples
            samples = dataset[step.indices]
        else:
            with _random_state(step.random_seed):
                samples = default_collate([dataset[index] for index in step.indices])
        try:
            inputs, targets = samples
        except (TypeError, ValueError):
            raise TypeError("fit: each sample of a data set must be a pair (inputs, targets).") from None
        return Batch(inputs, targets, step.num_samples, step.num_global)


_spare_bits = numpy.random.MT19937(0)
"""The bit generator of NumPy's global generator within `_random_state`."""


@contextmanager
def _random_state(seed: int) -> Iterator[None]:
    """Within the block, the global random generators of the CPU are seeded; afterwards their states are restored.

    NumPy's bit generator is exchanged instead of copied, because a copy takes 35 us each way. Only the second value of
    a pair of Gaussians, which NumPy caches, is lost.
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
    """Let the kernel kill a worker process with its parent; PyTorch's own check runs every 5 s, between batches."""
    with suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
