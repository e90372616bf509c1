"""What Ray's autoscaler does about work that has no place: which nodes it starts, and which it could not start.

Ray has no public call for it. This module alone knows the two private ways, of the autoscaler's first and second
version; `tests/integration/test_autoscaler.py` starts both, and fails when Ray moves them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 2
"""For an answer of the GCS; the driver's main thread asks."""
MOST_WORDS = 160
"""Characters of a cloud's reason."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a cluster grows now; empty where it has no autoscaler, or that one has nothing to do."""

    starting: Mapping[str, int] = field(default_factory=dict)
    """Type of node, as the cluster's configuration calls it, to how many are asked for or start."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Type of node to why the cloud gave none when it was last asked; empty where Ray does not know."""

    @property
    def words(self) -> str:
        """Half a sentence; empty if there is nothing to say."""
        return ", ".join(filter(None, (self._starts(), self._lacks())))

    def _starts(self) -> str:
        count = sum(self.starting.values())
        types = ", ".join(
            f"{number} x {kind}" if number > 1 else kind for kind, number in sorted(self.starting.items())
        )
        return f"Ray's autoscaler starts {count} node{'s' * (count != 1)} ({types})" if count else ""

    def _lacks(self) -> str:
        lacks = "; ".join(f"{kind}: {reason}" if reason else kind for kind, reason in sorted(self.refused.items()))
        return f"the cloud gave Ray's autoscaler no {lacks}" if lacks else ""


def growth_in_ray() -> Growth:
    """Ask the Ray that this process is connected to; takes a few milliseconds.

    A Ray that does not answer, or that has moved these names, costs this half of a sentence and nothing else.
    """
    try:
        from ray.autoscaler.v2.utils import is_autoscaler_v2

        return _of_second_version() if is_autoscaler_v2() else _of_first_version()
    except Exception:
        return Growth()


def growth_of_report(report: Mapping[str, Any]) -> Growth:
    """What the first version's report says, the `autoscaler_report` of Ray's key `__autoscaling_status`."""
    starting = Counter(dict(report["pending_launches"]))
    starting.update(kind for _, kind, _ in report["pending_nodes"])
    known = report["node_availability_summary"]["node_availabilities"]
    refused = {
        kind: _short(each["unavailable_node_information"]["description"])
        for kind, each in known.items()
        if not each["is_available"]
    }
    return Growth(starting=dict(+starting), refused=refused)


def _of_first_version() -> Growth:
    from ray.experimental.internal_kv import _internal_kv_get

    written = _internal_kv_get("__autoscaling_status")
    report = json.loads(written).get("autoscaler_report") if written else None
    return growth_of_report(report) if report else Growth()


def _of_second_version() -> Growth:
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address, timeout=TIMEOUT_S)
    starting = Counter(node.ray_node_type_name for node in status.pending_nodes)
    for launch in status.pending_launches:
        starting[launch.ray_node_type_name] += launch.count
    refused = {launch.ray_node_type_name: _short(launch.details or "") for launch in status.failed_launches}
    return Growth(starting=dict(starting), refused=refused)


def _short(reason: str) -> str:
    """On one line, its end left out where it is long."""
    line = " ".join(reason.split())
    return line if len(line) <= MOST_WORDS else f"{line[: MOST_WORDS - 4]} ..."
