"""The import rules of the design, read off the import statements and off `sys.modules` of each reading verb."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hpsearch"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
STANDARD = sys.stdlib_module_names | {"hpsearch"}

ORDER = (
    ("cli",),
    ("api",),
    ("driver",),
    ("live", "doctor"),
    ("engine", "results", "priors"),
    ("slots",),
    ("ledger", "cluster"),
    ("search", "stopping", "devices"),
    ("spec",),
    ("space", "trainable", "training"),
    ("text_table",),
    ("plain", "links"),
    ("text", "paths"),
    ("errors",),
    ("version", "time_of_day"),
)
"""A folder or loose module imports what is in a later row, never what is in its own row or an earlier one."""

ALONE = {"training": {"errors"}}
"""Folders that may import these and nothing else of hpsearch."""

CLOSED = {
    "hpsearch.slots": {
        "hpsearch.driver": {"hpsearch.slots"},
        "hpsearch.engine": {"hpsearch.slots.protocol"},
        "hpsearch.live": {"hpsearch.slots.process_file"},
        "hpsearch.api.single_trial": {
            "hpsearch.slots.ray_tune_session",  # a Ray Tune function that is tried by hand
            "hpsearch.slots.report_check",  # what it reports is checked as in a sweep
            "hpsearch.slots.user_function",  # why it can't be imported
        },
    },
    "hpsearch.cli": {"hpsearch.__main__": {"hpsearch.cli"}},
}
"""Folders of which others may import only what is named: importer to modules, or to folders of modules."""

FOREIGN = {
    "text_table": set(),
    "plain": set(),
    "text": set(),
    "paths": set(),
    "links": set(),
    "errors": set(),
    "version": set(),
    "time_of_day": set(),
    "space": {"simpleeval"},
    "spec": {"pydantic", "pydantic_core", "ruamel"},
    "trainable": set(),
}
"""What these may import besides the standard library, and no more."""

NEVER = {
    "results": {"ray", "torch"},
    "ledger": {"ray", "torch", "pandas"},
    "priors": {"ray", "torch", "pandas", "optuna", "hyperopt"},
    "engine": {"ray", "torch", "pandas", "optuna", "hyperopt"},
    "search": {"ray"},
    "stopping": {"ray", "torch"},
    "devices": {"ray", "torch"},
    "live": {"ray", "torch", "pandas"},
    "training": {"ray"},
    "slots.process_file": {"ray", "torch"},
    "slots.protocol": {"ray", "torch"},
}
"""What these must not import, not even inside a function."""


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module or ""


IMPORTS = {module: set(imports_of(path)) for module, path in MODULES.items()}


def own_imports(module: str) -> set[str]:
    return {name for name in IMPORTS[module] if name.partition(".")[0] == "hpsearch"}


def folder_of(module: str) -> str:
    return [*module.split("."), ""][1]


def is_below(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


STARTERS = {"hpsearch", "hpsearch.__main__"}
"""The package loads its public names on first use, `__main__` calls the command line: they may import anything."""
PAIRS = sorted(
    {
        (folder_of(module), folder_of(name))
        for module in MODULES.keys() - STARTERS
        for name in own_imports(module)
        if folder_of(module) != folder_of(name)
    }
)


def row_of(folder: str) -> int:
    return next(row for row, folders in enumerate(ORDER) if folder in folders)


def test_every_folder_has_its_place_in_the_order():
    assert {folder_of(module) for module in MODULES.keys() - STARTERS} == {name for row in ORDER for name in row}


@pytest.mark.parametrize(("importer", "imported"), PAIRS)
def test_a_folder_imports_only_what_comes_after_it(importer, imported):
    assert row_of(importer) < row_of(imported)
    assert imported in ALONE.get(importer, {imported})


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach one another, by Tarjan's algorithm; empty where there are none."""
    found: list[list[str]] = []
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for name in graph.get(module, ()):
            if name not in index:
                visit(name)
            if name in stack:
                lowest[module] = min(lowest[module], lowest[name])
        if lowest[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in graph:
        if module not in index:
            visit(module)
    return found


def test_no_modules_import_one_another_not_even_inside_functions():
    assert circles({module: own_imports(module) & MODULES.keys() for module in MODULES}) == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set()}) == [["a", "b", "c"]]


@pytest.mark.parametrize("closed", CLOSED)
def test_only_named_modules_are_imported_from_closed_folders(closed):
    allowed = CLOSED[closed]
    wrong = [
        (module, name)
        for module in MODULES
        for name in own_imports(module)
        if is_below(name, closed)
        and not is_below(module, closed)
        and not any(
            is_below(module, importer) and is_below(name, imported)
            for importer, modules in allowed.items()
            for imported in modules
        )
    ]
    assert not wrong


@pytest.mark.parametrize("folder", FOREIGN)
def test_the_core_imports_no_third_party(folder):
    members = [module for module in MODULES if is_below(module, f"hpsearch.{folder}")]
    roots = {name.partition(".")[0] for module in members for name in IMPORTS[module]}
    assert members
    assert roots - STANDARD <= FOREIGN[folder]


@pytest.mark.parametrize("folder", NEVER)
def test_folders_do_without_what_is_slow_to_import(folder):
    members = [module for module in MODULES if is_below(module, f"hpsearch.{folder}")]
    assert members
    wrong = [(m, name) for m in members for name in IMPORTS[m] if name.partition(".")[0] in NEVER[folder]]
    assert not wrong


def test_only_the_file_of_specs_and_its_reader_and_writer_import_the_yaml_library():
    users = {module for module in MODULES if any(is_below(name, "ruamel") for name in IMPORTS[module])}
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
