"""The examples in the package's docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import hpsearch

PACKAGE = Path(hpsearch.__file__).parent
MODULES = sorted(
    ".".join(("hpsearch", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text()
)


def examples_of(module: str) -> list[doctest.DocTest]:
    found = importlib.import_module(module)
    tests = doctest.DocTestFinder(exclude_empty=True).find(found, module, extraglobs={"hpsearch": hpsearch})
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings_are_true(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tests = examples_of(module)
    assert tests, "the file has the prompt of an example, but no docstring has it"
    for test in tests:
        report: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
        assert result.failed == 0, "".join(report)
