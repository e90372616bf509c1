"""Ctrl-C and SIGTERM during a sweep: the first ends it in good order, the second at once; handlers are put back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import final

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""What a shell expects of a process that a signal ended."""


@final
class Signals:
    """A context manager that takes both signals over and puts back at its end whatever was there before.

    Outside of the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self, on_first: Callable[[signal.Signals], None]) -> None:
        """Call `on_first` for the first signal; a second raises KeyboardInterrupt where the program stands."""
        self._on_first = on_first
        self.first: signal.Signals | None = None

    def __enter__(self) -> Signals:
        self._here = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.getsignal(number) for number in EXIT_CODES}
        self.arm()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._here:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def arm(self) -> None:
        """Take the signals over; once more after `ray.init`, which takes SIGTERM for itself."""
        if self._here:
            for number in EXIT_CODES:
                signal.signal(number, self._handle)

    @property
    def exit_code(self) -> int | None:
        """130 or 143 after a signal, else None."""
        return None if self.first is None else EXIT_CODES[self.first]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.first is not None:
            raise KeyboardInterrupt
        self.first = signal.Signals(number)
        self._on_first(self.first)
