from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hpsearch.errors import SpecError
from hpsearch.search import make_searcher
from hpsearch.search.grid import GridSearcher
from hpsearch.search.hyperopt_search import HyperoptSearcher
from hpsearch.search.optuna_cmaes import CmaEsSearcher
from hpsearch.search.optuna_gp import GpSearcher
from hpsearch.search.optuna_qmc import QmcSearcher
from hpsearch.search.optuna_tpe import TpeSearcher
from hpsearch.search.random_search import RandomSearcher
from hpsearch.spec.sweep import Sweep

TREE = {"metric": {"name": "loss", "goal": "minimize"}, "parameters": {"a": {"values": [1, 2]}}}
LIBRARIES = ("optuna", "hyperopt", "torch", "cmaes", "scipy", "numpy", "ray", "pandas")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"method": "grid"}, GridSearcher),
        ({}, RandomSearcher),
        ({"method": "optuna"}, TpeSearcher),
        ({"method": "bayes"}, TpeSearcher),
        ({"method": "optuna", "sampler": "gp"}, GpSearcher),
        ({"method": "optuna", "sampler": "cmaes"}, CmaEsSearcher),
        ({"method": "optuna", "sampler": "qmc"}, QmcSearcher),
        ({"method": "hyperopt", "sampler": "anneal"}, HyperoptSearcher),
    ],
)
def test_the_searcher_is_the_one_that_the_sweep_names(keys: dict[str, Any], expected: type) -> None:
    searcher = make_searcher(Sweep.from_dict({**TREE, **keys, "seed": 7}))
    assert type(searcher) is expected
    assert searcher.seed == 7


@pytest.mark.parametrize(
    ("method", "allowed"), [("random", set()), ("grid", set()), ("optuna", {"optuna", "numpy", "scipy"})]
)
def test_a_method_imports_no_other_method_s_library(method: str, allowed: set[str]) -> None:
    code = f"""
import sys
from hpsearch.search import make_searcher
from hpsearch.spec.sweep import Sweep
make_searcher(Sweep.from_dict({{**{TREE!r}, "method": {method!r}}})).ask(1)
print(*[name for name in {LIBRARIES!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= allowed
    assert done.stderr == ""


@pytest.mark.parametrize(("sampler", "missing"), [("tpe", "optuna"), ("cmaes", "cmaes"), ("gp", "torch")])
def test_a_missing_package_is_named_before_anything_starts(
    sampler: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("hpsearch.search.optuna")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SpecError, match=f"package '{missing}'"):
        make_searcher(Sweep.from_dict({**TREE, "method": "optuna", "sampler": sampler}))
