"""`results.plot`: the charts of a sweep, each made from what the ledger has at the time of the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, final

from hpsearch.errors import SpecError
from hpsearch.results.analysis.findings import NUM_SLICES, Findings
from hpsearch.results.figure import Figure

if TYPE_CHECKING:
    from hpsearch.results.charts.description import Chart


@final
class Plots:
    """Makes charts; each method returns a `Figure`, which a notebook displays and which has `save`.

    Example:
        >>> results.plot.curves().save("curves.png")
        PosixPath('curves.png')
    """

    def __init__(self, read: Callable[[], Findings]) -> None:
        """Charts of one sweep.

        Args:
            read: Reads the sweep from the ledger; called once for each figure.
        """
        self._read = read

    def curves(self) -> Figure:
        """The objective of each trial by epoch, with the rungs."""
        return Figure(curves_of(self._read()))

    def progress(self) -> Figure:
        """The best value so far, by number of trials and by seconds of training."""
        return Figure(*progress_of(self._read()))

    def importance(self) -> Figure:
        """The importance of each parameter, with intervals."""
        return Figure(importance_of(self._read()))

    def parallel(self) -> Figure:
        """Every trial as a line through its parameters to its best value."""
        return Figure(parallel_of(self._read()))

    def slices(self, *names: str) -> Figure:
        """The objective against one parameter each.

        Args:
            names: Dotted names of parameters; without names the four most important ones.

        Raises:
            SpecError: A name is not that of a parameter that varies, or none varies yet.
        """
        found = self._read()
        known = [scale.name for scale in found.scales]
        for name in names:
            if name not in known:
                raise SpecError(
                    f"slices: '{name}' is not a parameter that varies. These vary: {', '.join(known) or 'none'}."
                )
        charts = slices_of(found, *names)
        if not charts:
            raise SpecError(
                f"slices: no parameter of sweep '{found.sweep.name}' varies yet. Try again when more trials have ended."
            )
        return Figure(*charts)


def curves_of(found: Findings) -> Chart:
    """The chart of the learning curves."""
    from hpsearch.results.charts.curves import curves_chart

    return curves_chart(found.sweep, found.curves, rungs=found.rungs, best=found.leader)


def progress_of(found: Findings) -> tuple[Chart, Chart]:
    """The charts of the best value by number of trials and by seconds."""
    from hpsearch.results.charts.progress import progress_chart

    return (
        progress_chart(found.sweep, found.steps, against="trials"),
        progress_chart(found.sweep, found.steps, against="seconds"),
    )


def importance_of(found: Findings) -> Chart:
    """The chart of the importances."""
    from hpsearch.results.charts.importance import importance_chart

    return importance_chart(found.importance)


def parallel_of(found: Findings) -> Chart:
    """The chart of parallel coordinates."""
    from hpsearch.results.charts.parallel import parallel_chart

    return parallel_chart(found.sweep, found.trials, found.scales)


def slices_of(found: Findings, *names: str) -> list[Chart]:
    """The charts of the objective against the named parameters; against the most important ones if none is named."""
    from hpsearch.results.charts.slices import slice_chart

    advice = {edge.parameter: edge for edge in found.edges}
    wanted = [scale for scale in found.scales if scale.name in names] if names else found.scales[:NUM_SLICES]
    return [
        slice_chart(
            found.sweep,
            found.trials,
            scale,
            values=found.values,
            epoch=found.importance.epoch,
            best=found.leader,
            edge=advice.get(scale.name),
        )
        for scale in wanted
    ]
