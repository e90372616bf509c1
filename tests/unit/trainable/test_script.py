"""A script as a trainable behaves as in a shell, and leaves the process as it was."""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpsearch.slots.diagnosis import failure_of
from hpsearch.trainable.arguments import command_line
from hpsearch.trainable.locate import load, locate
from hpsearch.training.context import TrialContext, activate
from hpsearch.training.stepper import make_stepper

TRAIN = """
    import argparse
    import sys
    import neighbour
    import hpsearch

    class Settings: ...

    def main():
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float)
        parser.add_argument("--model.width", dest="width", type=int)
        settings = parser.parse_args(namespace=Settings())
        assert sys.modules["__main__"].Settings is Settings
        for epoch in range(3):
            hpsearch.report(loss=settings.lr * neighbour.FACTOR, width=settings.width)
        sys.exit(0)

    if __name__ == "__main__":
        main()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour.py").write_text("FACTOR = 2\n")
    yield tmp_path
    sys.modules.pop("neighbour", None)


def rows_of(source: str, config: dict[str, Any], arguments: Sequence[str] = ("${args}",)) -> list[dict[str, Any]]:
    """What a script reports before it ends."""
    Path("train.py").write_text(textwrap.dedent(source))
    context, rows = TrialContext(), []
    stepper = make_stepper(load(locate("train.py", spec_dir=None, arguments=arguments)), config, context)
    with activate(context):
        try:
            while (row := stepper.advance()) is not None:
                rows.append(row)
        except SystemExit as ended:
            if ended.code:
                raise
    return rows


def test_a_script_runs_as_main_with_the_configuration_on_its_command_line(folder: Path) -> None:
    before = sys.modules["__main__"], list(sys.argv)
    assert rows_of(TRAIN, {"lr": 0.5, "model": {"width": 8}}) == [{"loss": 1.0, "width": 8}] * 3
    assert (sys.modules["__main__"], sys.argv) == before


def test_the_same_script_runs_alone_and_prints(folder: Path) -> None:
    (folder / "train.py").write_text(textwrap.dedent(TRAIN))
    command = [sys.executable, "train.py", "--lr=0.5", "--model.width=8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "epoch 1: loss 1, width 8"


def test_a_wrong_argument_is_a_failure_that_says_what_argparse_said(folder: Path, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        rows_of(TRAIN, {"lrr": 0.5})
    failure = failure_of(caught.value)
    assert failure.cause == "user_error"
    assert failure.evidence.startswith("it exited with code 2: unrecognized arguments: --lrr=0.5 (train.py:")
    assert "usage: train.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statement", "evidence"),
    [
        ("sys.exit('no data in here')", "it exited with: no data in here (train.py:2 in <module>)"),
        ("sys.exit(3)", "it exited with code 3 (train.py:2 in <module>)"),
        ("raise ValueError(1)", "ValueError: 1 (train.py:2 in <module>)"),
    ],
)
def test_a_script_that_fails_names_its_own_line(folder: Path, statement: str, evidence: str) -> None:
    with pytest.raises(BaseException) as caught:
        rows_of(f"import sys\n{statement}\n", {})
    assert failure_of(caught.value).evidence == evidence


@pytest.mark.parametrize("ending", ["sys.exit()", "sys.exit(0)", "sys.exit(None)", "pass"])
def test_a_script_that_leaves_without_an_exit_code_has_come_to_its_end(folder: Path, ending: str) -> None:
    assert rows_of(f"import sys, hpsearch\nhpsearch.report(loss=1)\n{ending}\n", {}) == [{"loss": 1}]


def test_a_stop_ends_a_script_where_it_reports(folder: Path) -> None:
    source = """
        import hpsearch
        try:
            while True:
                hpsearch.report(loss=1)
        finally:
            open("ended", "w").close()
    """
    (folder / "train.py").write_text(textwrap.dedent(source))
    context = TrialContext()
    stepper = make_stepper(load(locate("train.py", spec_dir=None)), {}, context)
    before = sys.modules["__main__"]
    with activate(context):
        assert stepper.advance() == {"loss": 1}
        assert stepper.close()
    assert (folder / "ended").exists()
    assert sys.modules["__main__"] is before


CONFIG = {"lr": 0.1, "wide": True, "model": {"name": "a b", "layers": [1, 2]}, "none": None}


FLAT = ["lr=0.1", "wide=True", "model.name=a b", "model.layers=[1, 2]", "none=None"]
JSON = '{"lr": 0.1, "wide": true, "model": {"name": "a b", "layers": [1, 2]}, "none": null}'


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["${args}"], [f"--{word}" for word in FLAT]),
        (["x", "${args_no_boolean_flags}"], ["x", "--lr=0.1", "--wide", *(f"--{word}" for word in FLAT[2:])]),
        (["${args_no_hyphens}"], FLAT),
        (["${args_append_hydra}"], [f"+{word}" for word in FLAT]),
        (["${args_override_hydra}"], [f"++{word}" for word in FLAT]),
        (["${args_no_equals}"], [part for word in FLAT for part in f"--{word}".split("=")]),
        (["${args_json}"], [JSON]),
        (["--home=${envvar:SOME_HOME}/x"], ["--home=/data/x"]),
        (
            ["x", "${args_list}"],
            ["x", "--lr=0.1", "--wide=True", "--model.name=a b", "--model.layers", "1", "2", "--none=None"],
        ),
        (
            ["${args_list_no_boolean_flags}"],
            ["--lr=0.1", "--wide", "--model.name=a b", "--model.layers", "1", "2", "--none=None"],
        ),
    ],
)
def test_the_command_line_is_what_the_macros_say(arguments: list[str], words: list[str], monkeypatch) -> None:
    monkeypatch.setenv("SOME_HOME", "/data")
    assert command_line(CONFIG, arguments) == words


def test_a_flag_that_is_false_is_left_out_where_flags_have_no_value() -> None:
    assert command_line({"deep": False}, ["${args_no_boolean_flags}"]) == []
    assert command_line({"deep": False}) == ["--deep=False"]


@pytest.mark.parametrize("sizes", [[1, -2, 3], [4], []])
def test_a_list_reaches_argparse_as_the_words_of_nargs(sizes: list[int]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="*")
    parser.add_argument("--names", nargs="+")
    parser.add_argument("--deep", action="store_true")
    words = command_line({"sizes": sizes, "names": ["a b", "c"], "deep": True}, ["${args_list_no_boolean_flags}"])
    assert vars(parser.parse_args(words)) == {"sizes": sizes, "names": ["a b", "c"], "deep": True}


PARSES = """
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", "--sizes", type=int, nargs="+")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--depth", type=int)
    parser.parse_args()
"""


@pytest.mark.parametrize(
    ("config", "arguments", "advice"),
    [
        (
            {"sizes": [1, 2]},
            ["${args}"],
            "argument -s/--sizes: invalid int value: '[1, 2]'; a list is one word here; for nargs=\"+\" write"
            ' `arguments: ["${args_list}"]`',
        ),
        (
            {"wide": False, "sizes": [1]},
            ["${args_list}"],
            "argument --wide: ignored explicit argument 'False'; for a flag without a value write"
            ' `arguments: ["${args_list_no_boolean_flags}"]`',
        ),
        (
            {"depth": None},
            ["${args}"],
            "argument --depth: invalid int value: 'None'; null reaches a script as the word None: give the argument a"
            " type that reads it",
        ),
        ({"depth": "deep"}, ["${args}"], "argument --depth: invalid int value: 'deep'"),
        ({"depth": 1, "lr": [1]}, ["${args}"], "unrecognized arguments: --lr=[1]"),
    ],
)
def test_how_a_parameter_is_better_written_is_in_the_failure_and_in_the_log(
    folder: Path, config: dict[str, Any], arguments: list[str], advice: str, capsys
) -> None:
    with pytest.raises(SystemExit) as caught:
        rows_of(PARSES, config, arguments)
    assert failure_of(caught.value).evidence == f"it exited with code 2: {advice} (train.py:7 in <module>)"
    assert ("hpsearch: " in capsys.readouterr().err) == (";" in advice)


def test_a_file_that_only_defines_names_is_no_script(folder: Path) -> None:
    (folder / "train.py").write_text("import os\nX = 1\ndef train(config): ...\n")
    with pytest.raises(ValueError, match=r"train.py does nothing when it runs.*Name one, train.py:train"):
        locate("train.py", spec_dir=None)
