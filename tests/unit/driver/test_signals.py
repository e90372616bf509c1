"""Ctrl-C and SIGTERM: the first is handled, the second ends everything at once; handlers are put back."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from hpsearch.driver import signals as signals_module
from hpsearch.driver.signals import Signals
from hpsearch.errors import Interrupted
from tests.support.waiting import PATIENCE_S, until


def sleep_long() -> None:
    until(lambda: False, every_s=0.01)


@pytest.fixture
def twice(monkeypatch):
    """Two signals have come; neither has been looked at yet."""
    monkeypatch.setattr(signals_module, "REPEAT_S", 0.01)
    with Signals(lambda number: None) as signals, signals.shield():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        yield signals
        signals.end()


def test_the_first_signal_is_handled_and_the_second_asks_for_haste():
    seen: list[signal.Signals] = []
    before = signal.getsignal(signal.SIGTERM)
    with Signals(seen.append) as signals:
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM] and signals.exit_code == 143 and not signals.at_once
        signal.raise_signal(signal.SIGINT)
        assert seen == [signal.SIGTERM] and signals.exit_code == 143 and signals.at_once
        signals.end()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_that_is_not_looked_at_interrupts(monkeypatch):
    monkeypatch.setattr(signals_module, "REPEAT_S", 0.01)
    with Signals(lambda number: None), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        sleep_long()


class Deaf:
    """Python drops what is raised while an object is deleted."""

    def __del__(self) -> None:
        HEARD.append("")
        sleep_long()


HEARD: list[str] = []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_second_signal_that_python_drops_interrupts_again(monkeypatch):
    monkeypatch.setattr(signals_module, "REPEAT_S", 0.2)
    with Signals(lambda number: None), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        deaf = Deaf()
        del deaf
        assert HEARD
        sleep_long()


def test_what_is_shielded_comes_to_its_end_before_it_is_interrupted(monkeypatch):
    monkeypatch.setattr(signals_module, "REPEAT_S", 0.01)
    done = []
    with Signals(lambda number: None) as signals, pytest.raises(KeyboardInterrupt):
        with signals.shield():
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            done.append("whole")
        sleep_long()
    assert done == ["whole"]


def test_a_third_signal_interrupts_without_delay():
    with Signals(lambda number: None), pytest.raises(KeyboardInterrupt):
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)


def test_while_everything_is_being_ended_no_signal_changes_that_unless_it_takes_long(monkeypatch):
    with Signals(lambda number: None) as signals:
        signal.raise_signal(signal.SIGINT)
        signals.end()
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        monkeypatch.setattr(signals_module, "MAX_ENDING_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signals.exit_code == 130 and not signals.at_once


def test_when_the_first_signal_ends_everything_no_other_disturbs_it():
    def leave(number: signal.Signals) -> None:
        raise Interrupted(143)

    with pytest.raises(Interrupted), Signals(leave):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)


def test_the_first_signal_is_heard_at_the_end_too():
    seen: list[signal.Signals] = []
    with Signals(seen.append) as signals:
        signals.end()
        signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM] and signals.exit_code == 143


def test_handlers_are_put_back_even_when_others_replaced_them():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with Signals(lambda number: None) as signals:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signals.arm()
        signal.raise_signal(signal.SIGTERM)
        assert signals.exit_code == 143
    assert {number: signal.getsignal(number) for number in before} == before


def bridge_of(signals: Signals, *, grace_s: float = PATIENCE_S, **engine: Any) -> Any:
    from hpsearch.driver.tuner import _Bridge

    made: Any = SimpleNamespace(**{"reason": "SIGTERM", "num_running": 1, **engine})
    no_placements: Any = None
    return _Bridge(made, no_placements, signals, grace_s)


@pytest.fixture
def killed(monkeypatch):
    """What was killed on Ray."""
    slots: list[str] = []
    monkeypatch.setattr("ray.kill", slots.append)
    return slots


class TestSlots:
    def test_after_a_second_signal_they_are_killed_and_the_engine_hears_no_more(self, twice, killed):
        bridge = bridge_of(twice)
        bridge.slots = {"a": "slot a", "b": "slot b"}
        assert bridge.call_engine(lambda: "heard", None) == "heard"
        assert bridge.must_stop() and bridge.must_stop()
        assert killed == ["slot a", "slot b"]
        assert bridge.call_engine(lambda: "heard", None) is None

    def test_after_a_first_they_are_waited_for_as_long_as_the_grace_lasts(self, killed):
        with Signals(lambda number: None) as signals:
            patient, out_of_grace = bridge_of(signals), bridge_of(signals, grace_s=-1.0)
            patient.slots = out_of_grace.slots = {"a": "slot a"}
            assert not patient.must_stop() and not killed
            assert out_of_grace.must_stop() and killed == ["slot a"]

    def test_when_nothing_runs_they_end_by_themselves(self, killed):
        with Signals(lambda number: None) as signals:
            bridge = bridge_of(signals, grace_s=-1.0, num_running=0)
            bridge.slots = {"a": "slot a"}
            assert bridge.must_stop() and not killed

    def test_after_an_error_of_ours_they_are_killed(self, killed):
        with Signals(lambda number: None) as signals:
            bridge = bridge_of(signals, reason=None)
            bridge.slots = {"a": "slot a"}
            assert not bridge.must_stop()
            assert bridge.call_engine(lambda: 1 / 0, "default") == "default"
            assert bridge.must_stop() and killed == ["slot a"] and isinstance(bridge.error, ZeroDivisionError)

    def test_an_interrupt_goes_through_tune_whatever_it_falls_into(self):
        def interrupted() -> None:
            raise KeyboardInterrupt

        with Signals(lambda number: None) as signals:
            bridge = bridge_of(signals)
            with pytest.raises(KeyboardInterrupt):
                bridge.guarded(interrupted, None)
        assert bridge.error is None
