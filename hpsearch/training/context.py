"""The current trial as its training function sees it: number, rank, device, seed, kept state and reports.

The same training function runs by hand, under `torchrun` and in a sweep; only the active `TrialContext` differs. There
is one context per attempt and rank, shared by all threads of the process. PyTorch is imported inside functions, because
a process that only looks up a trainable does not need it.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from hpsearch.training.state import KeptState
from hpsearch.training.stateful import Stateful, check_has_state

if TYPE_CHECKING:
    import torch


class SharedDataHost(ABC):
    """Keeps the shared data of a trial in memory for the trials after it.

    Under `isolation: process` the process of a trial ends with it. Through this interface `shared_data` reports which
    data the trial uses, so that its rank can hold the data for the next trial.
    """

    @abstractmethod
    def hold_block(self, name: str, file: int) -> None:
        """Keep a block of memory that this trial uses.

        Args:
            name: Name of the block.
            file: Open file descriptor of the block; it stays the caller's.
        """

    @abstractmethod
    def find_listing(self, path: str) -> str | None:
        """The digest of the files at `path` that an earlier trial stored, or None."""

    @abstractmethod
    def store_listing(self, path: str, digest: str) -> None:
        """Store the digest of the files at `path` for later trials."""


@final
class TrialContext:
    """What a training function can ask about its trial, and how it keeps its state; from `hpsearch.current_trial()`.

    A context describes one attempt at a trial on one rank. Training code reads its attributes (`number`, `rank`,
    `world_size`, `device`, `seed`, `data`, `precision`, `parallel`, `loader_workers`, `epochs_done`, `resumed_from`)
    and calls `keep`, `keep_own` and `save`. hpsearch constructs it; tests of a training function may do so too.

    Args:
        number: Number of the trial in its sweep, from 1; None outside of a sweep.
        rank: This process among those of the trial, in [0, world_size).
        world_size: Number of processes (ranks) of the trial. `join_ranks` initialises their process group.
        device: For example `cpu` or `cuda:0`; None for this rank's GPU if there is one, else the CPU.
        seed: Seed of the trial. In a sweep, all random generators of the process are seeded with it.
        data: The spec's `data`, read-only. `data["root"]` is None where the spec does not set it.
        precision: `fp32`, `tf32`, `bf16` or `fp16`.
        parallel: `ddp` or `dp`: how `fit` uses several GPUs.
        loader_workers: DataLoader workers of this rank; None chooses a number for a process that has the machine to
            itself.
        leak_warnings: Whether memory that grows from epoch to epoch causes a warning.
        checkpoint_dir: Folder of the trial's checkpoints, shared by its ranks; None for no checkpoints.
        resume_at_most: Checkpoints of later epochs are ignored; None for no limit.
        on_report: Called with the metrics of each `report`; None prints them.
        sharing: Keeps shared data in memory after this process has ended; None if nothing does.
    """

    def __init__(
        self,
        *,
        number: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        device: str | None = None,
        seed: int = 0,
        data: Mapping[str, Any] | None = None,
        precision: str = "fp32",
        parallel: str = "ddp",
        loader_workers: int | None = None,
        leak_warnings: bool = True,
        checkpoint_dir: Path | None = None,
        resume_at_most: int | None = None,
        on_report: Callable[[dict[str, Any]], None] | None = None,
        sharing: SharedDataHost | None = None,
    ) -> None:
        self.number = number
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.data: Mapping[str, Any] = MappingProxyType({"root": None, **(data or {})})
        self.precision = precision
        self.parallel = parallel
        self.leak_warnings = leak_warnings
        self.on_report = on_report
        self.sharing = sharing
        self.epochs_done = 0
        """Epochs reported so far, including those before the trial was resumed."""
        self.resumed_from = 0
        """Epoch of the checkpoint that this attempt resumed from; 0 without one."""
        self.checkpoint_warning: str | None = None
        """A sentence about a damaged checkpoint that was skipped; it is set to None once it has been reported."""
        self.is_over = False
        """Whether the trial has had its last epoch. The code after its loop may still run; no checkpoint is written."""
        self._has_joined = False
        self._device = device
        self._loader_workers = loader_workers
        self._kept = (
            None
            if checkpoint_dir is None
            else KeptState(checkpoint_dir, rank=rank, world_size=world_size, at_most=resume_at_most)
        )

    @property
    def device(self) -> torch.device:
        """The device on which this rank computes."""
        import torch

        if self._device is None:
            count = torch.cuda.device_count()
            self._device = f"cuda:{self.rank % count}" if count else "cpu"
        return torch.device(self._device)

    @property
    def loader_workers(self) -> int:
        """DataLoader workers of this rank, for training and validation together; 0 loads in the training process."""
        if self._loader_workers is None:
            from hpsearch.training.environment import loader_workers

            gpus = 1 if self.device.type == "cuda" else 0
            self._loader_workers = loader_workers(gpus=gpus, cpu_threads=len(os.sched_getaffinity(0)), concurrent=1)
        return self._loader_workers

    def join_ranks(self) -> None:
        """Initialise the process group of the trial's ranks, unless the training code has made one.

        Does nothing for a trial of one rank. Blocks until all ranks have called it.
        """
        if self.world_size == 1 or self._has_joined:
            return
        from hpsearch.training.environment import join_group

        self._has_joined = True
        join_group(rank=self.rank, world_size=self.world_size, device=self.device)

    @property
    def kept(self) -> bool:
        """Whether checkpoints are written: `keep` or `keep_own` has registered an object, and there is a folder."""
        return self._kept is not None and self._kept.has_objects

    def keep(self, **objects: Stateful) -> int:
        """Register the objects that checkpoints contain, and restore them if the trial has a checkpoint.

        In a sweep their state is saved as the trial is paused or checkpointed, and a trial that is resumed, retried or
        promoted continues from there. The random states of PyTorch, `random` and NumPy are saved and restored too, so
        call `keep` last before the training loop. With several ranks the objects are treated as replicas: rank 0 saves
        them and all ranks load them. Random states are saved for each rank.

        Args:
            objects: Objects with `state_dict` and `load_state_dict`, such as modules, optimizers and schedulers, under
                the names that the checkpoint uses. Further calls register further objects.

        Returns:
            Number of epochs that are already done, which is also the epoch to start with when epochs count from 0. It
            is 0 for a new trial and outside of a sweep.

        Raises:
            TypeError: An object lacks `state_dict` or `load_state_dict`.
            ValueError: A name was registered before, or the checkpoint does not contain it.

        Example:
            >>> from torch import nn
            >>> current_trial().keep(model=nn.Linear(2, 1))
            0
        """
        return self._keep(objects, per_rank=False)

    def keep_own(self, **objects: Stateful) -> int:
        """Like `keep`, for objects whose state differs between ranks: pipeline stages, or the shards of a model.

        Each rank saves and loads its own objects, so a trial resumes with the number of ranks that it had.

        Args:
            objects: As for `keep`. For a model split by `fully_shard` see `hpsearch.training.shards.Shards`.

        Returns:
            Number of epochs that are already done, as for `keep`.

        Raises:
            TypeError: An object lacks `state_dict` or `load_state_dict`.
            ValueError: As for `keep`, or the checkpoint was written by another number of ranks.

        Example:
            >>> start = current_trial().keep_own(stage=stage, optimizer=optimizer)  # doctest: +SKIP
        """
        return self._keep(objects, per_rank=True)

    def _keep(self, objects: Mapping[str, Stateful], *, per_rank: bool) -> int:
        for name, kept in objects.items():
            check_has_state(name, kept)
        if self._kept is None:
            return 0  # nothing is registered: outside of a sweep one context may serve several trainings
        self._kept.register(objects, per_rank=per_rank)
        if not self._kept.is_loaded:
            self.resumed_from, self.checkpoint_warning = self._kept.load()
            self.epochs_done = self.resumed_from or self.epochs_done
        self._kept.restore(objects, per_rank=per_rank, device=self.device)
        return self.resumed_from

    def save(self) -> int | None:
        """Write a checkpoint of the current state. All ranks must call it at the same epoch.

        A sweep calls it itself; training code rarely needs to.

        Returns:
            `epochs_done`, the epoch of the checkpoint; None where nothing is kept or there is no folder.

        Raises:
            TypeError: A state contains objects that can't be loaded safely.
            OSError: The disk is full or can't be written; earlier checkpoints are intact.
        """
        if self._kept is None or not self._kept.has_objects:
            return None
        return self._kept.save(epoch=self.epochs_done, device=self.device)


_active: TrialContext | None = None
"""The context of the trial that a sweep runs in this process now; None outside of a sweep."""
_by_hand: TrialContext | None = None
"""The context outside of a sweep, made by the first `current_trial`."""
_by_hand_lock = threading.Lock()


def current_trial() -> TrialContext:
    """The context of the trial that this process trains.

    Outside of a sweep it is a context with default values; under `torchrun` it has the rank, world size and device of
    the process. When the trial has several ranks, their process group is initialised on return, unless the training
    code has made one before; all ranks must therefore call this function.

    Returns:
        The same context for all calls in one trial.

    Example:
        >>> current_trial().rank
        0
    """
    context = _current()
    context.join_ranks()
    return context


def _current() -> TrialContext:
    """The context of the current trial, without joining its ranks."""
    global _by_hand  # noqa: PLW0603  # a process has one
    if _active is not None:
        return _active
    with _by_hand_lock:
        if _by_hand is None:
            _by_hand = context_by_hand()
        return _by_hand


def context_by_hand(**settings: Any) -> TrialContext:
    """A context outside of a sweep; under `torchrun` with the rank, world size and device of this process.

    Args:
        settings: Arguments of `TrialContext` except those three.
    """
    from hpsearch.training.environment import rank_from_environment

    return TrialContext(**rank_from_environment(), **settings)


@contextmanager
def activate(context: TrialContext) -> Iterator[TrialContext]:
    """Within the block, make `context` the current trial of all threads of this process."""
    global _active  # noqa: PLW0603  # a process has one
    before, _active = _active, context
    try:
        yield context
    finally:
        _active = before


def report(metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
    """Report the metrics of one epoch, for training functions that do not yield them.

    In a sweep the call returns when the trial may train its next epoch, and raises `TrialStopped` when it may not.
    Outside of a sweep it prints one line (on rank 0).

    Args:
        metrics: Metric names to numbers; may be omitted.
        named: More metrics of the same epoch, as keyword arguments.

    Raises:
        TypeError: `metrics` is not a mapping.
        TrialStopped: The trial is over: it was stopped, or has reached its last epoch. Do not catch it; `finally`
            blocks run.

    Example:
        >>> report({"val_loss": 0.5}, accuracy=0.91)
        epoch 1: val_loss 0.5, accuracy 0.91
    """
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(
            f"report: expected a dict of metrics, got {type(metrics).__name__}. Write for example report(loss=0.5)."
        )
    context, reported = _current(), {**(metrics or {}), **named}
    if context.on_report is not None:
        context.on_report(reported)
        return
    context.epochs_done += 1
    if context.rank == 0:
        print(metrics_text(context.epochs_done, reported))


def metrics_text(epoch: int, metrics: Mapping[str, Any]) -> str:
    """The metrics of one epoch as a line of text.

    Example:
        >>> metrics_text(3, {"val_loss": 0.25, "lr": 1e-4})
        'epoch 3: val_loss 0.25, lr 0.0001'
    """
    return f"epoch {epoch}: " + ", ".join(f"{name} {_value_text(value)}" for name, value in metrics.items())


def _value_text(value: Any) -> str:
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return str(value)
