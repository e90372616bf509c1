"""A spec's file becomes a `Sweep`, or a list of all its mistakes with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpsearch.errors import SpecError
from hpsearch.spec import file as specfile
from hpsearch.spec.file import MAX_BYTES, MAX_PROBLEMS, dump_yaml, find_spec, load_sweep
from hpsearch.spec.sweep import Sweep

GOOD = """\
trainable: work.py:train
metric: {name: val_loss, goal: minimize}
parameters:
  lr: {min: 1e-4, max: 1e-1, log: true}
  batch_size: {values: [64, 128]}
limits: {trials: 8}
"""
BAD = Path(__file__).parents[2] / "golden" / "mistakes.yaml"
TOLD = BAD.with_suffix(".txt")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a trainable in it, and a checkout without specs."""
    monkeypatch.chdir(tmp_path)
    Path("work.py").write_text("def train(config):\n    yield {}\n")
    monkeypatch.setattr(specfile, "__file__", str(tmp_path / "checkout" / "hpsearch" / "spec" / "file.py"))
    return tmp_path


def write(text: str | bytes, name: str = "resnet.yaml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def mistakes(text: str | bytes, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_sweep(write(text, "s.yaml"), overrides=overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_a_good_spec_is_read_and_named_after_its_file() -> None:
    sweep = load_sweep(write(GOOD))
    assert (sweep.name, sweep.trainable, sweep.limits.trials) == ("resnet", "work.py:train", 8)
    assert sweep.parameters["lr"] == {"min": 1e-4, "max": 1e-1, "log": True}


def test_a_name_in_the_spec_wins_over_that_of_the_file() -> None:
    assert load_sweep(write(GOOD + "name: other\n")).name == "other"


def test_a_file_whose_name_can_not_name_a_sweep_must_hold_one() -> None:
    path = write(GOOD, "my net.yaml")
    with pytest.raises(SpecError) as caught:
        load_sweep(path)
    expected = "the file's name the text 'my net' can't be the name of a sweep. Write for example name: resnet."
    assert str(caught.value) == f"my net.yaml:1: name: {expected}"
    assert load_sweep(path, overrides=["name=ok"]).name == "ok"


def test_a_resolved_spec_is_written_and_read_back_as_the_same_sweep() -> None:
    sweep = load_sweep(write(GOOD))
    assert load_sweep(write(dump_yaml(sweep.to_dict()), "again.yaml")) == sweep


def test_every_mistake_is_reported_at_once_with_its_line() -> None:
    found = "\n".join(mistakes(BAD.read_text(), "limits.retries=many", "precison=bf16"))
    assert found + "\n" == TOLD.read_text()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "s.yaml:1: expected a map with metric and parameters, got nothing. Write both."),
        (b"- 1\n- 2\n", "s.yaml:1: expected a map with metric and parameters, got the list [1, 2]."),
        (b"just text", "s.yaml:1: expected a map with metric and parameters, got the text 'just text'."),
        (b"a: 1\nb: \xff", "s.yaml:2: expected UTF-8 text, got the byte 0xff. Save the file as UTF-8."),
        ("a: 1".encode("utf-16"), "s.yaml:1: expected UTF-8 text, got the byte 0xff. Save the file as UTF-8."),
        (b"a: [1", "s.yaml:1: this is not YAML: expected ',' or ']', but got '<stream end>'."),
        (b"#" * (MAX_BYTES + 1), "s.yaml:1: expected a file of at most 128 KiB, got a larger one. Is it a spec?"),
    ],
)
def test_a_file_that_can_not_be_read_says_why(text: bytes, sentence: str) -> None:
    assert mistakes(text) == [sentence]


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert load_sweep(write(b"\xef\xbb\xbf" + GOOD.encode())).name == "resnet"


def test_a_file_that_is_gone_says_so() -> None:
    with pytest.raises(SpecError, match=r"^gone.yaml: the file can't be read: No such file or directory\.$"):
        load_sweep(Path("gone.yaml"))


def test_the_number_of_reported_mistakes_is_limited() -> None:
    found = mistakes("a: 1\n" * 500)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "and 402 more mistakes."


def test_a_missing_trainable_is_reported_with_the_other_mistakes() -> None:
    text = GOOD.replace(":train", ":trian").replace("minimize", "minimise")
    assert mistakes(text) == [
        "s.yaml:1: trainable: there is no function 'trian' in work.py. Did you mean 'train'? Its functions: train.",
        "s.yaml:2: metric.goal: unknown goal 'minimise'. Did you mean 'minimize'? Known: minimize, maximize.",
    ]


def test_a_trainable_is_looked_for_beside_the_spec_too() -> None:
    write("def train(config): ...", "specs/near.py")
    assert load_sweep(write(GOOD.replace("work.py", "near.py"), "specs/a.yaml")).trainable == "near.py:train"


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("method=optuna", ("method",), "optuna"),
        ("limits.trials=12", ("limits", "trials"), 12),
        ("limits.epochs=3", ("limits", "epochs"), 3),
        ("limits={trials: 3}", ("limits", "epochs"), None),
        ("parameters.lr.max=0.5", ("parameters", "lr", "max"), 0.5),
        ("parameters.lr=0.1", ("parameters", "lr"), 0.1),
        ("parameters.model.depth={values: [1, 2]}", ("parameters", "model", "depth", "values"), [1, 2]),
        ("data.root=/a=b:c", ("data", "root"), "/a=b:c"),
        ("data.root=null", ("data", "root"), None),
        ("parameters.flag=no", ("parameters", "flag"), "no"),
        (" name = 'x' ", ("name",), "x"),
    ],
)
def test_an_override_replaces_or_adds_any_key(override: str, where: tuple[str, ...], value: object) -> None:
    found: object = load_sweep(write(GOOD), overrides=[override]).to_dict()
    for key in where:
        assert isinstance(found, dict)
        found = found[key]
    assert found == value


def test_of_two_overrides_of_a_key_the_later_one_holds() -> None:
    assert load_sweep(write(GOOD), overrides=["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "size"),
    [
        ("parameters.model.width=64", 4),
        ("parameters.model.width={value: 64}", 4),
        ("parameters.model.head.drop.values=[0.1]", 4),
        ("parameters.model.extra.values=[1, 2, 3]", 24),
        ("parameters.optim.lr.values=[0.1]", 4),
        ("parameters.model={parameters: {width: {value: 3}}}", 2),
        ("parameters.model.parameters.width.values=[64]", 4),
    ],
)
def test_an_override_reaches_into_wandbs_nested_parameters_and_dotted_names(override: str, size: int) -> None:
    text = """method: grid
metric: {name: loss, goal: minimize}
parameters:
  model: {parameters: {width: {values: [16, 32]}, head: {parameters: {drop: {values: [0.1, 0.2]}}}}}
  optim.lr: {values: [0.1, 0.2]}
"""
    assert load_sweep(write(text)).space.size == 8
    assert load_sweep(write(text), overrides=[override]).space.size == size


def test_an_override_leaves_alone_what_an_alias_shares() -> None:
    text = GOOD.replace("parameters:\n", "parameters:\n  a: &a {min: 1, max: 9}\n  b: *a\n")
    sweep = load_sweep(write(text), overrides=["parameters.a.max=5"])
    assert (sweep.parameters["a"], sweep.parameters["b"]) == ({"min": 1, "max": 5}, {"min": 1, "max": 9})


FORM = "expected KEY=VALUE. Write for example --set limits.trials=12, or KEY=null to remove a value."


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "limits.trials=x",
            "--set limits.trials=x: limits.trials: expected a whole number, got the text 'x'. Write for example 12.",
        ),
        ("limits.trials", f"--set limits.trials: {FORM}"),
        ("limits.trials=", f"--set limits.trials=: {FORM}"),
        ("=3", f"--set =3: {FORM}"),
        ("a..b=3", f"--set a..b=3: {FORM}"),
        (".".join("a" * 40) + "=3", f"--set {'.'.join('a' * 40)}=3"[:83] + f"...: {FORM}"),
        (
            "limits.trials=[1",
            "--set limits.trials=[1: limits.trials: this is not YAML: expected ',' or ']', but got '<stream end>'.",
        ),
        (
            "seed=!!int 3",
            "--set seed=!!int 3: seed: expected a value without a tag, got !!int. Remove it; for text, use quotes.",
        ),
        (
            "parameters.lr.max.deep=1",
            "--set parameters.lr.max.deep=1: parameters.lr.max.deep: expected a map at parameters.lr.max, got 0.1."
            " Set parameters.lr.max itself.",
        ),
        (
            "limts.trials=3",
            "--set limts.trials=3: limts: unknown key 'limts'. Did you mean 'limits'? Known: "
            + ", ".join(field.alias or name for name, field in Sweep.model_fields.items())
            + ".",
        ),
        (
            "parameters.new.max=3",
            "--set parameters.new.max=3: parameters.new: 'min' is missing. Write both min and max.",
        ),
        (
            "data.x=" + "y" * MAX_BYTES,
            "--set data.x=" + "y" * 70 + "...: data.x: expected at most 128 KiB, got more. Write it into the file.",
        ),
    ],
)
def test_a_mistake_in_an_override_names_the_override(override: str, sentence: str) -> None:
    assert mistakes(GOOD, override) == [sentence]


def test_a_spec_is_found_by_its_path_then_by_its_name_here_then_in_the_checkout() -> None:
    write(GOOD, "checkout/search_spaces/resnet.yaml")
    in_checkout = Path("checkout/search_spaces/resnet.yaml").absolute()
    assert find_spec("resnet") == find_spec("resnet.yaml") == find_spec("spaces/resnet.yaml") == in_checkout
    write(GOOD, "search_spaces/resnet.yaml")
    assert find_spec("resnet") == find_spec("spaces/resnet.yaml") == Path("search_spaces/resnet.yaml")
    write(GOOD, "resnet")
    assert find_spec("resnet") == Path("resnet")
    assert find_spec("resnet.yaml") == Path("search_spaces/resnet.yaml")


def test_a_point_in_a_name_is_not_taken_for_a_suffix() -> None:
    write(GOOD, "search_spaces/resnet-1.5.yaml")
    assert find_spec("resnet-1.5") == Path("search_spaces/resnet-1.5.yaml")


def test_a_folder_of_the_same_name_does_not_hide_a_spec() -> None:
    write(GOOD, "search_spaces/resnet.yaml")
    Path("resnet").mkdir()
    assert find_spec("resnet") == Path("search_spaces/resnet.yaml")


def test_a_spec_that_is_nowhere_says_where_it_was_looked_for_and_what_there_is() -> None:
    write(GOOD, "search_spaces/resnet.yaml")
    write(GOOD, "search_spaces/mlp.yaml")
    checkout = Path("checkout/search_spaces").absolute()
    with pytest.raises(SpecError) as caught:
        find_spec("x/resnt.yaml")
    assert str(caught.value) == (
        f"there is no file x/resnt.yaml nor search_spaces/resnt.yaml nor {checkout}/resnt.yaml."
        " Did you mean 'resnet'? There are: mlp, resnet."
    )


@pytest.mark.parametrize("spec", ["", ".", "/", "x" * 5000, "a\0b", "search_spaces"])
def test_a_spec_that_can_be_no_file_is_not_found(spec: str) -> None:
    with pytest.raises(SpecError, match="there is no file"):
        find_spec(spec)


def test_the_same_spec_as_a_dict_gives_the_same_sweep() -> None:
    tree = {
        "name": "resnet",
        "trainable": "work.py:train",
        "metric": {"name": "val_loss", "goal": "minimize"},
        "parameters": {"lr": {"min": 1e-4, "max": 1e-1, "log": True}, "batch_size": {"values": [64, 128]}},
        "limits": {"trials": 8},
    }
    assert load_sweep(write(GOOD)) == Sweep.from_dict(tree)
