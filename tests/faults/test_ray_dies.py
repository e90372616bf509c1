"""Fault 5: the daemons of Ray are killed under a running sweep."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.checker import Reader

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_dead_gcs_costs_a_restart_of_ray_and_nothing_else(victim):
    """The raylet's death is in the campaign of `make faults`: each restart of Ray takes as long as a start."""
    sweep = victim(trials=2, epochs=20)
    sweep.hold_at(3)
    sweep.start()
    with Reader(sweep.watch):
        sweep.wait_for_epochs(6)
        os.kill(sweep.daemon("gcs_server"), signal.SIGKILL)
        sweep.wait_for(lambda: sweep.attempts_begun() > 2, "a trial begins again")
        sweep.let_go()
        code, output = sweep.wait()
    assert code == 0, output
    assert "Ray's GCS is gone" in output and output.count("Ray is started again") == 1
    sweep.watch.check_end(interruptions=1)
    assert sweep.watch.figures.problems == []
    assert {row.state for row in sweep.watch.rows()} == {"done"}, "no trial was blamed"
    assert sweep.left_over() == {}
