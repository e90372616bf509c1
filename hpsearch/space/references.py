"""Resolves what refers to other parameters (`when`, `expr`, `constraints`) once all parameters are parsed.

Checked here is what the definitions themselves show: unknown names, values that a parent never has, cycles, parameters
that are never active. Mistakes that only show when points are drawn are found in `checks.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from hpsearch.errors import Problem, did_you_mean
from hpsearch.plain import KeyPath, canonical
from hpsearch.space.conditions import Condition, CycleError, requirements, sorted_by_dependency
from hpsearch.space.domains import Choice, Computed, Constant, Domain, Integer
from hpsearch.space.expressions import Expression, ExpressionError, is_nameable
from hpsearch.space.lattice import TooManyCases
from hpsearch.space.space import Space
from hpsearch.text import shown

MAX_CONSTRAINTS = 100
"""Constraints of a spec."""


@dataclass(frozen=True, kw_only=True)
class ParsedParameters:
    """The parameters of a spec, each parsed by itself."""

    domains: Mapping[str, Domain]
    """Dotted name to domain, in the order of the spec; parameters with a mistake are missing."""
    whens: Mapping[str, object]
    """Dotted name to the value of its `when`, as it is written."""
    paths: Mapping[str, KeyPath]
    """Every dotted name, including parameters with a mistake, to the keys that lead to it."""


def resolve_references(parsed: ParsedParameters, constraints: object, problems: list[Problem]) -> Space:
    """The space of all parameters, their conditions and the constraints.

    Args:
        parsed: The parameters.
        constraints: The spec's list of expressions. Another type, or an item that is not text, is ignored; it is
            reported elsewhere.
        problems: One entry is added for each mistake; the space lacks the parts that have one.
    """
    return _Resolver(parsed, problems).resolve(constraints)


@final
class _Resolver:
    def __init__(self, parsed: ParsedParameters, problems: list[Problem]) -> None:
        self.domains = dict(parsed.domains)
        self.whens = parsed.whens
        self.paths = parsed.paths
        self.problems = problems
        self.conditions: dict[str, Condition] = {}

    def resolve(self, constraints: object) -> Space:
        before = len(self.problems)
        for name in [name for name in self.whens if name in self.domains]:
            self._add_condition(name, self.whens[name])
        for name, domain in self.domains.items():
            if isinstance(domain, Computed):
                self._check_names(domain.expression, (*self.paths[name], "expr"))
        found = self._constraints(constraints)
        if len(self.problems) > before or not self._is_in_order():
            return Space(domains=self.domains)
        for name in self.domains:
            self._check_activity(name)
        space = Space(domains=self.domains, conditions=self.conditions, constraints=found)
        return space if self._is_countable(space) else Space(domains=self.domains)

    # -- when ----------------------------------------------------------------------------------------------------------

    def _add_condition(self, name: str, when: object) -> None:
        where = (*self.paths[name], "when")
        if not isinstance(when, Mapping) or not when:
            example = "Write for example when: {optimizer.name: sgd}."
            self._wrong(where, f"expected a map of names to values, got {shown(when)}. {example}")
            return
        allowed = {str(parent): self._allowed(str(parent), value, (*where, parent)) for parent, value in when.items()}
        if all(allowed.values()):
            self.conditions[name] = Condition(allowed=allowed)

    def _allowed(self, parent: str, value: object, where: KeyPath) -> frozenset[str]:
        """The canonical forms of the values that `when` allows; empty if there is a mistake."""
        if not self._is_known(parent, where):
            return frozenset()
        domain = self.domains[parent]
        if not isinstance(domain, Choice | Integer | Constant):
            kind = "is computed" if isinstance(domain, Computed) else "is a range of floating-point numbers"
            message = f"expected a parameter with a list of values or whole numbers, got '{parent}', which {kind}."
            message += " List its values."
            self._wrong(where, message)
            return frozenset()
        values = value if isinstance(value, list | tuple) else [value]
        for each in values:
            if not domain.contains(each):
                message = (
                    f"'{parent}' is never {shown(each)}.{_near_value(each, domain)} Its values: {str(domain)[:200]}."
                )
                self._wrong(where, message)
                return frozenset()
        if not values:
            self._wrong(
                where,
                "expected at least one value, got an empty list: never active. Write a value.",
            )
        return frozenset(map(canonical, values))

    # -- expr and constraints ------------------------------------------------------------------------------------------

    def _constraints(self, constraints: object) -> tuple[Expression, ...]:
        texts = constraints if isinstance(constraints, list | tuple) else []
        if len(texts) > MAX_CONSTRAINTS:
            self._wrong(
                ("constraints",), f"expected at most {MAX_CONSTRAINTS} constraints, got {len(texts)}. Join them by and."
            )
            return ()
        found = []
        for position, text in enumerate(texts):
            expression = self._constraint(text, ("constraints", position)) if isinstance(text, str) else None
            found += [expression] if expression is not None else []
        return tuple(found)

    def _constraint(self, text: str, where: KeyPath) -> Expression | None:
        try:
            expression = Expression(text)
        except ExpressionError as error:
            self._wrong(where, str(error))
            return None
        if not expression.names:
            self._wrong(
                where,
                f"expected an expression with a parameter, got {shown(text)}. Use a parameter in it, or remove it.",
            )
        return expression if self._check_names(expression, where) else None

    def _check_names(self, expression: Expression, where: KeyPath) -> bool:
        known = [self._is_known(name, where) for name in sorted(expression.names)]  # report each
        return all(known)

    def _is_known(self, name: str, where: KeyPath) -> bool:
        if name in self.domains:
            return True
        if name not in self.paths:  # else it has a mistake of its own, which is in `problems`
            self._wrong(where, f"unknown parameter '{name[:60]}'.{name_hint(name, self.paths)}")
        return False

    # -- all together --------------------------------------------------------------------------------------------------

    def _is_in_order(self) -> bool:
        needs: dict[str, set[str]] = {name: set(each.allowed) for name, each in self.conditions.items()}
        for name, domain in self.domains.items():
            if isinstance(domain, Computed):
                needs[name] = needs.get(name, set()) | domain.expression.names
        try:
            sorted_by_dependency(self.domains, needs)
        except CycleError as error:
            where = self.paths[error.cycle[0]]
            self._wrong(where, f"parameters depend on each other in a cycle: {error}. Break it.")
            return False
        return True

    def _check_activity(self, name: str) -> None:
        """Check that a parameter can be active, and that those in its expression are active whenever it is."""
        needed = requirements(name, self.conditions)
        for parent, keys in needed.items():
            if not keys:
                message = (
                    f"the parameter is never active: its conditions and those of its parents contradict each other on"
                    f" '{parent}'."
                )
                self._wrong((*self.paths[name], "when"), f"{message} Remove one.")
                return
        domain = self.domains[name]
        if not isinstance(domain, Computed):
            return
        for other in sorted(domain.expression.names):
            for parent, keys in requirements(other, self.conditions).items():
                if parent not in needed or not needed[parent] <= keys:
                    when = f"when: {{{parent}: {', '.join(sorted(keys))}}}"
                    message = f"'{other}' is not always active where this parameter is computed. Add the same {when}."
                    self._wrong((*self.paths[name], "expr"), message)
                    break

    def _is_countable(self, space: Space) -> bool:
        try:
            space.size  # noqa: B018 - counting may fail
        except TooManyCases:
            self._wrong(
                ("parameters",),
                "the conditions result in too many cases to count. Use fewer conditions, or nest them less.",
            )
            return False
        return True

    def _wrong(self, where: Sequence[Any], message: str) -> None:
        self.problems.append(Problem(where=tuple(where), message=message))


def _near_value(value: object, domain: Domain) -> str:
    return did_you_mean(value, map(str, domain.values)) if isinstance(value, str) and isinstance(domain, Choice) else ""


def name_hint(name: str, known: Iterable[str]) -> str:
    """A hint about an unknown name. A name that ends the same comes first: users often omit the outer map."""
    known = list(known)
    same_end = [each for each in known if each.endswith(f".{name}")]
    if same_end:
        return f" Did you mean '{same_end[0]}'? Write names in full."
    hint = did_you_mean(name, known)
    if hint:
        return hint
    return "" if is_nameable(name) else " An expression can only use names of letters, digits and _."
