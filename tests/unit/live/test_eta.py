"""The time to go, against what a sweep on a simulated clock then takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.engine.engine import Engine
from hpsearch.engine.trial import Trial
from hpsearch.live.eta import Forecast
from hpsearch.live.progress import DriverStatus, SweepProgress, headline
from hpsearch.spec.sweep import Sweep
from tests.support.clock import Clock
from tests.support.curves import SPEC
from tests.support.timed import run

RULES: dict[str, dict[str, Any]] = {
    "asha": {"type": "asha", "min_iter": 1, "eta": 3},
    "asha_stop": {"type": "asha_stop", "min_iter": 1, "eta": 3},
    "hyperband": {"type": "hyperband", "min_iter": 1, "eta": 3},
    "median": {"type": "median", "min_iter": 3, "min_trials": 3},
    "none": {"type": "none"},
}
FACTOR = {"none": 1.4}
"""By which factor an estimate may be off; by up to 2 under a rule, since it depends on which trials get far."""


def ratios(home: Path, rule: str, *, seed: int) -> list[float]:
    """Estimate over truth at a quarter, a half and three quarters of the time that 64 trials take on 4 slots."""
    seen: list[tuple[float, float | None]] = []
    progress: list[SweepProgress] = []

    def estimate(engine: Engine, clock: Clock) -> None:
        if not progress:
            status = DriverStatus(concurrent=engine.concurrent)
            progress.append(SweepProgress(engine.sweep, engine.trials, lambda: status, clock=clock))
        seen.append((clock.now, progress[0].eta_s))

    keys = {"early_terminate": RULES[rule], "seed": seed, "limits": {"trials": 64, "epochs": 27, "concurrent": 4}}
    total = run(home, on_report=estimate, **keys)
    at = [next((now, estimated) for now, estimated in seen if now >= share * total) for share in (0.25, 0.5, 0.75)]
    return [(estimated or 0.0) / (total - now) for now, estimated in at]


@pytest.mark.parametrize("rule", RULES)
def test_the_estimate_is_right_within_a_factor(home: Path, rule: str):
    factor = FACTOR.get(rule, 2.0)
    assert all(1 / factor <= ratio <= factor for ratio in ratios(home, rule, seed=0))


def trial(number: int, epochs: int, state: str) -> Trial:
    return Trial(number=number, point={}, ledger_id=number, epochs=epochs, state=state, past_s=2.0 * epochs)  # type: ignore[arg-type]


def left(trials: list[Trial], **keys: Any) -> float | None:
    work = Forecast(Sweep.from_dict({**SPEC, **keys})).remaining(trials)
    return None if work is None else work.epochs


def test_without_a_rule_every_trial_runs_to_the_end():
    keys: dict[str, Any] = {"early_terminate": {"type": "none"}, "limits": {"trials": 4, "epochs": 10}}
    assert left([], **keys) == 40
    assert left([trial(1, 10, "done"), trial(2, 4, "running")], **keys) == 26


def test_a_trial_that_is_paused_at_a_rung_is_no_work_until_it_is_promoted():
    keys: dict[str, Any] = {"early_terminate": {"type": "asha", "min_iter": 1, "eta": 3}}
    keys["limits"] = {"trials": 9, "epochs": 9}
    assert left([], **keys) == pytest.approx(9 * 1 + 3 * 2 + 1 * 6)
    waiting = [trial(number, 1, "paused") for number in range(1, 10)]
    work, with_one_more = left(waiting, **keys), left([*waiting[:8], trial(9, 1, "running")], **keys)
    assert work is not None and with_one_more is not None
    assert work < 3 * 2 + 6, "fewer were promoted than the rule would have"
    assert with_one_more > work


def test_there_is_no_estimate_while_the_length_of_a_trial_is_unknown():
    keys: dict[str, Any] = {"early_terminate": {"type": "none"}, "limits": {"trials": 4}}
    assert left([trial(1, 4, "running")], **keys) is None
    assert left([trial(1, 6, "done"), trial(2, 4, "running")], **keys) == pytest.approx(2 + 2 * 6)


def test_the_time_limit_ends_it_earlier():
    sweep = Sweep.from_dict({**SPEC, "early_terminate": {"type": "none"}})
    trials = {1: trial(1, 5, "running")}
    progress = SweepProgress(sweep, trials, lambda: DriverStatus(concurrent=1, time_left_s=7.0))
    assert progress.time_to_go() == (7.0, True)
    assert headline(progress).endswith(" | 7 s to the time limit")


def test_more_slots_take_less_time():
    sweep = Sweep.from_dict({**SPEC, "early_terminate": {"type": "none"}})
    trials = {1: trial(1, 5, "running")}

    def seconds(slots: int) -> float:
        eta_s = SweepProgress(sweep, trials, lambda: DriverStatus(concurrent=slots)).eta_s
        assert eta_s is not None
        return eta_s

    assert seconds(1) == pytest.approx(2.0 * (22 + 63 * 27), rel=0.01)
    assert seconds(1) > 1.9 * seconds(2) > 1.9 * 3 * seconds(8)
