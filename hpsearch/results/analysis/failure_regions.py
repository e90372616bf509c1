"""Regions of the space where configurations fail, such as "batch_size >= 384: 12 of 12 failed (oom_gpu)".

A region is a box of at most two conditions. Boxes are found greedily: the one with the most failures and hardly any
success first, then the next one for the failures that are left. They describe what was observed; the search itself uses
the model in `search/failure_model.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from hpsearch.ledger.records import TrialRecord
from hpsearch.plain import canonical, is_number

MAX_LINES = 3
"""Regions that are listed at most."""
MIN_FAILURES = 3
"""Failures that a region has at least."""
MIN_SHARE = 0.9
"""Share of a region's trials that failed, at least."""
MAX_CUTS = 16
"""Values of one parameter at which a box may begin or end, at most."""
WORTH_A_CONDITION = 1.25
"""A box with a second condition must have so many times the failures of one without it."""


@dataclass(frozen=True)
class _Box:
    """One or two conditions on parameters."""

    conditions: tuple[str, ...]
    """As text, such as `lr >= 0.1`."""
    names: frozenset[str]
    """Parameters that the conditions are about."""
    trials: int
    """Trials that meet all conditions, as bits by their position in the list of trials."""

    def and_(self, other: _Box) -> _Box:
        return _Box(self.conditions + other.conditions, self.names | other.names, self.trials & other.trials)


def failure_region_lines(trials: Iterable[TrialRecord]) -> list[str]:
    """One line for each region where trials failed by their own configuration; empty if there is none.

    Args:
        trials: All trials of one sweep.
    """
    known = [trial for trial in trials if trial.succeeded or trial.failed_by_config]
    failed = _bits(trial.failed_by_config for trial in known)
    everywhere = failed.bit_count() / max(len(known), 1)
    singles = list(_half_spaces(known, failed))
    pairs = [a.and_(b) for a, b in combinations(singles, 2) if a.names.isdisjoint(b.names)]
    left = failed
    lines: list[str] = []
    while len(lines) < MAX_LINES and (box := _best(singles, pairs, failed=failed, left=left, above=everywhere)):
        inside = [trial for position, trial in enumerate(known) if box.trials >> position & 1]
        causes = Counter(trial.cause for trial in inside if trial.cause is not None)
        counts = f"{(box.trials & failed).bit_count()} of {len(inside)} failed"
        lines.append(f"{' and '.join(box.conditions)}: {counts} ({', '.join(dict(causes.most_common()))})")
        left &= ~box.trials
    return lines


def _best(singles: Sequence[_Box], pairs: Sequence[_Box], *, failed: int, left: int, above: float) -> _Box | None:
    """The box with the most failures that no listed box has, the simpler one of two that are nearly as good."""

    def worth(box: _Box) -> tuple[float, int]:
        num_failed, num = (box.trials & failed).bit_count(), box.trials.bit_count()
        new = (box.trials & left).bit_count()
        if new < MIN_FAILURES or num_failed < MIN_SHARE * num or num_failed <= above * num:
            return (0.0, 0)
        return (new / WORTH_A_CONDITION ** (len(box.conditions) - 1), -num)

    best = max((*singles, *pairs), key=worth, default=None)
    return None if best is None or worth(best) == (0.0, 0) else best


def _half_spaces(trials: Sequence[TrialRecord], failed: int) -> Iterator[_Box]:
    """Each condition on one parameter: at least, at most, or equal to a value of a failed trial."""
    for name in dict.fromkeys(name for trial in trials for name in trial.point):
        values = [trial.point.get(name) for trial in trials]
        present = [value for trial, value in zip(trials, values, strict=True) if name in trial.point]
        of_failed = [
            trial.point[name] for position, trial in enumerate(trials) if failed >> position & 1 and name in trial.point
        ]
        if len({canonical(value) for value in present}) < 2:
            continue
        if all(map(is_number, present)):
            for cut in _cuts(of_failed):
                for sign, symbol in ((1, ">="), (-1, "<=")):
                    bits = _bits(value is not None and sign * value >= sign * cut for value in values)
                    yield _Box((f"{name} {symbol} {cut:.4g}",), frozenset({name}), bits)
        else:
            for text in sorted({canonical(value) for value in of_failed}):
                bits = _bits(name in trial.point and canonical(trial.point[name]) == text for trial in trials)
                yield _Box((f"{name} = {text}",), frozenset({name}), bits)


def _cuts(values: Iterable[Any]) -> list[Any]:
    """At most MAX_CUTS of the distinct values: the lowest, the highest, and values at evenly spaced ranks between."""
    ranked = sorted(set(values))
    last, count = len(ranked) - 1, min(len(ranked), MAX_CUTS)
    return ranked if count == len(ranked) else [ranked[position * last // (count - 1)] for position in range(count)]


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << position for position, flag in enumerate(flags) if flag)
