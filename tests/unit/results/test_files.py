"""Files that are written as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpsearch.errors import LedgerError
from hpsearch.results.files import replace_file


def test_links_at_the_path_and_beside_it_are_replaced_not_followed(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = tmp_path / "a.html"
    path.symlink_to(victim)
    (tmp_path / f".a.html.{os.getpid()}").symlink_to(victim)
    replace_file(path, b"new")
    assert (path.read_bytes(), path.is_symlink()) == (b"new", False)
    assert victim.read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == [f".a.html.{os.getpid()}", "a.html", "victim"]


def test_a_missing_folder_is_one_clear_error(tmp_path: Path):
    (tmp_path / "a").write_text("")
    with pytest.raises(LedgerError, match=r"a/b\.html: can't be written: Not a directory"):
        replace_file(tmp_path / "a" / "b.html", b"")
