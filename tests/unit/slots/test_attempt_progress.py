"""What a slot records of an attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.slots.attempt_progress import AttemptProgress
from hpsearch.slots.protocol import Assignment, Ended, Failed, Peaks, Report, Unusable
from hpsearch.slots.replies import Reply
from hpsearch.slots.trial_log import LOG_TAIL_BYTES


def progress_of(sweep_dir: Path, *, time_left_s: float | None = None) -> AttemptProgress:
    config = {"x": 1}
    return AttemptProgress(
        Assignment(number=7, attempt=2, config=config, seed=0, max_epochs=9, time_left_s=time_left_s), sweep_dir
    )


def test_what_an_earlier_attempt_printed_is_no_evidence(tmp_path):
    (tmp_path / "trials" / "0007").mkdir(parents=True)
    (tmp_path / "trials" / "0007" / "log.txt").write_text("Killed\n")
    progress = progress_of(tmp_path)
    assert progress.log_tail() == ""
    progress.log("the ranks are replaced")
    assert progress.log_tail() == "hpsearch: the ranks are replaced\n"


def test_of_a_long_log_only_the_end_is_read(tmp_path):
    progress = progress_of(tmp_path)
    progress.log("x" * 2 * LOG_TAIL_BYTES)
    assert len(progress.log_tail()) == LOG_TAIL_BYTES


def test_a_log_that_cannot_be_written_or_read_loses_no_trial(tmp_path):
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "0007").write_text("a file where the folder should be")
    progress = progress_of(tmp_path)
    progress.log("lost")
    assert progress.log_tail() == ""


def test_a_checkpoint_counts_when_the_last_rank_has_written_it(tmp_path):
    progress = progress_of(tmp_path)
    progress.elapsed_s = 2.5
    progress.update([Reply(checkpoint_epoch=3, gpu_gib=1.0, host_gib=2.0), Reply(checkpoint_epoch=2, gpu_gib=1.5)])
    facts: dict[str, Any] = {"elapsed_s": 2.5, "checkpoint_epoch": 2, "peaks": Peaks(gpu_gib=1.5, host_gib=2.0)}
    assert progress.with_facts(Ended(elapsed_s=0.0)) == Ended(**facts)
    assert progress.with_facts(Report(epoch=3, metrics={"m": 1.0}, elapsed_s=0.0)) == Report(
        epoch=3, metrics={"m": 1.0}, **facts
    )


def test_a_failure_has_its_time_and_memory_but_no_checkpoint(tmp_path):
    progress = progress_of(tmp_path)
    progress.elapsed_s = 1.0
    progress.update([Reply(checkpoint_epoch=1)])
    assert progress.with_facts(Failed(cause="killed", evidence="gone")) == Failed(
        cause="killed", evidence="gone", elapsed_s=1.0
    )
    assert progress.with_facts(Unusable(evidence="no such module")) == Unusable(evidence="no such module")


@pytest.mark.parametrize(("limit", "left"), [(None, None), (10.0, 7.0), (2.0, 0.0)])
def test_the_time_left_counts_down_to_nothing(tmp_path, limit, left):
    progress = progress_of(tmp_path, time_left_s=limit)
    progress.elapsed_s = 3.0
    assert progress.time_left_s == left


def test_checkpoints_that_the_assignment_does_not_ask_for_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("hpsearch.slots.attempt_progress.time.monotonic", lambda: now[0])
    progress = progress_of(tmp_path)
    assert progress.is_save_due, "the first costs nothing that is known"
    progress.update([Reply(checkpoint_epoch=1, save_s=1.0)])
    now[0] += 19.0
    assert not progress.is_save_due
    now[0] += 1.0
    assert progress.is_save_due
