"""The protocol of objects that a checkpoint can contain: `state_dict` and `load_state_dict`."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """What `keep` accepts: modules, optimizers, schedulers, gradient scalers and objects like these.

    Source:
        The same protocol as `torch.distributed.checkpoint.stateful.Stateful`.
    """

    def state_dict(self) -> dict[str, Any]:
        """The whole state, made of tensors, numbers, texts, lists and dicts."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Restore a state that `state_dict` returned."""


def check_has_state(name: str, kept: object) -> None:
    """Check that an object can be kept.

    Args:
        name: Name under which it was given to `keep`.
        kept: The object.

    Raises:
        TypeError: It lacks `state_dict` or `load_state_dict`, or is a class.
    """
    if not isinstance(kept, Stateful) or isinstance(kept, type):
        raise TypeError(
            f"keep({name}=...): expected an object with state_dict and load_state_dict, got {type(kept).__name__}."
        )
