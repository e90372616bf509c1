"""What trials spend on their set-up, before they train: worth a note where it takes a tenth of a trial."""

from __future__ import annotations

from typing import final

from hpsearch.ledger.records import SweepRecord
from hpsearch.ledger.store import Ledger

SHARE = 0.1
"""Set-up that takes more than this part of the trials is worth a note."""
LEAST_S = 1.0
"""Seconds of set-up a trial, in the mean, below which there is little to win."""
MIN_TRIALS = 3
"""Trials that are looked at before anything is said."""


@final
class SetupCost:
    """Adds up over the trials of one sweep, and says so once."""

    def __init__(self, ledger: Ledger, record: SweepRecord) -> None:
        self.notes: list[str] = []
        """What was noted, for the end of the sweep."""
        self._ledger, self._record = ledger, record
        self._trials, self._setup_s, self._trained_s = 0, 0.0, 0.0

    def take(self, setup_s: float | None, trained_s: float) -> None:
        """An attempt has ended.

        Args:
            setup_s: Seconds that its first epoch took longer than its later ones; None where there are none, and where
                a process trains trial after trial.
            trained_s: Seconds of the whole attempt.
        """
        if setup_s is None or self.notes:
            return
        self._trials += 1
        self._setup_s += setup_s
        self._trained_s += trained_s
        if self._trials < MIN_TRIALS or self._setup_s < max(SHARE * self._trained_s, LEAST_S * self._trials):
            return
        note = (
            f"set-up takes {self._setup_s / self._trials:.1f} s of {self._trained_s / self._trials:.1f} s a trial:"
            " hpsearch.shared_data loads data once for all, and isolation: slot imports once for all"
        )
        self.notes.append(note)
        self._ledger.add_note(self._record, note)
