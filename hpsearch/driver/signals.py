"""Ctrl-C and SIGTERM during a sweep: the first stops it after the running epochs, the second at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import final

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit codes that shells expect of a process that one of these signals ended."""

REPEAT_S = 2.0
"""Seconds after a second signal until KeyboardInterrupt is raised, unless `end` is called before. It is raised again
after each further period, since Python drops an exception that is raised in a `__del__`."""

MAX_ENDING_S = 30.0
"""Seconds after `end` in which further signals are ignored, since ending processes takes seconds. Also the seconds
after a second signal in which a shielded block is not interrupted; after that it is taken to hang."""


@final
class Signals:
    """A context manager that handles both signals, and restores the previous handlers at its end.

    Outside of the main thread, where Python allows no signal handlers, it does nothing.
    """

    def __init__(self, on_first: Callable[[signal.Signals], None]) -> None:
        """Prepare; the signals are handled from the beginning of the block.

        Args:
            on_first: Called for the first signal. An exception that it raises is raised in the interrupted code, and
                counts as a call of `end`. A second signal sets `at_once`, and raises KeyboardInterrupt until `end`.
        """
        self._on_first = on_first
        self.first: signal.Signals | None = None
        """The first signal; None before it."""
        self._shields = 0
        self._second_at: float | None = None
        self._ended_at: float | None = None
        self._repeated: _RepeatedSigint | None = None

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
        """Install the handlers; to be called again after `ray.init`, which installs one for SIGTERM."""
        if self._here:
            for number in EXIT_CODES:
                signal.signal(number, self._handle)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """A block that must not be interrupted: KeyboardInterrupt is raised after it, or MAX_ENDING_S later."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    def end(self) -> None:
        """Ignore further signals for MAX_ENDING_S seconds, since the sweep is being ended."""
        self._ended_at = time.monotonic()
        if self._repeated is not None:
            self._repeated.end()
            self._repeated = None

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
            except BaseException:  # which ends the sweep
                self.end()
                raise
        elif self._ended_at is not None:
            if _is_long_ago(self._ended_at):
                raise KeyboardInterrupt
        elif self._second_at is None:
            self._second_at = time.monotonic()
            self._repeated = _RepeatedSigint()
        elif not self._shields or _is_long_ago(self._second_at):
            raise KeyboardInterrupt


def _is_long_ago(instant: float) -> bool:
    return time.monotonic() - instant > MAX_ENDING_S


class _RepeatedSigint:
    """A thread that sends SIGINT to the main thread every REPEAT_S seconds until `end`."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="hpsearch-signals", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _repeat(self) -> None:
        main = threading.main_thread().ident
        while main is not None and not self._is_over.wait(REPEAT_S):
            signal.pthread_kill(main, signal.SIGINT)
