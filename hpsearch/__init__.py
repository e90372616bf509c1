"""hpsearch finds good hyperparameters for a PyTorch training function. Public names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpsearch.version import __version__ as __version__

if TYPE_CHECKING:
    from hpsearch.api.results import Best as Best
    from hpsearch.api.results import Results as Results
    from hpsearch.api.results import load as load
    from hpsearch.api.run import run as run
    from hpsearch.api.single_trial import trial as trial
    from hpsearch.errors import Diverged as Diverged
    from hpsearch.errors import HpsearchError as HpsearchError
    from hpsearch.errors import InvalidConfig as InvalidConfig
    from hpsearch.errors import LedgerError as LedgerError
    from hpsearch.errors import SpecError as SpecError
    from hpsearch.errors import SweepExists as SweepExists
    from hpsearch.errors import SweepInUse as SweepInUse
    from hpsearch.errors import TrialStopped as TrialStopped
    from hpsearch.errors import UnknownSweep as UnknownSweep
    from hpsearch.spec.sweep import Sweep as Sweep
    from hpsearch.training.context import TrialContext as TrialContext
    from hpsearch.training.context import current_trial as current_trial
    from hpsearch.training.context import report as report
    from hpsearch.training.data.shared import shared_data as shared_data
    from hpsearch.training.fit import fit as fit

_HOMES = {
    "Best": "hpsearch.api.results",
    "Diverged": "hpsearch.errors",
    "HpsearchError": "hpsearch.errors",
    "InvalidConfig": "hpsearch.errors",
    "LedgerError": "hpsearch.errors",
    "Results": "hpsearch.api.results",
    "SpecError": "hpsearch.errors",
    "Sweep": "hpsearch.spec.sweep",
    "SweepExists": "hpsearch.errors",
    "SweepInUse": "hpsearch.errors",
    "TrialContext": "hpsearch.training.context",
    "TrialStopped": "hpsearch.errors",
    "UnknownSweep": "hpsearch.errors",
    "current_trial": "hpsearch.training.context",
    "fit": "hpsearch.training.fit",
    "load": "hpsearch.api.results",
    "report": "hpsearch.training.context",
    "run": "hpsearch.api.run",
    "trial": "hpsearch.api.single_trial",
    "shared_data": "hpsearch.training.data.shared",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hpsearch' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
