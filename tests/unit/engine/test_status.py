"""Why no trial begins: the reasons, and where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.cluster.autoscaler import Growth
from hpsearch.devices.requests import WorkerRequest
from hpsearch.driver.placement import PendingPlacements
from hpsearch.engine.disk import MIB, DiskGuard
from hpsearch.engine.engine import Engine, EngineParts, Idle
from hpsearch.engine.status import IdleReasons, StopState
from hpsearch.errors import Problem
from hpsearch.ledger.store import Ledger
from hpsearch.search import make_searcher
from hpsearch.slots.protocol import Report
from hpsearch.spec.sweep import Sweep
from hpsearch.stopping import make_stopping_rule
from tests.support.curves import SPEC


def test_the_most_important_reason_is_given_and_counts_from_its_beginning():
    now = [10.0]
    waiting = IdleReasons(lambda: now[0])
    assert waiting.current is None
    waiting.set("engine", "rung", "2 are paused")
    now[0] = 20.0
    waiting.set("engine", "rung", "1 is paused")
    assert waiting.current is not None
    assert (waiting.current.text, waiting.current.since) == ("1 is paused", 10.0)
    waiting.set("disk", "disk", "disk full")
    assert (waiting.current.kind, waiting.current.since) == ("disk", 20.0)
    waiting.clear("disk")
    assert waiting.current.kind == "rung"


def engine_of(ledger: Ledger, **limits: int) -> Engine:
    sweep = Sweep.from_dict({**SPEC, "limits": {"epochs": 9, **limits}})
    record = ledger.add_sweep("curves", sweep.to_dict())
    rule = make_stopping_rule(sweep, can_pause=True)
    return Engine.new(EngineParts(sweep=sweep, searcher=make_searcher(sweep), rule=rule, ledger=ledger, record=record))


def report(engine: Engine, number: int, epoch: int) -> None:
    engine.on_event(
        number, Report(epoch=epoch, metrics={"val_loss": 1.0 * number}, elapsed_s=1.0, checkpoint_epoch=epoch)
    )


def kind_of(engine: Engine) -> str | None:
    return None if engine.idle_reasons.current is None else engine.idle_reasons.current.kind


def test_an_engine_with_all_slots_at_work_waits_for_nothing(home: Path):
    with Ledger(home, create=True) as ledger:
        engine = engine_of(ledger, trials=9)
        engine.next_assignment()
        assert kind_of(engine) is None
        engine.next_assignment()
        assert kind_of(engine) is None


def test_the_engine_says_that_all_trials_have_begun_and_how_many_are_paused(home: Path):
    with Ledger(home, create=True) as ledger:
        engine = engine_of(ledger, trials=2)
        engine.concurrent = 4
        for _ in range(3):
            engine.next_assignment()
        assert engine.idle_reasons.current is not None
        assert engine.idle_reasons.current.text == "all 2 trials have begun, 2 are still running"
        report(engine, 1, 1)
        engine.next_assignment()
        assert kind_of(engine) == "rung"
        assert "1 paused at rungs until the 1 running have reported" in engine.idle_reasons.current.text


def test_a_sweep_that_is_over_waits_for_nothing(home: Path):
    with Ledger(home, create=True) as ledger:
        engine = engine_of(ledger, trials=1)
        engine.next_assignment()
        for epoch in range(1, 10):
            report(engine, 1, epoch)
            engine.next_assignment()
        assert engine.num_running == 0
        assert kind_of(engine) is None


def test_an_engine_that_is_stopped_gives_the_reason(home: Path):
    with Ledger(home, create=True) as ledger:
        engine = engine_of(ledger, trials=2)
        engine.next_assignment()
        engine.stop("interrupted", "SIGTERM was received")
        assert engine.idle_reasons.current is not None
        assert engine.idle_reasons.current.text == "the sweep ends: SIGTERM was received"


def test_while_the_search_method_computes_that_is_the_reason(home: Path, monkeypatch: pytest.MonkeyPatch):
    with Ledger(home, create=True) as ledger:
        engine = engine_of(ledger, trials=2)
        seen = []
        ask = engine._searcher.ask

        def look_and_ask(number: int) -> Any:
            seen.append(kind_of(engine))
            return ask(number)

        monkeypatch.setattr(engine._searcher, "ask", look_and_ask)
        engine.next_assignment()
        assert seen == ["searcher"]


class Busy:
    """A cache for which another sweep is training every trial."""

    code_hash = None

    def fingerprint(self, point: object) -> str:
        return "the same"

    def is_busy(self, fingerprint: str | None) -> bool:
        return True

    def claim(self, fingerprint: str | None, number: int) -> str | None:
        return "other/3"


def test_a_trial_that_another_sweep_trains_is_what_a_free_slot_waits_for(home: Path):
    with Ledger(home, create=True) as ledger:
        sweep = Sweep.from_dict({**SPEC, "limits": {"trials": 1, "epochs": 9}})
        record = ledger.add_sweep("curves", sweep.to_dict())
        rule = make_stopping_rule(sweep, can_pause=True)
        cache: Any = Busy()
        engine = Engine.new(
            EngineParts(
                sweep=sweep, searcher=make_searcher(sweep), rule=rule, ledger=ledger, record=record, cache=cache
            )
        )
        assert engine.next_assignment() is Idle.NOT_NOW
        assert engine.idle_reasons.current is not None
        assert engine.idle_reasons.current.kind == "elsewhere"
        assert (
            engine.idle_reasons.current.text == "trial 1 waits for another sweep, which is training the same trial now"
        )


def test_a_full_disk_is_the_reason_until_there_is_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    waiting = IdleReasons()
    guard = DiskGuard(tmp_path, say=lambda text: None, give_up=lambda: False, idle_reasons=waiting)
    monkeypatch.setattr(guard, "_free", lambda: 14 * MIB)
    assert not guard.allows_start()
    assert waiting.current is not None
    assert (waiting.current.kind, waiting.current.text) == (
        "disk", f"disk full: 50 MiB short in {tmp_path}; no trial begins until there is space",
    )  # fmt: skip
    monkeypatch.setattr(guard, "_free", lambda: 1000 * MIB)
    assert guard.allows_start()
    assert waiting.current is None


def test_a_trial_that_ray_cannot_place_gives_what_it_asks_for_and_what_is_free():
    waiting, now = IdleReasons(), [0.0]
    request = WorkerRequest(cpu=2, gpu=0.5, workers=2)
    growth = [Growth()]
    asked: dict[str, Any] = {"free": lambda: {"CPU": 1.0}, "growth": lambda: growth[0], "clock": lambda: now[0]}
    places = PendingPlacements(waiting, request, is_ours=False, **asked)
    places.submitted("a", 3)
    places.tick()
    assert waiting.current is None, "a moment is nothing to speak of"
    now[0] = 2.0
    places.tick()
    assert waiting.current is not None
    assert waiting.current.text == (
        "trial 3 waits for a place in Ray: asks for 2 x 2 CPU + 0.5 GPU, free on all nodes together 1 CPU + 0 GPU"
    )
    now[0], growth[0] = 12.0, Growth(starting={"gpu_4": 1}, refused={"spot": "no capacity"})
    places.tick()
    assert waiting.current is not None
    assert waiting.current.text.endswith(f"free on all nodes together 1 CPU + 0 GPU; {growth[0].text}")
    places.resolved("a")
    places.tick()
    assert waiting.current is None


def test_the_first_reason_why_a_sweep_ends_is_kept_with_its_state():
    state = StopState(IdleReasons())
    assert (state.state, state.reason, state.mistake) == ("done", None, None)
    state.stop("interrupted", "SIGTERM came")
    state.stop("done", "the time limit of 1 s was reached")
    state.give_up(Problem(where=("trainable",), message="no module"))
    assert (state.state, state.reason) == ("interrupted", "SIGTERM came")
    assert "no module" in str(state.mistake)
