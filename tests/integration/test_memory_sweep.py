"""A sweep on a small GPU: of nine configurations that can be trained three fit only in pieces, and three more never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.ray


def test_every_trial_that_fits_in_smaller_pieces_finishes_with_its_own_batch_size(sweep: Callable[..., Any]) -> None:
    widths, sizes = [1, 2, 5, 21], [4, 8, 16]
    outcome = sweep(
        "fits_in_pieces",
        method="grid",
        trials=12,
        parameters={"width": {"values": widths}, "batch_size": {"values": sizes}},
    )
    table = outcome.results.trials.set_index("trial")
    for row in table.itertuples():
        room = 20 // row.width
        if not room:
            assert (row.state, row.cause) == ("failed", "oom_gpu"), "not even one sample fits"
            continue
        assert row.state == "done"
        assert row.last_micro_batch == max(size for size in (1, 2, 4, 8, 16) if size <= min(room, row.batch_size))
        assert row.last_steps == 2 * 64 / row.batch_size, "the same steps as if it had fitted"
    fitted = table[table["state"] == "done"]
    assert (fitted["last_micro_batch"] < fitted["batch_size"]).sum() == 3
    assert len(fitted) == 9
    assert "out of GPU memory in training; continuing with a micro-batch of 8" in outcome.log(
        int(fitted.index[(fitted["width"] == 2) & (fitted["batch_size"] == 16)][0])
    )


@pytest.mark.ddp
def test_where_one_of_two_workers_runs_out_both_go_on_with_half_the_micro_batch(sweep: Callable[..., Any]) -> None:
    outcome = sweep(
        "fits_in_pieces",
        trials=1,
        parameters={"width": 4, "batch_size": 16, "small": 1},
        resources={"gpu": 0, "workers": 2},
        limits={"retries": 0},
    )
    trial = outcome.trial(1)
    assert (trial["state"], trial["attempts"]) == ("done", 1)
    assert trial["last_micro_batch"] == 4, "of rank 0, which had room for 8"
    assert trial["last_steps"] == 2 * 64 / 16, "the same steps as if it had fitted"
    told = "out of GPU memory in training; continuing with a micro-batch of 4: CUDA out of memory."
    assert outcome.log(1).count(told) == 2, "each rank says so"
