"""A setting of the process or of a library: how it is read, and how it is restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting that can be restored."""

    what: str
    """Its name in messages."""
    read: Callable[[], Any]
    """Returns its value; values are compared by `==`."""
    write: Callable[[Any], object]
    """Sets a value that `read` has returned."""
