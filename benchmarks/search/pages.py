"""The output of the benchmark: a table for each number of workers, and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.search.cells import Cell, Found
from benchmarks.search.figures import Block, Standing, standings

FEW = 0.5
"""A method with less than this share of the cells is compared only with the first method, on the cells that it has."""

Regrets = dict[str, dict[Block, float]]
"""Method to block to normalised regret."""


def text_table(found: Mapping[Cell, Found], methods: Sequence[str], budgets: Sequence[int]) -> str:
    """A Markdown table with a row for each method and a column for each budget.

    Args:
        found: Results of the cells with one number of workers.
        methods: Methods in the order of the rows; the others are tested against the first.
        budgets: Budgets in full trainings.
    """
    columns = [_column(_regrets(found, methods, budget), budget) for budget in budgets]
    ran = [method for method in methods if any(method in column for column in columns)]
    rows = [["", *(column[""] for column in columns)]]
    rows += [[method, *(column.get(method, "-") for column in columns)] for method in ran]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
    )
    head, *rest = lines
    return "\n".join([head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rest])


def plot(found: Mapping[Cell, Found], methods: Sequence[str], path: Path) -> None:
    """Draw the mean regret over the budget for one worker, with a panel for each family of tables, into a file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cells = [cell for cell in found if cell.workers == 1]
    families = sorted({cell.table.split("-")[0] for cell in cells})
    figure, panels = pyplot.subplots(1, len(families), figsize=(4.2 * len(families), 4.2), squeeze=False)
    for panel, family in zip(panels[0], families, strict=True):
        for number, method in enumerate(methods):
            curves = [found[c].regrets[:20] for c in cells if c.method == method and c.table.startswith(family)]
            if curves:
                style = {"lw": 2.5} if number == 0 else {"lw": 1, "ls": "--" if method.startswith("hpsearch") else "-"}
                panel.plot(np.arange(1, 21), np.mean(curves, axis=0), label=method, **style)
        panel.set(title=family, xlabel="full trainings", yscale="log")
    panels[0][0].set_ylabel("mean normalised regret")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncols=4, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _regrets(found: Mapping[Cell, Found], methods: Sequence[str], budget: int) -> Regrets:
    regrets: Regrets = {method: {} for method in methods}
    for cell, each in found.items():
        if cell.method in regrets and len(each.regrets) >= budget:
            regrets[cell.method][cell.table, cell.seed] = each.regrets[budget - 1]
    return {method: each for method, each in regrets.items() if each}


def _column(regrets: Regrets, budget: int) -> dict[str, str]:
    """One column: method to text, and "" to the header."""
    if not regrets:
        return {"": f"{budget} trainings"}
    first, most = next(iter(regrets)), max(map(len, regrets.values()))
    many = {method: each for method, each in regrets.items() if len(each) >= FEW * most}
    table = standings(many, first)
    column = {method: _text(each) for method, each in table.items()}
    for method, each in regrets.items():
        if method not in many:
            pair = standings({first: regrets[first], method: each}, first)
            column[method] = (
                f"{_text(pair[method], ranked=False)}, {pair[method].num_blocks} runs: {pair[first].mean:.3f}"
            )
    return column | {"": f"{budget} trainings, {table[first].num_blocks} runs"}


def _text(standing: Standing, *, ranked: bool = True) -> str:
    text = f"{standing.mean:.3f} [{standing.low:.3f} {standing.high:.3f}]"
    text += f" {standing.rank:5.2f}" if ranked else ""
    return text + ("" if standing.p_value is None else f" p={standing.p_value:.1g}")
