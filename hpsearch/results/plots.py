"""`results.plot`: the pictures of a sweep, each drawn from what the ledger knows when it is asked for."""

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
    """Each method returns a `Figure`, which shows itself in a notebook and has `save`.

    Example:
        >>> results.plot.curves().save("curves.png")  # doctest: +SKIP
    """

    def __init__(self, read: Callable[[], Findings]) -> None:
        """Hold on to a ledger.

        Args:
            read: What is known now; called once for each picture.
        """
        self._read = read

    def curves(self) -> Figure:
        """The objective of each trial by epoch, with the rungs."""
        return Figure(curves_of(self._read()))

    def progress(self) -> Figure:
        """The best value so far, against the number of trials and against the seconds of training."""
        return Figure(*progress_of(self._read()))

    def importance(self) -> Figure:
        """How much each parameter matters, with intervals."""
        return Figure(importance_of(self._read()))

    def parallel(self) -> Figure:
        """Every trial as a line through its parameters to its best value."""
        return Figure(parallel_of(self._read()))

    def slices(self, *names: str) -> Figure:
        """The objective against one parameter each.

        Args:
            names: Dotted names of parameters; none for the four that matter most.

        Raises:
            SpecError: A name is no parameter that varies.
        """
        found = self._read()
        known = [scale.name for scale in found.scales]
        for name in names:
            if name not in known:
                raise SpecError(
                    f"slices: '{name}' is no parameter that varies. There are: {', '.join(known) or 'none'}."
                )
        charts = slices_of(found, *names)
        if not charts:
            raise SpecError(
                f"slices: no parameter of sweep '{found.sweep.name}' varies yet. Ask again when trials have ended."
            )
        return Figure(*charts)


def curves_of(found: Findings) -> Chart:
    """The chart of the learning curves."""
    from hpsearch.results.charts.curves import curves_chart

    return curves_chart(found.sweep, found.curves, rungs=found.rungs, best=found.leader)


def progress_of(found: Findings) -> tuple[Chart, Chart]:
    """The charts of the best value against trials and against seconds."""
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
    """The charts of some parameters; without names of the most important ones."""
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
