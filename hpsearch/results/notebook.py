"""`Results` in a notebook: one static HTML table, everything escaped, far smaller than 100 kB."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from hpsearch.ledger.records import SweepRecord, TrialRecord, best_of
from hpsearch.results.analysis.best import ranked_trials, varying_parameters
from hpsearch.results.labels import value_text
from hpsearch.results.rows import EPOCHS_TRAINED, trial_columns, trial_rows
from hpsearch.text import counted

MAX_ROWS, MAX_PARAMETERS = 20, 10
"""Trials and parameters that are shown at most."""
MAX_CELL = 60
"""Characters of a cell at most; escaped, they take at most six times as many bytes."""


def results_html(sweep: SweepRecord, trials: Sequence[TrialRecord], headline: str) -> str:
    """The headline, a table of the best trials with the parameters that vary, and a line that says what is left out.

    Args:
        sweep: The sweep.
        trials: All its trials, those that run with their reports so far.
        headline: The sweep in one line of text.
    """
    names = trial_columns(sweep, trials)
    varying = [names.parameters[name] for name in varying_parameters(trials)]
    columns = ["trial", "state", "cause", *varying[:MAX_PARAMETERS], EPOCHS_TRAINED, names.best]
    shown = ranked_trials(sweep, trials)[:MAX_ROWS]
    best = best_of(list(trials), sign=sweep.sign)
    wanted = {trial.number for trial in shown}
    rows = {row["trial"]: row for row in trial_rows(sweep, trials, home=None) if row["trial"] in wanted}
    body = "".join(_row([rows[each.number][name] for name in columns], is_best=each is best) for each in shown)
    head = "".join(f"<th>{_escaped(name)}</th>" for name in columns)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<p>{html.escape(headline)}</p>{table}{_left_out(len(trials) - len(shown), varying[MAX_PARAMETERS:])}"


def _row(values: Iterable[Any], *, is_best: bool) -> str:
    tag = "th" if is_best else "td"
    cells = "".join(f"<{tag}>{'' if value is None else _escaped(value)}</{tag}>" for value in values)
    return f"<tr>{cells}</tr>"


def _escaped(value: Any) -> str:
    return html.escape(value_text(value, most=MAX_CELL))


def _left_out(num_trials: int, parameters: Sequence[str]) -> str:
    parts = [counted(num_trials, "more trial")] if num_trials else []
    parts += [counted(len(parameters), "more varying parameter")] if parameters else []
    return f"<p>Not shown: {', '.join(parts)}; all are in <code>.trials</code>.</p>" if parts else ""
