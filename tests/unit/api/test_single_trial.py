"""One configuration trained outside of any sweep: what is set, what is not, how it ends, what comes out."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hpsearch
from hpsearch.api.single_trial import load_by_hand
from hpsearch.errors import SpecError
from hpsearch.search import first_points
from hpsearch.slots.user_function import NO_PROGRAM
from hpsearch.spec.file import load_sweep

SPEC = """
    trainable: train.py:train
    metric: {name: loss, goal: minimize}
    parameters:
      lr: {min: 0.01, max: 1.0}
      seed: {values: [1, 2]}
      augment: true
      optimizer:
        name: {values: [sgd, adamw]}
        momentum: {min: 0.5, max: 0.9, when: {optimizer.name: sgd}}
      double: {expr: "2 * lr"}
    constraints: ["lr < 0.5 or seed == 1"]
    initial_points: [{optimizer.name: sgd, lr: 0.25}]
    limits: {epochs: 3}
    data: {root: here}
"""
TRAIN = """
    from pathlib import Path
    import hpsearch

    def train(config):
        trial = hpsearch.current_trial()
        try:
            for epoch in range(100):
                yield {"loss": config["lr"], "seed": trial.seed, "rank": trial.rank}
        finally:
            Path("closed").write_text(str(trial.data["root"]))

    def reports(config):
        try:
            for epoch in range(100):
                hpsearch.report(loss=config["lr"])
        finally:
            Path("closed").touch()

    def fails(config):
        yield {"loss": 1.0}
        raise ValueError("the user's own")
"""
PARSES_AT_IMPORT = """import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
ARGS = parser.parse_args()
def train(config): ...
"""
UNCHANGED = """
import ray
from ray import tune

import hpsearch

def objective(config):
    assert tune.get_checkpoint() is None
    for _ in range(9):
        tune.report({"loss": config["lr"]})

if __name__ == "__main__":
    rows = hpsearch.trial("spec.yaml", objective, ["--set", "lr=0.5", "--set", "parameters.seed=1"])
    print(rows, ray.is_initialized())
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "train.py").write_text(textwrap.dedent(TRAIN))
    (tmp_path / "spec.yaml").write_text(textwrap.dedent(SPEC))
    yield tmp_path / "spec.yaml"
    sys.modules.pop("train", None)


def settings(**values: Any) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]


def test_what_is_not_set_is_as_in_the_first_trial(spec: Path) -> None:
    sweep, point = load_by_hand(spec, ["seed=7"])
    (first,) = first_points(load_sweep(spec), 1)
    assert (sweep.seed, point["lr"]) == (7, 0.25)
    assert point == {**first, "seed": point["seed"], "optimizer.momentum": point["optimizer.momentum"]}
    assert load_by_hand(spec, [])[1] == first


def test_names_are_parameters_and_other_keys_are_keys(spec: Path) -> None:
    sweep, point = load_by_hand(
        spec, ["lr=0.125", "parameters.seed=2", "optimizer.name=adamw", "augment=no", "limits.epochs=9", "seed=3"]
    )
    assert point == {"lr": 0.125, "seed": 2, "augment": "no", "optimizer.name": "adamw", "double": 0.25}
    assert (sweep.max_epochs, sweep.seed) == (9, 3)


def test_a_value_outside_of_its_range_is_the_users_business(spec: Path) -> None:
    assert load_by_hand(spec, ["lr=8", "parameters.seed=1"])[1]["double"] == 16


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["momentun=1"], "--set momentun=1: momentun: there is no parameter and no key 'momentun'."),
        (["double=1"], "--set double=1: double: it is computed, = 2 * lr. Leave it out."),
        (
            ["optimizer.name=adamw", "optimizer.momentum=0.5"],
            'optimizer.momentum: it is only active when optimizer.name = "sgd". Set that too, or leave it out.',
        ),
        (["lr=0.9", "parameters.seed=2"], "constraints: 'lr < 0.5 or seed == 1' is not met by these values."),
        (["lr"], "--set lr: expected KEY=VALUE."),
        (
            ["limits.epochs=none"],
            "--set limits.epochs=none: limits.epochs: expected a whole number, got the text 'none'. Write for"
            " example 12.",
        ),
    ],
)
def test_a_mistake_is_reported_before_anything_runs(spec: Path, words: list[str], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_by_hand(spec, words)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("function", ["train", "reports"])
def test_a_function_ends_in_good_order_at_its_last_epoch(spec: Path, function: str, capsys) -> None:
    rows = hpsearch.trial(spec, arguments=settings(trainable=f"train.py:{function}", lr=0.5, parameters__seed=1))
    assert [row["loss"] for row in rows] == [0.5] * 3
    assert Path("closed").exists()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith('{"lr": 0.5, "seed": 1, "augment": true')
    assert printed[1].startswith("epoch 1: loss 0.5") and len(printed) == 4


def test_the_trial_has_the_specs_data_and_seed(spec: Path) -> None:
    (row,) = hpsearch.trial(spec, arguments=settings(seed=5, limits__epochs=1))
    assert (row["seed"], row["rank"]) == (5, 0)
    assert Path("closed").read_text() == "here"


def test_a_function_may_be_given_in_place_of_the_specs(spec: Path) -> None:
    assert hpsearch.trial(spec, lambda config: {"loss": config["lr"]}, settings(lr=0.5)) == [{"loss": 0.5}]


def test_what_the_function_raises_comes_out_as_it_is(spec: Path) -> None:
    with pytest.raises(ValueError, match="the user's own") as caught:
        hpsearch.trial(spec, arguments=settings(trainable="train.py:fails"))
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert (Path(frames[-1].filename).name, frames[-1].name) == ("train.py", "fails")


def test_a_script_gets_its_arguments_and_leaves_as_in_a_shell(spec: Path) -> None:
    Path("script.py").write_text("import sys, hpsearch\nhpsearch.report(loss=1)\nsys.exit(' '.join(sys.argv[1:]))\n")
    with pytest.raises(SystemExit) as caught:
        hpsearch.trial(spec, arguments=settings(trainable="script.py", lr=0.25, optimizer__name="adamw"))
    assert str(caught.value).startswith("--lr=0.25 --seed=")


def test_the_module_and_its_function_see_a_program_without_arguments(spec: Path, monkeypatch) -> None:
    """As in a sweep: the arguments of `hpsearch trial` are not theirs."""
    source = "import sys\nSEEN = sys.argv[:]\ndef train(config):\n    yield {'loss': 1, 'argv': (SEEN, sys.argv)}\n"
    Path("train.py").write_text(source)
    monkeypatch.setattr(sys, "argv", ["hpsearch", "trial", "spec.yaml"])
    (row,) = hpsearch.trial(spec)
    assert row["argv"] == ([str(Path("train.py").resolve())],) * 2
    assert sys.argv == ["hpsearch", "trial", "spec.yaml"]


def test_a_module_that_parses_arguments_at_import_is_a_mistake_with_the_words_of_argparse(spec: Path, capsys) -> None:
    Path("train.py").write_text(PARSES_AT_IMPORT)
    with pytest.raises(SpecError) as caught:
        hpsearch.trial(spec)
    assert str(caught.value) == (
        "trainable: it can't be imported: it exited with code 2: the following arguments are required: --lr"
        f" (train.py:4 in <module>).{NO_PROGRAM}"
    )
    assert "usage: train.py [-h] --lr LR" in capsys.readouterr().err


def test_a_function_of_ray_tune_finds_its_session_and_no_ray_is_started(spec: Path) -> None:
    """In a process of its own: other tests share a Ray in this one."""
    Path("unchanged.py").write_text(UNCHANGED)
    done = subprocess.run([sys.executable, "unchanged.py"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[{'loss': 0.5}, {'loss': 0.5}, {'loss': 0.5}] False"


def test_no_ray_is_imported_for_a_function_that_does_not_ask_for_it(spec: Path) -> None:
    code = "import sys, hpsearch; hpsearch.trial('spec.yaml'); print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_report_without_the_metric_is_pointed_out_once_as_in_a_sweep(spec: Path, capsys) -> None:
    def misspelt(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        yield from [{"Loss": 1.0, "acc": 0.5}] * 3

    assert len(hpsearch.trial(spec, misspelt)) == 3
    assert capsys.readouterr().err == (
        "In a sweep the trial would fail here (bad_metric): reported [Loss, acc], needed loss (did you mean 'Loss'?).\n"
    )


def test_a_loss_that_is_not_finite_is_pointed_out_as_in_a_sweep(spec: Path, capsys) -> None:
    hpsearch.trial(spec, lambda config: {"loss": float("nan")})
    assert capsys.readouterr().err == "In a sweep the trial would fail here (diverged): loss is nan.\n"


def test_a_trial_without_a_report_is_pointed_out(spec: Path, capsys) -> None:
    assert hpsearch.trial(spec, lambda config: None) == []
    assert capsys.readouterr().err == (
        "In a sweep the trial would fail (bad_metric): it ended without a report."
        " Call hpsearch.report(loss=...) once an epoch.\n"
    )


def test_a_trial_that_reports_the_metric_is_not_commented(spec: Path, capsys) -> None:
    hpsearch.trial(spec, arguments=["--set", "lr=0.1"])
    assert capsys.readouterr().err == ""
