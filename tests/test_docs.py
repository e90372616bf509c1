"""The guide lists what there is."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hpsearch.errors import CAUSE_CLASSES
from hpsearch.results.columns import TABLES
from hpsearch.spec.sweep import SAMPLERS, Sweep
from tests.test_public_names import keys_of

DOCS = Path(__file__).parents[1] / "docs"


def rows_of(name: str) -> dict[str, str]:
    """First column (without backquotes) to last column of every table row of a page."""
    rows = re.findall(r"^\| (.+) \|$", (DOCS / name).read_text(), flags=re.MULTILINE)
    return {cells[0].strip("`"): cells[-1] for cells in (row.split(" | ") for row in rows)}


def test_the_lists_of_columns_in_the_guide_are_the_columns():
    page = (DOCS / "tables.md").read_text()
    assert page == runpy.run_path(str(DOCS / "columns.py"))["with_columns"](page), "run: python docs/columns.py"
    rows = rows_of("tables.md")
    assert all(column.name in rows for columns in TABLES.values() for column in columns)


def test_every_key_is_in_the_guide():
    rows = rows_of("spec.md")
    for key, inner in keys_of(Sweep).items():
        names = [f"{key}.{name}" for name in inner] if isinstance(inner, dict) else [key]
        assert set(names) <= rows.keys()


def test_every_method_and_sampler_is_in_the_guide():
    rows = rows_of("spec.md")
    assert all(f"`{method}`" in rows["method"] for method in SAMPLERS)
    assert all(f"`{sampler}`" in rows["sampler"] for samplers in SAMPLERS.values() for sampler in samplers)


def test_every_cause_is_in_the_guide_with_its_class():
    text = (DOCS / "trainable.md").read_text()
    for cause, kind in CAUSE_CLASSES.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| {kind} |"))
        assert f"`{cause}`" in line


def test_every_part_of_a_spec_in_the_guide_loads():
    """The blocks of the page on specs, put together with what they refer to."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (DOCS / "spec.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    width = {"model": {"width": {"min": 16, "max": 128, "step": 16}, "depth": {"values": [20, 32, 44]}}}
    lr = {"lr": {"min": 1e-4, "max": 1e-1, "log": True}}
    tree: dict[str, Any] = {"metric": {"name": "loss", "goal": "minimize"}, "parameters": dict(width)}
    for block in blocks:
        read = YAML(typ="safe", pure=True).load(block)
        tree["parameters"].update(read.pop("parameters", {}))
        tree |= read
    tree["parameters"]["optimizer"] |= lr
    assert {"constraints", "initial_points"} <= tree.keys()
    assert Sweep.from_dict(tree).space.conditions.keys() == {"optimizer.momentum", "optimizer.nesterov"}


def test_the_files_that_the_page_of_twenty_sentences_names_exist():
    rows = re.findall(r"^\| (.+) \|$", (DOCS / "where-things-are.md").read_text(), flags=re.MULTILINE)
    answers = [re.findall(r"`(hpsearch/[\w/]+\.py)`", row.split(" | ")[-1]) for row in rows if "hpsearch/" in row]
    assert len(answers) == 20
    assert all(files and all((DOCS.parent / file).is_file() for file in files) for files in answers)


def test_every_file_that_the_guide_names_exists():
    package, root = DOCS.parent / "hpsearch", DOCS.parent
    pages = [*DOCS.glob("*.md"), *(DOCS / "decisions").glob("*.md")]
    for page in pages:
        for name in re.findall(r"`((?:\w+/)+\w+\.py)`", page.read_text()):
            known = (package / name).is_file() or (root / name).is_file() or name.startswith(("path/", "pkg/"))
            assert known, f"{page.name}: {name}"


NUM_FAULTS = 44
TEST_NAME = re.compile(r"`((?:\w+/)*)(test_\w+)`")


def test_every_test_that_the_page_of_faults_names_exists():
    tests = {path.stem: path for path in (DOCS.parent / "tests").rglob("test_*.py")}
    named = TEST_NAME.findall((DOCS / "faults.md").read_text())
    assert named
    for folders, name in named:
        assert name in tests and str(tests[name].parent).endswith(folders.rstrip("/")), f"{folders}{name}"


def test_every_fault_has_a_state_and_the_tests_or_what_is_missing():
    page = (DOCS / "faults.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \| (.+) \|$", page, flags=re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, NUM_FAULTS + 1))
    for number, _, _, state, tests in rows:
        assert state in ("held", "in part", "open"), number
        assert (state == "open") or TEST_NAME.search(tests), f"{number}: by which test?"
        assert ("Missing: " in tests) == (state == "in part"), f"{number}: what is missing?"
        assert state != "open" or TEST_NAME.search(tests) or tests == "no test", number


def fields_without_prose(source: str) -> list[str]:
    """Fields of dataclasses that no docstring follows."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(each) for each in node.decorator_list):
            for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
                has_line = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                if isinstance(statement, ast.AnnAssign) and not has_line:
                    missing.append(f"{node.name}.{ast.unparse(statement.target)}")
    return missing


def test_every_field_of_a_dataclass_has_its_line():
    code = "@dataclass\nclass A:\n    x: int\n    y: int\n    'About y.'\n"
    assert fields_without_prose(code) == ["A.x"]
    sources = {str(path): path.read_text() for path in (DOCS.parent / "hpsearch").rglob("*.py")}
    assert {name: missing for name, text in sources.items() if (missing := fields_without_prose(text))} == {}
