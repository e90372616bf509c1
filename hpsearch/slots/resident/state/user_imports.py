"""An import hook for modules of the user's that are imported during a trial: it records their state after the import.

Python finds a module by the finders on `sys.meta_path`. `UserImports` is the first of them: it lets the others find the
module, and compares the user's globals before and after the module runs.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import Any, final

from hpsearch.slots.resident.state.user_files import is_users_file
from hpsearch.slots.resident.state.user_globals import UserGlobals


@final
class UserImports(MetaPathFinder):
    """Distinguishes what an import changes from what a trial changes.

    Args:
        user_globals: The recorded state of the user's modules.
    """

    def __init__(self, user_globals: UserGlobals) -> None:
        self._globals = user_globals
        self._depth, self._lock = 0, RLock()
        self._changed_before: set[str] = set()

    def watch(self) -> None:
        """Start to watch imports."""
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Stop watching imports."""
        with suppress(ValueError):
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders find; the loader of a module of the user's is wrapped."""
        spec = next(filter(None, (self._found_by(finder, fullname, path, target) for finder in sys.meta_path)), None)
        if spec is not None and spec.has_location and spec.origin and is_users_file(spec.origin):
            self._wrap_loader(spec)
        return spec

    def _found_by(
        self, finder: Any, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        find = None if finder is self else getattr(finder, "find_spec", None)
        return None if find is None else find(fullname, path, target)

    def _wrap_loader(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        run = getattr(loader, "exec_module", None)
        if run is None:
            return

        @functools.wraps(run)
        def run_and_record(module: ModuleType) -> None:
            self._begin()
            try:
                run(module)
            finally:
                self._end()

        with suppress(AttributeError):  # a loader without attributes: the module is recorded after the trial
            loader.exec_module = run_and_record

    def _begin(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._changed_before = self._globals.changed()
            self._depth += 1

    def _end(self) -> None:
        """Accept the changes of the outermost import, whose modules may change one another."""
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._globals.accept(self._globals.changed() - self._changed_before)
                self._globals.record_new_modules()
