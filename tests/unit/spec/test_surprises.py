"""Notes on specs that are valid and may mean something else than their authors think."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ruamel.yaml import YAML

from hpsearch.errors import SpecError
from hpsearch.spec.file import load_sweep
from hpsearch.spec.sweep import Sweep

ROOT = Path(__file__).parents[3]
SPEC: dict[str, Any] = {"metric": {"name": "loss", "goal": "minimize"}}
WANDB: dict[str, Any] = {"program": "train.py", "metric": {"name": "loss"}}


def notes_of(parameters: dict[str, Any], **changes: Any) -> list[str]:
    return [str(note) for note in Sweep.from_dict({**SPEC, "parameters": parameters, **changes}).surprises]


def notes_of_wandb(parameters: dict[str, Any], **changes: Any) -> list[str]:
    return [str(note) for note in Sweep.from_dict({**WANDB, "parameters": parameters, **changes}).surprises]


SURPRISES: list[tuple[Any, list[str]]] = [
    ({"min": 0, "max": 1}, [
        "x: takes only the values 0 and 1, since both bounds are whole numbers."
        " Write {min: 0.0, max: 1.0} for a number between them, or {values: [0, 1]} for a choice."
    ]),
    ({"min": 0, "max": 1, "step": 0.3}, ["x.step: steps of 0.3 from 0 miss max 1: the largest value is 0.9."]),
    ({"min": 16, "max": 1_000_001, "step": 16}, [
        "x.step: steps of 16 from 16 miss max 1000001: the largest value is 1000000."
    ]),
    ({"min": 0.15, "max": 0.97, "q": 0.1}, [
        "x.min: 0.15 is not a multiple of q 0.1: the smallest value is 0.2.",
        "x.max: 0.97 is not a multiple of q 0.1: the largest value is 0.9.",
    ]),
    ({"distribution": "beta", "q": 0.6}, [
        "x: rounds to multiples of 0.6, from 0 to 1.2, although a beta distribution ends at 1."
    ]),
    ([0.1, 0.01], [
        "x: is one constant list."
        " Write {values: [0.1, 0.01]} for a choice, or {value: [0.1, 0.01]} if the list is meant."
    ]),
    (["relu", "tanh"], [
        "x: is one constant list."
        " Write {values: [relu, tanh]} for a choice, or {value: [relu, tanh]} if the list is meant."
    ]),
    (list(range(100)), [
        "x: is one constant list. Write {values: [...]} for a choice, or {value: [...]} if the list is meant."
    ]),
    ({"min": 1e-5, "max": 1e-1}, [
        "x: is even from 1e-05 to 0.1: 9 of 10 draws are above 0.01."
        " Write log: true to search each power of ten alike, or log: false if this is meant."
    ]),
    ({"type": "float", "low": 0.1, "high": 1.5}, [
        "x: low and high are constants here. Write {min: 0.1, max: 1.5} for a range."
    ]),
    ({"lower": 1, "upper": 9}, ["x: lower and upper are constants here. Write {min: 1, max: 9} for a range."]),
    ({"type": "categorical", "choices": ["relu", "tanh"]}, [
        "x: 'choices' is one constant list here. Write {values: [...]} for a choice."
    ]),
    ({"inner": {"min": 0, "max": 1, "count": 5}}, [
        "x.inner: takes only the values 0 and 1, since both bounds are whole numbers."
        " Write {min: 0.0, max: 1.0} for a number between them, or {values: [0, 1]} for a choice."
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "sentences"), SURPRISES, ids=[str(row[0])[:60] for row in SURPRISES])
def test_a_surprise_is_a_note_at_its_place(value: Any, sentences: list[str]) -> None:
    assert notes_of({"x": value}) == [f"parameters.{sentence}" for sentence in sentences]


@pytest.mark.parametrize(
    "value",
    [
        {"values": [0, 1]},
        {"min": 0.0, "max": 1.0},
        {"min": 0, "max": 1.0},
        {"min": 0, "max": 2},
        {"min": 0, "max": 1, "step": 1},
        {"min": 0, "max": 1, "step": 0.1},
        {"min": 8, "max": 24, "step": 8},
        {"min": 0, "max": 2**52, "step": 1},
        {"min": 0.1, "max": 0.7, "q": 0.1},
        {"min": 0.15, "max": 0.97, "q": 0.1, "clip": False},
        {"value": [0.1, 0.01]},
        [1],
        [224, 224],
        {"betas": [0.9, 0.999]},
        {
            "adam_betas": [0.9, 0.999],
            "lr_milestones": [30, 60],
            "hidden_layer_sizes": [64, 32],
            "image_mean": [0.1, 0.2],
        },
        [[1, 2], [3, 4]],
        [{"a": 1}, {"a": 2}],
        {"min": 1e-5, "max": 1e-1, "log": True},
        {"min": 1e-5, "max": 1e-1, "log": False},
        {"min": 1e-3, "max": 0.9},
        {"min": 1, "max": 100_000},
        {"min": 0.0, "max": 1e6},
        {"low": {"value": 0.1}, "high": 1.5},
        {"low": 0.1, "high": 1.5, "width": 3},
        {"low": "a", "high": "b"},
        {"distribution": "normal", "q": 0.3},
        "yes",
        3,
    ],
    ids=str,
)
def test_what_is_meant_as_it_is_written_has_no_note(value: Any) -> None:
    assert notes_of({"x": value}) == []


@pytest.mark.parametrize(
    ("value", "sentences"),
    [
        ({"distribution": "q_uniform", "min": 0.16, "max": 1, "q": 0.1}, []),
        ({"distribution": "q_uniform", "min": 0.14, "max": 0.96, "q": 0.1}, [
            "x: rounds to multiples of 0.1, from 0.1 to 1, as W&B does."
            " Write {min: 0.14, max: 0.96, q: 0.1} for those between min and max alone."
        ]),
        ({"distribution": "q_log_uniform_values", "min": 0.001, "max": 1, "q": 0.1}, [
            "x: rounds to multiples of 0.1, from 0 to 1, as W&B does."
            " Write {min: 0.001, max: 1, q: 0.1, log: true} for those between min and max alone."
        ]),
        ({"distribution": "q_uniform", "min": 0, "max": 64, "q": 8}, []),
        ({"distribution": "log_uniform", "min": 0.0001, "max": 0.1}, [
            "x: the bounds of log_uniform are exponents of e: the values are 1 to 1.105."
            " Write distribution: log_uniform_values for values from 0.0001 to 0.1."
        ]),
        ({"distribution": "log_uniform", "min": -9.2, "max": -2.3}, []),
        ({"distribution": "log_uniform", "min": 0, "max": 4.6}, []),
        ({"distribution": "int_uniform", "min": 0, "max": 1}, []),
        ({"distribution": "uniform", "min": 0, "max": 1}, []),
        ({"distribution": "uniform", "min": 0.0001, "max": 0.1}, []),
        ({"values": [1e-6, 1e-7, 1e-7]}, [
            "x.values.2: 1e-07 is there twice and counts once. W&B draws it more often."
        ]),
        ({"min": 0, "max": 1}, [
            "x: takes only the values 0 and 1, since both bounds are whole numbers."
            " Write {min: 0.0, max: 1.0} for a number between them, or {values: [0, 1]} for a choice."
        ]),
    ],
    ids=str,
)  # fmt: skip
def test_words_of_wandb_mean_what_they_say(value: dict[str, Any], sentences: list[str]) -> None:
    assert notes_of_wandb({"x": value}) == [f"parameters.{sentence}" for sentence in sentences]


def test_a_note_has_the_keys_that_the_user_wrote() -> None:
    nested = {
        "model": {"parameters": {"x": {"min": 0, "max": 10, "step": 3}}},
        "a.b": {"min": 0.5, "max": 2, "step": 1},
    }
    assert [note.partition(":")[0] for note in notes_of_wandb(nested)] == [
        "parameters.model.parameters.x.step",
        "parameters.a.b.step",
    ]


def test_values_that_wandb_has_twice_count_once_with_their_probabilities_added() -> None:
    value = {"values": ["a", "b", "a"], "probabilities": [0.25, 0.5, 0.25]}
    sweep = Sweep.from_dict({**WANDB, "parameters": {"x": value}})
    assert sweep.parameters == {"x": {"values": ["a", "b"], "probabilities": [0.5, 0.5]}}
    with pytest.raises(SpecError, match="Remove one"):
        Sweep.from_dict({**SPEC, "parameters": {"x": {"values": ["a", "a"]}}})


@pytest.mark.parametrize(
    "make",
    [
        lambda: tune.randint(0, 2),
        lambda: tune.uniform(1e-4, 1),
        lambda: tune.quniform(0, 0.9, 0.3),
        lambda: tune.qrandint(3, 17, 4),
        lambda: tune.qrandn(0, 1, 0.3),
        lambda: tune.choice([1, 2]),
    ],
)
def test_search_objects_of_ray_tune_say_what_they_mean(make: Callable[[], Any]) -> None:
    assert notes_of({"x": make()}) == []


@pytest.mark.parametrize(
    ("name", "goal", "sentence"),
    [
        ("val/acc", "minimize", "val/acc is minimised. Write goal: maximize if higher is better."),
        ("Accuracy", "minimize", "Accuracy is minimised. Write goal: maximize if higher is better."),
        ("val_loss", "maximize", "val_loss is maximised. Write goal: minimize if lower is better."),
        ("val_acc", "maximize", None),
        ("neg_loss", "maximize", None),
        ("-loss", "maximize", None),
        ("1-acc", "minimize", None),
        ("accuracy_drop", "minimize", None),
        ("?", "minimize", None),
    ],
)
def test_a_metric_in_the_wrong_direction_is_noted(name: str, goal: str, sentence: str | None) -> None:
    found = notes_of({"x": {"values": [1, 2]}}, metric={"name": name, "goal": goal})
    assert found == ([] if sentence is None else [f"metric.goal: {sentence}"])


BLANK = "'--batch 32' reaches the script as one argument, blank included. Write two items: '--batch', '32'."
MACRO = "${args} is replaced only as an item of its own, and '--all=${args}' reaches the script as it is. Split it."


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (["--batch 32", "${args}"], [f"arguments.0: {BLANK}"]),
        (["${args}", "--all=${args}"], [f"arguments.1: {MACRO}"]),
        (["--title=a b", "my file.txt", "run.dir=out/${now:%H}", "-v", "--home=${envvar:HOME}", "${args_json}"], []),
        (["--below", "-5 degrees", "--text", "- an item"], []),
    ],
)
def test_an_argument_that_is_not_split_is_noted(arguments: list[str], sentences: list[str]) -> None:
    assert notes_of({"x": {"values": [1, 2]}}, trainable="train.py", arguments=arguments) == sentences


def test_an_argument_of_a_command_is_noted_at_its_item() -> None:
    command = ["${env}", "python", "${program}", "--batch 32", "${args}"]
    assert notes_of_wandb({"x": {"values": [1, 2]}}, command=command) == [f"command.3: {BLANK}"]


SURPRISING = """\
trainable: train.py:train
metric: {name: val_loss, goal: minimize}
parameters:
  lr:
    min: 0.15
    max: 1.0
    q: 0.1
  augment: yes
  quoted: "yes"
  sizes: {values: [1_000, 2000]}
data: {pin: off, workers: 4}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("def train(config):\n    yield {}\n")
    return tmp_path


def test_a_note_has_the_line_of_the_file(folder: Path) -> None:
    Path("s.yaml").write_text(SURPRISING)
    assert list(map(str, load_sweep("s.yaml").surprises)) == [
        "s.yaml:5: parameters.lr.min: 0.15 is not a multiple of q 0.1: the smallest value is 0.2.",
        "s.yaml:8: parameters.augment: yes is text, as YAML 1.2 has it."
        " Write true, or 'yes' in quotes if text is meant.",
        "s.yaml:10: parameters.sizes.values.0: 1_000 is text, as YAML 1.2 has it."
        " Write 1000, or '1_000' in quotes if text is meant.",
        "s.yaml:11: data.pin: off is text, as YAML 1.2 has it. Write false, or 'off' in quotes if text is meant.",
    ]


def test_a_note_on_a_value_below_its_key_has_the_line_of_the_key(folder: Path) -> None:
    Path("s.yaml").write_text(SURPRISING.replace("augment: yes", "augment:\n    yes"))
    assert any(str(note).startswith("s.yaml:8: parameters.augment: yes") for note in load_sweep("s.yaml").surprises)


def test_an_override_that_is_there_twice_has_one_note(folder: Path) -> None:
    Path("s.yaml").write_text(SURPRISING)
    notes = load_sweep("s.yaml", overrides=["parameters.augment=no", "parameters.augment=no"]).surprises
    assert [note.where[-1] for note in notes].count("augment") == 1


def test_a_note_on_an_override_names_it_and_one_on_what_it_replaces_is_gone(folder: Path) -> None:
    Path("s.yaml").write_text(SURPRISING)
    overrides = ["parameters.lr.min=0.25", "parameters.augment=true", "parameters.sizes=4", "data.pin=true"]
    assert list(map(str, load_sweep("s.yaml", overrides=overrides).surprises)) == [
        "--set parameters.lr.min=0.25: parameters.lr.min: 0.25 is not a multiple of q 0.1: the smallest value is 0.3."
    ]
    values = {"parameters": {"x": {"min": 0, "max": 10, "step": 3}}}
    assert list(map(str, load_sweep("s.yaml", values=values).surprises)) == [
        "s.yaml:11: data.pin: off is text, as YAML 1.2 has it. Write false, or 'off' in quotes if text is meant.",
        "parameters.x.step: steps of 3 from 0 miss max 10: the largest value is 9.",
    ]
    (note,) = load_sweep(
        "s.yaml",
        overrides=["parameters.lr=0.1", "parameters.sizes=3", "data.pin=on"],
        values={"parameters": {"x": {"values": [1, 2]}}},
    ).surprises
    assert str(note).startswith("--set data.pin=on: data.pin: on is text")


def test_notes_are_no_part_of_a_sweep_and_are_not_given_again_for_a_stored_one() -> None:
    surprising, plain = (Sweep.from_dict({**SPEC, "parameters": {"x": value}}) for value in ([1, 2], {"value": [1, 2]}))
    assert surprising.surprises and not plain.surprises
    assert surprising == Sweep.from_dict(surprising.to_dict())
    assert Sweep.from_stored(surprising.to_dict()).surprises == ()
    assert surprising.with_values(name="other").surprises == surprising.surprises


def yaml_blocks() -> Iterator[tuple[str, str]]:
    """(where, text) of each spec in the documentation and of each shipped file."""
    for path in sorted((ROOT / "search_spaces").glob("*.yaml")):
        yield path.name, path.read_text()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        blocks = re.findall(r"^ *```yaml\n(.*?)^ *```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        yield from ((f"{page.name}-{number}", block) for number, block in enumerate(blocks))


def parameters_of(text: str) -> dict[str, Any] | None:
    tree = YAML(typ="safe", pure=True).load(text)
    return tree.get("parameters") if isinstance(tree, dict) else None


SHIPPED = [(name, parameters) for name, text in yaml_blocks() if (parameters := parameters_of(text))]


@pytest.mark.parametrize(("name", "parameters"), SHIPPED, ids=[name for name, _ in SHIPPED])
def test_no_shipped_spec_and_no_example_of_the_guide_surprises(name: str, parameters: dict[str, Any]) -> None:
    assert len(SHIPPED) > 8
    assert notes_of(without_references(parameters)) == []


def without_references(tree: dict[str, Any]) -> dict[str, Any]:
    """Parameters without those that refer to others, which a block of the guide may leave out."""
    kept = {
        key: without_references(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if key not in ("when", "expr")
    }
    return {key: value for key, value in kept.items() if value != {}}
