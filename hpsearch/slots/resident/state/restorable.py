"""Settings of the process that a trial may change, and that can be restored without risk.

The states of random number generators are not among them, since each trial seeds these.
"""

from __future__ import annotations

import gc
import locale
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, final

from hpsearch.slots.resident.state.library_settings import library_settings
from hpsearch.slots.resident.state.loggers import Loggers
from hpsearch.slots.resident.state.setting import Setting
from hpsearch.slots.resource_limits import read_limits, restore_limits

REBOUND = (
    (sys, "stdin"), (sys, "argv"), (sys, "excepthook"), (sys, "displayhook"),
    (sys, "unraisablehook"), (sys, "dont_write_bytecode"), (threading, "excepthook"), (warnings, "showwarning"),
    (warnings, "formatwarning"), (tempfile, "tempdir"), (logging, "raiseExceptions"), (logging, "_loggerClass"),
)  # fmt: skip
"""(module, name) of settings that are restored by an assignment."""
_SIGNALS = tuple(sorted(signal.valid_signals()))
"""All signals that this system has."""


@final
class Restorable:
    """The values of all settings when it was made."""

    def __init__(self) -> None:
        self._values = [(setting, _read(setting)) for setting in _settings()]
        self._loggers = Loggers()

    def restore(self) -> list[str]:
        """Restore all settings; returns a sentence on each that could not be restored."""
        stuck: list[str] = []
        for setting, value in self._values:
            if _read(setting) != value:
                with suppress(Exception):
                    setting.write(value)
                if _read(setting) != value:
                    stuck.append(f"{setting.what} was changed and can't be restored")
        self._loggers.restore()
        return stuck


def _read(setting: Setting) -> Any:
    try:
        return setting.read()
    except Exception:  # for example because the working directory is gone
        return None


def _settings() -> Iterator[Setting]:
    yield Setting(what="the environment", read=lambda: dict(os.environ), write=_set_environment)
    yield Setting(what="the working directory", read=os.getcwd, write=os.chdir)
    yield Setting(what="sys.path", read=lambda: list(sys.path), write=lambda path: _fill(sys.path, path))
    yield Setting(what="a resource limit", read=read_limits, write=restore_limits)
    yield Setting(what="the umask", read=_file_mask, write=os.umask)
    yield Setting(
        what="the priority of the process", read=lambda: os.getpriority(os.PRIO_PROCESS, 0), write=_set_priority
    )
    yield Setting(
        what="the CPU affinity",
        read=lambda: os.sched_getaffinity(0),
        write=lambda cores: os.sched_setaffinity(0, cores),
    )
    yield Setting(what="the alarm", read=_has_alarm, write=_set_alarm)  # before its handler: without one SIGALRM kills
    yield Setting(what="a signal handler", read=_signal_handlers, write=_set_signal_handlers)
    yield Setting(what="the signal mask", read=_signal_mask, write=_set_signal_mask)
    yield Setting(
        what="the locale",
        read=lambda: locale.setlocale(locale.LC_ALL),
        write=lambda name: locale.setlocale(locale.LC_ALL, name),
    )
    for module, name in REBOUND:
        yield _rebound(module, name)
    for name in ("stdout", "stderr"):
        yield _stream(name)
    yield Setting(what="the filters of warnings", read=lambda: list(warnings.filters), write=_set_warning_filters)
    yield Setting(what="logging.disable", read=lambda: logging.root.manager.disable, write=logging.disable)
    yield Setting(what="the recursion limit", read=sys.getrecursionlimit, write=sys.setrecursionlimit)
    yield Setting(what="garbage collection", read=lambda: (gc.isenabled(), gc.get_threshold()), write=_set_collection)
    yield Setting(what="tracing", read=lambda: (sys.gettrace(), sys.getprofile()), write=_set_tracing)
    yield Setting(what="the default timeout of sockets", read=socket.getdefaulttimeout, write=socket.setdefaulttimeout)
    yield Setting(
        what="the start method of multiprocessing",
        read=lambda: multiprocessing.get_start_method(allow_none=True),
        write=lambda method: multiprocessing.set_start_method(method, force=True),
    )
    yield from library_settings()


def _stream(name: str) -> Setting:
    """`sys.stdout` or `sys.stderr`; one that the trial has closed can't be restored, since others may refer to it."""
    return Setting(
        what=f"sys.{name}",
        read=lambda: (getattr(sys, name), getattr(getattr(sys, name), "closed", False)),
        write=lambda value: setattr(sys, name, value[0]),
    )


def _rebound(module: Any, name: str) -> Setting:
    return Setting(
        what=f"{module.__name__}.{name}",
        read=lambda: getattr(module, name),
        write=lambda value: setattr(module, name, value),
    )


def _fill(kept: list[Any], members: list[Any]) -> None:
    kept[:] = members


def _set_environment(variables: Mapping[str, str]) -> None:
    zone = os.environ.get("TZ")
    os.environ.clear()
    os.environ.update(variables)
    if variables.get("TZ") != zone:
        time.tzset()


def _file_mask() -> int:
    mask = os.umask(0o077)  # it can be read only by setting it
    os.umask(mask)
    return mask


def _set_priority(priority: int) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, priority)


def _signal_handlers() -> tuple[Any, ...]:
    return tuple(map(signal.getsignal, _SIGNALS))


def _set_signal_handlers(handlers: tuple[Any, ...]) -> None:
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        if handler is not None and signal.getsignal(number) != handler:  # None: it was not set from Python
            signal.signal(number, handler)


def _signal_mask() -> set[Any]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _set_signal_mask(mask: set[Any]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _has_alarm() -> bool:
    return any(
        signal.getitimer(timer)[0] > 0 for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    )


def _set_alarm(had_alarm: bool) -> None:
    for timer in () if had_alarm else (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)


def _set_warning_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # which also invalidates what Python has cached of the old ones
    warnings.filters[:] = filters  # type: ignore[index]


def _set_collection(state: tuple[bool, tuple[int, int, int]]) -> None:
    is_enabled, threshold = state
    gc.set_threshold(*threshold)
    (gc.enable if is_enabled else gc.disable)()


def _set_tracing(functions: tuple[Any, Any]) -> None:
    sys.settrace(functions[0])
    sys.setprofile(functions[1])
