"""What Ray's autoscaler does about work that has to wait: the nodes that it starts, and those it could not start.

Ray has no public function for it. This module alone uses the two private ones, of the autoscaler's first and second
version; `tests/integration/test_autoscaler.py` starts both, and fails if Ray changes them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 2
"""Timeout of a request to the GCS, which blocks the driver's main thread."""
MAX_REASON = 160
"""Most characters of a cloud provider's reason that are shown."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What the autoscaler does now; both maps are empty without an autoscaler, or if it has nothing to do."""

    starting: Mapping[str, int] = field(default_factory=dict)
    """Node type, as in the cluster's configuration, to the number of nodes that are requested or start."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Node type to the reason for which the cloud gave none at the last request; the reason is empty if unknown."""

    @property
    def text(self) -> str:
        """Both in one clause; empty if there is nothing to report."""
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
    """What the autoscaler of the Ray does that this process is connected to; takes a few milliseconds.

    Empty if Ray does not answer, or no longer has these functions: the clause in the status is all that is lost.
    """
    try:
        from ray.autoscaler.v2.utils import is_autoscaler_v2

        return _of_second_version() if is_autoscaler_v2() else _of_first_version()
    except Exception:
        return Growth()


def growth_of_report(report: Mapping[str, Any]) -> Growth:
    """Read what the first version of the autoscaler reports.

    Args:
        report: The value of `autoscaler_report` in the JSON text that Ray keeps under the key `__autoscaling_status`.

    Raises:
        KeyError, TypeError, ValueError: The report has another form, for example that of a later Ray.
    """
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
    """The reason on one line, cut at MAX_REASON characters."""
    line = " ".join(reason.split())
    return line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 4]} ..."
