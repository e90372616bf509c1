"""The import rules of the design, read off the import statements and off `sys.modules` of each reading verb."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hpsearch"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
STANDARD = sys.stdlib_module_names | {"hpsearch"}

RULES = [
    ("hpsearch.errors", set()),
    ("hpsearch.space.space", set()),
    ("hpsearch.space.domains", set()),
    ("hpsearch.space.conditions", set()),
    ("hpsearch.space.lattice", set()),
    ("hpsearch.plain", set()),
    ("hpsearch.space.expressions", {"simpleeval"}),
    ("hpsearch.space.domain_parser", set()),
    ("hpsearch.space.parser", set()),
    ("hpsearch.space.references", set()),
    ("hpsearch.space.distributions", set()),
    ("hpsearch.spec.dialects.translate", set()),
    ("hpsearch.spec.dialects.draft", set()),
    ("hpsearch.spec.dialects.wandb", set()),
    ("hpsearch.spec.dialects.parameters", set()),
    ("hpsearch.spec.dialects.ray_tune", set()),
    ("hpsearch.spec.dialects.command", set()),
    ("hpsearch.spec.dialects.launcher", set()),
    ("hpsearch.trainable.script", set()),
    ("hpsearch.space.checks", set()),
    ("hpsearch.spec.sweep", {"pydantic"}),
    ("hpsearch.spec.parts", {"pydantic", "pydantic_core"}),
]
"""Modules that may import no third party but these."""

NEVER = [
    (
        "hpsearch.training",
        {"ray", "hpsearch.slots", "hpsearch.driver.driver", "hpsearch.ledger", "hpsearch.engine.engine"},
    ),
    ("hpsearch.results", {"ray", "torch"}),
    ("hpsearch.ledger", {"ray", "torch", "pandas"}),
    ("hpsearch.priors", {"ray", "torch", "pandas", "optuna", "hyperopt"}),
    ("hpsearch.engine.engine", {"ray", "torch", "pandas", "optuna", "hyperopt"}),
    ("hpsearch.search", {"ray", "hpsearch.ledger", "hpsearch.slots"}),
    ("hpsearch.stopping", {"ray", "torch", "hpsearch.ledger", "hpsearch.slots"}),
    ("hpsearch.devices", {"ray", "torch"}),
    ("hpsearch.live", {"ray", "torch", "pandas"}),
    ("hpsearch.slots.process_file", {"ray", "torch"}),
    ("hpsearch.engine.status", {"ray", "torch"}),
    ("hpsearch.slots.protocol", {"ray", "torch"}),
]
"""Packages that must not import these, not even inside a function."""


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def is_below(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize(("module", "allowed"), RULES)
def test_the_core_imports_no_third_party(module, allowed):
    roots = {name.partition(".")[0] for name in imports_of(MODULES[module])}
    assert roots - STANDARD <= allowed


@pytest.mark.parametrize(("package", "forbidden"), NEVER)
def test_packages_keep_out_of_each_others_business(package, forbidden):
    members = {module: path for module, path in MODULES.items() if is_below(module, package)}
    assert members
    wrong = [
        (module, name)
        for module, path in members.items()
        for name in imports_of(path)
        if any(is_below(name, bad) for bad in forbidden)
    ]
    assert not wrong


def test_nobody_imports_the_command_line_but_its_starter():
    importers = {
        module
        for module, path in MODULES.items()
        if not is_below(module, "hpsearch.cli") and any(is_below(name, "hpsearch.cli") for name in imports_of(path))
    }
    assert importers == {"hpsearch.__main__"}


def test_only_one_module_knows_yaml_by_name():
    users = {module for module, path in MODULES.items() if any(is_below(name, "ruamel") for name in imports_of(path))}
    assert users <= {"hpsearch.spec.yaml_reader", "hpsearch.spec.yaml_writer", "hpsearch.spec.file"}


def loaded_by(code: str, *names: str) -> set[str]:
    """Which of these modules a fresh Python has loaded after `code`."""
    script = f"import sys\n{code}\nprint(','.join(sorted(set({names!r}) & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(filter(None, done.stdout.splitlines()[-1].split(",")))


HEAVY = ("ray", "torch", "pandas", "optuna", "hyperopt", "numpy", "simpleeval")


def test_importing_the_package_imports_nothing_heavy():
    assert (
        loaded_by("import hpsearch; hpsearch.SpecError; hpsearch.Sweep; hpsearch.Results; hpsearch.report", *HEAVY)
        == set()
    )


def test_the_supervisor_runs_without_torch():
    assert loaded_by("import hpsearch.slots.supervisor, hpsearch.slots.rank_group", "torch") == set()


def test_the_driver_imports_no_torch_for_the_usual_methods():
    code = """
from hpsearch.spec.sweep import Sweep
from hpsearch.search import make_searcher
import hpsearch.driver.driver, hpsearch.driver.tuner
for method in ("grid", "random", "optuna", "hyperopt"):
    tree = {"metric": {"name": "m", "goal": "minimize"}, "method": method, "parameters": {"x": {"values": [1, 2]}}}
    make_searcher(Sweep.from_dict(tree)).ask(1)
"""
    assert loaded_by(code, "torch") == set()
