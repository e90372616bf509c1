"""What the stopping rule did at each rung, and what it saved; plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpsearch.ledger.records import SweepRecord
from hpsearch.results.analysis.curves import Curve, rungs_reached


@dataclass(frozen=True, kw_only=True)
class RungRow:
    """One rung: `entered` is the sum of what follows but `saved_epochs`."""

    epoch: int
    """Epochs after which trials are compared; of the last row, epochs of a full training."""
    entered: int
    """Trials that came so far."""
    promoted: int
    """Trials that went on; of the last row, those that were trained in full."""
    stopped: int
    """Trials that the rule stopped here."""
    waiting: int
    """Trials that wait here for promotion, or stand here for another reason (they run, failed or were interrupted)."""
    saved_epochs: int
    """Epochs that those stopped here were not trained; 0 where a full training has no known length."""


@dataclass(frozen=True, kw_only=True)
class RungTable:
    """All rungs of a sweep, and what stopping saved."""

    rows: tuple[RungRow, ...]
    """Rising by epoch, the last row being full training; empty for a rule without rungs."""
    trained_epochs: int
    """Epochs of all trials that did not fail."""
    saved_epochs: int
    """Epochs that stopped trials were not trained, at whatever epoch they were stopped."""

    @property
    def saved_share(self) -> float:
        """Saved epochs as a share of what training those trials in full would have taken, from 0 to 1."""
        return self.saved_epochs / max(self.trained_epochs + self.saved_epochs, 1)


def rung_table(sweep: SweepRecord, curves: Sequence[Curve]) -> RungTable:
    """What became of the trials at each rung.

    Args:
        sweep: Its stopping rule and its number of epochs.
        curves: `learning_curves` of all trials.
    """
    full = sweep.spec["limits"]["epochs"]
    rungs = rungs_reached(sweep, curves)
    rows = [_row(epoch, curves, full=full) for epoch in rungs]
    num_full = sum(full is not None and curve.last_epoch >= full for curve in curves)
    if rungs and num_full:
        rows.append(RungRow(epoch=full, entered=num_full, promoted=num_full, stopped=0, waiting=0, saved_epochs=0))
    return RungTable(
        rows=tuple(rows),
        trained_epochs=sum(curve.last_epoch for curve in curves if curve.state != "failed"),
        saved_epochs=sum(_saved(curve, full) for curve in curves),
    )


def _row(epoch: int, curves: Iterable[Curve], *, full: int | None) -> RungRow:
    entered = [curve for curve in curves if curve.last_epoch >= epoch]
    here = [curve for curve in entered if curve.last_epoch == epoch]
    stopped = [curve for curve in here if _is_stopped(curve)]
    return RungRow(
        epoch=epoch,
        entered=len(entered),
        promoted=len(entered) - len(here),
        stopped=len(stopped),
        waiting=len(here) - len(stopped),
        saved_epochs=sum(_saved(curve, full) for curve in stopped),
    )


def _is_stopped(curve: Curve) -> bool:
    """Also a trial that the ledger answered as far as the rule let it go."""
    return curve.state in ("stopped", "reused")


def _saved(curve: Curve, full: int | None) -> int:
    return max((full or 0) - curve.last_epoch, 0) if _is_stopped(curve) else 0
