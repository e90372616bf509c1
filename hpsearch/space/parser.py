"""Parses the `parameters` tree of a spec into a `Space`: names, nesting and constants.

The map of a single parameter is parsed in `domain_parser.py`. `when`, `expr` and `constraints`, which refer to other
parameters, are resolved in `references.py`. Parsers collect every mistake and repair none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from hpsearch.errors import Problem
from hpsearch.plain import MAX_KEY_LENGTH, Key, KeyPath, check_plain
from hpsearch.space.domain_parser import is_domain, misspelt_domain, parse_domain, range_in_list
from hpsearch.space.domains import Constant, Domain
from hpsearch.space.references import ParsedParameters, resolve_references
from hpsearch.space.rounding import clip_range, round_beyond
from hpsearch.space.space import Space
from hpsearch.text import shown


def parse_space(
    tree: object, problems: list[Problem], *, constraints: object = (), where: KeyPath = ("parameters",)
) -> Space:
    """The space that `tree` describes.

    Args:
        tree: Nested dicts. A dict for which `is_domain` is true describes one parameter, any other dict is a level of
            nesting, and any other value is a constant.
        problems: One entry is added for each mistake; the space has only the parameters without mistakes.
        constraints: The spec's list of expressions.
        where: Keys that lead from the top of the spec to `tree`.
    """
    parser = _Parser(problems)
    if isinstance(tree, Mapping):
        parser.level(tree, where, prefix="")
    else:
        example = "Write for example lr: {min: 1e-4, max: 1e-1, log: true}."
        problems.append(Problem(where=where, message=f"expected a map of parameters, got {shown(tree)}. {example}"))
    return resolve_references(parser.parsed, constraints, problems)


def clip_ranges(tree: Any, *, all_of_them: bool = False) -> Any:
    """A `parameters` tree whose ranges with a `q` have multiples of it as bounds.

    Args:
        tree: The tree, which may have any mistakes.
        all_of_them: Whether ranges with `clip: false` are clipped, too.
    """

    def clip(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        is_left = value.get("clip") is False and not all_of_them
        return value if is_left else clip_range(value)

    return _with_each_parameter(tree, clip)


def parameters_of_older_versions(tree: Any) -> Any:
    """A `parameters` tree as an older version stored it, such that `parse_space` reads the same space.

    Each list that is refused today becomes {value: list}. Ranges with a `q` were not clipped: this version stores
    bounds that are multiples of `q`, or `clip: false`.
    """
    return _with_each_parameter(tree, _of_older_versions)


def _of_older_versions(value: Any) -> Any:
    if isinstance(value, Mapping):
        return round_beyond(value)
    return {"value": value} if isinstance(value, list) and range_in_list(value) else value


def _with_each_parameter(tree: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of a `parameters` tree in which `change` is applied to each parameter."""
    if isinstance(tree, Mapping) and not is_domain(tree):
        return {name: _with_each_parameter(value, change) for name, value in tree.items()}
    return change(tree)


@final
class _Parser:
    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self._domains: dict[str, Domain] = {}
        self._whens: dict[str, object] = {}
        self._paths: dict[str, KeyPath] = {}

    @property
    def parsed(self) -> ParsedParameters:
        return ParsedParameters(domains=self._domains, whens=self._whens, paths=self._paths)

    def level(self, tree: Mapping[Any, Any], where: KeyPath, prefix: str) -> None:
        for name, value in tree.items():
            if not self._name_is_good(name, (*where, name)):
                continue
            if isinstance(value, Mapping) and not is_domain(value):
                self._nested(value, (*where, name), f"{prefix}{name}.")
            else:
                self._parameter(value, (*where, name), prefix + name)

    def _parameter(self, value: object, where: KeyPath, name: str) -> None:
        self._paths[name] = where
        if isinstance(value, Mapping):
            domain = parse_domain(value, where, self.problems)
            if "when" in value:
                self._whens[name] = value["when"]
        elif found := range_in_list(value, where):
            self._not_searched(where[-1], *found)
            return
        else:
            domain = Constant(value=value) if check_plain(value, where, self.problems) else None
        if domain is not None:
            self._domains[name] = domain

    def _not_searched(self, name: Key, where: KeyPath, element: Mapping[Any, Any]) -> None:
        message = (
            f"a list is a constant, so {shown(element)} in it would not be searched. Write {name}: {{first: ...,"
            f" second: ...}} or an expr; for a list that contains this map, write {name}: {{value: [...]}}."
        )
        self.problems.append(Problem(where=where, message=message))

    def _nested(self, tree: Mapping[Any, Any], where: KeyPath, prefix: str) -> None:
        if not tree:
            message = "expected a parameter, got an empty map. Write a value, values: [...], or min and max."
            self.problems.append(Problem(where=where, message=message))
        elif fixed := misspelt_domain(tree):
            wrong, right = fixed
            message = f"unknown key '{wrong}'. Did you mean '{right}'?"
            self.problems.append(Problem(where=(*where, wrong), message=message))
        else:
            self.level(tree, where, prefix)

    def _name_is_good(self, name: object, where: KeyPath) -> bool:
        if not isinstance(name, str) or not name:
            message = f"expected text as a parameter's name, got {shown(name)}. Put it in quotes."
        elif len(name) > MAX_KEY_LENGTH:
            message = f"expected a name of at most {MAX_KEY_LENGTH} characters, got {len(name)}. Shorten it."
        elif any(character in ".=" or not character.isprintable() for character in name):
            message = f"expected a name without '.', '=' and control characters, got {name!r}. Nest maps for dots."
        else:
            return True
        self.problems.append(Problem(where=where, message=message))
        return False
