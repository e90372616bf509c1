"""The current trial, as a training function sees it: who it is, what it keeps, where it reports.

The same function runs by hand, under `torchrun` and in a sweep; only the active `TrialContext` differs. One is made for
each attempt and rank, and shared by all threads of the process. PyTorch is imported inside functions: a driver that
looks up a trainable shall not pay for it.
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
    """The process that keeps the shared data of its trials in memory between one trial and the next.

    A trial in a slot runs in a process that ends with it; `shared_data` reports through this interface what the trial
    uses, so that the slot's own process can hold it for the next trial.
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
    """One attempt at a trial, on one rank.

    Args:
        number: The trial's number in its sweep, from 1; None outside of a sweep.
        rank: This process among those of the trial, in [0, world_size).
        world_size: Processes of the trial; their process group is made when it is first needed, see `join_ranks`.
        device: For example `cpu` or `cuda:0`; None for this rank's GPU if there is any, else the CPU.
        seed: Seeds shuffling and augmentation; the stepper seeds everything else with it.
        data: The spec's `data`; `root` is None where it is not given.
        precision: fp32, tf32, bf16 or fp16.
        parallel: ddp or dp: what `fit` does with several GPUs.
        loader_workers: DataLoader processes; None for as many as suit this process alone on the machine.
        leak_warnings: Whether to warn of memory that keeps growing from epoch to epoch.
        checkpoint_dir: Folder of this trial's checkpoints, shared by its ranks; None for no checkpoints.
        resume_at_most: Checkpoints of later epochs are passed over; None for no limit.
        on_report: Takes each row that `report` is given; None prints it.
        sharing: Keeps shared data alive beyond this process; None for a process that keeps it itself.
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
        """Rows so far, those before a resume included; the stepper counts them."""
        self.resumed_from = 0
        """Epoch of the checkpoint that this attempt went on from; 0 for none."""
        self.checkpoint_warning: str | None = None
        """One sentence when a damaged checkpoint was passed over; whoever tells it takes it away."""
        self.is_over = False
        """Whether the trial has its last epoch: what runs now is its own end, and writes no checkpoint of ours."""
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
        """Where this rank computes."""
        import torch

        if self._device is None:
            count = torch.cuda.device_count()
            self._device = f"cuda:{self.rank % count}" if count else "cpu"
        return torch.device(self._device)

    @property
    def loader_workers(self) -> int:
        """Processes that each DataLoader of this rank may start; 0 loads in the training process itself."""
        if self._loader_workers is None:
            from hpsearch.training.environment import loader_workers

            gpus = 1 if self.device.type == "cuda" else 0
            self._loader_workers = loader_workers(gpus=gpus, cpu_threads=len(os.sched_getaffinity(0)), concurrent=1)
        return self._loader_workers

    def join_ranks(self) -> None:
        """Meet the other ranks in a process group, unless the training code has made one."""
        if self.world_size == 1 or self._has_joined:
            return
        from hpsearch.training.environment import join_group

        self._has_joined = True
        join_group(rank=self.rank, world_size=self.world_size, device=self.device)

    @property
    def kept(self) -> bool:
        """Whether a checkpoint would hold anything: something was registered, and there is a folder."""
        return self._kept is not None and self._kept.has_objects

    def keep(self, **objects: Stateful) -> int:
        """Register what belongs into a checkpoint, and restore it at once if there is one.

        Random states are restored too, so call it last before the loop. Ranks are taken for replicas: rank 0's objects
        are written and every rank reads them; random states are each rank's own.

        Args:
            objects: Each has `state_dict` and `load_state_dict`; several calls add up.

        Returns:
            Epochs done before, 0 for a fresh trial: the epoch to begin with, counted from 0. Always 0 by hand.

        Raises:
            TypeError: An object has no state.
            ValueError: A name was registered before, or the checkpoint does not know it.

        Example:
            >>> start = current_trial().keep(model=model, optimizer=optimizer)  # doctest: +SKIP
        """
        return self._keep(objects, per_rank=False)

    def keep_own(self, **objects: Stateful) -> int:
        """Like `keep`, for what differs from rank to rank: the stages of a pipeline, the shards of a model.

        Each rank writes its own objects and reads them again, so a trial goes on with as many ranks as it had.

        Raises:
            TypeError: An object has no state.
            ValueError: As `keep`, or the checkpoint was written by another number of ranks.

        Example:
            >>> start = current_trial().keep_own(stage=stage, optimizer=optimizer)  # doctest: +SKIP
        """
        return self._keep(objects, per_rank=True)

    def _keep(self, objects: Mapping[str, Stateful], *, per_rank: bool) -> int:
        for name, kept in objects.items():
            check_has_state(name, kept)
        if self._kept is None:
            return 0  # and hold nothing: by hand one context serves training after training
        self._kept.register(objects, per_rank=per_rank)
        if not self._kept.is_loaded:
            self.resumed_from, self.checkpoint_warning = self._kept.load()
            self.epochs_done = self.resumed_from or self.epochs_done
        self._kept.restore(objects, per_rank=per_rank, device=self.device)
        return self.resumed_from

    def save(self) -> int | None:
        """Write a checkpoint of the state now; every rank calls it at the same epoch.

        Returns:
            `epochs_done`; None where nothing is kept or there is no folder for it.
        """
        if self._kept is None or not self._kept.has_objects:
            return None
        return self._kept.save(epoch=self.epochs_done, device=self.device)


_active: TrialContext | None = None
_by_hand: TrialContext | None = None
_by_hand_lock = threading.Lock()


def current_trial() -> TrialContext:
    """The trial that this process trains; by hand one with default values, under `torchrun` the rank's own.

    Where the trial has several ranks they are in a process group when this returns: the training code's own if it has
    made one, else one that is made here. So all ranks must call it.

    Example:
        >>> current_trial().rank
        0
    """
    context = _current()
    context.join_ranks()
    return context


def _current() -> TrialContext:
    """The same, without a word to other ranks."""
    global _by_hand  # noqa: PLW0603  # a process has one
    if _active is not None:
        return _active
    with _by_hand_lock:
        if _by_hand is None:
            _by_hand = context_by_hand()
        return _by_hand


def context_by_hand(**settings: Any) -> TrialContext:
    """A trial outside of any sweep; under `torchrun` this rank of it.

    Args:
        settings: As `TrialContext` takes them, but for who this process is.
    """
    from hpsearch.training.environment import rank_from_environment

    return TrialContext(**rank_from_environment(), **settings)


@contextmanager
def activate(context: TrialContext) -> Iterator[TrialContext]:
    """Make `context` the current trial of all threads of this process, for as long as the block lasts."""
    global _active  # noqa: PLW0603  # a process has one
    before, _active = _active, context
    try:
        yield context
    finally:
        _active = before


def report(metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
    """Tell the metrics of one epoch: for training functions that don't yield them.

    In a sweep it returns when the trial shall go on. By hand it prints one line.

    Args:
        metrics: One row; may be left out.
        named: More of the same row.

    Raises:
        TypeError: `metrics` is no mapping.
        TrialStopped: The trial is over; let it pass.

    Example:
        >>> report({"val_loss": 0.5}, accuracy=0.91)
        epoch 1: val_loss 0.5, accuracy 0.91
    """
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(
            f"report takes a dict of metrics, got {type(metrics).__name__}. Write for example report(loss=0.5)."
        )
    context, row = _current(), {**(metrics or {}), **named}
    if context.on_report is not None:
        context.on_report(row)
        return
    context.epochs_done += 1
    if context.rank == 0:
        print(metrics_text(context.epochs_done, row))


def metrics_text(epoch: int, row: Mapping[str, Any]) -> str:
    """One epoch as a line."""
    return f"epoch {epoch}: " + ", ".join(f"{name} {_shown(value)}" for name, value in row.items())


def _shown(value: Any) -> str:
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return str(value)
