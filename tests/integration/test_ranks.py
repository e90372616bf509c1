"""GPUs of ranks, and trials of several ranks, on logical GPUs and gloo."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.ddp]


@pytest.fixture
def seen(sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """GPUs that trials see which run at the same time, each on its own slot."""

    def run(trials: int, gpu: float):
        notes = tmp_path / "notes"
        notes.mkdir()
        monkeypatch.setenv("HPSEARCH_TEST_NOTES", str(notes))
        parameters = {"x": {"min": 0.0, "max": 1.0}, "at_once": trials}
        limits = {"concurrent": trials}
        return sweep(
            "sees", trials=trials, parameters=parameters, resources={"gpu": gpu}, limits=limits
        ).results.trials["last_gpu"]

    return run


def test_a_rank_without_a_gpu_sees_none(seen):
    assert seen(1, 0).tolist() == [-1]


def test_each_whole_gpu_goes_to_one_trial(seen):
    assert sorted(seen(4, 1)) == [0, 1, 2, 3]


def test_fractions_share_a_gpu_that_each_rank_sees(seen):
    gpus = seen(4, 0.5)
    assert all(gpus >= 0)
    assert gpus.value_counts().max() == 2


@pytest.mark.parametrize(("isolation", "processes"), [("process", 3), ("slot", 1)])
def test_two_ranks_meet_and_train_in_trial_after_trial(sweep, isolation, processes):
    trials = sweep("together", trials=3, resources={"gpu": 0, "workers": 2}, isolation=isolation).results.trials
    assert trials["state"].tolist() == ["done"] * 3
    assert set(trials["last_total"]) == {3.0}
    assert trials["last_pid"].nunique() == processes


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [("raise", "user_error"), ("kill", "killed"), ("short", "rank_lost"), ("stop", "hung"), ("sleep", "hung")],
)
@pytest.mark.parametrize("isolation", ["process", "slot"])
def test_trouble_in_one_rank_ends_the_trial_and_the_slot_goes_on(sweep, trouble, cause, isolation):
    outcome = sweep(
        "together", trials=2, resources={"gpu": 0, "workers": 2}, limits={"retries": 0}, method="grid",
        isolation=isolation,
        parameters={"x": 0.5, "trouble": {"values": [trouble, "none"]}},
    )  # fmt: skip
    found = {row["trouble"]: row for _, row in outcome.results.trials.iterrows()}
    assert (found[trouble]["state"], found[trouble]["cause"]) == ("failed", cause)
    assert (found["none"]["state"], found["none"]["last_total"]) == ("done", 3.0)
    evidence = outcome.results.failed.iloc[0]["evidence"]
    assert "1" in evidence, "the rank is named"
    if cause == "hung":
        assert evidence.startswith("rank 1 (process ")
        assert ("stopped by a signal (SIGSTOP)" in evidence) == (trouble == "stop")
        assert "trainables.py:" in evidence.partition(";")[0] or (trouble, isolation) == ("stop", "slot")


def test_a_rank_that_saves_slowly_at_the_end_is_waited_for(sweep):
    outcome = sweep("saves_slowly", trials=1, resources={"gpu": 0, "workers": 2})
    assert outcome.trial(1)["state"] == "done"
    files = {path.name for path in (outcome.results.folder / "trials" / "0001" / "checkpoint").iterdir()}
    assert {"epoch-000001.rank-0.pt", "epoch-000001.rank-1.pt"} <= files
