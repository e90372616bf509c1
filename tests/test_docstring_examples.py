"""The examples in the package's docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest

import hpsearch
from hpsearch.training import context
from tests.support import curves

PACKAGE = Path(hpsearch.__file__).parent
MODULES = sorted(
    ".".join(("hpsearch", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text()
)
SKIPPED = {
    "hpsearch.api.results.Results": "starts Ray",
    "hpsearch.api.run.run": "starts Ray",
    "hpsearch.api.single_trial.trial": "reads a spec of the checkout",
    "hpsearch.training.context.TrialContext.keep_own": "needs several ranks",
    "hpsearch.training.data.shared.shared_data": "needs a data set on disk",
    "hpsearch.training.shards.Shards": "needs several ranks",
}
"""Examples that are not run, and why; each has tests of its own."""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an example may use without making it: the package, and `results` of a finished sweep."""
    home = tmp_path_factory.mktemp("sweeps")
    return {"hpsearch": hpsearch, "results": hpsearch.Results(home, curves.run(home))}


@pytest.fixture(autouse=True)
def own_trial_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples that call `current_trial` outside of a sweep leave nothing for later tests."""
    monkeypatch.setattr(context, "_by_hand", None)


def examples_of(module: str, names: dict[str, Any]) -> list[doctest.DocTest]:
    found = importlib.import_module(module)
    tests = doctest.DocTestFinder(exclude_empty=True).find(found, module, extraglobs=names)
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings_are_true(module, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPSEARCH_HOME", str(names["results"].home))
    tests = examples_of(module, names)
    assert tests, "the file has the prompt of an example, but no docstring has it"
    for test in tests:
        skips = any(example.options.get(doctest.SKIP) for example in test.examples)
        assert skips == (test.name in SKIPPED), "an example that is not run needs a reason here"
        report: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
        assert result.failed == 0, "".join(report)
