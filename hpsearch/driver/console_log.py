"""Keeps the console for hpsearch's own output: what libraries print and log during a sweep goes to `driver.log`.

Ray, Optuna, HyperOpt and the C++ below them write to the file descriptors 1 and 2, to Python's streams and through
`logging` and `warnings`. During a sweep all four go to one log file; afterwards they are restored.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from hpsearch.links import IN_SWEEP
from hpsearch.slots.trial_log import open_log

NOISY_LOGGERS = ("ray", "ray.tune", "ray.train", "ray.air", "ray.data", "optuna", "hyperopt")
"""Loggers that have handlers of their own, so that redirecting the root logger is not enough."""


@contextmanager
def redirect_output(log_path: Path) -> Iterator[TextIO]:
    """Redirect all output of the process except ours to `log_path` for the duration of the block.

    Args:
        log_path: The log file, to which is appended.

    Yields:
        The console, which the user still sees. In a notebook, where the console is not file descriptor 1, the stream
        that was `sys.stdout`.
    """
    with ExitStack() as stack:
        log = stack.enter_context(open_log(log_path, parts=IN_SWEEP))
        console = _console(stack)
        for number in (1, 2):
            stack.enter_context(_descriptor_to(log, number))
        if console is sys.stdout:  # a notebook's own stream, which has no descriptor
            stack.enter_context(redirect_stdout(log))
            stack.enter_context(redirect_stderr(log))
        stack.enter_context(_loggers_to(log))
        stack.enter_context(_warnings_to(log))
        yield console


def _console(stack: ExitStack) -> TextIO:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        on_descriptor = sys.stdout.fileno() == 1
    except (OSError, ValueError, AttributeError):
        on_descriptor = False
    if not on_descriptor:
        return sys.stdout
    return stack.enter_context(os.fdopen(os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding, errors="replace"))


@contextmanager
def _descriptor_to(log: TextIO, number: int) -> Iterator[None]:
    saved = os.dup(number)
    os.dup2(log.fileno(), number)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # the log's disk is full
                stream.flush()
        os.dup2(saved, number)
        os.close(saved)


@contextmanager
def _loggers_to(log: TextIO) -> Iterator[None]:
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    before = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = [handler]
        logger.propagate = False
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers[:] = handlers
            logger.propagate = propagate


@contextmanager
def _warnings_to(log: TextIO) -> Iterator[None]:
    """Write warnings to the log; those that the user turned into errors stay errors."""
    with warnings.catch_warnings():

        def write(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
            print(f"{filename}:{lineno}: {category.__name__}: {message}", file=log)

        warnings.showwarning = write  # type: ignore[assignment]
        yield
