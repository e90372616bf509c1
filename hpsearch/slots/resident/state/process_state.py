"""The state of a process before and after a trial: a difference could change the results of the next trial in it.

Settings are restored (`restorable.py`). Other differences mean that the process must be replaced: values in the user's
modules (`user_globals.py`), replaced functions of libraries (`patches.py`), threads and tracker runs that have not
ended (`still_running.py`), too many open files (`open_files.py`). Child processes and memory are checked by the rank
(`resident_trials.py`).
"""

from __future__ import annotations

from typing import final

from hpsearch.slots.resident.state.open_files import OpenFiles
from hpsearch.slots.resident.state.patches import Patches
from hpsearch.slots.resident.state.restorable import Restorable
from hpsearch.slots.resident.state.still_running import StillRunning
from hpsearch.slots.resident.state.user_globals import UserGlobals
from hpsearch.slots.resident.state.user_imports import UserImports

MAX_SENTENCES = 6
"""Most differences that are reported one by one; the rest is counted."""


@final
class ProcessState:
    """The state of this process before its first trial, to be made once the trainable is imported.

    Args:
        trainable: The trainable; one that was pickled by value has globals that belong to no module. None for none.
    """

    def __init__(self, trainable: object = None) -> None:
        self._globals = UserGlobals(trainable)
        self._running = StillRunning()
        self._patches = Patches(self._globals.modules())
        self._imports = UserImports(self._globals)
        self._restorable = Restorable()
        self._open_files = OpenFiles()
        self._stuck: list[str] = []
        self._imports.watch()

    def restore(self) -> None:
        """Restore all settings that can be restored."""
        self._stuck = self._restorable.restore()
        self._globals.restore()

    def find_leftovers(self) -> tuple[str, ...]:
        """What a trial has left behind, in sentences; empty if the process can run another trial.

        To be called after `restore` and a garbage collection.
        """
        in_code = [*self._globals.find_leftovers(), *self._patches.find()]
        found = [*in_code, *self._running.find(), *self._open_files.find(), *self._stuck]
        more = len(found) - MAX_SENTENCES
        return (*found[:MAX_SENTENCES], *([f"{more} more of this kind"] if more > 0 else []))

    def stop(self) -> None:
        """Stop watching imports and exit functions, in a process that continues without trials."""
        self._imports.stop()
        self._running.stop()
