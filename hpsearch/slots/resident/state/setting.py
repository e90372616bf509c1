"""One setting of the process or of a library that can be read and set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True, kw_only=True)
class Setting:
    """How it is read and set."""

    what: str
    """In words, for a message."""
    read: Callable[[], Any]
    """Its value; two are compared with `==`."""
    write: Callable[[Any], object]
    """Sets a value that was read."""
