"""Every block of the README, in its order, as a reader would run it; and the links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def run(command: str, folder: Path) -> str:
    """What a shell command prints; fails the test if it fails."""
    command = re.sub(r"^python\b", sys.executable, command)
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_block(kind: str, text: str, folder: Path) -> str:
    """Write a file that names itself in its first line, run anything else."""
    named = re.match(r"# ([\w.-]+)\n", text)
    if named:
        (folder / named[1]).write_text(text)
        return ""
    if kind == "python":
        (folder / "block.py").write_text(text)
        return run("python block.py", folder)
    assert kind == "bash", f"a {kind} block without a file name"
    return "".join(run(line, folder) for line in text.splitlines() if not line.startswith("make "))


@pytest.mark.ray
@pytest.mark.slow
def test_every_block_runs(tmp_path: Path):
    assert len(BLOCKS) >= 6
    printed = "".join(run_block(kind, text, tmp_path) for kind, text in BLOCKS)
    assert "Best configuration:" in printed
    assert "best_val_loss" in printed
    assert (tmp_path / "wine.csv").read_text().count("\n") == 13
    assert "16 trials (12 known, goes on)" in printed
    assert sorted(path.name for path in (tmp_path / "sweeps").iterdir() if path.is_dir()) == [
        "wine",
        "wine-again",
        "wine-best",
    ]


def test_make_targets_that_are_named_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`?make (\w+)`?", README))
    assert {"sweep", "test", "check", "bench"} <= named <= targets


def test_links_lead_to_files():
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path}: {link}"
