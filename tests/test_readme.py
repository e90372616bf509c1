"""Every block of the README, in its order, as a reader would run it; and the links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.blocks import blocks_of, run_page

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


@pytest.mark.ray
@pytest.mark.slow
def test_every_block_runs(tmp_path: Path):
    assert len(blocks_of(README)) >= 6
    printed = run_page(README, tmp_path)
    assert "Best configuration:" in printed
    assert "best_val_loss" in printed
    assert (tmp_path / "wine.csv").read_text().count("\n") == 13
    assert "16 trials (resuming with 12 known)" in printed
    folders = {path.name for path in (tmp_path / "sweeps").glob("[!.]*") if path.is_dir()}
    assert folders == {"wine", "wine-again", "wine-best"}


def test_make_targets_that_are_named_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`?make (\w+)`?", README.read_text()))
    assert {"sweep", "test", "check", "bench"} <= named <= targets


def test_links_lead_to_files():
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path}: {link}"
