"""How a rank whose own process runs the trials ends by a signal that other programs send to end it."""

from __future__ import annotations

import faulthandler
import os
import signal
from types import FrameType

from hpsearch.training.output import write_log


def die_by_sigterm() -> None:
    """Let SIGTERM end this process, after its name and the stack are in the trial's log; for the main thread.

    The handler that Ray installs in an actor raises SystemExit in the user's code instead, which looks like an error of
    that code. Ray does not report which signal has ended an actor.
    """
    signal.signal(signal.SIGTERM, _die)


def _die(number: int, frame: FrameType | None) -> None:
    write_log(f"Fatal Python error: {signal.strsignal(number)}\n\n")
    faulthandler.dump_traceback(2)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
