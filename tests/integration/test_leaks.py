"""Tensors that pile up, in real slots: what the trial's log says of them."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ray


def test_the_log_of_a_trial_names_the_variable_that_keeps_tensors(sweep):
    log = sweep("sums_losses", trials=1).log(1)
    lines = [line for line in log.splitlines() if "memory leak" in line]
    assert len(lines) == 1
    assert "is kept in variable `total` of tests/integration/trainables.py:" in lines[0]


def test_it_is_quiet_where_the_spec_says_so(sweep):
    assert "memory leak" not in sweep("sums_losses", trials=1, leak_warnings=False).log(1)


def test_what_is_left_after_a_trial_is_named_too(sweep):
    log = sweep("leaks", trials=2).log(1)
    assert "still alive after the trial" in log
    assert "is kept in list `KEPT` of tests/integration/trainables.py:134" in log
