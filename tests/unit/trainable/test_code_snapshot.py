"""What a snapshot's folder holds, and when it is written again."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpsearch.errors import LinkRefused, SpecError
from hpsearch.trainable import code_snapshot
from hpsearch.trainable.code_files import CodeFiles, read_code
from hpsearch.trainable.code_snapshot import check_size, snapshot
from hpsearch.trainable.locate import TrainableSource


@pytest.fixture
def code(tmp_path: Path, monkeypatch) -> CodeFiles:
    project = tmp_path / "project"
    (project / "package").mkdir(parents=True)
    (project / "train.py").write_text("import package.inner\n")
    (project / "package" / "inner.py").write_text("X = 1\n")
    monkeypatch.chdir(project)
    path = project / "train.py"
    return read_code(TrainableSource(kind="file", module="train", function="train", file_path=path))


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_snapshot_has_each_file_its_manifest_and_a_site_folder(code, tmp_path):
    folder = snapshot(tmp_path / "sweep", code, name="abc")
    assert folder == tmp_path / "sweep" / "code" / "abc"
    files = files_in(folder)
    assert set(files) == {
        "manifest.json", "project/train.py", "project/package/inner.py", "site/sitecustomize.py",
        "site/_hpsearch_code_finder.py",
    }  # fmt: skip
    manifest = json.loads(files["manifest.json"])
    entry = manifest["files"][str(tmp_path / "project" / "package" / "inner.py")]
    assert entry["file"] == "project/package/inner.py"
    assert entry["sha256"] == code.code["package/inner.py"]
    assert manifest["roots"][0] == str(tmp_path / "project")


def test_a_copy_is_never_a_link(code, tmp_path):
    folder = snapshot(tmp_path / "sweep", code, name="abc")
    with open(tmp_path / "project" / "train.py", "a", encoding="utf-8") as file:
        file.write("X = 2\n")
    copy = folder / "project" / "train.py"
    assert copy.read_text() == "import package.inner\n" and not copy.is_symlink()


def test_a_snapshot_that_is_there_and_whole_is_left_alone(code, tmp_path):
    folder = snapshot(tmp_path / "sweep", code, name="abc")
    before = {path: path.stat().st_ino for path in folder.rglob("*")}
    assert snapshot(tmp_path / "sweep", code, name="abc") == folder
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == before


@pytest.mark.parametrize("damage", ["manifest.json", "project/train.py", "site/sitecustomize.py"])
@pytest.mark.parametrize("how", [Path.unlink, lambda path: path.write_text("else")])
def test_a_damaged_snapshot_is_made_again(code, tmp_path, damage, how):
    folder = snapshot(tmp_path / "sweep", code, name="abc")
    whole = files_in(folder)
    how(folder / damage)
    snapshot(tmp_path / "sweep", code, name="abc")
    assert files_in(folder) == whole
    assert [path.name for path in folder.parent.iterdir()] == ["abc"], "nothing is left beside it"


@pytest.mark.parametrize(
    "planted",
    ["site/usercustomize.py", "site/torch.py", "site/__pycache__/sitecustomize.cpython-312.pyc", "project/a.py"],
)
def test_a_file_that_somebody_has_added_to_a_snapshot_is_gone_when_a_sweep_uses_it(code, tmp_path, planted):
    folder = snapshot(tmp_path / "sweep", code, name="abc")
    whole = files_in(folder)
    (folder / planted).parent.mkdir(exist_ok=True)
    (folder / planted).write_text("raise SystemExit('planted')")
    snapshot(tmp_path / "sweep", code, name="abc")
    assert files_in(folder) == whole


@pytest.mark.parametrize("what", ["", "site", "project/train.py"])
def test_a_link_in_a_snapshot_is_replaced_and_what_it_leads_to_stays(code, tmp_path, what):
    folder = snapshot(tmp_path / "sweep", code, name="abc")
    whole = files_in(folder)
    (folder / what).rename(tmp_path / "outside")
    (folder / what).symlink_to(tmp_path / "outside")
    outside = files_in(tmp_path / "outside")
    assert snapshot(tmp_path / "sweep", code, name="abc") == folder
    assert files_in(folder) == whole and not (folder / what).is_symlink()
    assert files_in(tmp_path / "outside") == outside


@pytest.mark.parametrize("level", ["sweep", "sweep/code"])
def test_no_snapshot_is_written_through_a_link(code, tmp_path, level):
    (tmp_path / level).parent.mkdir(exist_ok=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / level).symlink_to(tmp_path / "outside")
    with pytest.raises(LinkRefused):
        snapshot(tmp_path / "sweep", code, name="abc")
    assert files_in(tmp_path / "outside") == {}


def test_the_same_code_in_another_place_has_a_snapshot_of_that_place(code, tmp_path, monkeypatch):
    folder = snapshot(tmp_path / "sweep", code, name="abc")
    moved = tmp_path / "moved"
    (tmp_path / "project").rename(moved)
    monkeypatch.chdir(moved)
    source = TrainableSource(kind="file", module="train", function="train", file_path=moved / "train.py")
    assert snapshot(tmp_path / "sweep", read_code(source), name="abc") == folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == {str(moved / "train.py"), str(moved / "package" / "inner.py")}


def test_a_write_that_fails_leaves_no_half_snapshot(code, tmp_path, monkeypatch):
    real, written = Path.write_bytes, []

    def failing(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, os.strerror(28))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(OSError):
        snapshot(tmp_path / "sweep", code, name="abc")
    assert not (tmp_path / "sweep" / "code" / "abc").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path / "project")
    assert snapshot(tmp_path / "sweep", code, name="abc").is_dir()


def test_code_that_is_too_large_is_refused_with_its_largest_file(code, monkeypatch):
    monkeypatch.setattr(code_snapshot, "MAX_BYTES", 2**20)
    large = replace(code, contents={**code.contents, "/data/large.py": bytes(2**21)})
    with pytest.raises(SpecError, match=r"expected code of at most 1 MiB, .*, got 2 MiB. .* /data/large.py"):
        check_size(large)
    check_size(code)
