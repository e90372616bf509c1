"""Which files count as the user's own code, what their hashes are, and what else they import."""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import linecache
import pathlib
import sys
import wave
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from hpsearch.ledger.fingerprint import code_hash
from hpsearch.trainable.code_files import CodeFiles, modules_of, read_code, third_party_modules
from hpsearch.trainable.locate import TrainableSource


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__init__', '!').replace('__', '/').replace('!', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(project: Path, module: str = "train", kind: str = "module") -> CodeFiles:
    path = project.joinpath(*module.split(".")).with_suffix(".py")
    return read_code(TrainableSource(kind=kind, module=module, function="train", file_path=path))  # type: ignore[arg-type]


def counted(code: CodeFiles) -> set[str]:
    assert code.code is not None
    return set(code.code) - {"function"}


def names(code: CodeFiles) -> set[str]:
    return {Path(path).name for path in code.contents}


def test_fingerprints_on_record_stay_valid(project):
    """The hash is that of the version that knew no snapshots."""
    write(project, train="import helper\nfrom package import inner\nimport torch\n", helper="X = 1\n")
    write(project, package____init__="", package__inner="from . import sibling\n", package__sibling="import train\n")
    code = read(project)
    assert code.code == code.former_code
    assert code.code is not None
    assert code_hash(code.code) == "cda7d36a7700365763c847f18f3d115e8662b0af652be9822191d04d2c380a2e"
    assert counted(code) == {
        "train.py", "helper.py", "package/__init__.py", "package/inner.py", "package/sibling.py"
    }  # fmt: skip


def test_an_init_file_that_does_nothing_is_kept_and_does_not_count(project):
    write(
        project, package____init__='"""Text."""\n', package__train="import package.helper\n", package__helper="X = 1\n"
    )
    code = read(project, "package.train")
    assert counted(code) == {"package/train.py", "package/helper.py"}
    assert "__init__.py" in names(code) and code.code == code.former_code


def test_an_init_file_that_does_something_counts(project):
    write(project, package____init__="import other\nX = 1\n", package__train="X = 1\n", other="X = 2\n")
    code = read(project, "package.train")
    assert counted(code) == {"package/train.py", "package/__init__.py", "other.py"}
    assert code.former_code is not None and set(code.former_code) == {"package/train.py", "function"}


def test_a_sweep_that_began_before_more_files_counted_can_be_resumed(project):
    write(project, package____init__="X = 1\n", package__train="X = 1\n")
    code = read(project, "package.train")
    assert code.code != code.former_code
    assert code.code_matching(code.former_code) == code.former_code
    assert (
        code.code_matching(code.code) == code.code == code.code_matching(None) == code.code_matching({"train.py": "1"})
    )


def test_other_folders_of_the_search_path_count(project, tmp_path, monkeypatch):
    write(project, train="import library\n")
    write(tmp_path / "lib", library="import deeper\n", deeper="X = 1\n", unrelated="")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "lib")])
    code = read(project)
    assert names(code) == {"train.py", "library.py", "deeper.py"}
    assert str(tmp_path / "lib") in code.roots
    before = code.code
    write(tmp_path / "lib", deeper="X = 2\n")
    assert read(project).code != before


def test_installed_distributions_do_not_count(project, tmp_path, monkeypatch):
    write(project, train="import numpy\nimport json\nimport vendored\nimport hpsearch\n")
    write(tmp_path / "target", vendored="X = 1\n")
    (tmp_path / "target" / "vendored-1.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "target")])
    assert names(read(project)) == {"train.py"}


def test_a_distribution_to_be_edited_counts(project, tmp_path, monkeypatch):
    write(project, train="from editable_lib.part import thing\n")
    write(tmp_path / "src", editable_lib____init__="X = 1\n", editable_lib__part="thing = 1\n")
    init = tmp_path / "src" / "editable_lib" / "__init__.py"

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return importlib.util.spec_from_file_location(name, init) if name == "editable_lib" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    code = read(project)
    assert names(code) == {"train.py", "__init__.py", "part.py"}
    assert code.modules == {"editable_lib": str(init)}


def test_a_module_of_the_project_hides_one_of_its_name_further_on(project, tmp_path, monkeypatch):
    write(project, train="import library\n", library="X = 1\n")
    write(tmp_path / "lib", library="X = 2\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "lib")])
    code = read(project)
    assert set(code.contents) == {str(project / "train.py"), str(project / "library.py")}


def test_an_extension_module_counts_and_is_not_copied(project):
    write(project, train="import fast\n")
    path = project / f"fast{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    path.write_bytes(b"\x7fELF")
    code = read(project)
    assert path.name in counted(code) and code.contents[str(path)] is None


def test_a_file_over_a_link_has_both_paths(project, tmp_path):
    write(project, train="import linked\n")
    write(tmp_path, shared="X = 1\n")
    (project / "linked.py").symlink_to(tmp_path / "shared.py")
    code = read(project)
    assert code.aliases == {str(project / "linked.py"): str(tmp_path / "shared.py")}
    assert str(tmp_path / "shared.py") in code.contents


def test_each_file_is_read_once_and_hash_and_copy_are_of_the_same_bytes(project, monkeypatch):
    write(project, train="import helper\nimport package.inner\n", helper="X = 1\n")
    write(project, package____init__="", package__inner="import helper\n")
    opened: Counter[str] = Counter()
    real = pathlib.Path.read_bytes

    def counting(path: Path) -> bytes:
        opened[path.name] += 1
        return real(path)

    monkeypatch.setattr(pathlib.Path, "read_bytes", counting)
    monkeypatch.setattr(builtins, "open", lambda *_, **__: pytest.fail("opened"))
    code = read(project)
    monkeypatch.undo()
    assert set(opened.values()) == {1} and len(opened) == 4
    assert code.contents[str(project / "helper.py")] == b"X = 1\n"


def test_what_is_no_python_is_kept_and_left_to_the_import(project):
    write(project, train="import broken\nimport odd\n", broken="def (:\n", odd="X = '\\d'\n")
    assert names(read(project)) == {"train.py", "broken.py", "odd.py"}


def test_a_function_of_a_notebook_has_no_files():
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec("def train(config): ...", namespace)
    assert read_code(namespace["train"]).contents == {}  # type: ignore[arg-type]


def test_a_function_of_a_module_has_its_file():
    code = read_code(write)
    assert Path(__file__).name in names(code) and code.code is not None and code.code["function"] == "write"


# -- what the preload server imports -------------------------------------------------------------------------------


def test_third_party_modules_are_in_the_order_of_the_text(project):
    write(
        project,
        train=(
            "from __future__ import annotations\nimport helper\nimport json\nimport numpy as np\n"
            "from torch.utils.data import DataLoader\nfrom . import nothing\nimport hpsearch\n"
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\nelse:\n    import csv\n"
            "def train(config):\n    import email.mime.text\n    from xml import dom\n"
            "try:\n    import does_not_exist\nexcept ImportError:\n    pass\nimport os.path\n"
        ),
        helper="import sqlite3\nimport json\n",
    )
    assert third_party_modules(read(project)) == (
        "__future__", "json", "numpy", "torch.utils.data", "typing", "csv", "email.mime.text", "xml.dom", "os",
        "sqlite3",
    )  # fmt: skip


def test_nothing_is_imported_to_find_out(project, monkeypatch):
    write(project, train="import helper\nimport package.inner\nimport wave\n", helper="raise SystemExit\n")
    write(project, package____init__="raise SystemExit\n", package__inner="raise SystemExit\n")
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    assert third_party_modules(read(project)) == ("wave",)
    assert not {"wave", "helper", "package"} & set(sys.modules)


def test_a_function_that_travels_by_value_needs_the_modules_behind_its_globals_and_imports():
    space: dict[str, Any] = {"wave": wave, "Decimal": Decimal, "own": {}}
    source = "def train(config):\n    import colorsys\n    return wave.open, Decimal, own, colorsys"
    exec(compile(source, "<cell>", "exec"), space)
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(keepends=True), "<cell>")
    assert modules_of(space["train"]) == ("colorsys", "wave", "decimal")
