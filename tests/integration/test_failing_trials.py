"""Trials that fail on real Ray: their cause, their evidence, and that the slot trains the next one."""

from __future__ import annotations

import signal

import pytest

pytestmark = pytest.mark.ray


def test_a_raising_trial_is_a_failed_trial_and_the_slot_goes_on(sweep):
    outcome = sweep("raises_in_half", trials=8)
    trials = outcome.results.trials
    failed = trials[trials["x"] > 0.5]
    assert 0 < len(failed) < 8
    assert set(failed["state"]) == {"failed"} and set(failed["cause"]) == {"user_error"}
    assert set(trials[trials["x"] <= 0.5]["state"]) == {"done"}
    assert outcome.exit_code == 0
    evidence = outcome.results.failed.iloc[0]["evidence"]
    assert "KeyError: 'no such layer'" in evidence and "trainables.py:" in evidence and "raises_in_half" in evidence
    assert failed["attempts"].tolist() == [2] + [1] * (len(failed) - 1), (
        "the same error at the same line is tried again once"
    )
    assert "Traceback" in outcome.log(int(failed["trial"].iloc[0]))


def test_a_sweep_in_which_everything_raises_gives_up_after_three(sweep):
    outcome = sweep("always_raises", trials=20)
    assert outcome.exit_code == 1
    assert outcome.results.trials["state"].tolist() == ["failed"] * 3
    assert "3 trials failed in the same way" in (outcome.results.sweep.reason or "")


def test_a_misspelt_metric_ends_the_sweep_with_the_first_report(sweep):
    outcome = sweep("misspells", trials=20)
    assert outcome.exit_code == 1
    assert outcome.results.trials["state"].tolist() == ["failed"]
    reason = outcome.results.sweep.reason or ""
    assert reason.startswith("trial 1 failed after ")
    assert reason.endswith(", and others probably would: reported [Loss, acc], needed loss (did you mean 'Loss'?)")


@pytest.mark.parametrize(
    ("function", "how"),
    [("is_killed_at_once", "was killed by signal 9 (Killed)"), ("exits_at_once", "exited with code 3")],
)
def test_a_sweep_in_which_each_process_ends_alike_before_a_report_gives_up_after_three(sweep, function, how):
    outcome = sweep(function, trials=20, limits={"retries": 0})
    assert outcome.exit_code == 1
    assert outcome.results.trials["state"].tolist() == ["failed"] * 3
    assert outcome.results.trials["cause"].tolist() == ["killed"] * 3
    reason = outcome.results.sweep.reason or ""
    assert reason.startswith("3 trials failed in the same way and none succeeded: rank 0 (process ")
    assert reason.endswith(how)


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_a_loss_that_is_no_number_is_diverged_and_never_tried_again(sweep, kind):
    outcome = sweep("diverges", trials=1, parameters={"x": 0.5, "kind": kind})
    row = outcome.trial(1)
    assert (row["state"], row["cause"], row["attempts"], row["epochs_trained"]) == ("failed", "diverged", 1, 1)
    assert row["best_loss"] == 0.5
    assert outcome.exit_code == 1


def test_bad_reports_fail_that_trial_alone_with_what_was_found(sweep):
    kinds = ["missing", "none", "text", "nothing", "good"]
    outcome = sweep("misreports", trials=5, method="grid", parameters={"kind": {"values": kinds}})
    found = {row["kind"]: row for _, row in outcome.results.trials.iterrows()}
    assert found["good"]["state"] == "done" and outcome.exit_code == 0
    assert {found[kind]["cause"] for kind in kinds[:4]} == {"bad_metric"}
    evidence = dict(zip(outcome.results.failed["trial"], outcome.results.failed["evidence"], strict=True))
    assert evidence[found["missing"]["trial"]] == "reported [acc, f1], needed loss in every report"
    assert "loss = None" in evidence[found["none"]["trial"]] and "'low'" in evidence[found["text"]["trial"]]
    assert "without a report" in evidence[found["nothing"]["trial"]]


def test_a_killed_rank_is_replaced_and_the_trial_goes_on_from_its_checkpoint(sweep):
    outcome = sweep("dies_once", trials=1)
    row, history = outcome.trial(1), outcome.results.history
    assert (row["state"], row["attempts"], row["epochs_trained"]) == ("done", 2, 5)
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5]
    again_from = int(history["start"].iloc[-1])
    assert again_from in (1, 2), (
        "a checkpoint that costs more than a twentieth of the training is not written each epoch"
    )
    assert history["start"].tolist() == [0, 0] + [again_from] * 3
    gains = history["weight"].diff().dropna().round(5).unique()
    assert gains.tolist() == [1.0], "the weight goes on from where it was"


def test_a_segfault_names_its_signal_and_leaves_a_stack(sweep):
    outcome = sweep("segfaults", trials=1, limits={"retries": 0})
    row = outcome.trial(1)
    assert (row["state"], row["cause"]) == ("failed", "killed")
    assert f"signal {int(signal.SIGSEGV)}" in outcome.results.failed.iloc[0]["evidence"]
    assert "in segfaults" in outcome.log(1)


@pytest.mark.parametrize("isolation", ["process", "slot"])
def test_a_terminated_trial_was_killed_by_that_signal(sweep, isolation):
    outcome = sweep("is_terminated", trials=1, limits={"retries": 0}, isolation=isolation)
    assert outcome.trial(1)["cause"] == "killed"
    assert "was killed by signal 15 (Terminated)" in outcome.results.failed.iloc[0]["evidence"]


def test_a_trial_over_its_time_is_killed_and_the_slot_goes_on(sweep):
    outcome = sweep("hangs", trials=2, limits={"trial_time": 1.0, "retries": 0})
    assert outcome.results.trials["cause"].tolist() == ["hung", "hung"]
    assert "trial_time" in outcome.results.failed.iloc[0]["evidence"]


def test_a_configuration_that_the_trainable_refuses_is_invalid(sweep):
    trials = sweep("invalid", trials=6).results.trials
    refused = trials[trials["x"] > 0.3]
    assert set(refused["cause"]) == {"invalid_config"} and set(refused["attempts"]) == {1}


def test_gpu_out_of_memory_is_a_cause_of_its_own(sweep):
    row = sweep("out_of_memory", trials=1).trial(1)
    assert (row["cause"], row["attempts"]) == ("oom_gpu", 1)
