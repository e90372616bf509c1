"""Runs the blocks of a page of the guide as its reader would: in order, in one empty folder.

A block whose first line names a file (`# train.py`) is written to that file. Other blocks of python and bash are run,
and so are the commands of `console` blocks (the lines that begin with `$ `), whose output is for the reader. Blocks of
other kinds, and those that follow `<!-- not run -->`, are only looked at.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 240
BLOCK = re.compile(r"(<!-- not run -->\n+)?^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w.-]+\.(?:py|yaml|csv))\n")


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """(kind, text) of every block that is to be run, in the order of the page."""
    return [(kind, text) for skipped, kind, text in BLOCK.findall(page.read_text()) if not skipped]


def run_page(page: Path, folder: Path) -> str:
    """Run a page from its first block to its last; fails the test where a command fails.

    Args:
        page: A file of Markdown.
        folder: The working directory of all commands.

    Returns:
        Everything that was printed.
    """
    return "".join(_run_block(kind, text, folder) for kind, text in blocks_of(page))


def run_command(command: str, folder: Path) -> str:
    """What a shell command prints; fails the test if it fails. `python` and `torchrun` are this environment's."""
    binaries = Path(sys.executable).parent
    command = re.sub(r"^(python|torchrun)\b", lambda found: str(binaries / found[1]), command)
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _run_block(kind: str, text: str, folder: Path) -> str:
    if named := FILE_NAME.match(text):
        (folder / named[1]).write_text(text)
        return ""
    if kind == "python":
        (folder / "block.py").write_text(text)
        return run_command("python block.py", folder)
    if kind == "console":
        commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    else:
        commands = text.splitlines() if kind == "bash" else []
    return "".join(run_command(line, folder) for line in commands if not line.startswith("make "))
