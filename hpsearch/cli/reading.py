"""Verbs that read the ledger: no Ray, no torch, no pandas."""

from __future__ import annotations

from typing import Annotated

import typer

from hpsearch.cli.app import Home, Json, Name, app
from hpsearch.cli.printing import cell_text, open_ledger, print_json, print_rows


@app.command("list", epilog="Example: hpsearch list")
def list_(as_json: Json = False, home: Home = None) -> None:
    """List the sweeps of the ledger, the newest last."""
    from hpsearch.ledger.records import best_of

    with open_ledger(home) as ledger:
        rows = []
        for record in ledger.sweeps():
            found, best = ledger.trials(record), best_of(ledger.trials(record), sign=record.sign)
            rows.append({
                "name": record.name, "state": record.state, "method": record.spec["method"], "trials": len(found),
                "failed": sum(1 for trial in found if trial.state == "failed"), "metric": record.metric,
                "best": best.best_value if best else None, "started_at": record.started_at,
            })  # fmt: skip
    print_rows(rows, as_json=as_json)


@app.command(epilog="Example: hpsearch show resnet --trial 3")
def show(
    name: Name = None,
    trial: Annotated[int | None, typer.Option("--trial", help="Show one trial with its epochs.")] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Show the trials of a sweep, best first, or one trial."""
    from hpsearch.results.shown import remark_lines, trial_details, trial_summary

    with open_ledger(home) as ledger:
        record = ledger.sweep(name)
        if trial is None:
            rows, note = trial_summary(record, ledger.trials(record))
            if as_json:
                from hpsearch.results.rows import trial_rows

                rows = trial_rows(record, ledger.trials(record))
            else:
                print("\n".join([note, *remark_lines(record, ledger.trials(record))]))
            print_rows(rows, as_json=as_json)
            return
        details = trial_details(record, ledger.trials(record), ledger.reports(record), trial, home=ledger.home)
    if as_json:
        print_json(details)
        return
    history = details.pop("history")
    for key, value in details.items():
        print(f"{key}: {cell_text(value)}")
    print_rows(history, as_json=False)


@app.command(epilog="Example: hpsearch best resnet > best.yaml; hpsearch sweep best.yaml")
def best(name: Name = None, as_json: Json = False, home: Home = None) -> None:
    """Print the best configuration as a spec that `hpsearch sweep` takes, every parameter a constant."""
    from hpsearch.results.shown import architecture_lines, best_spec, trial_command

    with open_ledger(home) as ledger:
        record = ledger.sweep(name)
        trials = ledger.trials(record)
        tree, note = best_spec(record, trials)
        by_hand = trial_command(record, trials, home=ledger.home)
        words = architecture_lines(record, trials)
    if as_json:
        print_json(tree)
        return
    from hpsearch.specfile import dump_yaml

    print(f"# {note}")
    if by_hand is not None:
        print(f"# by hand: {by_hand}")
    for line in words:
        print(f"# {line}")
    print(dump_yaml(tree), end="")
