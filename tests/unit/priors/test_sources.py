"""Where priors come from, what the plan says of them, and that a sweep keeps those that it began with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsearch.api.results import Results
from hpsearch.cli import app
from hpsearch.driver.driver import Run
from hpsearch.errors import LedgerError, SpecError, UnknownSweep
from hpsearch.ledger.fingerprint import code_of
from hpsearch.ledger.records import TrialState
from hpsearch.ledger.store import Ledger
from hpsearch.priors.mapping import Prior
from hpsearch.priors.prior_file import load_prior, save_prior
from hpsearch.priors.sources import find_prior
from hpsearch.results.analysis.best import best_spec
from hpsearch.search import Searcher
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.locate import locate


@pytest.fixture
def train(tmp_path: Path) -> Path:
    file = tmp_path / "train.py"
    file.write_text("def train(config):\n    yield {'loss': config['x']}\n")
    return file


@pytest.fixture
def make(train: Path) -> Callable[..., Sweep]:
    """A sweep over x in [0, 1], with changes."""

    def make(**changes: Any) -> Sweep:
        tree = {
            "name": "new",
            "trainable": f"{train}:train",
            "metric": {"name": "loss", "goal": "minimize"},
            "method": "optuna",
            "parameters": {"x": {"min": 0.0, "max": 1.0}},
            "limits": {"epochs": 2},
        }
        return Sweep.from_dict({**tree, **changes})

    return make


@pytest.fixture
def old(home: Path, make: Callable[..., Sweep]) -> Callable[..., None]:
    """Put a finished sweep into the ledger: its trials, each an x with its losses or the cause of its failure."""

    def old(name: str, trials: list[tuple[float, Any]], **changes: Any) -> None:
        sweep = make(name=name, **changes)
        code = code_of(locate(sweep.trainable or "", spec_dir=None))
        with Ledger(home, create=True) as ledger:
            record = ledger.add_sweep(name, sweep.to_dict(), code=code)
            for number, (x, fate) in enumerate(trials, start=1):
                row = ledger.add_trial(record, number, point={"x": x}, seed=0, fingerprint=f"{x}")
                losses = fate if isinstance(fate, list) else []
                for epoch, loss in enumerate(losses, start=1):
                    ledger.add_report(row, epoch=epoch, metrics={sweep.metric.name: loss}, elapsed_s=1.0)
                state: TrialState = "failed" if isinstance(fate, str) else "done" if len(losses) == 2 else "stopped"
                values = {"best_value": min(losses), "best_epoch": 1} if losses else {}
                cause = fate if state == "failed" else None
                ledger.update_trial(row, state=state, cause=cause, epochs_trained=len(losses), **values)
            ledger.end_sweep(record, "done")

    return old


def found(sweep: Sweep, home: Path) -> Prior:
    code = code_of(locate(sweep.trainable or "", spec_dir=None))
    with Ledger(home) as ledger:
        return find_prior(sweep, ledger, code=code)


def test_auto_takes_what_the_same_code_has_trained_for_the_same_metric(home, make, old):
    old("first", [(0.1, [3.0, 1.0]), (0.2, [2.0]), (0.3, "diverged"), (0.4, "user_error"), (0.5, "node_lost")])
    old("other-metric", [(0.6, [1.0])], metric={"name": "acc", "goal": "minimize"})
    old("other-goal", [(0.6, [1.0])], metric={"name": "loss", "goal": "maximize"})
    old("other-data", [(0.6, [1.0])], data={"root": "elsewhere"})
    prior = found(make(prior="auto"), home)
    assert [(each.point["x"], each.state, dict(each.losses)) for each in prior.outcomes] == [
        (0.1, "done", {1: 3.0, 2: 1.0}),
        (0.2, "stopped", {1: 2.0}),
        (0.3, "infeasible", {}),
    ]


def test_losses_are_lower_when_better_whatever_the_goal(home, make, old):
    goal = {"metric": {"name": "loss", "goal": "maximize"}}
    old("first", [(0.1, [3.0, 5.0])], **goal)
    assert found(make(prior="auto", **goal), home).outcomes[0].loss == -5.0


def test_other_code_does_not_count_for_auto_but_may_be_named(home, make, old, train):
    old("first", [(0.1, [3.0, 1.0]), (0.2, [2.0])])
    train.write_text(train.read_text() + "\n# edited\n")
    prior = found(make(prior="auto"), home)
    assert not prior.outcomes
    assert str(prior) == (
        "0 earlier trials; 2 left out: the code of 'first' has changed since; --prior first uses them anyway"
    )
    assert str(found(make(prior="first"), home)) == "2 earlier trials of first"


def test_a_trial_of_several_sweeps_counts_once_with_its_most_epochs(home, make, old):
    old("short", [(0.1, [3.0])])
    old("long", [(0.1, [3.0, 1.0])])
    old("shorter", [(0.1, [3.0])])
    prior = found(make(prior="auto"), home)
    assert [dict(each.losses) for each in prior.outcomes] == [{1: 3.0, 2: 1.0}]
    assert prior.sources == {"long": 1}


def test_a_narrower_space_leaves_out_what_lies_outside(home, make, old):
    old("first", [(0.1, [1.0]), (0.9, [2.0])])
    prior = found(make(prior="auto", parameters={"x": {"min": 0.0, "max": 0.5}, "depth": 3}), home)
    assert [each.point for each in prior.outcomes] == [{"x": 0.1, "depth": 3}]
    assert "1 left out: x was not in 0 .. 0.5" in str(prior)


def test_a_sweep_that_is_not_there_or_had_another_goal_is_refused(home, make, old):
    old("first", [(0.1, [1.0])], metric={"name": "acc", "goal": "maximize"})
    with pytest.raises(UnknownSweep, match=r"no sweep 'firts'.*Did you mean 'first'"):
        found(make(prior="firts"), home)
    with pytest.raises(SpecError, match=r"prior: sweep 'first' had to maximize acc, this one to minimize loss"):
        found(make(prior="first"), home)


def test_points_by_hand_have_a_value_a_curve_or_nothing(home, make, old):
    old("first", [])
    points = [{"x": 0.1, "loss": 0.5}, {"x": 0.2, "loss": [0.9, 0.4]}, {"x": 0.3, "loss": None}, {"x": 7, "loss": 1}]
    prior = found(make(prior={"points": points}), home)
    assert [(each.state, dict(each.losses)) for each in prior.outcomes] == [
        ("done", {1: 0.5}),
        ("done", {1: 0.9, 2: 0.4}),
        ("infeasible", {}),
    ]
    assert str(prior) == "3 earlier trials of the spec; 1 left out: x was not in 0 .. 1"


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (3, "prior: expected none, auto, a sweep's name"),
        ({"point": []}, "prior: expected none, auto"),
        ({"points": [{"x": 0.1}]}, r"prior.points.0: expected a map of parameters with the metric's value"),
        ({"points": [{"x": 0.1, "loss": "low"}]}, r"prior.points.0.loss: expected a number"),
        ({"points": [{"x": 0.1, "loss": []}]}, r"prior.points.0.loss: expected a number"),
        ({"points": ["x"]}, r"prior.points.0: expected a map"),
    ],
)
def test_a_prior_that_says_nothing_is_the_users_mistake(make, prior, message):
    with pytest.raises(SpecError, match=message):
        make(prior=prior)


def test_our_own_table_gives_the_same_priors_as_the_ledger(home, make, old, tmp_path):
    old("first", [(0.1, [3.0, 1.0]), (0.2, [2.0]), (0.3, "diverged"), (0.4, "user_error")])
    results = Results(home, "first")
    results.folder.mkdir(exist_ok=True)
    results.write()
    table = found(make(prior=str(results.folder / "trials.csv")), home)
    assert [(each.point, each.state, each.loss) for each in table.outcomes] == [
        (each.point, each.state, each.loss) for each in found(make(prior="first"), home).outcomes
    ]
    assert str(table) == "3 earlier trials of trials.csv"


def test_any_table_with_the_parameters_and_the_metric_will_do(home, make, old, tmp_path, monkeypatch):
    old("first", [])
    (tmp_path / "notes.csv").write_text("who,x,loss\nme,0.25,0.5\nyou,0.5,nan\nhim,0.75,\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    prior = found(make(prior="notes.csv"), home)
    assert [(each.point["x"], each.state, each.loss) for each in prior.outcomes] == [
        (0.25, "done", 0.5),
        (0.5, "infeasible", None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,acc\n1,2\n", "has no column best_loss or loss or last_loss. Its columns: x, acc"),
        ("y,loss\n1,2\n", "has no column of any searched parameter. Wanted: x"),
        (None, "there is no file"),
    ],
)
def test_a_table_without_what_is_needed_says_so(home, make, old, tmp_path, text, message):
    old("first", [])
    if text is not None:
        (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        found(make(prior=str(tmp_path / "a.csv")), home)


def test_what_is_kept_is_what_was_found(home, make, old, tmp_path):
    old("first", [(0.1, [3.0, 1.0]), (0.3, "diverged"), (7.0, [1.0])])
    prior = found(make(prior="auto"), home)
    save_prior(tmp_path, prior)
    kept = load_prior(tmp_path)
    assert [(each.point, each.state, dict(each.losses)) for each in kept.outcomes] == [
        (each.point, each.state, dict(each.losses)) for each in prior.outcomes
    ]
    assert str(kept) == str(prior)


def test_a_resumed_sweep_has_the_priors_that_it_began_with_whatever_came_since(home, make, old, monkeypatch):
    old("first", [(0.1, [3.0, 1.0])])
    learned: list[list[float]] = []
    monkeypatch.setattr(
        Searcher, "learn_prior", lambda self, outcomes: learned.append([each.point["x"] for each in outcomes])
    )
    monkeypatch.setattr("hpsearch.driver.driver.Session.run", lambda self: None)
    run = Run(sweep=make(prior="auto"), home=home, show="none")
    run.start()
    old("second", [(0.2, [3.0, 1.0])])
    run.start()
    assert learned == [[0.1], [0.1]]
    (home / "new" / "prior.json").unlink()
    with pytest.raises(LedgerError, match=r"prior.json: the priors that this sweep began with can't be read") as caught:
        run.start()
    assert caught.value.exit_code == 5


def test_the_best_configuration_is_trained_without_priors(home, make, old):
    old("first", [(0.1, [3.0, 1.0])], prior="auto")
    with Ledger(home) as ledger:
        tree, _ = best_spec(ledger.sweep("first"), ledger.trials(ledger.sweep("first")))
    assert "prior" not in tree


def test_another_prior_is_another_spec(home, make, old, monkeypatch):
    old("first", [(0.1, [3.0, 1.0])])
    monkeypatch.setattr("hpsearch.driver.driver.Session.run", lambda self: None)
    Run(sweep=make(), home=home, show="none").start()
    with pytest.raises(Exception, match="prior: 'none' -> 'auto'"):
        Run(sweep=make(prior="auto"), home=home, show="none").start()


@pytest.mark.parametrize(
    ("prior", "said"),
    [("auto", "prior: 2 earlier trials of first"), ("none", "2 earlier trials fit: --prior auto")],
)
def test_a_sweep_says_at_its_start_what_it_begins_with(home, make, old, monkeypatch, prior, said):
    old("first", [(0.1, [3.0, 1.0]), (0.2, [2.0])])
    notes: list[str] = []
    monkeypatch.setattr("hpsearch.driver.driver.Session.run", lambda self: notes.extend(self._notes))
    Run(sweep=make(prior=prior), home=home, show="none").start()
    assert notes == [said]


def spec_file(sweep: Sweep, tmp_path: Path) -> str:
    path = tmp_path / "new.yaml"
    path.write_text(json.dumps(sweep.to_dict()))
    return str(path)


def test_validate_says_how_many_fit_and_from_where(home, make, old, tmp_path):
    old("first", [(0.1, [3.0, 1.0]), (0.2, [2.0]), (7.0, [1.0])])
    file = spec_file(make(), tmp_path)
    plain = CliRunner().invoke(app, ["validate", file, "--home", str(home)])
    assert plain.exit_code == 0 and "2 earlier trials fit: --prior auto" in " ".join(plain.output.split())
    warm = CliRunner().invoke(app, ["validate", file, "--home", str(home), "--prior", "auto", "--json"])
    assert json.loads(warm.output)["prior"] == "2 earlier trials of first; 1 left out: x was not in 0 .. 1"
    nothing = CliRunner().invoke(app, ["validate", file, "--home", str(tmp_path / "empty")])
    assert nothing.exit_code == 0 and "earlier" not in nothing.output


def test_a_method_without_a_model_says_so_and_offers_nothing(home, make, old, tmp_path):
    old("first", [(0.1, [3.0, 1.0])])
    file = spec_file(make(method="random"), tmp_path)
    plain = CliRunner().invoke(app, ["validate", file, "--home", str(home), "--json"])
    assert "earlier" not in plain.output
    warm = CliRunner().invoke(app, ["validate", file, "--home", str(home), "--json", "--prior", "first"])
    said = "1 earlier trial of first; random learns from failed ones alone and tries their points last"
    assert json.loads(warm.output)["prior"] == said


@pytest.mark.parametrize("method", ["optuna", "random"])
def test_a_dry_run_and_a_sample_begin_as_the_sweep_would_with_its_priors(
    home, make, old, tmp_path, monkeypatch, method
):
    few = {
        "method": method,
        "parameters": {"x": {"values": [0.1, 0.2, 0.3, 0.4]}},
        "limits": {"trials": 4, "epochs": 2},
    }
    old("first", [(0.1, [3.0, 1.0]), (0.2, [2.0])], **few)
    words = [spec_file(make(**few), tmp_path), "--home", str(home), "--prior", "first"]
    dry = CliRunner().invoke(app, ["sweep", *words, "--dry-run"])
    tried = [json.loads(line)["x"] for line in dry.stdout.splitlines()]
    assert sorted(tried[:2]) == [0.3, 0.4] and sorted(tried[2:]) == [0.1, 0.2]
    assert dry.stderr.startswith("prior: 2 earlier trials of first")
    sampled = json.loads(CliRunner().invoke(app, ["validate", *words, "--sample", "4", "--json"]).stdout)
    assert [config["x"] for config in sampled["sample"]] == tried
    first: list[float] = []
    monkeypatch.setattr(
        "hpsearch.driver.driver.Session.run", lambda self: first.append(self._engine.next_assignment().config["x"])
    )
    Run(sweep=make(**few, prior="first"), home=home, show="none").start()
    assert first == tried[:1]


def test_a_dry_run_without_priors_reads_no_ledger(home, make, old, tmp_path):
    home.mkdir()
    (home / "ledger.db").write_text("damaged")
    dry = CliRunner().invoke(app, ["sweep", spec_file(make(), tmp_path), "--home", str(home), "--dry-run", "-n", "2"])
    assert dry.exit_code == 0 and len(dry.stdout.splitlines()) == 2 and dry.stderr == ""
