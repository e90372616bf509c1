"""Conditions, which say when a parameter is active, and the order in which parameters depend on each other.

Parsing and checking a spec's `when` is in `references.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from hpsearch.plain import canonical


@final
@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition on the values of other parameters; its parameter is *active* where it holds."""

    allowed: Mapping[str, frozenset[str]]
    """Dotted name to the canonical forms of its allowed values; the condition holds if every name has one of them."""

    def holds(self, point: Mapping[str, Any]) -> bool:
        """Whether every parameter of the condition is active at `point` and has an allowed value there."""
        return all(name in point and canonical(point[name]) in keys for name, keys in self.allowed.items())

    def __str__(self) -> str:
        parts = (f"{name} = {' | '.join(sorted(keys))}" for name, keys in self.allowed.items())
        return "when " + " and ".join(parts)


class CycleError(ValueError):
    """Parameters depend on each other in a cycle; the message lists them."""

    def __init__(self, cycle: Iterable[str]) -> None:
        """Build the message.

        Args:
            cycle: Names of the parameters in order, the first one again at the end.
        """
        self.cycle = tuple(cycle)
        super().__init__(" -> ".join(self.cycle))


def sorted_by_dependency(names: Iterable[str], needs: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The names in an order in which each comes after those that it depends on, otherwise in the given order.

    Args:
        names: All names.
        needs: Name to the names that it depends on; names without dependencies may be missing.

    Raises:
        CycleError: Names depend on each other in a cycle, so that there is no such order.
    """
    order: dict[str, None] = {}
    for name in names:
        _visit(name, needs, order)
    return tuple(order)


def _visit(start: str, needs: Mapping[str, Iterable[str]], order: dict[str, None]) -> None:
    """Add a name after its dependencies to `order`. Depth first without recursion, for chains of thousands of names."""
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
            names = [*path]
            raise CycleError([*names[names.index(following) :], following])
        else:
            current = following


def _popped(waiting: list[str]) -> Iterable[str]:
    while waiting:
        yield waiting.pop()


def linked_groups(names: Iterable[str], conditions: Mapping[str, Condition]) -> list[list[str]]:
    """The names in groups that conditions connect, directly or not; groups and names keep their order."""
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
    """Everything that must hold for `name` to be active: its condition, those of its parents, and so on.

    Args:
        name: A parameter.
        conditions: The conditions by name, without a cycle.

    Returns:
        Name to the canonical forms of its allowed values; an empty set if the conditions contradict each other.
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
