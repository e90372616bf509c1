"""`Results` in a notebook: one static HTML table, everything escaped, far smaller than 100 kB."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from hpsearch.ledger.records import SweepRecord, TrialRecord
from hpsearch.results.analysis.best import best_so_far, ranked_trials, varying_parameters
from hpsearch.results.labels import one_line
from hpsearch.results.rows import EPOCHS_TRAINED, trial_columns
from hpsearch.text import counted
from hpsearch.text_table import cell_text, parameter_text

MAX_ROWS, MAX_PARAMETERS = 20, 10
"""Trials and parameters that are shown at most."""
DIGITS = 4
"""Significant digits of a number."""
MAX_CELL = 60
"""Characters of a cell at most; escaped, they take at most six times as many bytes."""


def results_html(sweep: SweepRecord, trials: Sequence[TrialRecord], headline: str) -> str:
    """The headline, a table of the best trials with the parameters that vary, and a line that says what is left out.

    Args:
        sweep: The sweep.
        trials: All its trials, those that run with their reports so far.
        headline: The sweep in one line of text.
    """
    names, varying = trial_columns(sweep, trials), varying_parameters(trials)
    parameters = varying[:MAX_PARAMETERS]
    shown = ranked_trials(sweep, trials)[:MAX_ROWS]
    best = best_so_far(sweep, list(trials))
    titles = ["trial", "state", "cause", *(names.parameters[name] for name in parameters), EPOCHS_TRAINED, names.best]
    head = "".join(f"<th>{_escaped(name)}</th>" for name in titles)
    body = "".join(_row(_cells(trial, parameters), is_best=trial is best) for trial in shown)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<p>{html.escape(headline)}</p>{table}{_left_out(len(trials) - len(shown), varying[MAX_PARAMETERS:])}"


def _cells(trial: TrialRecord, parameters: Sequence[str]) -> list[str]:
    """The texts of a row, empty where the trial has no value; parameters as in every table."""
    values = [parameter_text(trial.point, name, digits=DIGITS) for name in parameters]
    best = "" if trial.best_value is None else cell_text(trial.best_value, digits=DIGITS)
    return [str(trial.number), trial.state, trial.cause or "", *values, str(trial.epochs_trained), best]


def _row(cells: Iterable[str], *, is_best: bool) -> str:
    tag = "th" if is_best else "td"
    return f"<tr>{''.join(f'<{tag}>{_escaped(cell)}</{tag}>' for cell in cells)}</tr>"


def _escaped(text: str) -> str:
    return html.escape(one_line(text, most=MAX_CELL))


def _left_out(num_trials: int, parameters: Sequence[str]) -> str:
    parts = [counted(num_trials, "more trial")] if num_trials else []
    parts += [counted(len(parameters), "more varying parameter")] if parameters else []
    return f"<p>Not shown: {', '.join(parts)}; all are in <code>.trials</code>.</p>" if parts else ""
