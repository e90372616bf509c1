"""What a checkpoint can hold: anything with `state_dict` and `load_state_dict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    pass


@runtime_checkable
class Stateful(Protocol):
    """What `keep` takes: modules, optimizers, schedulers, scalers and anything alike."""

    def state_dict(self) -> dict[str, Any]:
        """All state, as tensors, numbers, texts, lists and dicts."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take over what `state_dict` gave."""


def check_has_state(name: str, kept: object) -> None:
    """Raises TypeError for what can't be kept."""
    if not isinstance(kept, Stateful) or isinstance(kept, type):
        raise TypeError(
            f"keep({name}=...): expected an object with state_dict and load_state_dict, got {type(kept).__name__}."
        )
