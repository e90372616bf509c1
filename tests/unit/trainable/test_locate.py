"""Locating a trainable: found by reading, imported only by `load`."""

from __future__ import annotations

import importlib.metadata
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpsearch.errors import SpecError
from hpsearch.trainable.locate import TrainableSource, load, locate

BOOM = "raise SystemExit('the look-up ran the code of the user')\n"
TRAIN = "def train(config):\n    yield {'loss': 1.0}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; what a test imports is forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in sys.modules.keys() - before:
        del sys.modules[name]


def write(text: str, name: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def mistake(text: str, spec_dir: Path | None = None) -> str:
    with pytest.raises(SpecError) as caught:
        locate(text, spec_dir=spec_dir)
    (problem,) = caught.value.problems
    assert problem.where == ("trainable",)
    return problem.message


def test_a_module_is_found_in_the_working_directory_without_running_it_or_its_packages(folder: Path) -> None:
    write(BOOM, "pkg/__init__.py")
    write(BOOM, "pkg/sub/__init__.py")
    write(BOOM + TRAIN, "pkg/sub/net.py")
    assert locate("pkg.sub.net:train", spec_dir=None) == TrainableSource(
        kind="module", module="pkg.sub.net", function="train", file_path=folder / "pkg/sub/net.py"
    )


def test_a_module_may_be_a_package_or_lie_in_a_folder_without_init(folder: Path) -> None:
    write(BOOM + TRAIN, "pkg/__init__.py")
    write(TRAIN, "plain/net.py")
    assert locate("pkg:train", spec_dir=None).file_path == folder / "pkg/__init__.py"
    assert locate("plain.net:train", spec_dir=None).file_path == folder / "plain/net.py"


def test_a_module_may_lie_in_folders_without_init_at_any_depth(folder: Path) -> None:
    path = write(TRAIN, "outer/middle/inner/one.py")
    sys.path.insert(0, str(folder))
    source = locate("outer.middle.inner.one:train", spec_dir=None)
    assert source.file_path == path.resolve()
    assert list(load(source)({})) == [{"loss": 1.0}]


def test_a_module_on_the_search_path_is_found_after_the_working_directory(folder: Path) -> None:
    write(TRAIN, "lib/net.py")
    sys.path.insert(0, str(folder / "lib"))
    assert locate("net:train", spec_dir=None).file_path == folder / "lib/net.py"
    write(TRAIN, "net.py")
    assert locate("net:train", spec_dir=None).file_path == folder / "net.py"


def test_the_look_up_imports_neither_torch_nor_a_parent_package() -> None:
    write(TRAIN, "net.py")
    code = (
        "import sys; from hpsearch.trainable.locate import locate;"
        "locate('net:train', spec_dir=None); locate('torch.nn.functional:relu', spec_dir=None);"
        "print([name for name in ('torch', 'ray', 'net', 'pandas') if name in sys.modules])"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": root}, check=True
    )
    assert done.stdout == "[]\n"


def test_a_file_is_found_from_the_working_directory_then_from_the_folder_of_the_spec(folder: Path) -> None:
    write(TRAIN, "specs/code/net.py")
    expected = TrainableSource(kind="file", module="net", function="train", file_path=folder / "specs/code/net.py")
    assert locate("code/net.py:train", spec_dir=Path("specs")) == expected
    assert locate("specs/code/net.py:train", spec_dir=None) == expected
    assert locate(f"{folder}/specs/code/net.py:train", spec_dir=None) == expected
    write(TRAIN, "code/net.py")
    assert locate("code/net.py:train", spec_dir=Path("specs")).file_path == folder / "code/net.py"


@pytest.mark.parametrize(
    "source",
    [
        TRAIN,
        "import x.y as train",
        "from x import train",
        "from x import other as train",
        "import train",
        "train = make()",
        "train: object = make()",
        "one, (train, *two) = make()",
        "a = train = make()",
        "if 1:\n    pass\nelse:\n    def train(c): ...",
        "try:\n    from x import train\nexcept ImportError:\n    train = None",
        "with x:\n    for y in z:\n        train = y",
        "from x import *",
        "def __getattr__(name): ...",
        "class train: ...\ndef train(c): ...",
        "x = '\\d'\n" + TRAIN,
    ],
)
def test_a_function_counts_as_there_if_it_is_defined_assigned_or_imported_at_top_level(source: str) -> None:
    write(source, "net.py")
    assert locate("net:train", spec_dir=None).function == "train"
    assert locate("net.py:train", spec_dir=None).function == "train"


HIDDEN = [
    "def f():\n    def train(c): ...\n",
    "def f():\n    train = 1\n",
    "class C:\n    def train(self): ...\ndef f(): ...",
    "x.train = 1\ndef f(): ...",
    "x = lambda train: 1\ndef f(): ...",
    "x = [train for train in y]\ndef f(): ...",
    "train: int\ndef f(): ...",
    "y[train] = 1\ndef f(): ...",
]


@pytest.mark.parametrize("source", HIDDEN)
def test_a_name_that_is_not_at_top_level_does_not_count(source: str) -> None:
    write(source, "net.py")
    assert mistake("net:train") == "there is no function 'train' in net.py. Its functions: f."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net:trian", "there is no function 'trian' in net.py. Did you mean 'train'? Its functions: train, other."),
        (
            "net.py:trian",
            "there is no function 'trian' in net.py. Did you mean 'train'? Its functions: train, other.",
        ),
        ("empty:train", "there is no function 'train' in empty.py. Its functions: none."),
        ("nett:train", "there is no module 'nett' in the working directory or on sys.path. Did you mean 'net'?"),
        ("pkg.inne:train", "there is no module 'inne' in the package 'pkg'. Did you mean 'inner'?"),
        ("net.inner:train", "'net' is a module, not a package: there is no 'net.inner' in it."),
        ("pkg:train", "'pkg' is a folder without __init__.py. Write the module in it that has 'train'."),
        ("nett.py:train", "there is no file nett.py. Did you mean 'net.py'?"),
        ("pkg/ner.py:train", "there is no file pkg/ner.py. Did you mean 'inner.py'?"),
        ("broken:train", "broken.py:2 is not Python: '(' was never closed."),
        ("broken.py:train", "broken.py:2 is not Python: '(' was never closed."),
        ("kinds:Net", "'Net' in kinds.py is a class. Write a function, def train(config), that creates and runs it."),
        ("kinds:later", "'later' in kinds.py is an async function. Write def instead of async def."),
        ("net", "expected module:function or path/file.py:function, got 'net'."),
        ("net.py", "net.py does nothing when it runs: it only defines names. Name one, net.py:train."),
        ("net:", "expected module:function or path/file.py:function, got 'net:'."),
        (":train", "expected module:function or path/file.py:function, got ':train'."),
        ("net:Net.train", "expected module:function or path/file.py:function, got 'net:Net.train'."),
        ("..net:train", "expected module:function or path/file.py:function, got '..net:train'."),
        ("my net:train", "expected module:function or path/file.py:function, got 'my net:train'."),
    ],
)
def test_a_missing_name_is_reported_with_similar_ones(text: str, message: str) -> None:
    write(TRAIN + "def other(): ...\n", "net.py")
    write("", "empty.py")
    write(TRAIN, "pkg/inner.py")
    write("x = 1\ndef train(config:\n", "broken.py")
    write("class Net: ...\nasync def later(config): ...\n", "kinds.py")
    assert mistake(text) == message


@pytest.mark.parametrize("text", ["x" * 5000 + ".py:train", "x" * 5000 + ":train", "a/\0.py:train"])
def test_a_name_that_no_file_can_have_is_not_found(text: str) -> None:
    assert mistake(text).startswith("there is no ")


def test_both_paths_of_a_missing_file_are_reported() -> None:
    assert mistake("net.py:train", Path("specs")) == "there is no file net.py nor specs/net.py."


def test_a_module_without_source_is_not_checked() -> None:
    source = TrainableSource(kind="module", module="math", function="anything", file_path=None)
    assert locate("math:anything", spec_dir=None) == source


def test_a_name_without_colon_is_an_entry_point(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    point = importlib.metadata.EntryPoint(name="resnet", value="net:train", group="hpsearch.trainables")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: (point,) if group == point.group else ())
    write(TRAIN, "net.py")
    assert locate("resnet", spec_dir=None).file_path == folder / "net.py"
    message = "expected module:function or path/file.py:function, got 'resnt'. Did you mean 'resnet'?"
    assert mistake("resnt") == f"{message} Installed trainables: resnet."


def test_a_source_can_be_pickled() -> None:
    source = locate("json:loads", spec_dir=None)
    assert pickle.loads(pickle.dumps(source)) == source


def test_load_imports_a_module(folder: Path) -> None:
    write(TRAIN, "net.py")
    source = locate("net:train", spec_dir=None)
    sys.path.insert(0, str(folder))
    assert list(load(source)({})) == [{"loss": 1.0}]


NEIGHBOURLY = """
import pickle
from dataclasses import dataclass
from neighbour import value

@dataclass
class Batch:
    size: int = value

def train(config):
    yield pickle.loads(pickle.dumps(Batch()))
"""


def test_load_runs_a_file_so_that_it_sees_its_neighbours_and_can_be_pickled(folder: Path) -> None:
    write("value = 7", "code/neighbour.py")
    write(NEIGHBOURLY, "code/my-net.py")
    source = locate("code/my-net.py:train", spec_dir=None)
    function = load(source)
    assert [batch.size for batch in function({})] == [7]
    assert (function.__module__, sys.path[0]) == ("my-net", str(folder / "code"))
    assert load(source) is function


def test_a_file_that_fails_leaves_nothing_behind_and_may_be_tried_again() -> None:
    path = write("raise RuntimeError('no')", "net.py")
    source = TrainableSource(kind="file", module="net", function="train", file_path=path.resolve())
    with pytest.raises(RuntimeError, match="no"):
        load(source)
    assert "net" not in sys.modules
    path.write_text(TRAIN + "# and longer than before, or the cached byte code would be taken\n")
    assert callable(load(source))


def test_a_file_with_the_name_of_a_loaded_module_is_refused() -> None:
    write(TRAIN, "json.py")
    with pytest.raises(ImportError, match=r"json\.py has the name of the module 'json', which is already loaded"):
        load(locate("./json.py:train", spec_dir=None))


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("from os import *", AttributeError, "net has no 'train' once it is imported"),
        ("train = 3", TypeError, "net:train is not a function but int"),
    ],
)
def test_load_says_what_reading_could_not_know(source: str, error: type[Exception], message: str) -> None:
    write(source, "net.py")
    with pytest.raises(error, match=message):
        load(locate("net.py:train", spec_dir=None))
