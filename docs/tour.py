"""Runs docs/tour.ipynb again and keeps its outputs, figures as PNG: `python docs/tour.py`. Takes a minute."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

PAGE = Path(__file__).parent / "tour.ipynb"
TIMES: dict[str, Any] = {"timeout": 600, "startup_timeout": 240, "iopub_timeout": 240}
"""Seconds: for a cell, for the start of the kernel, and for its output after the end of a cell."""
PNG = """
from pathlib import Path
from tempfile import TemporaryDirectory
from hpsearch.results.figure import Figure

def png(figure):
    with TemporaryDirectory() as folder:
        return figure.save(Path(folder) / "figure.png").read_bytes()

get_ipython().display_formatter.formatters["image/png"].for_type(Figure, png)
"""
"""Adds PNG to the formats of a figure: not every viewer of notebooks draws Plotly's JSON and SVG."""


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run every cell in a kernel that works in `folder`; the cells get their outputs."""
    client = NotebookClient(notebook, **TIMES, resources={"metadata": {"path": str(folder)}})
    with client.setup_kernel():
        assert client.kc is not None
        client.kc.execute(PNG, silent=True)
        for position, cell in enumerate(notebook.cells):
            client.execute_cell(cell, position)
    for cell in notebook.cells:
        cell.metadata.clear()
        for output in cell.get("outputs", ()):
            keep_small(output)


def keep_small(output: nbformat.NotebookNode) -> None:
    """Keep only the PNG and the text of a figure."""
    data = output.get("data", {})
    if "image/png" in data:
        output.data = {kind: data[kind] for kind in ("image/png", "text/plain")}


def main() -> None:
    """Run the tour in a temporary folder, and write it with its outputs."""
    notebook = nbformat.read(PAGE, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        run(notebook, Path(folder))
    nbformat.write(notebook, PAGE)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
