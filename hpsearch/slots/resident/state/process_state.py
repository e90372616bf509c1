"""Whether a process is after a trial as it was before, so that the next trial in it is what it would be alone.

What can be set back is set back (`restorable.py`). What is left besides means that the process must be replaced: what
the user's modules hold (`user_globals.py`), replaced functions of libraries (`patches.py`), and what still runs
(`still_running.py`). Processes and memory are the rank's own business.
"""

from __future__ import annotations

from typing import final

from hpsearch.slots.resident.state.patches import Patches
from hpsearch.slots.resident.state.restorable import Restorable
from hpsearch.slots.resident.state.still_running import StillRunning
from hpsearch.slots.resident.state.user_globals import UserGlobals
from hpsearch.slots.resident.state.user_imports import UserImports

MAX_SENTENCES = 6
"""Findings that are named; the rest is counted."""


@final
class ProcessState:
    """The process as it was before its first trial, once the trainable was imported."""

    def __init__(self, trainable: object = None) -> None:
        """See `take`."""
        self._globals = UserGlobals(trainable)
        self._running = StillRunning()
        self._patches = Patches(self._globals.modules())
        self._imports = UserImports(self._globals)
        self._restorable = Restorable()
        self._stuck: list[str] = []
        self._imports.watch()

    @classmethod
    def take(cls, trainable: object = None) -> ProcessState:
        """As it is now.

        Args:
            trainable: One that was pickled by value has globals that belong to no module; None for none.
        """
        return cls(trainable)

    def put_back(self) -> None:
        """Set back what can be set back."""
        self._stuck = self._restorable.put_back()
        self._globals.put_back()

    def left_behind(self) -> tuple[str, ...]:
        """What is not as it was, in sentences; empty if the process may take another trial.

        Call it after `put_back` and a garbage collection.
        """
        found = [*self._globals.left_behind(), *self._patches.found(), *self._running.found(), *self._stuck]
        more = len(found) - MAX_SENTENCES
        return (*found[:MAX_SENTENCES], *([f"{more} more of this kind"] if more > 0 else []))

    def stop(self) -> None:
        """Watch imports and exit functions no more; for a process that does not end with its trials."""
        self._imports.stop()
        self._running.stop()
