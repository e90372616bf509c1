"""What the user sees of a running sweep: messages, the live table or the line for each trial, and the status file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TextIO, final

from hpsearch.cluster.connect import Cluster
from hpsearch.engine.engine import Engine
from hpsearch.engine.trial import Trial
from hpsearch.live.lines import Lines
from hpsearch.live.notebook import NotebookTable
from hpsearch.live.progress import DriverStatus, SweepProgress
from hpsearch.live.status_file import StatusFile
from hpsearch.live.terminal import ProgressView, SafeConsole, Screen, Ticker
from hpsearch.text import counted

Show = Literal["auto", "lines", "none"]
"""`auto`: a live table on a terminal and in a notebook, else nothing. `lines`: the same, and in a pipe one line for
each trial that ends. `none`: nothing."""


@final
class Messages:
    """Prints messages on the user's console, unless nothing is shown or it is a pipe that asked for no lines."""

    def __init__(self, stream: TextIO, show: Show) -> None:
        """Prepare; nothing is written yet.

        Args:
            stream: The user's console.
            show: See `Show`.
        """
        self.console = SafeConsole(file=stream, highlight=False, soft_wrap=True)
        """The console, for what is not a message."""
        self._show = show

    def say(self, text: str) -> None:
        """Print a message."""
        if self._show != "none" and (self._show == "lines" or self.console.is_terminal):
            self.console.print(text, markup=False)


@final
class Display:
    """Shows one sweep while it runs."""

    def __init__(
        self, engine: Engine, *, folder: Path, stream: TextIO, show: Show, has_processes: Callable[[Trial], bool]
    ) -> None:
        """Prepare; nothing is written yet.

        Args:
            engine: The engine whose trials are shown.
            folder: The sweep's folder, where the status file for `hpsearch watch` is written.
            stream: The user's console.
            show: See `Show`.
            has_processes: Whether the processes of a running trial have started.
        """
        self._engine, self._folder, self._show, self._has_processes = engine, folder, show, has_processes
        messages = Messages(stream, show)
        self._console, self.say = messages.console, messages.say

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the trials, and keep the status file up to date, for the duration of the block."""
        progress = SweepProgress(
            self._engine.sweep, self._engine.trials, self._status, has_processes=self._has_processes
        )
        self._engine.observers = (progress,)
        with ExitStack() as stack:
            tasks: list[Callable[[], None]] = []
            if self._show != "none" and self._console.is_jupyter:
                self._engine.observers = (progress, stack.enter_context(NotebookTable(progress)))
            elif self._show != "none" and self._console.is_terminal:
                tasks.append(stack.enter_context(Screen(ProgressView(progress), self._console)).draw)
            elif self._show == "lines":
                self._engine.observers = (progress, Lines(progress, self.say))
            status_file = StatusFile(self._folder)
            stack.callback(status_file.remove)
            stack.enter_context(Ticker([*tasks, lambda: status_file.write(progress.status())]))
            yield

    def _status(self) -> DriverStatus:
        engine = self._engine
        return DriverStatus(
            concurrent=engine.concurrent,
            idle_reason=engine.idle_reasons.current,
            time_left_s=engine.time_left_s,
        )


def start_lines(engine: Engine, cluster: Cluster, *, num_known: int, notes: Iterable[str]) -> Iterator[str]:
    """The messages once Ray runs: the number of trials, how many run at once, notes, the address of Ray's dashboard.

    Args:
        engine: The engine, with the past of its sweep replayed.
        cluster: The Ray that it runs on.
        num_known: Trials of earlier runs of the sweep.
        notes: Sentences for the user.
    """
    num_reused = sum(1 for trial in engine.trials.values() if trial.state == "reused")
    past = [f"resuming with {num_known} known"] if num_known else []
    past += [f"{num_reused} reused from the ledger"] if num_reused else []
    known = f" ({'; '.join(past)})" if past else ""
    nodes = f" of {len(cluster.nodes)} nodes" if len(cluster.nodes) > 1 else ""
    at_once = f"{engine.concurrent} at once on {counted(cluster.cpus, 'CPU')} and {counted(cluster.gpus, 'GPU')}{nodes}"
    yield f"{engine.sweep.name}: {counted(engine.sweep.max_trials, 'trial')}{known}, {at_once}"
    yield from (*notes, *cluster.notes)
    if cluster.dashboard_url is not None:
        token = " (asks for a token: `ray get-auth-token`)" if cluster.asks_for_token else ""
        yield f"Ray dashboard: {cluster.dashboard_url}{token}"
