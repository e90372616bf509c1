"""A spec during its translation: the tree so far, the moves made, and the problems found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from hpsearch.errors import Problem
from hpsearch.plain import KeyPath

Convert = Callable[[Any], Any]
"""Converts another tool's value into ours."""


@final
class Draft:
    """A spec that the steps of the translation modify; settings without an equivalent become problems."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        """Copy a spec that is not translated yet.

        Args:
            tree: The spec; it is not modified.
        """
        self.tree: dict[str, Any] = {
            key: dict(value) if isinstance(value, Mapping) else value for key, value in tree.items()
        }
        """The spec so far."""
        self.moved: dict[KeyPath, KeyPath] = {}
        """See `Translation.moved`."""
        self.originals: dict[KeyPath, Mapping[str, Any]] = {}
        """See `Translation.originals`."""
        self.problems: list[Problem] = []
        """See `Translation.problems`."""

    def move(self, old: KeyPath, new: KeyPath, convert: Convert) -> None:
        """Move a value to another key; a problem if that key has a value too.

        Args:
            old: Key path of the value; nothing happens if there is none.
            new: Key path to move it to, of one or two keys.
            convert: Applied to the value.
        """
        holder = self._map_at(old[:-1])
        if holder is None or old[-1] not in holder:
            return
        if len(new) > 1 and not isinstance(self.tree.setdefault(str(new[0]), {}), dict):
            return  # the value there is a mistake that later checks report
        target, key = (self.tree[str(new[0])] if len(new) > 1 else self.tree), str(new[-1])
        value = holder.pop(str(old[-1]))
        if target.get(key) is not None:
            first = ".".join(map(str, self.moved.get(new, new)))
            self.add_problem(old, f"the key means the same as {first}, which is there too. Keep one of them.")
        else:
            target[key] = convert(value)
            self.moved[new] = old
        if old[0] == "stop" and not holder:
            del self.tree["stop"]

    def add_problem(self, where: KeyPath, message: str) -> None:
        """Record a problem.

        Args:
            where: Key path in the spec as the user wrote it.
            message: Ends with a full stop.
        """
        self.problems.append(Problem(where=where, message=message))

    def _map_at(self, where: KeyPath) -> dict[str, Any] | None:
        found: Any = self.tree
        for key in where:
            found = found.get(str(key)) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else None


def whole(value: Any) -> Any:
    """An int for a float without a fraction; any other value unchanged."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
