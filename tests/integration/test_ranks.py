"""GPUs of ranks, and trials of several ranks, on logical GPUs and gloo."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.ddp]


def test_a_rank_without_a_gpu_sees_none(sweep):
    assert sweep("sees", trials=1, resources={"gpu": 0}).trial(1)["last_gpu"] == -1


def test_each_whole_gpu_goes_to_one_trial(sweep):
    trials = sweep("sees", trials=4, resources={"gpu": 1}, limits={"concurrent": 4}).results.trials
    assert sorted(trials["last_gpu"]) == [0, 1, 2, 3]


def test_fractions_share_a_gpu_that_each_rank_sees(sweep):
    trials = sweep("sees", trials=4, resources={"gpu": 0.5}, limits={"concurrent": 4}).results.trials
    assert all(trials["last_gpu"] >= 0)
    assert trials["last_gpu"].value_counts().max() == 2


def test_two_ranks_join_once_and_train_trial_after_trial(sweep):
    trials = sweep("together", trials=3, resources={"gpu": 0, "workers": 2}).results.trials
    assert trials["state"].tolist() == ["done"] * 3
    assert set(trials["last_total"]) == {3.0}
    assert trials["last_pid"].nunique() == 1


@pytest.mark.parametrize(("trouble", "cause"), [("raise", "user_error"), ("kill", "killed"), ("short", "rank_lost")])
def test_trouble_in_one_rank_ends_the_trial_and_the_slot_goes_on(sweep, trouble, cause):
    outcome = sweep(
        "together", trials=2, resources={"gpu": 0, "workers": 2}, limits={"retries": 0}, method="grid",
        parameters={"x": 0.5, "trouble": {"values": [trouble, "none"]}},
    )  # fmt: skip
    found = {row["trouble"]: row for _, row in outcome.results.trials.iterrows()}
    assert (found[trouble]["state"], found[trouble]["cause"]) == ("failed", cause)
    assert (found["none"]["state"], found["none"]["last_total"]) == ("done", 3.0)
    assert "1" in outcome.results.failed.iloc[0]["evidence"], "the rank is named"


def test_a_rank_that_saves_slowly_at_the_end_is_waited_for(sweep):
    outcome = sweep("saves_slowly", trials=1, resources={"gpu": 0, "workers": 2})
    assert outcome.trial(1)["state"] == "done"
    files = {path.name for path in (outcome.results.folder / "trials" / "0001" / "checkpoint").iterdir()}
    assert {"epoch-000001.rank-0.pt", "epoch-000001.rank-1.pt"} <= files
