"""What a trial keeps over a restart, on one rank: held, restored at once, written when it is told.

How checkpoints lie on disk is in `checkpoint.py`, which needs torch and is imported when there is something to do.
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
    """The objects of one attempt on one rank that belong into its checkpoints."""

    def __init__(self, folder: Path, *, rank: int, world_size: int, at_most: int | None) -> None:
        """Hold nothing yet, and look at no file.

        Args:
            folder: Checkpoints of the trial, shared by its ranks.
            rank: This process among those of the trial.
            world_size: Processes of the trial.
            at_most: Checkpoints of later epochs are passed over; None for no limit.
        """
        self._folder, self._rank, self._world_size, self._at_most = folder, rank, world_size, at_most
        self._shared: dict[str, Stateful] = {}
        self._own: dict[str, Stateful] = {}
        self._found: Checkpoint | None = None  # its states are handed out one by one
        self._saved_epoch: int | None = None
        self.is_loaded = False
        """Whether `load` was called."""

    @property
    def has_objects(self) -> bool:
        """Whether a checkpoint would hold anything."""
        return bool(self._shared or self._own)

    def register(self, objects: Mapping[str, Stateful], *, per_rank: bool) -> None:
        """Put objects into the checkpoints to come.

        Args:
            objects: By name.
            of_rank: They differ from rank to rank; otherwise rank 0's are written, and every rank reads them.

        Raises:
            ValueError: A name is taken.
        """
        for name in objects:
            if name in self._shared or name in self._own:
                raise ValueError(f"keep({name}=...): there is a '{name}' already. Each object needs a name of its own.")
        held = self._own if per_rank else self._shared
        held |= objects

    def load(self) -> tuple[int, str | None]:
        """(Epoch of the newest intact checkpoint, 0 without any; one sentence if a damaged one was passed over)."""
        from hpsearch.training.checkpoint import load_checkpoint

        self.is_loaded = True
        self._found, warning = load_checkpoint(self._folder, rank=self._rank, at_most=self._at_most)
        if self._found is None:
            return 0, warning
        self._saved_epoch = self._found.epoch
        return self._found.epoch, warning

    def restore(self, objects: Mapping[str, Stateful], *, per_rank: bool, device: torch.device) -> None:
        """Give objects the state that they had in the checkpoint that was read, and the process its random states.

        Args:
            objects: Held, by name.
            of_rank: As they were held.
            device: Whose random states.

        Raises:
            ValueError: The checkpoint has no such name, or was written by another number of ranks.
        """
        from hpsearch.training.parallel import unwrap
        from hpsearch.training.rng import set_rng_states

        found = self._found
        if found is None:
            return
        if per_rank and found.world_size != self._world_size:
            raise ValueError(
                f"keep_own: the checkpoint of epoch {found.epoch} was written by {found.world_size} ranks, each its own"
                f" part; this trial has {self._world_size}. Go on with as many."
            )
        for name, kept in objects.items():
            unwrap(kept).load_state_dict(_state_of(name, found, per_rank=per_rank))
        if found.rng is not None:
            set_rng_states(found.rng, device)

    def save(self, *, epoch: int, device: torch.device) -> int:
        """Write a checkpoint of the state now, unless that of this epoch is there; `epoch` comes back."""
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
