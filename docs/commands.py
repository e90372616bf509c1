"""Writes docs/commands.md, the verbs and their options, from the command line itself: `python docs/commands.py`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import typer.main

from hpsearch.cli import app

PAGE = Path(__file__).parent / "commands.md"
HEAD = """# Command line

`hpsearch VERB`, or `python -m hpsearch VERB`; `hpsearch VERB --help` prints the text of this page on one verb.

| exit code | meaning |
|---|---|
| 0 | `sweep`, `resume`: at least one trial succeeded; other verbs: no error |
| 1 | no trial succeeded, or the sweep gave up; `doctor` found a problem |
| 2 | a mistake in the spec or on the command line, no such sweep, no such Ray |
| 5 | the ledger or its disk can't be used |
| 6 | another process runs this sweep |
| 130, 143 | the sweep was ended by Ctrl-C or by SIGTERM; `resume` continues it |
"""


def page() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *(_verb(name, command) for name, command in group.commands.items())])


def _verb(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join(["hpsearch", name, *(_argument(each) for each in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## {name}", "", f"`{usage}`", "", _paragraphs(command.help), ""]
    if arguments + options:
        rows = [f"| `{_names(each)}` | {_cell(each.help)} |" for each in arguments + options if not each.hidden]
        lines += ["| argument, option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _argument(each: Any) -> str:
    name = (each.metavar or each.name).upper()
    name = f"{name}..." if each.nargs == -1 else name
    return name if each.required else f"[{name}]"


def _names(each: Any) -> str:
    if each.param_type_name == "argument":
        return str(each.metavar or each.name).upper()
    value = "" if each.is_flag else f" {each.metavar or each.name.upper()}"
    return f"{', '.join([*each.opts, *each.secondary_opts])}{value}"


def _cell(text: str | None) -> str:
    return " ".join((text or "").replace("|", "\\|").split())


def _paragraphs(text: str | None) -> str:
    paragraphs = (" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))
    return "\n\n".join(textwrap.fill(each, 116, break_on_hyphens=False) for each in paragraphs)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
