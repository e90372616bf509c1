"""The current trial, as a training function sees it: who it is, what it keeps, where it reports.

The same function runs by hand, under `torchrun` and in a sweep; only the active `TrialContext` differs. One is made for
each attempt and rank, and shared by all threads of the process, since plain functions run in one of their own. PyTorch
is imported inside functions: a driver that looks up a trainable shall not pay for it.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

if TYPE_CHECKING:
    import torch

    from hpsearch.training.checkpoint import Checkpoint


@runtime_checkable
class Stateful(Protocol):
    """What `keep` takes: modules, optimizers, schedulers, scalers and anything alike."""

    def state_dict(self) -> dict[str, Any]:
        """All state, as tensors, numbers, texts, lists and dicts."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take over what `state_dict` gave."""


@final
class TrialContext:
    """One attempt at a trial, on one rank.

    Args:
        number: The trial's number in its sweep, from 1; None outside of a sweep.
        rank: This process among those of the trial, in [0, world_size).
        world_size: Processes of the trial; more than 1 needs a process group that was joined before.
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
        self.epochs_done = 0
        """Rows so far, those before a resume included; the stepper counts them."""
        self.resumed_from = 0
        """Epoch of the checkpoint that this attempt went on from; 0 for none."""
        self.checkpoint_warning: str | None = None
        """One sentence when a damaged checkpoint was passed over; whoever tells it takes it away."""
        self._device = device
        self._loader_workers = loader_workers
        self._checkpoint_dir = checkpoint_dir
        self._resume_at_most = resume_at_most
        self._kept: dict[str, Stateful] = {}
        self._own: dict[str, Stateful] = {}
        self._restored: Checkpoint | None = None  # its states are handed out one by one
        self._loaded = False
        self._saved_epoch: int | None = None

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
            from hpsearch.training.data import loader_workers

            gpus = 1 if self.device.type == "cuda" else 0
            self._loader_workers = loader_workers(gpus=gpus, cpu_threads=len(os.sched_getaffinity(0)), concurrent=1)
        return self._loader_workers

    @property
    def kept(self) -> bool:
        """Whether a checkpoint would hold anything: something was registered, and there is a folder."""
        return bool(self._kept or self._own)

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
        return self._keep(objects, self._kept)

    def keep_own(self, **objects: Stateful) -> int:
        """Like `keep`, for what differs from rank to rank: the stages of a pipeline, the shards of a model.

        Each rank writes its own objects and reads them again, so a trial goes on with as many ranks as it had.

        Raises:
            TypeError: An object has no state.
            ValueError: As `keep`, or the checkpoint was written by another number of ranks.

        Example:
            >>> start = current_trial().keep_own(stage=stage, optimizer=optimizer)  # doctest: +SKIP
        """
        return self._keep(objects, self._own)

    def _keep(self, objects: Mapping[str, Stateful], held: dict[str, Stateful]) -> int:
        for name, kept in objects.items():
            self._check(name, kept)
        if self._checkpoint_dir is None:
            return 0  # and hold nothing: by hand one context serves training after training
        held |= objects
        if not self._loaded:
            self._load(self._checkpoint_dir)
        if self._restored is not None:
            self._restore(objects, self._restored, of_rank=held is self._own)
        return self.resumed_from

    def save(self) -> int | None:
        """Write a checkpoint of the state now; every rank calls it at the same epoch.

        Returns:
            `epochs_done`; None where nothing is kept or there is no folder for it.
        """
        if not self.kept or self._checkpoint_dir is None:
            return None
        if self._saved_epoch != self.epochs_done:
            from hpsearch.training.checkpoint import save_checkpoint

            save_checkpoint(
                self._checkpoint_dir,
                epoch=self.epochs_done,
                rank=self.rank,
                world_size=self.world_size,
                objects=self._kept if self.rank == 0 else {},
                own=self._own,
                device=self.device,
                previous=self._saved_epoch,
            )
            self._saved_epoch = self.epochs_done
        return self._saved_epoch

    def _check(self, name: str, kept: object) -> None:
        if not isinstance(kept, Stateful) or isinstance(kept, type):
            raise TypeError(
                f"keep({name}=...): expected an object with state_dict and load_state_dict, got {type(kept).__name__}."
            )
        if name in self._kept or name in self._own:
            raise ValueError(f"keep({name}=...): there is a '{name}' already. Each object needs a name of its own.")

    def _load(self, folder: Path) -> None:
        """The newest intact checkpoint, if there is any."""
        from hpsearch.training.checkpoint import load_checkpoint

        self._loaded = True
        self._restored, self.checkpoint_warning = load_checkpoint(folder, rank=self.rank, at_most=self._resume_at_most)
        if self._restored is not None:
            self.epochs_done = self.resumed_from = self._saved_epoch = self._restored.epoch

    def _restore(self, objects: Mapping[str, Stateful], found: Checkpoint, *, of_rank: bool) -> None:
        from hpsearch.training.parallel import unwrap
        from hpsearch.training.rng import set_rng_states

        states, call = (found.own, "keep_own") if of_rank else (found.states, "keep")
        if of_rank and found.world_size != self.world_size:
            raise ValueError(
                f"keep_own: the checkpoint of epoch {found.epoch} was written by {found.world_size} ranks, each its own"
                f" part; this trial has {self.world_size}. Go on with as many."
            )
        for name, kept in objects.items():
            if name not in states:
                known = ", ".join(states) or "nothing else"
                raise ValueError(
                    f"{call}({name}=...): the checkpoint of epoch {found.epoch} has no '{name}', only {known}."
                )
            unwrap(kept).load_state_dict(states.pop(name))
        if found.rng is not None:
            set_rng_states(found.rng, self.device)


_active: TrialContext | None = None
_by_hand: TrialContext | None = None
_by_hand_lock = threading.Lock()


def current_trial() -> TrialContext:
    """The trial that this process trains; by hand one with default values, under `torchrun` the rank's own.

    Example:
        >>> current_trial().rank
        0
    """
    global _by_hand  # noqa: PLW0603  # a process has one
    if _active is not None:
        return _active
    with _by_hand_lock:
        if _by_hand is None:
            _by_hand = context_by_hand()
        return _by_hand


def context_by_hand(**settings: Any) -> TrialContext:
    """A trial outside of any sweep; under `torchrun` this rank of it, and its process group is joined.

    Args:
        settings: As `TrialContext` takes them, but for who this process is.
    """
    return _join_torchrun(**settings) if _under_torchrun() else TrialContext(**settings)


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
    context, row = current_trial(), {**(metrics or {}), **named}
    if context.on_report is not None:
        context.on_report(row)
        return
    context.epochs_done += 1
    if context.rank == 0:
        print(row_text(context.epochs_done, row))


def row_text(epoch: int, row: Mapping[str, Any]) -> str:
    """One epoch as a line."""
    return f"epoch {epoch}: " + ", ".join(f"{name} {_shown(value)}" for name, value in row.items())


def _shown(value: Any) -> str:
    try:
        return f"{float(value):.6g}"
    except (TypeError, ValueError):
        return str(value)


def _under_torchrun() -> bool:
    return {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def _join_torchrun(**settings: Any) -> TrialContext:
    from hpsearch.training.parallel import join, leave

    context = TrialContext(
        rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]), device=_local_device(), **settings
    )
    if context.world_size > 1:
        join(context.rank, context.world_size, store=None, device=context.device)
        atexit.register(leave)
    return context


def _local_device() -> str:
    import torch

    return f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
