"""What a trial has started and not ended: threads, runs of experiment trackers, functions registered with atexit.

Child processes are not checked here, but in `slots/process_tree.py`.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable
from types import FunctionType
from typing import Any, final

from hpsearch.slots.resident.state.user_files import is_users_code

PATIENCE_S = 0.2
"""Seconds in which threads that are about to end may do so."""
_KEEPS_THREADS = ("fsspec", "grpc", "hpsearch", "ray", "torch", "tqdm")
"""Packages that keep threads on purpose, the same ones for all trials."""


@final
class StillRunning:
    """The threads, tracker runs and exit functions of the process when it was made."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._runs = _open_runs()
        self._at_exit: list[str] = []
        self._watch_exit()

    def find(self) -> list[str]:
        """A sentence on each thread, run or exit function that is new."""
        threads = [f"the thread '{thread.name}' still runs" for thread in self._new_threads()]
        runs = [what for what, run in _open_runs().items() if self._runs.get(what) is not run]
        at_exit = [f"{name} is registered with atexit" for name in self._at_exit]
        return [*threads, *runs, *at_exit]

    def stop(self) -> None:
        """Stop watching `atexit.register`."""
        if vars(atexit).get("register") is self._register:
            atexit.register = self._original

    def _new_threads(self) -> list[threading.Thread]:
        new = [thread for thread in threading.enumerate() if thread not in self._threads and not _is_kept(thread)]
        deadline = time.monotonic() + PATIENCE_S
        for thread in new:
            if thread is not threading.current_thread():
                thread.join(max(deadline - time.monotonic(), 0))
        return [thread for thread in new if thread.is_alive()]

    def _watch_exit(self) -> None:
        """Record the user's functions when they are registered, since Python can't list what is registered."""
        self._original = original = atexit.register

        def register(function: Callable[..., Any], /, *args: Any, **named: Any) -> Callable[..., Any]:
            plain = getattr(function, "__func__", function)
            is_compiled = not isinstance(plain, FunctionType)  # a compiled function has no real file name
            if not is_compiled and is_users_code(plain.__code__):
                self._at_exit.append(f"{function.__module__}.{getattr(function, '__qualname__', '?')}")
            return original(function, *args, **named)

        atexit.register = self._register = register


def _is_kept(thread: threading.Thread) -> bool:
    """Whether a thread belongs to a library that keeps it on purpose, or was not started by Python."""
    target = getattr(thread, "_target", None)
    module = str(getattr(target, "__module__", None) or type(thread).__module__)
    root = module.partition(".")[0]
    is_started_by_user = isinstance(target, FunctionType) and is_users_code(target.__code__)
    return isinstance(thread, threading._DummyThread) or (root in _KEEPS_THREADS and not is_started_by_user)


def _open_runs() -> dict[str, object]:
    """The active runs of the trackers that are loaded, by the sentence to report on them."""
    found: dict[str, object] = {}
    wandb = sys.modules.get("wandb")
    run = None if wandb is None else vars(wandb).get("run")
    if run is not None:
        found["wandb.run is still open: call wandb.finish() at the end"] = run
    fluent = sys.modules.get("mlflow.tracking.fluent")
    stack: Any = None if fluent is None else vars(fluent).get("_active_run_stack")
    of_threads = getattr(stack, "get_all_thread_values", None)
    stacks = [stack or []] if of_threads is None else list(of_threads().values())
    runs = [run for stack in stacks for run in stack or []]
    if runs:
        found["a run of mlflow is still active: call mlflow.end_run() at the end"] = runs[-1]
    return found
