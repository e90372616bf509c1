"""The order in which the trials of a sweep began and ended, and under which limit, from its journal.

The ledger has times of day for these events, but a clock steps back; the lines of the journal are in their order.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import final

from hpsearch.ledger.journal import read_journal
from hpsearch.ledger.records import TrialRecord


@final
@dataclass(frozen=True, kw_only=True)
class EventOrder:
    """Positions of events among all changes of a sweep; trials that the journal lacks are missing."""

    began: dict[int, int]
    """Trial's number to the position of the change that added the trial."""
    ended: dict[int, int]
    """Trial's number to the position of the change that ended it; without trials that began again since."""
    limits: dict[int, int | None]
    """Trial's number to `limits.epochs` when it ended last."""

    def end_of(self, record: TrialRecord) -> float:
        """The position of a trial's end; 0 if it has not ended, infinity if the journal lacks it."""
        return self.ended.get(record.number, math.inf) if record.ended_at is not None else 0


def event_order(folder: Path) -> EventOrder:
    """Read the order of events from the journal of a sweep.

    Args:
        folder: The sweep's folder.
    """
    order = EventOrder(began={}, ended={}, limits={})
    limit: int | None = None
    changes = (change for transaction in read_journal(folder)[0] for change in transaction)
    for position, change in enumerate(changes, start=1):
        match change:
            case ["sweep", {"spec": str() as spec}]:
                limit = json.loads(spec).get("limits", {}).get("epochs")
            case ["trial", int() as number, dict() as columns]:
                if "point" in columns:
                    order.began[number] = position
                    order.ended.pop(number, None)
                if columns.get("ended_at") is not None:
                    order.ended[number], order.limits[number] = position, limit
                elif "ended_at" in columns:
                    order.ended.pop(number, None)
    return order
