"""Tensors that pile up, in real slots: what the trial's log says of them."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ray


def test_the_log_of_a_trial_names_the_variable_that_keeps_tensors(sweep):
    log = sweep("sums_losses", trials=1).log(1)
    lines = [line for line in log.splitlines() if "memory leak" in line]
    assert len(lines) == 1
    assert "is kept in variable `total` of tests/support/trainables.py:" in lines[0]
