"""How Optuna's samplers see trials, and that nothing else of Optuna shows."""

from __future__ import annotations

import logging
import warnings

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from hpsearch.search.equal_fidelity import ENOUGH_AT_FIRST_RUNG, MIN_COMPARED
from hpsearch.search.interleaving import shall_be_random
from hpsearch.search.optuna_cmaes import CmaEsSearcher
from hpsearch.search.optuna_gp import GpSearcher
from hpsearch.search.optuna_qmc import QmcSearcher
from hpsearch.search.optuna_search import OptunaSearcher
from hpsearch.search.optuna_tpe import TpeSearcher
from hpsearch.search.searcher import Outcome
from hpsearch.space.space import Integer, Real, Space

SAMPLERS: dict[str, type[OptunaSearcher]] = {"tpe": TpeSearcher, "gp": GpSearcher, "cmaes": CmaEsSearcher}
SPACE = Space(domains={"x": Real(min=0.0, max=1.0), "n": Integer(min=1, max=9)})


def shown(sampler: str, state: str) -> FrozenTrial:
    """The trial as its sampler sees it, after a first one that ended with loss 2."""
    searcher = SAMPLERS[sampler](space=SPACE, seed=0)
    for number, point in ((1, {"x": 0.5, "n": 3}), (2, {"x": 0.25, "n": 4})):
        searcher.adopt(number, point)
    searcher.tell(Outcome(number=1, point={"x": 0.5, "n": 3}, state="done", losses={1: 3.0, 2: 2.0, 3: 4.0}))
    losses = {} if state == "infeasible" else {1: 1.0, 3: 1.5}
    searcher.tell(Outcome(number=2, point={"x": 0.25, "n": 4}, state=state, losses=losses))  # type: ignore[arg-type]
    return searcher._trials[2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_finished_trial_is_shown_with_its_best_loss(sampler: str) -> None:
    trial = shown(sampler, "done")
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 1.0)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_model_sees_no_trial_that_was_stopped_before_the_budget_that_enough_have_reached(sampler: str) -> None:
    searcher = SAMPLERS[sampler](space=SPACE, seed=0)
    for number in range(1, MIN_COMPARED + 3):
        searcher.adopt(number, point := {"x": number / 20, "n": 3})
        losses = {1: 1.0, 3: 0.5} if number > 2 else {1: 1.0}
        searcher.tell(Outcome(number=number, point=point, state="stopped", losses=losses))
    seen = [(trial.state, trial.value) for trial in searcher._trials.values()]
    assert seen == [(TrialState.FAIL, None)] * 2 + [(TrialState.COMPLETE, 0.5)] * MIN_COMPARED


def test_a_promoted_trial_is_shown_with_its_longer_curve() -> None:
    searcher = TpeSearcher(space=SPACE, seed=0)
    searcher.adopt(1, {"x": 0.5, "n": 3})
    for losses in ({1: 2.0}, {1: 2.0, 3: 1.0}):
        searcher.tell(Outcome(number=1, point={"x": 0.5, "n": 3}, state="stopped", losses=losses))
    assert searcher._trials[1].value == 1.0


def far_from_the_best(num_promoted: int, num_stopped: int) -> set[int]:
    """Of trials 200 to 299, those that are proposed far from where all trials were better and better."""
    searcher = TpeSearcher(space=SPACE, seed=0)
    for number in range(1, num_stopped + 1):
        searcher.adopt(number, point := {"x": 0.001 * number, "n": 3})
        losses = {1: point["x"], 3: point["x"]} if number <= num_promoted else {1: point["x"]}
        searcher.tell(Outcome(number=number, point=point, state="stopped", losses=losses))
    return {number for number in range(200, 300) if searcher._propose(number, 0)["x"] > 0.3}


@pytest.mark.parametrize(("num_promoted", "num_stopped"), [(3 * MIN_COMPARED, 100), (2, ENOUGH_AT_FIRST_RUNG)])
def test_under_a_stopping_rule_the_model_has_its_trials_and_others_are_random(
    num_promoted: int, num_stopped: int
) -> None:
    random = {number for number in range(200, 300) if shall_be_random(0, number, random_is_ahead=False)}
    far = far_from_the_best(num_promoted, num_stopped)
    assert len(far - random) <= 2
    assert len(far) > 0.5 * len(random) > 20


def test_while_trials_are_compared_at_the_first_rung_all_points_are_random() -> None:
    assert len(far_from_the_best(MIN_COMPARED - 1, 40)) > 60


def test_tpe_ranks_an_infeasible_trial_below_a_stopped_one() -> None:
    trial = shown("tpe", "infeasible")
    assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {})


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_a_sampler_that_ignores_pruned_trials_sees_infeasible_ones_with_a_loss(sampler: str) -> None:
    stopped, infeasible = shown(sampler, "stopped"), shown(sampler, "infeasible")
    assert (stopped.state, stopped.value) == (TrialState.COMPLETE, 1.0)
    assert (infeasible.state, infeasible.value) == (TrialState.COMPLETE, 2.0), "the worst loss known"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_dropped_trial_is_shown_as_failed(sampler: str) -> None:
    searcher = SAMPLERS[sampler](space=SPACE, seed=0)
    searcher.adopt(1, {"x": 0.5, "n": 3})
    searcher.drop(1)
    assert [trial.state for trial in searcher._trials.values()] == [TrialState.FAIL]


def test_proposals_leave_no_trial_in_the_study() -> None:
    searcher = TpeSearcher(space=SPACE, seed=0)
    searcher._propose(1, 0)
    searcher._propose(1, 1)
    assert searcher._trials == {}


def test_cma_es_counts_adopted_trials_into_its_generations() -> None:
    searcher = CmaEsSearcher(space=SPACE, seed=0)
    for number in range(1, 12):
        point = {"x": number / 20, "n": 3}
        searcher.adopt(number, point)
        searcher.tell(Outcome(number=number, point=point, state="done", losses={1: point["x"]}))
    last = list(searcher._trials.values())[-1]
    assert last.system_attrs["cma:generation"] >= 1


@pytest.mark.parametrize("sampler", [*SAMPLERS, "qmc"])
def test_optuna_prints_nothing_and_its_settings_are_left_alone(sampler: str, capfd: pytest.CaptureFixture[str]) -> None:
    level = optuna.logging.get_verbosity()
    filters = list(warnings.filters)
    searcher = SAMPLERS.get(sampler, QmcSearcher)(space=SPACE, seed=0)
    for number in range(1, 13):
        point = searcher.ask(number)
        assert point is not None
        searcher.tell(Outcome(number=number, point=point, state="done", losses={1: point["x"]}))
    assert capfd.readouterr() == ("", "")
    assert (optuna.logging.get_verbosity(), list(warnings.filters)) == (level, filters)
    assert level == logging.INFO


def test_the_qmc_sequence_covers_a_range_more_evenly_than_chance() -> None:
    searcher = QmcSearcher(space=SPACE, seed=3)
    points = [searcher.ask(number) or {} for number in range(1, 17)]
    assert {int(point["x"] * 16) for point in points} == set(range(16))


def test_a_trial_gets_its_own_point_of_the_qmc_sequence_whatever_was_asked_before() -> None:
    searchers = [QmcSearcher(space=SPACE, seed=3) for _ in range(2)]
    forward, backward = (
        {number: each.ask(number) for number in order}
        for each, order in zip(searchers, (range(1, 9), range(8, 0, -1)), strict=True)
    )
    assert forward == backward
