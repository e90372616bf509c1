"""The file with a sweep's priors, in its folder: a resumed sweep has the same ones, whatever was trained since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpsearch.errors import LedgerError
from hpsearch.links import IN_SWEEP, read_file
from hpsearch.paths import prior_path, replace_file
from hpsearch.priors.mapping import Prior
from hpsearch.search.searcher import Outcome


def save_prior(folder: Path, prior: Prior) -> None:
    """Write the priors of a sweep, all or nothing; to be called before the sweep is in the ledger.

    Args:
        folder: The sweep's folder, which exists.
        prior: What `load_prior` returns later; the causes of failures are not kept.

    Raises:
        OSError: The file can't be written.
    """
    outcomes = [
        {"point": each.point, "state": each.state, "losses": list(each.losses.items())} for each in prior.outcomes
    ]
    tree = {"sources": dict(prior.sources), "misfits": dict(prior.misfits), "outcomes": outcomes}
    replace_file(prior_path(folder), json.dumps(tree), durable=True)


def load_prior(folder: Path) -> Prior:
    """Read the priors of a sweep.

    Args:
        folder: The sweep's folder.

    Raises:
        LedgerError: The file is missing, or not what `save_prior` wrote.
    """
    path = prior_path(folder)
    try:
        tree = json.loads(read_file(path, parts=IN_SWEEP))
        outcomes = tuple(_outcome(each) for each in tree["outcomes"])
        return Prior(outcomes=outcomes, sources=tree["sources"], misfits=tree["misfits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"{path}: the priors that this sweep began with can't be read: {type(error).__name__}: {error}. Restore the"
            " file from a copy, or start a new sweep with another --name: without priors it would propose other points."
        ) from error


def _outcome(tree: Mapping[str, Any]) -> Outcome:
    losses = {int(epoch): float(loss) for epoch, loss in tree["losses"]}
    return Outcome(number=0, point=tree["point"], state=tree["state"], losses=losses)
