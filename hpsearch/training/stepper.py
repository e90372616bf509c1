"""Runs any trainable one epoch at a time, whether it yields its metrics or reports them.

Used with `isolation: slot`, where one process runs all trials; `MetricsIterator`, `LeakWatch` and `prepare_process` are
used with `isolation: process` too. A generator runs in the caller's thread. Any other function runs in a daemon thread:
its `report` hands over the metrics of an epoch and blocks until the next `advance`. The function therefore never runs
ahead: a checkpoint made between two calls of `advance` has the state of that epoch, and a trial is stopped by not
calling `advance` again. The two threads never run at the same time, and the function may install signal handlers, see
`main_thread.py`.
"""

from __future__ import annotations

import inspect
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, final

from hpsearch.errors import TrialStopped
from hpsearch.training.context import TrialContext
from hpsearch.training.main_thread import CallingThread, MainThreadCall

if TYPE_CHECKING:
    from hpsearch.training.leaks.sentinel import Sentinel

Metrics = dict[str, Any]
"""Metric names to values as the trainable gave them; only checked to be a mapping."""


def make_stepper(function: Callable[[dict[str, Any]], Any], config: dict[str, Any], context: TrialContext) -> Stepper:
    """A stepper for a trainable; the function does not start before the first `advance`.

    Args:
        function: A generator function; a function that returns an iterator of metrics; or a function that calls
            `report`, and may return the metrics of its last epoch.
        config: Argument of the function.
        context: The trial's context, whose `on_report` is set. The caller activates it during each call of `advance`.
    """
    if inspect.isgeneratorfunction(function):
        return _GeneratorStepper(function, config, context)
    return _ThreadStepper(function, config, context)


class Stepper(ABC):
    """Runs a trainable up to the end of its next epoch. Not thread-safe.

    Args:
        function: See `make_stepper`.
        config: Argument of the function.
        context: The trial's context.
    """

    def __init__(
        self, function: Callable[[dict[str, Any]], Any], config: dict[str, Any], context: TrialContext
    ) -> None:
        self._function = function
        self._config = config
        self._context = context
        self._watch = LeakWatch(context)
        self.has_called = False
        """Whether the function has been called, so that a failure may be its own."""

    @final
    def advance(self) -> Metrics | None:
        """Run the function to the end of its next epoch, and count it in `context.epochs_done`.

        Returns:
            The metrics of the epoch; None when the function has returned.

        Raises:
            TypeError: The function yielded something other than a mapping.
            BaseException: What the function raised, with its own traceback.
        """
        metrics = self._next_metrics()
        if metrics is not None:
            self._context.epochs_done += 1
            self._watch.after_epoch()
        return metrics

    @abstractmethod
    def close(self, timeout_s: float = 5.0) -> bool:
        """End the function where it waits, so that its `finally` blocks run. Errors that they raise are printed.

        Args:
            timeout_s: Seconds that a function in a thread may take to end. A generator has no time limit.

        Returns:
            False if the function keeps running; only ending the process stops it then.
        """

    @abstractmethod
    def _next_metrics(self) -> Metrics | None:
        """Run the function to the end of its next epoch; None when it has returned."""


@final
class LeakWatch:
    """Runs the leak sentinel after each epoch, unless the context turns leak warnings off.

    Args:
        context: The trial's context.
    """

    def __init__(self, context: TrialContext) -> None:
        self._is_on = context.leak_warnings
        self._sentinel: Sentinel | None = None

    def after_epoch(self) -> None:
        """Call this after each epoch."""
        if not self._is_on:
            return
        if self._sentinel is None:
            from hpsearch.training.leaks.sentinel import Sentinel

            self._sentinel = Sentinel()
        self._sentinel.after_epoch()


def prepare_process(context: TrialContext) -> None:
    """Seed all random generators, and select the CUDA device of the calling thread, which is to run the function."""
    from hpsearch.training.rng import seed_everything

    seed_everything(context.seed)
    if context.device.type == "cuda":
        import torch

        torch.cuda.set_device(context.device)


@final
class _GeneratorStepper(Stepper):
    """Runs a generator function in the caller's thread."""

    _iterator: MetricsIterator | None = None
    """None until the first epoch."""

    def _next_metrics(self) -> Metrics | None:
        if self._iterator is None:
            prepare_process(self._context)
            self.has_called = True
            self._iterator = MetricsIterator(self._function(self._config), self._context)
        return self._iterator.next_metrics()

    def close(self, timeout_s: float = 5.0) -> bool:
        return self._iterator is None or self._iterator.close()


@dataclass(frozen=True)
class _Reported:
    """The function has called `report`, and waits there."""

    metrics: Metrics
    """The metrics of the epoch."""


@dataclass(frozen=True)
class _Returned:
    """The function has returned."""

    value: Any
    """The result: an iterator of metrics, a mapping, or anything else."""


@dataclass(frozen=True)
class _Raised:
    """The function has raised an error."""

    error: BaseException
    """The error, with its traceback."""


@final
class _ThreadStepper(Stepper):
    """Runs a plain function in a daemon thread, which waits between two epochs."""

    def __init__(
        self, function: Callable[[dict[str, Any]], Any], config: dict[str, Any], context: TrialContext
    ) -> None:
        super().__init__(function, config, context)
        self._events: SimpleQueue[_Reported | _Returned | _Raised | MainThreadCall] = SimpleQueue()
        self._thread = CallingThread(self._run, name=f"trial {context.number}", request=self._events.put)
        self._may_continue = threading.Semaphore(0)
        self._stopping = False
        self._ended = False
        self._iterator: MetricsIterator | None = None  # set if the function returns an iterator
        context.on_report = self._hand_over

    def _next_metrics(self) -> Metrics | None:
        if self._iterator is not None:
            return self._iterator.next_metrics()
        if self._ended or self._stopping:
            return None
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._may_continue.release()
        return self._handle(self._next_event())

    def close(self, timeout_s: float = 5.0) -> bool:
        self._stopping = True
        if self._iterator is not None:
            return self._iterator.close()
        if self._thread.ident is None:
            return True
        self._may_continue.release()
        with suppress(Empty):
            deadline = time.monotonic() + timeout_s
            while not self._ended:
                self._ended = isinstance(self._next_event(deadline), _Returned | _Raised)
        self._thread.join(timeout_s if self._ended else 0)
        return not self._thread.is_alive()

    def _next_event(self, deadline: float | None = None) -> _Reported | _Returned | _Raised:
        """Wait for what the function does next, and make the calls that it asks the main thread for.

        Args:
            deadline: Time of `time.monotonic` after which Empty is raised; None to wait for as long as it takes.
        """
        while True:
            event = self._events.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            if not isinstance(event, MainThreadCall):
                return event
            event.run()

    def _handle(self, event: _Reported | _Returned | _Raised) -> Metrics | None:
        if isinstance(event, _Reported):
            return event.metrics
        self._ended = True
        self._thread.join()
        if isinstance(event, _Raised):
            raise event.error
        if isinstance(event.value, Iterator):
            self._iterator = MetricsIterator(event.value, self._context)
            return self._iterator.next_metrics()
        return dict(event.value) if isinstance(event.value, Mapping) and event.value else None

    def _run(self) -> None:
        try:
            prepare_process(self._context)
            self.has_called = True
            self._events.put(_Returned(self._function(self._config)))
        except TrialStopped:
            self._events.put(_Returned(None))
        except BaseException as error:
            if self._stopping:
                _print_exception()
            self._events.put(_Raised(error))

    def _hand_over(self, metrics: Metrics) -> None:
        """What `report` calls, in the function's thread: pass the metrics on and wait for the next `advance`."""
        if not self._stopping:
            self._events.put(_Reported(metrics))
            self._may_continue.acquire()
        if self._stopping:
            self._may_continue.release()  # for other threads of the function that may report too
            raise TrialStopped


@final
class MetricsIterator:
    """The metrics that a trainable yields, read in the caller's thread.

    Args:
        iterator: What the trainable returned. It may be any iterator; a generator gives better error messages.
        context: The trial's context. From now on `report` raises TypeError, since the trainable yields its metrics.
    """

    def __init__(self, iterator: Iterator[Any], context: TrialContext) -> None:
        self._iterator = iterator
        context.on_report = _refuse_report

    def next_metrics(self) -> Metrics | None:
        """The metrics of the next epoch; None at the end.

        Raises:
            TypeError: Something other than a mapping was yielded.
            BaseException: What the trainable raised.
        """
        try:
            metrics = next(self._iterator)
        except StopIteration:
            return None
        if not isinstance(metrics, Mapping):
            self._refuse(f"the trainable yielded {type(metrics).__name__}. Yield a dict of metrics for each epoch.")
        return dict(metrics)

    def _refuse(self, why: str) -> NoReturn:
        """Raise TypeError at the `yield` of a generator, so that the traceback shows the user's own line."""
        error = TypeError(why)
        with suppress(StopIteration):
            if isinstance(self._iterator, Generator):
                self._iterator.throw(error)
        raise error

    def close(self) -> bool:
        """End the iterator where it waits; False if it keeps running."""
        try:
            getattr(self._iterator, "close", lambda: None)()
        except RuntimeError as error:
            if "ignored GeneratorExit" in str(error):
                return False
            _print_exception()
        except Exception:
            _print_exception()
        return True


def _print_exception() -> None:
    with suppress(Exception):  # the training code has closed or replaced `sys.stderr`
        traceback.print_exc()


def _refuse_report(metrics: Metrics) -> None:
    raise TypeError("a trainable that yields its metrics can't call report as well. Yield the dict instead.")
