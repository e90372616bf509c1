"""Notification of displays while a sweep runs; a display that raises is removed, and the sweep continues."""

from __future__ import annotations

import traceback
from contextlib import suppress
from typing import Literal, Protocol, final

from hpsearch.engine.trial import Trial
from hpsearch.errors import in_short


class Observer(Protocol):
    """What a display of a running sweep implements."""

    def on_start(self, trial: Trial) -> None:
        """An attempt at `trial` begins."""

    def on_report(self, trial: Trial) -> None:
        """`trial` has finished an epoch."""

    def on_end(self, trial: Trial) -> None:
        """`trial` has left its slot: it is over, paused, or queued for another attempt, as its state says."""


@final
class Observers:
    """The observers of one sweep."""

    def __init__(self) -> None:
        """Begin without observers."""
        self.present: tuple[Observer, ...] = ()
        """The observers that are notified; those that raised are removed."""
        self.failures: list[str] = []
        """One sentence for each observer that was removed: its class, and what it raised."""

    def notify(self, method: Literal["on_start", "on_report", "on_end"], trial: Trial) -> None:
        """Call `method` of every observer; one that raises (its pipe is closed, say) is removed."""
        for observer in self.present:
            try:
                getattr(observer, method)(trial)
            except Exception as error:
                with suppress(OSError):
                    traceback.print_exc()  # goes to the sweep's log
                self.failures.append(f"{type(observer).__name__} raised {in_short(error)}; it shows nothing since")
                self.present = tuple(each for each in self.present if each is not observer)
