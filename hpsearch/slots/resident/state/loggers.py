"""The loggers of the process: a handler that a trial adds would print each line of the next trial twice.

A library that is imported during a trial configures its own loggers only once, so these are not restored.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, final

from hpsearch.slots.resident.state.user_files import is_library

_State = tuple[list[logging.Handler], list[Any], int, bool, bool]
"""Of a logger: handlers, filters, level, whether it propagates, whether it is disabled."""


@final
class Loggers:
    """The handlers, filters and levels of all loggers when it was made."""

    def __init__(self) -> None:
        self._states = {logger.name: _state(logger) for logger in _loggers()}
        self._loaded = frozenset(sys.modules)

    def restore(self) -> None:
        """Restore them; handlers that were added are closed."""
        for logger in list(_loggers()):
            before = self._states.get(logger.name)
            if before is None and self._is_of_new_library(logger.name):
                self._states[logger.name] = _state(logger)
            elif _state(logger) != (before or _UNTOUCHED):
                _set(logger, before or _UNTOUCHED)

    def _is_of_new_library(self, name: str) -> bool:
        """Whether a logger belongs to a library that was not loaded before."""
        root = name.partition(".")[0]
        return is_library(root) and root not in self._loaded


_UNTOUCHED: _State = ([], [], logging.NOTSET, True, False)
"""The state of a new logger."""


def _loggers() -> Iterator[logging.Logger]:
    yield logging.root
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield logger


def _state(logger: logging.Logger) -> _State:
    return list(logger.handlers), list(logger.filters), logger.level, logger.propagate, logger.disabled


def _set(logger: logging.Logger, state: _State) -> None:
    handlers, logger.filters[:], level, logger.propagate, logger.disabled = state
    added = [handler for handler in logger.handlers if handler not in handlers]
    logger.handlers[:] = handlers
    logger.setLevel(level)
    for handler in added:
        with suppress(Exception):  # a handler of the user's may raise when it is closed
            handler.close()
