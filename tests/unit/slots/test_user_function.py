"""The words for a trainable whose module can't be imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpsearch.slots.user_function import import_failure, load_trainable
from hpsearch.trainable.locate import locate
from tests.support.slot_settings import settings_of

WITH_ITS_OWN_ERROR = """
import argparse, sys
class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.print_help(sys.stderr)
        sys.exit(2)
parser = Parser()
parser.add_argument("--lr", required=True)
parser.parse_args()
def train(config): ...
"""


def failure_at_import(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> str:
    """The message on a training file with this source, imported as the process of a trial does."""
    (folder / "training.py").write_text(source)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["worker.py", "--node-ip-address=127.0.0.1"])
    settings = settings_of(working_dir=str(folder))
    with pytest.raises(BaseException) as caught:
        load_trainable(locate("training.py:train", spec_dir=None), settings=settings, working_dir=str(folder))
    return import_failure(caught.value)


def test_a_module_that_parses_arguments_is_refused_with_the_words_of_argparse(tmp_path, monkeypatch, capsys) -> None:
    source = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\np.parse_args()\n"
    assert failure_at_import(tmp_path, monkeypatch, f"{source}def train(config): ...\n") == (
        "it can't be imported: it exited with code 2: the following arguments are required: --lr"
        " (training.py:4 in <module>). To import a function, hpsearch runs the top level of its file, without"
        ' arguments. Put what only a program does, such as parse_args(), below `if __name__ == "__main__":`. Or name'
        " the file without a function, `trainable: FILE.py`: then it runs as a script, with the parameters as its"
        " arguments."
    )
    assert "usage: training.py [-h] --lr LR" in capsys.readouterr().err


def test_a_parser_with_an_error_method_of_its_own_is_no_exception(tmp_path, monkeypatch, capsys) -> None:
    text = failure_at_import(tmp_path, monkeypatch, WITH_ITS_OWN_ERROR)
    assert "it exited with code 2: the following arguments are required: --lr (training.py:6 in error)" in text


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("raise SystemExit('no GPU')", "it can't be imported: it exited with: no GPU (training.py:1 in <module>). To"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found' (training.py:1 in"),
    ],
)
def test_what_a_module_raises_is_in_the_message(tmp_path, monkeypatch, statement: str, words: str) -> None:
    assert words in failure_at_import(tmp_path, monkeypatch, f"{statement}\ndef train(config): ...\n")
