"""Names that other tools have for search methods, samplers and stopping rules, and what to write for them here.

They are not accepted, since a name promises the same algorithm with the same defaults; the error says what to write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hpsearch.errors import did_you_mean

_TPE = "method: optuna, whose sampler is tpe"
_GP = "method: optuna and sampler: gp"
_CMAES = "method: optuna and sampler: cmaes"
_QMC = "method: optuna and sampler: qmc"
_EVOLUTION = "method: controller and sampler: evolution"
_RULE = "early_terminate: {{type: {}}}, beside any method"
_BOHB = "method: optuna and early_terminate: {type: hyperband}"
SEARCHES: Mapping[str, str] = {
    **dict.fromkeys(
        ("optuna", "bayes", "bayesian", "bayesianoptimization", "bayesopt", "bayesoptsearch", "bo"), "method: optuna"
    ),
    **dict.fromkeys(("tpe", "tpesampler", "optunasearch"), _TPE),
    **dict.fromkeys(("gp", "gpsampler", "gaussianprocess", "botorch", "botorchsampler", "ax", "axsearch"), _GP),
    **dict.fromkeys(("cma", "cmaes", "cmaessampler"), _CMAES),
    **dict.fromkeys(("qmc", "qmcsampler", "sobol", "halton"), _QMC),
    **dict.fromkeys(("evolution", "evolutionary", "regularizedevolution", "regularisedevolution"), _EVOLUTION),
    "reinforce": "method: controller, whose sampler is reinforce",
    **dict.fromkeys(("anneal", "annealing", "simulatedannealing"), "method: hyperopt and sampler: anneal"),
    **dict.fromkeys(("hyperopt", "hyperoptsearch"), "method: hyperopt"),
    **dict.fromkeys(("random", "randomsearch", "randomsampler", "basicvariantgenerator"), "method: random"),
    **dict.fromkeys(("grid", "gridsearch", "gridsampler", "bruteforcesampler"), "method: grid"),
    **dict.fromkeys(("asha", "ashascheduler", "successivehalving", "sha"), _RULE.format("asha")),
    "hyperband": _RULE.format("hyperband"),
    "median": _RULE.format("median"),
    **dict.fromkeys(("bohb", "tunebohb"), _BOHB),
}
"""Name of a search elsewhere, in lower case without other characters than letters and digits, to what to write."""
RULES: Mapping[str, str] = {
    **dict.fromkeys(("ashascheduler", "successivehalving", "successivehalvingpruner", "sha"), "type: asha"),
    **dict.fromkeys(("hyperbandpruner", "hyperbandscheduler"), "type: hyperband"),
    **dict.fromkeys(("bohb", "hyperbandforbohb", "hbbohb"), "type: hyperband, with method: optuna"),
    **dict.fromkeys(("medianpruner", "medianstopping", "medianstoppingrule"), "type: median"),
    **dict.fromkeys(("noppruner", "fifo", "fifoscheduler"), "type: none"),
}
"""The same for stopping rules."""
CHANGING = frozenset(("pbt", "populationbasedtraining", "pb2"))
"""Schedules that change configurations while they train."""


def what_to_write(name: str, *, key: str, known: Sequence[str]) -> str:
    """A sentence that says what to write for an unknown name, or an empty text.

    Args:
        name: The name.
        key: Key of the spec that has it: `method`, `sampler` or `type`; others have no names of other tools.
        known: The names that the key may have.

    Example:
        >>> what_to_write("MedianPruner", key="type", known=["asha", "median"])
        ' Write type: median.'
    """
    short = _shortened(name)
    if short in CHANGING and key in ("method", "type"):
        return " Rules that change a configuration while it trains have no counterpart here."
    table = {"method": SEARCHES, "sampler": SEARCHES, "type": RULES}.get(key, {})
    if short in table and short not in map(_shortened, known):
        return f" Write {table[short]}."
    return did_you_mean(name, known)


def _shortened(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
