"""What users can hold on to grows on purpose: names, verbs, flags, YAML keys, columns."""

from __future__ import annotations

from typing import cast

import typer
from pydantic import BaseModel
from typer.core import TyperGroup

import hpsearch
from hpsearch.cli import app
from hpsearch.results.columns import TABLES
from hpsearch.spec.sweep import Sweep


def test_public_names():
    assert sorted(hpsearch.__all__) == [
        "Best",
        "Diverged",
        "HpsearchError",
        "InvalidConfig",
        "LedgerError",
        "Results",
        "SpecError",
        "Sweep",
        "SweepExists",
        "SweepInUse",
        "TrialContext",
        "TrialStopped",
        "UnknownSweep",
        "current_trial",
        "fit",
        "load",
        "report",
        "run",
        "shared_data",
        "trial",
    ]
    assert all(getattr(hpsearch, name) is not None for name in hpsearch.__all__)
    assert set(hpsearch.__all__) <= set(dir(hpsearch))


def test_what_results_have():
    assert " ".join(sorted(name for name in dir(hpsearch.Results) if not name.startswith("_"))) == (
        "best compare failed failures folder history importance plot report resume sweep to_optuna trials write"
    )


def test_verbs_and_flags():
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    found = {
        name: sorted(flag for parameter in command.params for flag in parameter.opts if flag.startswith("-"))
        for name, command in group.commands.items()
    }
    assert found == {
        "sweep": [
            "--accept-changes",
            "--address",
            "--again",
            "--dry-run",
            "--home",
            "--name",
            "--prior",
            "--set",
            "-n",
        ],
        "resume": ["--accept-changes", "--address", "--home", "--rebuild", "--retry-failed", "-n"],
        "trial": ["--set"],
        "validate": ["--canonical", "--home", "--json", "--prior", "--sample", "--set"],
        "list": ["--home", "--json"],
        "show": ["--epoch", "--failures", "--home", "--json", "--trial"],
        "best": ["--home", "--json"],
        "compare": ["--home", "--json", "-o"],
        "clean": ["--dry-run", "--home", "--json"],
        "forget": ["--home", "--yes"],
        "rename": ["--home"],
        "watch": ["--home", "--json", "--once"],
        "logs": ["--home", "-f"],
        "stop": ["--home", "--now"],
        "ui": ["--home", "--port"],
        "doctor": ["--home", "--json"],
        "export": ["--home", "--json", "--to", "-o"],
        "report": ["--home", "--json", "--static", "-o"],
    }


def test_every_verb_shows_an_example():
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    assert all("Example: python -m hpsearch" in (command.epilog or "") for command in group.commands.values())


def keys_of(model: type[BaseModel]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, field in model.model_fields.items():
        part = field.annotation
        is_nested = isinstance(part, type) and issubclass(part, BaseModel)
        found[field.alias or name] = keys_of(cast(type[BaseModel], part)) if is_nested else None
    return found


def test_yaml_keys():
    assert keys_of(Sweep) == {
        "name": None,
        "trainable": None,
        "arguments": None,
        "metric": {"name": None, "goal": None},
        "method": None,
        "sampler": None,
        "seed": None,
        "parameters": None,
        "constraints": None,
        "initial_points": None,
        "prior": None,
        "early_terminate": {
            "type": None,
            "min_iter": None,
            "max_iter": None,
            "eta": None,
            "brackets": None,
            "min_trials": None,
        },
        "limits": {
            "trials": None,
            "epochs": None,
            "concurrent": None,
            "time": None,
            "trial_time": None,
            "grace": None,
            "retries": None,
            "failures": None,
            "checkpoints": None,
        },
        "resources": {"cpu": None, "gpu": None, "workers": None, "loaders": None},
        "precision": None,
        "parallel": None,
        "isolation": None,
        "leak_warnings": None,
        "data": None,
        "ray": {"address": None},
        "notes": None,
    }


def test_table_columns():
    assert {name: " ".join(column.name for column in columns) for name, columns in TABLES.items()} == {
        "trials": "trial state cause <parameter> epochs_trained last_<metric> best_<objective> best_epoch started_at"
        " duration_s gpu_peak_gib host_peak_gib seed attempts reused_from checkpoint code",
        "history": "trial epoch <metric> elapsed_s",
        "failures": "trial attempt cause class was_retried state evidence place log log_tail",
        "importance": "parameter importance low high epoch trials",
        "compare": "sweep method state trials failed epochs training_s best best_trial best_at_equal_epochs"
        " best_at_equal_time",
    }
    assert all(column.meaning.endswith(".") for columns in TABLES.values() for column in columns)
