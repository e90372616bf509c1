"""Any trainable, one row at a time: what makes a training function stop at its epochs, whatever way it tells them.

For a process that trains trial after trial (`isolation: slot`). A generator is asked for its next row in the caller's
thread. Any other function runs in one daemon thread; its `report` hands over a row and waits there until the next
`advance`, so that it never runs ahead: state taken between two rows is the state of that epoch, and stopping is not
asking again. Two threads, but never both at work.
"""

from __future__ import annotations

import inspect
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, final

from hpsearch.errors import TrialStopped
from hpsearch.training.context import TrialContext

if TYPE_CHECKING:
    from hpsearch.training.leaks.sentinel import Sentinel

Metrics = dict[str, Any]
"""Metric names to whatever the trainable gave; nothing is checked here but that it is a mapping."""


def make_stepper(function: Callable[[dict[str, Any]], Any], config: dict[str, Any], context: TrialContext) -> Stepper:
    """The stepper that fits a trainable; nothing of the user's runs before its first `advance`.

    Args:
        function: A generator function; a function that returns an iterator of rows; or one that calls `report`, whose
            returned mapping, if it returns one, is the last row.
        config: What the function is called with.
        context: Becomes the place that `report` hands its rows to. The caller activates it while it steps.
    """
    if inspect.isgeneratorfunction(function):
        return _GeneratorStepper(function, config, context)
    return _ThreadStepper(function, config, context)


class Stepper(ABC):
    """Runs a trainable up to its next row. Not safe for threads."""

    def __init__(
        self, function: Callable[[dict[str, Any]], Any], config: dict[str, Any], context: TrialContext
    ) -> None:
        self._function = function
        self._config = config
        self._context = context
        self._watch = LeakWatch(context)

    @final
    def advance(self) -> Metrics | None:
        """The next row, counted in `context.epochs_done`; None when the function ended by itself.

        Raises:
            TypeError: The function gave something that is no mapping.
            BaseException: Whatever the function raised, with its own traceback.
        """
        row = self._next_metrics()
        if row is not None:
            self._context.epochs_done += 1
            self._watch.after_epoch()
        return row

    @abstractmethod
    def close(self, timeout_s: float = 5.0) -> bool:
        """End the function where it waits, so that its `finally` blocks run; errors that they raise are printed.

        Args:
            timeout_s: How long a function in a thread may take to end. Generators are not timed.

        Returns:
            False if the function goes on regardless: only the end of the process will stop it.
        """

    @abstractmethod
    def _next_metrics(self) -> Metrics | None: ...


@final
class LeakWatch:
    """Looks for leaks, at the one point of an epoch that all trainables share."""

    def __init__(self, context: TrialContext) -> None:
        self._is_on = context.leak_warnings
        self._sentinel: Sentinel | None = None

    def after_epoch(self) -> None:
        """To be called after each row."""
        if not self._is_on:
            return
        if self._sentinel is None:
            from hpsearch.training.leaks.sentinel import Sentinel

            self._sentinel = Sentinel()
        self._sentinel.after_epoch()


def prepare_process(context: TrialContext) -> None:
    """Random states and the CUDA device, which is each thread's own, for the thread that runs the function."""
    from hpsearch.training.rng import seed_everything

    seed_everything(context.seed)
    if context.device.type == "cuda":
        import torch

        torch.cuda.set_device(context.device)


@final
class _GeneratorStepper(Stepper):
    """A generator function, in the caller's thread."""

    _rows: MetricsIterator | None = None

    def _next_metrics(self) -> Metrics | None:
        if self._rows is None:
            prepare_process(self._context)
            self._rows = MetricsIterator(self._function(self._config), self._context)
        return self._rows.next_metrics()

    def close(self, timeout_s: float = 5.0) -> bool:
        return self._rows is None or self._rows.close()


@dataclass(frozen=True)
class _Reported:
    row: Metrics


@dataclass(frozen=True)
class _Returned:
    value: Any


@dataclass(frozen=True)
class _Raised:
    error: BaseException


@final
class _ThreadStepper(Stepper):
    """A plain function, in a daemon thread that stands still between two rows."""

    def __init__(
        self, function: Callable[[dict[str, Any]], Any], config: dict[str, Any], context: TrialContext
    ) -> None:
        super().__init__(function, config, context)
        self._thread = threading.Thread(target=self._run, name=f"trial {context.number}", daemon=True)
        self._events: SimpleQueue[_Reported | _Returned | _Raised] = SimpleQueue()
        self._go_on = threading.Semaphore(0)
        self._stopping = False
        self._ended = False
        self._rows: MetricsIterator | None = None  # once the function has returned an iterator
        context.on_report = self._hand_over

    def _next_metrics(self) -> Metrics | None:
        if self._rows is not None:
            return self._rows.next_metrics()
        if self._ended or self._stopping:
            return None
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go_on.release()
        return self._take(self._events.get())

    def close(self, timeout_s: float = 5.0) -> bool:
        self._stopping = True
        if self._rows is not None:
            return self._rows.close()
        if self._thread.ident is None:
            return True
        self._go_on.release()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _take(self, event: _Reported | _Returned | _Raised) -> Metrics | None:
        if isinstance(event, _Reported):
            return event.row
        self._ended = True
        self._thread.join()
        if isinstance(event, _Raised):
            raise event.error
        if isinstance(event.value, Iterator):
            self._rows = MetricsIterator(event.value, self._context)
            return self._rows.next_metrics()
        return dict(event.value) if isinstance(event.value, Mapping) and event.value else None

    def _run(self) -> None:
        try:
            prepare_process(self._context)
            self._events.put(_Returned(self._function(self._config)))
        except TrialStopped:
            self._events.put(_Returned(None))
        except BaseException as error:
            if self._stopping:
                traceback.print_exc()
            self._events.put(_Raised(error))

    def _hand_over(self, row: Metrics) -> None:
        """`report`, in the function's thread."""
        if not self._stopping:
            self._events.put(_Reported(row))
            self._go_on.acquire()
        if self._stopping:
            self._go_on.release()  # for others: a function may report from threads of its own
            raise TrialStopped


@final
class MetricsIterator:
    """An iterator of rows, in the caller's thread."""

    def __init__(self, rows: Iterator[Any], context: TrialContext) -> None:
        self._iterator = rows
        context.on_report = _refuse_report

    def next_metrics(self) -> Metrics | None:
        """The next row; None at the end."""
        try:
            row = next(self._iterator)
        except StopIteration:
            return None
        if not isinstance(row, Mapping):
            self._refuse(f"the trainable yielded {type(row).__name__}; yield a dict of metrics for each epoch.")
        return dict(row)

    def _refuse(self, why: str) -> NoReturn:
        """Raise where the row was yielded, so that the traceback shows the user's own line."""
        error = TypeError(why)
        with suppress(StopIteration):
            if isinstance(self._iterator, Generator):
                self._iterator.throw(error)
        raise error

    def close(self) -> bool:
        """End the iterator where it waits; false if it goes on regardless."""
        try:
            getattr(self._iterator, "close", lambda: None)()
        except RuntimeError as error:
            if "ignored GeneratorExit" in str(error):
                return False
            traceback.print_exc()
        except Exception:
            traceback.print_exc()
        return True


def _refuse_report(row: Metrics) -> None:
    raise TypeError("a trainable that yields its rows can't call report as well; yield the dict instead.")
