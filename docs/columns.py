"""Writes the lists of columns into docs/tables.md, from where the columns are declared: `python docs/columns.py`."""

from __future__ import annotations

from pathlib import Path

from hpsearch.results.columns import TABLES, Column

PAGE = Path(__file__).parent / "tables.md"
HEAD = "| column | type | unit | meaning |\n|---|---|---|---|\n"


def with_columns(text: str) -> str:
    """The page with every list between `<!-- columns of NAME -->` and `<!-- end -->` made again."""
    for name, columns in TABLES.items():
        begin = f"<!-- columns of {name} -->\n"
        lines = HEAD + "".join(_line(column) for column in columns)
        before, found, rest = text.partition(begin)
        assert found, f"there is no place for the columns of '{name}'"
        text = before + begin + lines + "<!-- end -->" + rest.partition("<!-- end -->")[2]
    return text


def _line(column: Column) -> str:
    return f"| `{column.name}` | {column.dtype} | {column.unit} | {column.meaning} |\n"


if __name__ == "__main__":
    PAGE.write_text(with_columns(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
