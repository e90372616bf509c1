"""The union of what several sources have of one sweep: never less than any of them. Decision 0053 has its rules."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, final

from hpsearch.ledger.records import ACTIVE_STATES, ENDED_SWEEP_STATES, FINISHED_STATES
from hpsearch.ledger.sweep_copy import Columns, Ending, SweepCopy, events_in_order, failures_in_order, reports_in_order

K = TypeVar("K", bound=Hashable)


@final
@dataclass(frozen=True, kw_only=True)
class United:
    """The union of some copies of a sweep, and which of them it was taken from."""

    copy: SweepCopy
    """The union."""
    trials_from: Mapping[str, int]
    """Source to the number of trials whose state it gave."""
    reports_from: Mapping[str, int]
    """Source to the number of reports that it gave: each is counted for the first source that has it."""


def unite(copies: Mapping[str, SweepCopy]) -> United:
    """Unite copies of one sweep, each of which may lack something, be out of date, or have flipped bits.

    Args:
        copies: Source to usable copy; see `sweep_copy.usable`. Where two differ and neither is ahead, the first counts.
    """
    sources = {source: _without_flipped_keys(copy, copies, source) for source, copy in copies.items()}
    known = list(sources.values())
    united = SweepCopy(forgotten=set[str]().union(*(copy.forgotten for copy in known)))
    united.past = set[Ending]().union(*(copy.continued() for copy in known))
    arrived = merged_order(reports_in_order(copy) for copy in known)
    for kind, number, epoch in merged_order([arrived, *(events_in_order(copy) for copy in known)]):
        if kind == "report":
            rows = (copy.reports.get(number, {}).get(epoch) for copy in known)
            _, metrics, elapsed_s = next(row for row in rows if row is not None)
            united.add_report(number, epoch, metrics, elapsed_s)
        elif kind == "spec":
            united.add_spec(next(copy.specs for copy in known if copy.specs)[number][1])
        else:
            united.note_event(kind, number)
    failures = _failures(known)
    for number, failed_at in merged_order(failures_in_order(copy) for copy in known):
        for values in failures.pop((number, failed_at), ()):
            united.add_failure(number, values)
    given: Counter[str] = Counter()
    best: Counter[str] = Counter()
    for number in sorted({number for copy in known for number in copy.trials}):
        ranks = {source: _rank(copy, number, united) for source, copy in sources.items() if number in copy.trials}
        order = sorted(ranks, key=lambda source: ranks[source], reverse=True)  # equal ranks keep their order
        united.trials[number] = _trial([sources[source].trials[number] for source in order], number, united)
        given[order[0]] += 1
        best.update(source for source, rank in ranks.items() if rank == ranks[order[0]])
    united.sweep = _sweep([sources[source].sweep for source in sorted(sources, key=lambda each: -best[each])], united)
    return United(copy=united, trials_from=given, reports_from=_counted(sources))


def _rank(copy: SweepCopy, number: int, united: SweepCopy) -> tuple[int, ...]:
    """How far a copy has followed a trial; of several copies the one with the highest rank is the newest.

    Nothing in it gets higher by a flipped bit: it counts what is there, and looks for words that differ in many bits.
    A source that is known to lack something may lack a change of a trial that is not finished.
    """
    row, own = copy.trials[number], len(copy.reports.get(number, ()))
    known, trained, state = len(united.reports.get(number, ())), row.get("epochs_trained") or 0, row.get("state")
    is_finished = state in FINISHED_STATES and trained >= known
    epochs = max(own, trained) if trained <= known else own
    is_closed = state is not None and state not in ACTIVE_STATES
    is_over = (is_closed and copy.ending(number) in united.past) or (state == "failed" and _forgiven(united, number))
    num_codes = (row.get("code") or "").count(", ")
    num_failures, is_complete = len(copy.failures.get(number, ())), is_finished or not copy.has_gaps
    return not is_over, is_finished, epochs, num_failures, is_complete, is_closed, num_codes


def _forgiven(united: SweepCopy, number: int) -> bool:
    """Whether the user asked for another attempt since the trial failed last."""
    failures = united.failures.get(number, [])
    return bool(failures) and not any(failure.get("counts", True) for _, failure in failures)


def _trial(rows: Sequence[Columns], number: int, united: SweepCopy) -> Columns:
    """The columns of a trial: those of the first row, what it lacks from the next ones."""
    merged: Columns = {"state": "interrupted"}
    for row in reversed(rows):
        merged |= row
    if any(row.get("fingerprint", "") is None for row in rows):
        merged["fingerprint"] = None  # cleared: what an older source says would let an unequal trial be reused
    known = len(united.reports.get(number, ()))
    if merged["state"] not in ACTIVE_STATES and (merged.get("epochs_trained") or 0) < known:
        merged["epochs_trained"] = known
    return merged


def _sweep(rows: Sequence[Columns], united: SweepCopy) -> Columns:
    """The sweep's columns: those of the first row, what it lacks from the next ones."""
    merged: Columns = {}
    for row in reversed(rows):
        merged |= row
    ended = [row for row in rows if row.get("state") in ENDED_SWEEP_STATES]
    if ended and all(row["state"] in FINISHED_STATES for row in united.trials.values()):
        merged |= {name: ended[0].get(name) for name in ("state", "reason", "ended_at")}
    if any(row.get("can_pause", True) is False for row in rows):  # once it can't pause, it never can
        merged["can_pause"] = False
    return merged


def _failures(copies: Sequence[SweepCopy]) -> dict[tuple[int, str], list[Columns]]:
    """(Trial, time) to the columns of its failed attempts; one that any copy says is forgiven does not count.

    A failure of one copy is that of another if time or attempt are the same: a flipped bit changes one of them.
    """
    found: dict[int, list[Columns]] = defaultdict(list)
    for copy in copies:
        for number, rows in copy.failures.items():
            others = list(found[number])
            for _, row in rows:
                same = (each for name in ("failed_at", "attempt") for each in others if each[name] == row[name])
                match = next(same, None)
                if match is None:
                    found[number].append({"counts": True, **row})
                else:
                    others = [each for each in others if each is not match]
                    match["counts"] = bool(match["counts"]) and bool(row.get("counts", True))
    by_time: dict[tuple[int, str], list[Columns]] = defaultdict(list)
    for number, each in found.items():
        for values in each:
            by_time[number, values["failed_at"]].append(values)
    return by_time


def _without_flipped_keys(copy: SweepCopy, copies: Mapping[str, SweepCopy], source: str) -> SweepCopy:
    """A copy without trials and reports that an earlier source has under another number.

    A flipped bit in a number moves a row to where no source has one. It is recognised by its content, which the earlier
    source has where this copy has nothing.
    """
    trials, reports = dict(copy.trials), {number: dict(rows) for number, rows in copy.reports.items()}
    for other, earlier in copies.items():
        if other == source:
            break
        began = {number: row.get("started_at") for number, row in trials.items()}
        for number in _moved({number: row.get("started_at") for number, row in earlier.trials.items()}, began):
            del trials[number]
            reports.pop(number, None)
        for number, epoch in _moved(_contents(earlier.reports), _contents(reports)):
            del reports[number][epoch]
    return replace(copy, trials=trials, reports=reports)


def _moved(earlier: Mapping[K, Hashable], later: Mapping[K, Hashable]) -> list[K]:
    missing = {content for key, content in earlier.items() if key not in later}
    return [key for key, content in later.items() if key not in earlier and content in missing]


def _contents(reports: Mapping[int, Mapping[int, tuple[int, str, float]]]) -> dict[tuple[int, int], Hashable]:
    return {(number, epoch): row[1:] for number, rows in reports.items() for epoch, row in rows.items()}


def _counted(sources: Mapping[str, SweepCopy]) -> Counter[str]:
    """Source to the number of reports that it has and no source before it."""
    seen: set[tuple[int, int]] = set()
    counts: Counter[str] = Counter()
    for source, copy in sources.items():
        keys = _contents(copy.reports).keys() - seen
        counts[source], seen = len(keys), seen | keys
    return counts


def merged_order(orders: Iterable[Sequence[K]]) -> list[K]:
    """One order of all keys: that of the first list; a key that it lacks follows the one before it in its own list."""
    merged: list[K] = []
    for order in orders:
        known, after, previous = set(merged), defaultdict[K | None, list[K]](list), None
        for key in dict.fromkeys(order):
            if key in known:
                previous = key
            else:
                after[previous].append(key)
        merged = [*after[None], *(each for key in merged for each in (key, *after.get(key, ())))]
    return merged
