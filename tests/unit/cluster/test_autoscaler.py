"""The text about a growing cluster; what Ray reports is tested in `tests/integration`."""

from __future__ import annotations

import pytest

from hpsearch.cluster.autoscaler import MAX_REASON, Growth, growth_of_report


@pytest.mark.parametrize(
    ("growth", "text"),
    [
        (Growth(), ""),
        (Growth(starting={"cpu_4": 1}), "Ray's autoscaler starts 1 node (cpu_4)"),
        (Growth(starting={"gpu": 1, "cpu": 2}), "Ray's autoscaler starts 3 nodes (2 x cpu, gpu)"),
        (Growth(refused={"spot": "", "gpu": ""}), "the cloud gave Ray's autoscaler no gpu; spot"),
        (Growth(refused={"spot": "no capacity"}), "the cloud gave Ray's autoscaler no spot: no capacity"),
    ],
)
def test_a_cluster_that_grows_is_one_clause(growth, text):
    assert growth.text == text


def test_requested_and_starting_nodes_are_counted_together():
    refusal = {"is_available": False, "unavailable_node_information": {"description": "no\n" + "quota " * 100}}
    report = {
        "pending_launches": {"cpu_4": 2},
        "pending_nodes": [["10.0.0.7", "cpu_4", "waiting-for-ssh"], ["10.0.0.8", "gpu", "setting-up"]],
        "node_availability_summary": {
            "node_availabilities": {
                "spot": refusal,
                "cpu_4": {"is_available": True, "unavailable_node_information": None},
            }
        },
    }
    growth = growth_of_report(report)
    assert growth.starting == {"cpu_4": 3, "gpu": 1}
    assert list(growth.refused) == ["spot"]
    assert growth.refused["spot"].startswith("no quota quota")
    assert len(growth.refused["spot"]) == MAX_REASON
