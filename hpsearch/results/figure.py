"""`Figure`: what the methods of `results.plot` return; a notebook displays it, and it can be saved to a file."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any, final

from hpsearch.errors import SpecError
from hpsearch.results.charts.description import Chart
from hpsearch.results.files import replace_file

NO_UPLOAD = {"showSendToCloud": False, "plotlyServerURL": "", "displaylogo": False}
"""Configuration that removes Plotly's button to upload a chart, and its logo."""
ENDINGS = (".png", ".svg", ".html")
"""Suffixes of the files that a figure can be saved to."""


@final
class Figure:
    """One or more charts.

    Example:
        >>> results.plot.curves().save("curves.svg")
        PosixPath('curves.svg')
    """

    def __init__(self, *charts: Chart) -> None:
        """A figure of charts.

        Args:
            charts: At least one; several are drawn beside each other.
        """
        self.charts = charts

    def save(self, path: str | Path) -> Path:
        """Write the figure to a file; an existing file is replaced in one step.

        Args:
            path: Ends in `.png`, `.svg` or `.html`; an `.html` file can be zoomed and needs no network.

        Returns:
            The path.

        Raises:
            SpecError: The path has another suffix.
            LedgerError: The file can't be written.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in ENDINGS:
            wanted = "expected a name that ends in .png, .svg or .html"
            raise SpecError(f"{path}: {wanted}, got '{path.suffix}'. Write for example {path.stem or 'curves'}.png.")
        replace_file(path, self._bytes(kind))
        return path

    def to_plotly(self) -> dict[str, Any]:
        """The figure as `{data, layout}`, for `plotly.graph_objects.Figure`."""
        from hpsearch.results.charts.interactive import to_plotly

        return to_plotly(self.charts)

    @property
    def alternative(self) -> str:
        """The text alternative of the figure: what its charts show, in sentences."""
        return " ".join(f"{chart.alternative} {chart.note}".strip() for chart in self.charts)

    def __repr__(self) -> str:
        return f"<Figure {'; '.join(chart.title for chart in self.charts)}>"

    def _repr_html_(self) -> str:
        """The figure as an embedded image, with its text alternative."""
        from hpsearch.results.charts.static import draw

        data = base64.b64encode(draw(self.charts, "svg")).decode()
        alt = html.escape(self.alternative)
        return f'<img style="max-width: 100%; background: #fff" alt="{alt}" src="data:image/svg+xml;base64,{data}">'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The figure as Plotly's JSON, for notebooks that support it, as an image and as text."""
        return {
            "application/vnd.plotly.v1+json": self.to_plotly() | {"config": NO_UPLOAD},
            "text/html": self._repr_html_(),
            "text/plain": repr(self),
        }

    def _bytes(self, kind: str) -> bytes:
        if kind == ".html":
            from hpsearch.results.html.page import figure_page

            return figure_page(self.charts).encode("utf-8", "replace")
        from hpsearch.results.charts.static import draw

        return draw(self.charts, "svg" if kind == ".svg" else "png")
