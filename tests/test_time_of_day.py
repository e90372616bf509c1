"""Who reads the time of day, the times of files, and the times that the ledger has recorded, is written down.

`docs/decisions/0057-the-time-of-day.md` has a table with a line for each function of the package that does so, and says
what it is for. For each new one the table has to say why nothing about data depends on it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "decisions" / "0057-the-time-of-day.md"
CLOCK = "hpsearch/time_of_day.py"
"""The only module that may read the clock."""

CALLS = {
    "time": {
        "time",
        "time_ns",
        "localtime",
        "gmtime",
        "ctime",
        "strftime",
        "asctime",
        "clock_gettime",
        "clock_gettime_ns",
    },
    "datetime": {"now", "utcnow", "today", "fromtimestamp"},
    "date": {"today", "fromtimestamp"},
}
"""Module or class to its functions that read the clock, or turn a reading into a date."""
ATTRIBUTES = {
    *(f"st_{letter}time{ns}" for letter in "mca" for ns in ("", "_ns")),
    "st_birthtime", "getmtime", "getctime", "getatime", "create_time", "boot_time", "uuid1",
    "started_at", "ended_at", "failed_at", "ends_at",
}  # fmt: skip
"""Times of files and of processes, and times of day that were recorded."""
RECORDED = {"started_at", "ended_at", "failed_at", "ends_at"}
"""Keys by which recorded times are looked up in a dict or a row."""
HOME = "hpsearch.time_of_day"


def readers(source: str, file: str) -> set[str]:
    """The functions of a file that read a time of day, as `file: qualified name`; `-` at the top of the module."""
    tree = ast.parse(source)
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("time", HOME)
        for alias in node.names
        if node.module == HOME or alias.name in CALLS["time"]
    }
    return {f"{file}: {name or '-'}" for name, node in nodes(tree) if is_reading(node, imported)}


def nodes(tree: ast.AST, name: str = "") -> Iterator[tuple[str, ast.AST]]:
    """All nodes, each with the qualified name of the function or class around it."""
    for child in ast.iter_child_nodes(tree):
        inner = name
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}".lstrip(".")
        yield inner, child
        yield from nodes(child, inner)


def reads_clock(node: ast.AST) -> bool:
    """Whether a node is a function that reads the clock, or turns a reading into a date."""
    if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)):
        return False
    owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
    return node.attr in CALLS.get(owner, ())


def is_reading(node: ast.AST, imported: set[str]) -> bool:
    """Whether a node reads the clock, a time of a file, or a recorded time of day."""
    if isinstance(node, ast.Name):
        return node.id in imported and isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Attribute):
        return reads_clock(node) or (isinstance(node.ctx, ast.Load) and node.attr in ATTRIBUTES)
    looked_up = None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        looked_up = node.slice
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", None) in ("get", "pop", "order_by") and node.args:
        looked_up = node.args[0]
    elif isinstance(node, ast.Compare):
        looked_up = node.left
    if isinstance(looked_up, ast.Constant):
        return looked_up.value in RECORDED
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return re.search(r"CURRENT_TIME|julianday\(|unixepoch\(|'now'", text) is not None


def found() -> set[str]:
    """All readers of the package."""
    paths = sorted((ROOT / "hpsearch").rglob("*.py"))
    return set().union(*(readers(path.read_text(), str(path.relative_to(ROOT))) for path in paths))


def listed() -> dict[str, str]:
    """Reader to what the page says that it decides."""
    rows = re.findall(r"^\| `(hpsearch/[^`]+)` \| ([^|]+) \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert rows, "the page has no table"
    return {reader: use.strip() for reader, use in rows}


def test_each_function_that_reads_a_time_of_day_is_in_the_table_with_its_use():
    assert found() - listed().keys() == set(), f"add a line to {PAGE.relative_to(ROOT)}"
    assert listed().keys() - found() == set(), f"remove the line from {PAGE.relative_to(ROOT)}"


def test_one_module_alone_reads_the_clock():
    paths = [path for path in (ROOT / "hpsearch").rglob("*.py") if path != ROOT / CLOCK]
    assert [path for path in paths if any(reads_clock(node) for _, node in nodes(ast.parse(path.read_text())))] == []


@pytest.mark.parametrize(
    "line",
    [
        "time.time()",
        "time.time",
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "path.stat().st_mtime_ns",
        "os.path.getmtime(path)",
        "psutil.Process(1).create_time()",
        "sorted(trials, key=lambda trial: trial.ended_at)",
        "sorted(rows, key=lambda row: row['failed_at'])",
        "sweep.get('started_at')",
        "'ended_at' in values",
        "query.order_by('started_at')",
        "sa.text('select CURRENT_TIMESTAMP')",
    ],
)
def test_a_new_reader_is_found(line):
    assert readers(f"def f():\n    return {line}\n", "a.py") == {"a.py: f"}
    assert readers(f"class A:\n    def f(self, key={line}):\n        pass\n", "a.py") == {"a.py: A.f"}


def test_a_new_reader_through_our_own_module_is_found():
    source = "from hpsearch.time_of_day import utc_now\ndef f():\n    return utc_now()\n"
    assert readers(source, "a.py") == {"a.py: f"}


@pytest.mark.parametrize("line", ["time.monotonic()", "time.sleep(1)", "path.stat().st_size", "{'ended_at': 1}"])
def test_other_uses_of_the_same_modules_are_none(line):
    assert readers(f"def f():\n    return {line}\n", "a.py") == set()
