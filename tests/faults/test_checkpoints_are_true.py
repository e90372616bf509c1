"""Every row names a checkpoint of the epoch that it names, or none; after random histories, below Ray."""

from __future__ import annotations

import shutil

import pytest

from tests.faults.campaign import scratch
from tests.support.histories import History

HISTORIES, PARTS = 200, 4


@pytest.mark.parametrize("part", range(PARTS))
def test_a_row_names_a_checkpoint_of_its_epoch_or_none_whatever_happened(part: int):
    with scratch() as folder:
        for seed in range(part, HISTORIES, PARTS):
            history = History(folder / "sweeps", seed)
            try:
                history.run(num_events=8)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {', '.join(history.log)}") from error
            shutil.rmtree(folder / "sweeps")
