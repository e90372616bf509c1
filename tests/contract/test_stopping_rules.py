"""What every stopping rule promises: one suite, one line of a table for each rule."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Container
from typing import final

import pytest

from hpsearch.stopping import Asha, AshaStop, Decision, Hyperband, Median, NoStopping, StoppingRule

MAX_EPOCHS = 9
MakeRule = Callable[[], StoppingRule]


def every_other(number: int) -> bool:
    """Whether a trial counts as random here."""
    return number % 2 == 0


RULES: dict[str, MakeRule] = {
    "none": NoStopping,
    "asha_stop": lambda: AshaStop(min_epochs=1, max_epochs=MAX_EPOCHS, eta=3),
    "asha": lambda: Asha(min_epochs=1, max_epochs=MAX_EPOCHS, eta=3),
    "asha, random apart": lambda: Asha(min_epochs=1, max_epochs=MAX_EPOCHS, eta=3, is_random=every_other),
    "asha_stop, random apart": lambda: AshaStop(min_epochs=1, max_epochs=MAX_EPOCHS, eta=3, is_random=every_other),
    "hyperband": lambda: Hyperband(min_epochs=1, max_epochs=MAX_EPOCHS, eta=3),
    "hyperband of two that stop": lambda: Hyperband(
        min_epochs=1, max_epochs=MAX_EPOCHS, eta=3, brackets=2, can_pause=False
    ),
    "median": lambda: Median(min_epochs=2, min_trials=3),
}
every_rule = pytest.mark.parametrize("make_rule", RULES.values(), ids=RULES)

Report = tuple[int, int, float]
"""Trial's number, epoch, loss."""


@final
class Logged(StoppingRule):
    """Another rule, and all of its reports, decisions and promotions."""

    def __init__(self, rule: StoppingRule) -> None:
        self._rule = rule
        self.events: list[tuple[Report, Decision] | int | None] = []
        """A report and the decision on it, or a promotion."""

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        decision = self._rule.report(number, epoch, loss)
        self.events.append(((number, epoch, loss), decision))
        return decision

    def promote(self, *, at_end: bool = False) -> int | None:
        number = self._rule.promote(at_end=at_end)
        self.events.append(number)
        return number

    def rungs(self) -> tuple[int, ...]:
        return self._rule.rungs()


def promotion(rule: StoppingRule, runs_already: Container[int | None]) -> int | None:
    """The first that it names of those that don't run already, as the driver asks."""
    while (number := rule.promote()) in runs_already and number is not None:
        pass
    return number


def sweep(
    rule: StoppingRule, *, seed: int, num_trials: int = 40
) -> tuple[list[Report], list[Decision], dict[int, int]]:
    """All reports of a sweep with four trials at once, what was decided, and the epoch that each trial got to."""
    rng = random.Random(seed)
    reports: list[Report] = []
    decisions: list[Decision] = []
    reached: dict[int, int] = {}
    running: list[int] = []
    waiting = list(range(num_trials, 0, -1))
    while True:
        while len(running) < 4 and (number := rule.promote() or (waiting.pop() if waiting else None)) is not None:
            running.append(number)
        if not running:
            return reports, decisions, reached
        number = rng.choice(running)
        reached[number] = reached.get(number, 0) + 1
        reports.append((number, reached[number], rng.choice([rng.random(), rng.random(), rng.random(), math.inf])))
        decisions.append(rule.report(*reports[-1]))
        if decisions[-1] is not Decision.CONTINUE or reached[number] == MAX_EPOCHS:
            running.remove(number)


@every_rule
@pytest.mark.parametrize("seed", range(5))
def test_the_same_reports_give_the_same_decisions(make_rule: MakeRule, seed: int) -> None:
    """A replay has no promotions: they follow from the reports after them."""
    unbroken, replayed = make_rule(), make_rule()
    reports, decisions, _ = sweep(unbroken, seed=seed)
    assert [replayed.report(*report) for report in reports] == decisions
    assert replayed.promote() is unbroken.promote() is None


@every_rule
@pytest.mark.parametrize("seed", range(3))
def test_a_rule_that_is_replayed_after_any_event_continues_as_the_uninterrupted_one(
    make_rule: MakeRule, seed: int
) -> None:
    """Whom it promoted before the cut, without a report since, it may name once more: that trial runs already."""
    logged = Logged(make_rule())
    sweep(logged, seed=seed)
    for cut in range(len(logged.events)):
        replayed, runs_already = make_rule(), set[int | None]()
        for event in logged.events[:cut]:
            if isinstance(event, tuple):
                assert replayed.report(*event[0]) is event[1]
                runs_already.discard(event[0][0])
            elif event is not None:
                runs_already.add(event)
        for event in logged.events[cut:]:
            if isinstance(event, tuple):
                assert replayed.report(*event[0]) is event[1]
                runs_already.discard(event[0][0])
            else:
                assert promotion(replayed, runs_already) == event


@every_rule
def test_a_trial_is_ended_or_paused_at_a_rung_alone_unless_it_diverged(make_rule: MakeRule) -> None:
    rule = make_rule()
    for (_, epoch, loss), decision in zip(*sweep(rule, seed=1)[:2], strict=True):
        assert decision is Decision.CONTINUE or epoch in rule.rungs() or loss == math.inf or isinstance(rule, Median)


@every_rule
def test_rungs_rise_and_leave_out_the_last_epoch(make_rule: MakeRule) -> None:
    rungs = make_rule().rungs()
    assert list(rungs) == sorted(set(rungs))
    assert all(1 <= epoch < MAX_EPOCHS for epoch in rungs)


@every_rule
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_diverged_trial_changes_no_verdict_on_the_others(make_rule: MakeRule, bad: float) -> None:
    plain, disturbed = make_rule(), make_rule()
    reports = [(number, 1, random.Random(number).random()) for number in range(1, 30)]
    for number, epoch, loss in reports:
        disturbed.report(number + 100, epoch, bad)
        assert disturbed.report(number, epoch, loss) is plain.report(number, epoch, loss)
    assert disturbed.promote() == plain.promote()


@every_rule
def test_a_diverged_trial_is_never_promoted(make_rule: MakeRule) -> None:
    rule = make_rule()
    for number in range(1, 10):
        assert rule.report(number, 1, math.inf) is not Decision.PAUSE
    assert rule.promote() is None
    assert rule.promote(at_end=True) is None


@every_rule
def test_a_repeated_epoch_does_not_count_twice(make_rule: MakeRule) -> None:
    once, repeated = make_rule(), make_rule()
    for number in range(1, 30):
        loss = random.Random(number).random()
        verdict = once.report(number, 1, loss)
        assert [repeated.report(number, 1, loss + again) for again in (0, 1, 2)] == [verdict] * 3
    assert repeated.promote() == once.promote()


@every_rule
def test_the_scale_of_the_loss_does_not_matter(make_rule: MakeRule) -> None:
    plain, scaled = make_rule(), make_rule()
    for number in range(1, 40):
        loss = random.Random(number).uniform(-1, 1)
        assert plain.report(number, 1, loss) is scaled.report(number, 1, math.exp(100 * loss))


@every_rule
def test_the_first_trial_is_never_stopped(make_rule: MakeRule) -> None:
    rule = make_rule()
    assert Decision.STOP not in [rule.report(1, epoch, 5.0) for epoch in range(1, MAX_EPOCHS + 1)]


@every_rule
def test_the_end_of_a_sweep_leaves_at_least_one_trial_with_all_its_epochs(make_rule: MakeRule) -> None:
    rule = make_rule()
    reached = {1: 0, 2: 0}
    running: list[int] = list(reached)
    while running:
        number = running[0]
        reached[number] += 1
        decision = rule.report(number, reached[number], float(number))
        if decision is not Decision.CONTINUE or reached[number] == MAX_EPOCHS:
            running.remove(number)
        if not running and (promoted := rule.promote(at_end=True)) is not None:
            running.append(promoted)
    assert reached[1] == MAX_EPOCHS
