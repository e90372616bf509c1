"""What the stopping rule did at each rung, and how many epochs it saved; data for tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpsearch.ledger.records import SweepRecord
from hpsearch.results.analysis.curves import Curve


@dataclass(frozen=True, kw_only=True)
class RungRow:
    """One rung; `entered` is the sum of `promoted`, `stopped` and `waiting`."""

    epoch: int
    """Epochs after which trials are compared; in the last row, the epochs of a full training."""
    entered: int
    """Trials that reached this epoch."""
    promoted: int
    """Trials that continued; in the last row, those that were trained in full."""
    stopped: int
    """Trials that the rule stopped here."""
    waiting: int
    """Trials whose last report is from this epoch and that were not stopped: paused, running, failed, interrupted."""
    saved_epochs: int
    """Epochs that the trials stopped here were not trained; 0 if the length of a full training is not known."""


@dataclass(frozen=True, kw_only=True)
class RungTable:
    """All rungs of a sweep, and what stopping saved."""

    rows: tuple[RungRow, ...]
    """By epoch, the last row being full training; empty for a rule without rungs."""
    trained_epochs: int
    """Epochs of all trials that did not fail."""
    saved_epochs: int
    """Epochs that stopped trials were not trained, at whatever epoch they were stopped."""

    @property
    def saved_share(self) -> float:
        """Saved epochs as a share of what training those trials in full would have taken, from 0 to 1."""
        return self.saved_epochs / max(self.trained_epochs + self.saved_epochs, 1)


def rung_table(sweep: SweepRecord, curves: Sequence[Curve], *, rungs: Sequence[int]) -> RungTable:
    """Count at each rung how many trials were promoted and stopped.

    Args:
        sweep: The sweep.
        curves: `learning_curves` of all its trials.
        rungs: `rungs_reached` by these; empty for a rule without rungs.
    """
    full = sweep.spec["limits"]["epochs"]
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
    """Whether the rule stopped it; also true of a trial that was reused up to where the rule stopped it."""
    return curve.state in ("stopped", "reused")


def _saved(curve: Curve, full: int | None) -> int:
    return max((full or 0) - curve.last_epoch, 0) if _is_stopped(curve) else 0
