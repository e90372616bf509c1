"""Ctrl-C and SIGTERM during a sweep: the first ends it in good order, the second at once; handlers are put back."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import final

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""What a shell expects of a process that a signal ended."""

INSIST_S = 2.0
"""After a second signal, whoever runs the sweep has this long to see it before KeyboardInterrupt is raised, and again:
Python drops one that is raised in a `__del__`."""

MAX_ENDING_S = 30.0
"""For so long after `end` no further signal is heard: processes are being ended, which takes seconds. For so long after
a second signal a shield holds: what is behind it may hang."""


@final
class Signals:
    """A context manager that takes both signals over and puts back at its end whatever was there before.

    Outside of the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self, on_first: Callable[[signal.Signals], None]) -> None:
        """Call `on_first` for the first signal; a second sets `at_once`, and raises KeyboardInterrupt until `end`.

        What `on_first` raises is raised where the program stands, and is the end: no further signal shall disturb it.
        """
        self._on_first = on_first
        self.first: signal.Signals | None = None
        self._shields = 0
        self._second_at: float | None = None
        self._ended_at: float | None = None
        self._insisting: _Insisting | None = None

    def __enter__(self) -> Signals:
        self._here = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.getsignal(number) for number in EXIT_CODES}
        self.arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        if self._here:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def arm(self) -> None:
        """Take the signals over; once more after `ray.init`, which takes SIGTERM for itself."""
        if self._here:
            for number in EXIT_CODES:
                signal.signal(number, self._handle)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """A block that must not be left half done: KeyboardInterrupt is raised after it, or MAX_ENDING_S later."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    def end(self) -> None:
        """Everything is being ended: further signals change nothing, unless that takes MAX_ENDING_S seconds."""
        self._ended_at = time.monotonic()
        if self._insisting is not None:
            self._insisting.end()
            self._insisting = None

    @property
    def at_once(self) -> bool:
        """Whether a second signal has come before `end`."""
        return self._second_at is not None

    @property
    def exit_code(self) -> int | None:
        """130 or 143 after a signal, else None."""
        return None if self.first is None else EXIT_CODES[self.first]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = signal.Signals(number)
            try:
                self._on_first(self.first)
            except BaseException:  # its way of ending everything
                self.end()
                raise
        elif self._ended_at is not None:
            if _is_long_ago(self._ended_at):
                raise KeyboardInterrupt
        elif self._second_at is None:
            self._second_at = time.monotonic()
            self._insisting = _Insisting()
        elif not self._shields or _is_long_ago(self._second_at):
            raise KeyboardInterrupt


def _is_long_ago(instant: float) -> bool:
    return time.monotonic() - instant > MAX_ENDING_S


class _Insisting:
    """A thread that sends the main thread the signal again and again."""

    def __init__(self) -> None:
        self._is_heard = threading.Event()
        self._thread = threading.Thread(target=self._insist, name="hpsearch-signals", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._is_heard.set()
        self._thread.join()

    def _insist(self) -> None:
        main = threading.main_thread().ident
        while main is not None and not self._is_heard.wait(INSIST_S):
            signal.pthread_kill(main, signal.SIGINT)
