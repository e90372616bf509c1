from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from hpsearch.errors import TrialStopped
from hpsearch.training.context import TrialContext, activate, report
from hpsearch.training.stepper import Stepper, make_stepper
from tests.support.waiting import until

Function = Callable[[dict[str, Any]], Any]


@pytest.fixture
def stepping() -> Iterator[Callable[..., Stepper]]:
    """Makes steppers whose context is active until the test ends; no thread may be left then."""
    before = set(threading.enumerate())
    with activate(TrialContext(device="cpu")) as context:

        def make(function: Function, **config: Any) -> Stepper:
            return make_stepper(function, config, context)

        yield make
    assert set(threading.enumerate()) == before


def yields_twice(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"loss": 2.0}
    yield {"loss": 1.0}


def reports_twice(config: dict[str, Any]) -> None:
    report(loss=2.0)
    report({"loss": 1.0})


def returns_an_iterator(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return iter([{"loss": 2.0}, {"loss": 1.0}])


def returns_a_generator(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return yields_twice(config)


def returns_its_last_row(config: dict[str, Any]) -> dict[str, Any]:
    report(loss=2.0)
    return {"loss": 1.0}


@pytest.mark.parametrize(
    "function", [yields_twice, reports_twice, returns_an_iterator, returns_a_generator, returns_its_last_row]
)
def test_every_kind_of_trainable_gives_its_rows_one_by_one(stepping: Any, function: Function) -> None:
    stepper = stepping(function)
    assert [stepper.advance() for _ in range(4)] == [{"loss": 2.0}, {"loss": 1.0}, None, None]
    assert stepper.close()


def test_the_stepper_counts_epochs_also_after_a_resume(stepping: Any) -> None:
    context = TrialContext()
    context.epochs_done = 5  # as `keep` leaves it
    stepper = make_stepper(yields_twice, {}, context)
    stepper.advance()
    assert context.epochs_done == 6
    stepper.advance()
    stepper.advance()
    assert context.epochs_done == 7


def test_nothing_of_the_users_runs_before_the_first_advance(stepping: Any) -> None:
    called: list[str] = []

    def notes(config: dict[str, Any]) -> None:
        called.append(threading.current_thread().name)

    stepper = stepping(notes)
    assert not called
    assert stepper.close()
    assert stepper.advance() is None
    assert not called


def test_a_generator_runs_in_the_callers_thread_even_if_a_plain_function_returned_it(stepping: Any) -> None:
    def rows(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"thread": threading.current_thread()}

    def returns_them(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        return rows(config)

    for function in (rows, returns_them):
        assert stepping(function).advance() == {"thread": threading.main_thread()}


def test_a_plain_function_never_runs_ahead_of_its_report(stepping: Any) -> None:
    done: list[int] = []

    def counts(config: dict[str, Any]) -> None:
        for epoch in range(3):
            done.append(epoch)
            report(epoch=epoch)

    stepper = stepping(counts)
    for epoch in range(3):
        assert stepper.advance() == {"epoch": epoch}
        assert done == list(range(epoch + 1))
    assert stepper.advance() is None


def _with_finally(ran: list[str]) -> list[Function]:
    def yields(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            yield {"loss": 1.0}
            ran.append("went on")
        finally:
            ran.append("finally")

    def reports(config: dict[str, Any]) -> None:
        try:
            report(loss=1.0)
            ran.append("went on")
        except Exception:
            ran.append("caught")
        finally:
            ran.append("finally")

    def returns_a_generator(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        return yields(config)

    return [yields, reports, returns_a_generator]


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_close_runs_the_functions_finally_blocks_and_nothing_else(stepping: Any, kind: int) -> None:
    ran: list[str] = []
    stepper = stepping(_with_finally(ran)[kind])
    stepper.advance()
    assert stepper.close()
    assert ran == ["finally"]
    assert stepper.close(), "closing twice is harmless"


def fails_by_yielding(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"loss": 1.0}
    raise ZeroDivisionError("by hand")


def fails_by_reporting(config: dict[str, Any]) -> None:
    report(loss=1.0)
    raise ZeroDivisionError("by hand")


@pytest.mark.parametrize("function", [fails_by_yielding, fails_by_reporting])
def test_an_exception_arrives_with_the_line_where_it_was_raised(stepping: Any, function: Function) -> None:
    stepper = stepping(function)
    stepper.advance()
    with pytest.raises(ZeroDivisionError) as caught:
        stepper.advance()
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == function.__name__
    assert stepper.advance() is None
    assert stepper.close()


def test_a_function_that_ignores_its_end_is_told_so_that_the_slot_can_kill_it() -> None:
    go_on = threading.Event()

    def stubborn(config: dict[str, Any]) -> None:
        try:
            report(loss=1.0)
        except TrialStopped:
            go_on.wait()

    stepper = make_stepper(stubborn, {}, context := TrialContext(device="cpu"))
    with activate(context):
        stepper.advance()
        assert not stepper.close(timeout_s=0.05)
        go_on.set()
        assert stepper.close(timeout_s=120)


def test_a_function_that_catches_its_end_gets_it_again_from_the_next_report(stepping: Any) -> None:
    stops: list[int] = []

    def stubborn(config: dict[str, Any]) -> None:
        for epoch in range(3):
            try:
                report(epoch=epoch)
            except TrialStopped:
                stops.append(epoch)

    stepper = stepping(stubborn)
    stepper.advance()
    assert stepper.close()
    assert stops == [0, 1, 2]


def test_a_generator_that_yields_after_its_end_is_told_too(stepping: Any) -> None:
    def stubborn(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            yield {"loss": 1.0}
        except GeneratorExit:
            yield {"loss": 0.0}

    stepper = stepping(stubborn)
    stepper.advance()
    assert not stepper.close()


def fails_to_clean_up_by_yielding(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        yield {"loss": 1.0}
    finally:
        raise OSError("no clean-up")


def fails_to_clean_up_by_reporting(config: dict[str, Any]) -> None:
    try:
        report(loss=1.0)
    finally:
        raise OSError("no clean-up")


@pytest.mark.parametrize("function", [fails_to_clean_up_by_yielding, fails_to_clean_up_by_reporting])
def test_an_error_while_ending_is_printed_and_the_function_has_ended(
    stepping: Any, function: Function, capsys: pytest.CaptureFixture[str]
) -> None:
    stepper = stepping(function)
    stepper.advance()
    assert stepper.close()
    assert "OSError: no clean-up" in capsys.readouterr().err


@pytest.mark.parametrize("row", [3.0, None, [("loss", 1.0)]])
def test_a_row_that_is_no_mapping_is_a_clear_error(stepping: Any, row: object) -> None:
    def yields(config: dict[str, Any]) -> Iterator[Any]:
        yield row

    with pytest.raises(
        TypeError, match=f"the trainable yielded {type(row).__name__}. Yield a dict of metrics"
    ) as caught:
        stepping(yields).advance()
    assert caught.traceback[-1].name == "yields", "it is raised at the user's own line"


def test_a_generator_that_swallows_the_error_of_its_row_does_not_go_on(stepping: Any) -> None:
    def swallows(config: dict[str, Any]) -> Iterator[Any]:
        for _ in range(2):
            with suppress(TypeError):
                yield 3.0

    with pytest.raises(TypeError, match="the trainable yielded float"):
        stepping(swallows).advance()


def test_report_refuses_what_is_no_mapping_where_it_is_called(stepping: Any) -> None:
    def reports(config: dict[str, Any]) -> None:
        report(0.5)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="expected a dict of metrics, got float"):
        stepping(reports).advance()


def test_a_generator_that_reports_as_well_is_a_clear_error(stepping: Any) -> None:
    def both(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        report(loss=1.0)
        yield {"loss": 1.0}

    with pytest.raises(TypeError, match="yields its metrics can't call report as well"):
        stepping(both).advance()


def test_the_reported_dict_may_be_changed_afterwards(stepping: Any) -> None:
    def reuses(config: dict[str, Any]) -> None:
        row = {"loss": 2.0}
        report(row)
        row["loss"] = 1.0
        report(row)

    stepper = stepping(reuses)
    rows = [stepper.advance(), stepper.advance(), stepper.advance()]
    assert rows == [{"loss": 2.0}, {"loss": 1.0}, None]


@pytest.fixture
def handlers_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_function_installs_signal_handlers_and_they_run(stepping: Any, handlers_restored: None) -> None:
    original, received = signal.signal, []

    def function(config: dict[str, Any]) -> None:
        before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            until(lambda: received)
            report(loss=1.0)
        finally:
            signal.signal(signal.SIGUSR1, before)

    before = signal.getsignal(signal.SIGUSR1)
    stepper = stepping(function)
    assert stepper.advance() == {"loss": 1.0}
    assert received == [signal.SIGUSR1] and signal.getsignal(signal.SIGUSR1) is not before
    assert stepper.close()  # its `finally` block asks the main thread too
    assert signal.getsignal(signal.SIGUSR1) is before and signal.signal is original


def test_what_signal_refuses_is_raised_where_the_function_called_it(stepping: Any) -> None:
    def function(config: dict[str, Any]) -> None:
        signal.signal(signal.SIGKILL, signal.SIG_IGN)

    with pytest.raises(OSError) as caught:
        stepping(function).advance()
    assert "function" in {frame.name for frame in traceback.extract_tb(caught.value.__traceback__)}


def test_a_handler_that_exits_ends_the_epoch_and_the_function(stepping: Any, handlers_restored: None) -> None:
    """The handler runs in the main thread, as in any program, so what it raises comes out of `advance`."""
    go_on = threading.Event()

    def function(config: dict[str, Any]) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3))
        os.kill(os.getpid(), signal.SIGUSR1)
        go_on.wait()
        report(loss=1.0)

    stepper = stepping(function)
    with pytest.raises(SystemExit):
        stepper.advance()
    go_on.set()
    assert stepper.close()


def test_a_process_that_the_function_forks_installs_its_own_handlers(stepping: Any) -> None:
    """A worker of `multiprocessing` that ignores Ctrl-C, say; there is no other thread in it that could do it."""

    def function(config: dict[str, Any]) -> dict[str, Any]:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends the child if it waits for ever
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            os._exit(7)
        return {"loss": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}

    assert stepping(function).advance() == {"loss": 7}


def test_another_thread_of_the_function_can_not_install_handlers(stepping: Any) -> None:
    """As in any program."""

    def function(config: dict[str, Any]) -> dict[str, Any]:
        raised: list[BaseException] = []

        def install() -> None:
            try:
                signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            except ValueError as error:
                raised.append(error)

        thread = threading.Thread(target=install)
        thread.start()
        thread.join()
        return {"loss": len(raised)}

    assert stepping(function).advance() == {"loss": 1}


def test_reports_from_a_functions_own_threads_arrive_and_end(stepping: Any) -> None:
    def reports_elsewhere(config: dict[str, Any]) -> None:
        def work() -> None:
            try:
                report(loss=1.0)
            except TrialStopped:
                ended.append(True)

        ended: list[bool] = config["ended"]
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    ended: list[bool] = []
    stepper = stepping(reports_elsewhere, ended=ended)
    assert stepper.advance() == {"loss": 1.0}
    assert stepper.close()
    assert ended == [True, True]


@pytest.mark.parametrize("kind", ["yields", "reports"])
def test_every_trial_of_a_seed_begins_with_the_same_random_states(stepping: Any, kind: str) -> None:
    import random

    import numpy
    import torch

    def yields(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"drawn": (torch.rand(1).item(), random.random(), numpy.random.rand())}

    def reports(config: dict[str, Any]) -> None:
        report(next(yields(config)))

    function: Function = yields if kind == "yields" else reports
    rows = []
    for _ in range(2):
        stepper = stepping(function)
        rows.append(stepper.advance())
        assert stepper.close()
    assert rows[0] == rows[1]
