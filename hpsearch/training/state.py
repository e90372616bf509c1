"""The objects that a trial keeps across restarts, on one rank: registered, restored and saved.

The format of checkpoint files is in `checkpoint.py`, which needs torch and is imported only when a file is read or
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hpsearch.training.stateful import Stateful

if TYPE_CHECKING:
    import torch

    from hpsearch.training.checkpoint import Checkpoint


@final
class KeptState:
    """The registered objects of one attempt on one rank, and the trial's checkpoint folder.

    Args:
        folder: Checkpoints of the trial, shared by its ranks. It is not read before `load`.
        rank: This process among those of the trial, in [0, world_size).
        world_size: Number of processes of the trial.
        at_most: Checkpoints of later epochs are ignored; None for no limit.
    """

    def __init__(self, folder: Path, *, rank: int, world_size: int, at_most: int | None) -> None:
        self._folder, self._rank, self._world_size, self._at_most = folder, rank, world_size, at_most
        self._shared: dict[str, Stateful] = {}
        self._own: dict[str, Stateful] = {}
        self._found: Checkpoint | None = None
        """The checkpoint that `load` read, without the states that `restore` has loaded since."""
        self._saved_epoch: int | None = None
        """Epoch of the newest checkpoint; None without one."""
        self.is_loaded = False
        """Whether `load` was called."""

    @property
    def has_objects(self) -> bool:
        """Whether any object is registered."""
        return bool(self._shared or self._own)

    def register(self, objects: Mapping[str, Stateful], *, per_rank: bool) -> None:
        """Add objects to all later checkpoints.

        Args:
            objects: Name to object.
            per_rank: True if the objects differ between ranks and each rank saves its own. False if they are replicas:
                rank 0 saves them and all ranks load them.

        Raises:
            ValueError: A name is already registered.
        """
        for name in objects:
            if name in self._shared or name in self._own:
                raise ValueError(f"keep({name}=...): there is a '{name}' already. Each object needs a name of its own.")
        registered = self._own if per_rank else self._shared
        registered |= objects

    def load(self) -> tuple[int, str | None]:
        """Read the newest intact checkpoint; `restore` then loads its states into objects.

        Returns:
            The checkpoint's epoch, 0 without one; and a sentence if a damaged checkpoint was skipped, else None.
        """
        from hpsearch.training.checkpoint import load_checkpoint

        self.is_loaded = True
        self._found, warning = load_checkpoint(self._folder, rank=self._rank, at_most=self._at_most)
        if self._found is None:
            return 0, warning
        self._saved_epoch = self._found.epoch
        return self._found.epoch, warning

    def restore(self, objects: Mapping[str, Stateful], *, per_rank: bool, device: torch.device) -> None:
        """Restore registered objects, and the random states of the process, from the checkpoint that `load` read.

        Does nothing if there was none.

        Args:
            objects: Name to object, as registered.
            per_rank: As registered.
            device: Device of this rank, whose random state is restored too.

        Raises:
            ValueError: The checkpoint lacks a name, or per-rank objects were written by another number of ranks.
        """
        from hpsearch.training.parallel import unwrap
        from hpsearch.training.rng import set_rng_states

        found = self._found
        if found is None:
            return
        if per_rank and found.world_size != self._world_size:
            raise ValueError(
                f"keep_own: the checkpoint of epoch {found.epoch} was written by {found.world_size} ranks, each with a"
                f" part of its own; this trial has {self._world_size}. Resume with {found.world_size} workers."
            )
        for name, kept in objects.items():
            unwrap(kept).load_state_dict(_state_of(name, found, per_rank=per_rank))
        if found.rng is not None:
            set_rng_states(found.rng, device)

    def save(self, *, epoch: int, device: torch.device) -> int:
        """Write a checkpoint of the current state, unless there is one of this epoch.

        Args:
            epoch: Epochs done.
            device: Device of this rank, whose random state is saved too.

        Returns:
            `epoch`.

        Raises:
            TypeError: A state contains objects that can't be loaded safely.
            OSError: The disk is full or can't be written; earlier checkpoints are intact.
        """
        from hpsearch.training.checkpoint import save_checkpoint

        if self._saved_epoch != epoch:
            save_checkpoint(
                self._folder,
                epoch=epoch,
                rank=self._rank,
                world_size=self._world_size,
                objects=self._shared if self._rank == 0 else {},
                own=self._own,
                device=device,
                previous=self._saved_epoch,
            )
            self._saved_epoch = epoch
        return epoch


def _state_of(name: str, found: Checkpoint, *, per_rank: bool) -> dict[str, Any]:
    states, call = (found.own, "keep_own") if per_rank else (found.states, "keep")
    if name not in states:
        known = ", ".join(states) or "nothing else"
        raise ValueError(f"{call}({name}=...): the checkpoint of epoch {found.epoch} has no '{name}', only {known}.")
    state: dict[str, Any] = states.pop(name)
    return state
