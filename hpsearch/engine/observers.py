"""Who is shown a sweep while it runs. Whoever can't show it any more is left out; the sweep goes on."""

from __future__ import annotations

import traceback
from contextlib import suppress
from typing import Literal, Protocol, final

from hpsearch.engine.trial import Trial
from hpsearch.errors import in_short


class Observer(Protocol):
    """Who is shown the sweep while it runs."""

    def on_start(self, trial: Trial) -> None:
        """An attempt at `trial` begins."""

    def on_report(self, trial: Trial) -> None:
        """`trial` has finished an epoch."""

    def on_end(self, trial: Trial) -> None:
        """`trial` is over, waits, or will be tried again: see its state."""


@final
class Observers:
    """The observers of one sweep."""

    def __init__(self) -> None:
        self.present: tuple[Observer, ...] = ()
        """Those that are told."""
        self.left_out: list[str] = []
        """Who raised what, in one sentence each."""

    def notify(self, method: Literal["on_start", "on_report", "on_end"], trial: Trial) -> None:
        """Tell every one; one that raises (its pipe is closed, say) is told nothing more."""
        for observer in self.present:
            try:
                getattr(observer, method)(trial)
            except Exception as error:
                with suppress(OSError):
                    traceback.print_exc()  # goes to the sweep's log
                self.left_out.append(f"{type(observer).__name__} raised {in_short(error)}; it shows nothing since")
                self.present = tuple(each for each in self.present if each is not observer)
