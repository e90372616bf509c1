"""A sweep on a clock of its own: the real engine, searcher, rule and ledger; slots whose epochs take simulated seconds.

For what depends on time, such as the time to go. Trials are those of `tests/support/curves.py`; wide ones take longer.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpsearch.engine.engine import Engine, EngineParts
from hpsearch.ledger.store import Ledger
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Assignment, Ended, Event, Report, Verdict
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule
from tests.support.clock import Clock
from tests.support.curves import SPEC, Landscape

START_S = 1.0
"""Between two trials of a slot."""


def epoch_s(config: Mapping[str, Any]) -> float:
    """Seconds that an epoch takes: 5 for the narrowest net, 19 for the widest."""
    return float(3 + config["width"] / 8)


def run(home: Path, *, on_report: Callable[[Engine, Clock], None], **keys: Any) -> float:
    """Run a sweep to its end.

    Args:
        home: Folder of the ledger.
        on_report: Called after each report; what has happened by then is what a driver knows.
        keys: Top-level keys of the spec, instead of those of `curves.SPEC`.

    Returns:
        Simulated seconds that it took.
    """
    sweep, clock = Sweep.from_dict({**SPEC, **keys}), Clock()
    assert sweep.name is not None
    with Ledger(home, create=True, clock=clock) as ledger:
        record = ledger.add_sweep(sweep.name, sweep.to_dict())
        searcher = make_searcher(sweep)
        rule = make_stopping_rule(sweep, can_pause=True, is_random=searcher.is_random)
        engine = Engine.new(
            EngineParts(sweep=sweep, searcher=searcher, rule=rule, ledger=ledger, record=record, clock=clock)
        )
        assert isinstance(sweep.limits.concurrent, int)
        engine.concurrent = sweep.limits.concurrent
        _run(engine, clock, on_report)
        engine.finish()
    return clock.now


def _run(engine: Engine, clock: Clock, on_report: Callable[[Engine, Clock], None]) -> None:
    """The slot that is done first goes first."""
    due: list[tuple[float, int, int]] = []
    assignments: dict[int, Assignment] = {}
    while True:
        while isinstance(assignment := engine.next_assignment(), Assignment):
            assignments[assignment.number] = assignment
            heapq.heappush(
                due, (clock.now + START_S + epoch_s(assignment.config), assignment.number, assignment.known_epochs)
            )
        if not due:
            return
        clock.now, number, epoch = heapq.heappop(due)
        event = _event(engine, assignments[number], epoch)
        verdict = engine.on_event(number, event)
        if verdict is Verdict.CONTINUE:
            heapq.heappush(due, (clock.now + epoch_s(assignments[number].config), number, epoch + 1))
        if isinstance(event, Report):
            on_report(engine, clock)


def _event(engine: Engine, assignment: Assignment, epoch: int) -> Event:
    landscape = Landscape()
    if epoch == assignment.known_epochs == 0 and (failure := landscape.failure(assignment.config)) is not None:
        return failure
    took_s = epoch_s(assignment.config) * (epoch - assignment.known_epochs + 1)
    if epoch >= (engine.sweep.max_epochs or 0):
        return Ended(elapsed_s=took_s, checkpoint_epoch=epoch)
    metrics = landscape.report(assignment.config, epoch + 1)
    return Report(epoch=epoch + 1, metrics=metrics, elapsed_s=took_s, checkpoint_epoch=epoch + 1)
