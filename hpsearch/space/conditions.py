"""When a parameter stands in a point, and in which order parameters depend on each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from hpsearch.plain import canonical


@final
@dataclass(frozen=True, kw_only=True)
class Condition:
    """What other parameters must be; a parameter with a condition is *active* where it holds."""

    allowed: Mapping[str, frozenset[str]]
    """Dotted name to the canonical forms of the values, one of which it must have; all names must."""

    def holds(self, point: Mapping[str, Any]) -> bool:
        """Whether all of them are in `point` (so active themselves) with such a value."""
        return all(name in point and canonical(point[name]) in keys for name, keys in self.allowed.items())

    def __str__(self) -> str:
        parts = (f"{name} = {' | '.join(sorted(keys))}" for name, keys in self.allowed.items())
        return "when " + " and ".join(parts)


class CycleError(ValueError):
    """Parameters depend on each other in a circle; the message shows it."""

    def __init__(self, circle: Iterable[str]) -> None:
        self.circle = tuple(circle)
        super().__init__(" -> ".join(self.circle))


def sorted_by_dependency(names: Iterable[str], needs: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The names, each after those that it needs, else as they came.

    Args:
        names: All of them.
        needs: Name to the names that it depends on; may leave out names that depend on none.

    Raises:
        CycleError: There is no such order.
    """
    order: dict[str, None] = {}
    for name in names:
        _visit(name, needs, order)
    return tuple(order)


def _visit(start: str, needs: Mapping[str, Iterable[str]], order: dict[str, None]) -> None:
    """Depth first, without recursion: chains of thousands of parameters are allowed."""
    path: dict[str, list[str]] = {}
    current: str | None = None if start in order else start
    while current is not None:
        waiting = path.setdefault(current, sorted(set(needs.get(current, ())), reverse=True))
        following = next((name for name in _popped(waiting) if name not in order), None)
        if following is None:
            del path[current]
            order[current] = None
            current = next(reversed(path), None)
        elif following in path:
            circle = [*path]
            raise CycleError([*circle[circle.index(following) :], following])
        else:
            current = following


def _popped(waiting: list[str]) -> Iterable[str]:
    while waiting:
        yield waiting.pop()


def linked_groups(names: Iterable[str], conditions: Mapping[str, Condition]) -> list[list[str]]:
    """The names in groups that conditions link, directly or by way of others; groups and names keep their order."""
    group_of = {name: [name] for name in names}
    position = {name: index for index, name in enumerate(group_of)}
    for name, condition in conditions.items():
        for parent in condition.allowed:
            group, other = group_of[name], group_of[parent]
            if group is not other:
                group += other
                group_of |= dict.fromkeys(other, group)
    groups = {id(group): group for group in group_of.values()}
    return [sorted(group, key=position.__getitem__) for group in groups.values()]


def requirements(name: str, conditions: Mapping[str, Condition]) -> dict[str, frozenset[str]]:
    """All that must hold for `name` to be active: its own condition, its parents' conditions and so on.

    Args:
        name: Of a parameter.
        conditions: Without a circle.

    Returns:
        Name to the canonical forms that it may have; an empty set if they contradict each other.
    """
    found: dict[str, frozenset[str]] = {}
    seen, waiting = {name}, [name]
    while waiting:
        condition = conditions.get(waiting.pop())
        for parent, keys in condition.allowed.items() if condition else ():
            found[parent] = found.get(parent, keys) & keys
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return found
