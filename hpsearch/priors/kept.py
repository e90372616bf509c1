"""The priors that a sweep began with, in a file of its folder: the same after a restart, whatever came since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpsearch.errors import LedgerError
from hpsearch.paths import prior_path, replace_file
from hpsearch.priors.fitting import Prior
from hpsearch.search.searcher import Outcome


def save_prior(folder: Path, prior: Prior) -> None:
    """Write the priors of a sweep, in one step; to be called before the sweep is in the ledger."""
    outcomes = [
        {"point": each.point, "state": each.state, "losses": list(each.losses.items())} for each in prior.outcomes
    ]
    tree = {"sources": dict(prior.sources), "misfits": dict(prior.misfits), "outcomes": outcomes}
    replace_file(prior_path(folder), json.dumps(tree), durable=True)


def load_prior(folder: Path) -> Prior:
    """The priors that a sweep began with.

    Raises:
        LedgerError: The file is gone, or is not what was written.
    """
    path = prior_path(folder)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        outcomes = tuple(_outcome(each) for each in tree["outcomes"])
        return Prior(outcomes=outcomes, sources=tree["sources"], misfits=tree["misfits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{path}: the priors that this sweep began with can't be read: {type(error).__name__}: {error}. Put the"
            " file back from a copy, or begin a new sweep under another --name: without them it would search elsewhere."
        ) from error


def _outcome(tree: Mapping[str, Any]) -> Outcome:
    losses = {int(epoch): float(loss) for epoch, loss in tree["losses"]}
    return Outcome(number=0, point=tree["point"], state=tree["state"], losses=losses)
