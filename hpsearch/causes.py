"""Why a trial fails: the closed list of causes, and what follows from each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Cause = Literal[
    "invalid_config", "oom_gpu", "diverged", "bad_metric",
    "gpu_fault", "node_lost", "disk_full",
    "user_error", "killed", "hung", "oom_host", "rank_lost",
]  # fmt: skip

CauseClass = Literal["config", "infra", "unknown"]

CAUSE_CLASSES: Mapping[Cause, CauseClass] = {
    "invalid_config": "config", "oom_gpu": "config", "diverged": "config", "bad_metric": "config",
    "gpu_fault": "infra", "node_lost": "infra", "disk_full": "infra",
    "user_error": "unknown", "killed": "unknown", "hung": "unknown", "oom_host": "unknown", "rank_lost": "unknown",
}  # fmt: skip
"""The class decides what follows: config is never retried and told as infeasible; infra is retried and teaches nothing;
unknown is retried, counted, and told as infeasible once final. Config alone moves the searcher's fence."""
