"""A thread for a function that may install signal handlers as a program may, while its caller is the main thread.

Python lets the main thread alone call `signal.signal`, and runs all handlers there. The function of a `CallingThread`
may call it too: the call is handed to the main thread, which waits for the function in the meantime.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, final

_set_handler = signal.signal


@final
class MainThreadCall:
    """A call that a thread waits for; the main thread makes it by `run`.

    Args:
        function: What to call.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._outcome: Future[Any] = Future()

    def run(self) -> None:
        """Call the function and hand its result, or what it raises, to the thread that waits."""
        try:
            self._outcome.set_result(self._function())
        except BaseException as error:  # also what a handler raises that runs at this moment
            self._outcome.set_exception(error)

    def result(self) -> Any:
        """Wait until the main thread has made the call; returns or raises what it did."""
        return self._outcome.result()


@final
class CallingThread(threading.Thread):
    """A daemon thread in which `signal.signal` works.

    Args:
        target: What it runs.
        name: Name of the thread.
        request: Passes a call on to the main thread.
    """

    def __init__(self, target: Callable[[], None], *, name: str, request: Callable[[MainThreadCall], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._target_function, self._request = target, request

    def run(self) -> None:
        """Run the target; called by `start`."""
        with _signal_replaced():
            self._target_function()

    def in_main_thread(self, function: Callable[[], Any]) -> Any:
        """Let the main thread call a function; returns or raises what it does."""
        call = MainThreadCall(function)
        self._request(call)
        return call.result()


@contextmanager
def _signal_replaced() -> Iterator[None]:
    """Within the block `signal.signal` is the function below, for all threads."""
    signal.signal = _signal
    try:
        yield
    finally:
        signal.signal = _set_handler


def _signal(signalnum: Any, handler: Any) -> Any:
    """Set a signal handler, as `signal.signal` does; by the main thread, where a `CallingThread` asks for it.

    In a process that such a thread has forked, as a worker of `multiprocessing`, it is the main thread itself.
    """
    thread = threading.current_thread()
    if isinstance(thread, CallingThread) and thread is not threading.main_thread():
        return thread.in_main_thread(lambda: _set_handler(signalnum, handler))
    return _set_handler(signalnum, handler)
