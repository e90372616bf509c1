"""A spec on its way from another tool's words into ours: the tree so far, and where each part of it was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from hpsearch.errors import Problem
from hpsearch.plain import KeyPath

Convert = Callable[[Any], Any]


@final
class Draft:
    """Is changed step by step; what can't be said in our words is kept as a problem."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        """Nothing is translated yet; `tree` itself is not changed."""
        self.tree: dict[str, Any] = {
            key: dict(value) if isinstance(value, Mapping) else value for key, value in tree.items()
        }
        self.moved: dict[KeyPath, KeyPath] = {}
        self.problems: list[Problem] = []

    def move(self, old: KeyPath, new: KeyPath, convert: Convert) -> None:
        """Rename a key, if it is there and its new name is free."""
        holder = self._map_at(old[:-1])
        if holder is None or old[-1] not in holder:
            return
        if len(new) > 1 and not isinstance(self.tree.setdefault(str(new[0]), {}), dict):
            return  # what stands there is a mistake, and told as such
        target, key = (self.tree[str(new[0])] if len(new) > 1 else self.tree), str(new[-1])
        value = holder.pop(str(old[-1]))
        if target.get(key) is not None:
            first = ".".join(map(str, self.moved.get(new, new)))
            self.add_problem(old, f"it means the same as {first}, which is there too. Keep one of them.")
        else:
            target[key] = convert(value)
            self.moved[new] = old
        if old[0] == "stop" and not holder:
            del self.tree["stop"]

    def add_problem(self, where: KeyPath, message: str) -> None:
        """What stands at `where`, as it was written, has no meaning for us."""
        self.problems.append(Problem(where=where, message=message))

    def _map_at(self, where: KeyPath) -> dict[str, Any] | None:
        found: Any = self.tree
        for key in where:
            found = found.get(str(key)) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else None


def whole(value: Any) -> Any:
    """A whole number that is written as a float, as one; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
