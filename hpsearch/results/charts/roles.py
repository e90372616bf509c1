"""What a trial's state looks like in pictures."""

from __future__ import annotations

from collections.abc import Mapping

from hpsearch.ledger.records import TrialRecord, TrialState
from hpsearch.results.charts.description import Role

ROLES: Mapping[TrialState, Role] = {
    "done": "done", "reused": "done", "stopped": "stopped", "paused": "stopped",
    "running": "running", "queued": "running", "interrupted": "running", "failed": "failed",
}  # fmt: skip
ORDER: tuple[Role, ...] = ("stopped", "failed", "running", "done", "good", "best")
"""From the back of a picture to its front."""
WORDS: Mapping[Role, str] = {
    "stopped": "stopped or waiting",
    "failed": "failed",
    "running": "not over",
    "done": "trained to the end",
    "good": "best tenth",
    "best": "best",
}
"""For legends."""


def role_of(trial: TrialRecord) -> Role:
    """How a trial is drawn that is not the best."""
    return ROLES[trial.state]
