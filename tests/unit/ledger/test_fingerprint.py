"""Which trials have the same fingerprint, and which have different ones."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from hpsearch.ledger.fingerprint import changed_files, code_of, data_hash, trial_fingerprint
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.locate import TrainableSource, locate

TREE: dict[str, Any] = {"metric": {"name": "m", "goal": "minimize"}, "parameters": {"x": {"min": 0.0, "max": 1.0}}}


def source(path: Path) -> TrainableSource:
    return TrainableSource(kind="file", module=path.stem, function="train", file_path=path)


def fingerprint(point: dict[str, Any], *, code: Any = None, data: str | None = "d", **changes: Any) -> str | None:
    return trial_fingerprint(point, sweep=Sweep.from_dict({**TREE, **changes}), code=code or {"f": "1"}, data=data)


def test_the_same_trial_has_the_same_fingerprint():
    assert fingerprint({"x": 0.5, "y": 1}) == fingerprint({"y": 1, "x": 0.5})


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"precision": "bf16"},
        {"parallel": "dp"},
        {"resources": {"workers": 2}},
        {"metric": {"name": "n", "goal": "minimize"}},
        {"code": {"f": "2"}},
        {"data": "e"},
    ],
)
def test_what_changes_the_training_changes_the_fingerprint(changes):
    assert fingerprint({"x": 0.5}, **changes) != fingerprint({"x": 0.5})


def test_another_version_of_hpsearch_may_train_otherwise(monkeypatch):
    before = fingerprint({"x": 0.5})
    monkeypatch.setattr("hpsearch.ledger.fingerprint.__version__", "0.0.0")
    assert fingerprint({"x": 0.5}) != before


def test_values_that_look_alike_differ():
    values = (1, 1.0, True, "1", None, [1], "None")
    assert len({fingerprint({"x": value}) for value in values}) == len(values)


@pytest.mark.parametrize(
    "changes", [{"limits": {"epochs": 27}}, {"method": "optuna"}, {"early_terminate": {"type": "asha"}}]
)
def test_the_number_of_epochs_and_the_search_method_make_no_difference(changes):
    assert fingerprint({"x": 0.5}, **changes) == fingerprint({"x": 0.5})


@pytest.mark.parametrize("missing", ["code", "data"])
def test_what_cannot_be_read_has_no_fingerprint(missing):
    sweep = Sweep.from_dict(TREE)
    parts: dict[str, Any] = {"code": {"f": "1"}, "data": "d", missing: None}
    assert trial_fingerprint({}, sweep=sweep, **parts) is None


def test_the_code_is_the_file_and_what_it_imports_of_the_project(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {
        "train.py": "import json\nimport helper\nfrom package import inner\nimport torch\n",
        "helper.py": "def f():\n    from package.late import g\n",
        "package/__init__.py": "",
        "package/inner.py": "from . import sibling\n",
        "package/sibling.py": "import train\n",
        "package/late.py": "",
        "unrelated.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code = code_of(source(tmp_path / "train.py"))
    assert code is not None and set(code) == {*files, "function"} - {"unrelated.py"}
    (tmp_path / "package" / "late.py").write_text("x = 1\n")
    (tmp_path / "helper.py").unlink()
    new = code_of(source(tmp_path / "train.py"))
    assert new is not None
    assert sorted(changed_files(code, new)) == ["helper.py is gone", "package/late.py is gone"]


def test_the_same_code_in_another_folder_is_the_same_code(tmp_path: Path, monkeypatch):
    codes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.py").write_text("x = 1\n")
        codes.append(code_of(source(tmp_path / name / "train.py")))
    monkeypatch.chdir(tmp_path / "one")
    codes.append(code_of(source(tmp_path / "one" / "train.py")))
    assert codes[0] is not None and codes[1] is not None and codes[2] is not None
    assert changed_files(codes[0], codes[1]) == changed_files(codes[0], codes[2]) == []
    assert len({fingerprint({"x": 1}, code=code) for code in codes}) == 1


def test_a_trainable_without_a_file_is_never_recognised():
    assert code_of(TrainableSource(kind="module", module="m", function="f", file_path=None)) is None
    assert code_of(len) is None


def function_of(text: str, **values: Any) -> Any:
    """A function as a notebook defines it: its source is known, its module is `__main__`."""
    import linecache

    name = f"<cell {len(linecache.cache)}>"
    text = textwrap.dedent(text)
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": "__main__", **values}
    exec(compile(text, name, "exec"), namespace)
    return namespace["train"]


def test_a_function_of_a_notebook_counts_with_those_that_it_calls():
    text = "def helper():\n    return {}\ndef train(config):\n    yield {{'m': helper()}}\n"
    one, same, other = (code_of(function_of(text.format(number))) for number in (1, 1, 2))
    assert one is not None and {"train", "helper"} <= set(one)
    assert one == same and one != other


def test_a_function_counts_with_what_it_closes_over():
    text = (
        "def make(value):\n    def train(config):\n        yield {'m': value}\n    return train\ntrain = make(VALUE)\n"
    )
    codes = [code_of(function_of(text, VALUE=value)) for value in (1, 1, 2)]
    assert codes[0] == codes[1] != codes[2]
    unlike = code_of(function_of(text, VALUE=object()))
    assert unlike is not None and fingerprint({"x": 1}, code=unlike) is None, "an object can't be compared"


CELL = """
    import math
    from collections import Counter
    class Net:
        scale = SCALE
        def forward(self):
            return [helper() for _ in range(2)]
    def helper():
        return math.pi * Counter().total() {edit}
    def train(config):
        def step():
            return Net().forward() + [WIDTH]
        yield {{"m": step()}}
"""


def test_a_function_of_a_notebook_counts_with_classes_values_and_what_inner_functions_name():
    def code(edit: str = "", **values: Any) -> Any:
        return code_of(function_of(CELL.format(edit=edit), **{"SCALE": 1, "WIDTH": 8, "UNRELATED": 0, **values}))

    assert code() == code() == code(UNRELATED=object())
    assert len({str(each) for each in (code(), code("+ 1"), code(SCALE=2), code(WIDTH=9))}) == 4


def test_a_value_that_cannot_be_compared_hides_no_change_of_the_code():
    one, same, edited = (
        code_of(function_of(CELL.format(edit=edit), SCALE=1, WIDTH=object())) for edit in ("", "", "+1")
    )
    assert one is not None and same is not None and edited is not None
    assert changed_files(one, same) == [] and changed_files(one, edited) == ["helper changed"]
    assert fingerprint({"x": 1}, code=one) is None


def test_data_count_by_name_and_size(tmp_path: Path):
    root = tmp_path / "data"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "a.bin").write_bytes(b"123")
    before = data_hash({"root": str(root)})
    (root / "deep" / "a.bin").write_bytes(b"456")
    assert data_hash({"root": str(root)}) == before, "names and sizes, not contents: data may be terabytes"
    (root / "deep" / "a.bin").write_bytes(b"1234")
    assert data_hash({"root": str(root)}) != before
    assert data_hash({"root": None, "kind": "a"}) != data_hash({"root": None, "kind": "b"})


def test_two_functions_of_one_file_are_not_the_same_trainable(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("def one(config): ...\ndef two(config): ...\nprint()\n")
    codes = [code_of(locate(text, spec_dir=None)) for text in ("train.py:one", "train.py:two", "train.py")]
    assert len({tuple(sorted((code or {}).values())) for code in codes}) == 3


def test_a_scripts_command_line_is_part_of_its_code(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("import helper\nprint(helper)\n")
    (tmp_path / "helper.py").write_text("")
    plain, other = (code_of(locate("train.py", spec_dir=None, arguments=[word])) for word in ("${args}", "--deep"))
    assert plain is not None and set(plain) == {"train.py", "helper.py", "function"}
    assert plain != other
