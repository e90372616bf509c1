"""The processes of one sweep, from the first to the last: Ray, the slots, the display, the signals."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TextIO, final

from hpsearch.cluster.connect import Cluster, connect, ray_settings
from hpsearch.cluster.heartbeat import RayDied
from hpsearch.cluster.nodes import Files, Node, NodeWatch
from hpsearch.devices.requests import WorkerRequest, check_fits_on, fits_on, resolve_request
from hpsearch.driver.discovery import advertise
from hpsearch.driver.gauges import Gauges
from hpsearch.driver.placement import PendingPlacements
from hpsearch.driver.signals import EXIT_CODES, Signals
from hpsearch.engine.disk import DiskGuard
from hpsearch.engine.engine import Engine
from hpsearch.engine.trial import Trial
from hpsearch.errors import Interrupted, RayGone, SpecError
from hpsearch.live.lines import Lines
from hpsearch.live.notebook import NotebookTable
from hpsearch.live.progress import DriverStatus, SweepProgress
from hpsearch.live.status_file import StatusFile
from hpsearch.live.terminal import Picture, SafeConsole, Screen, Ticker
from hpsearch.paths import driver_log_path, processes_path
from hpsearch.slots.process_file import TrialProcesses, attempt_processes
from hpsearch.slots.process_tree import kill_ranks
from hpsearch.slots.rank_environment import without_rank_variables
from hpsearch.slots.settings import SlotSettings
from hpsearch.text import counted

KEPT_FROM_RANKS = ("RAY_", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TUNE_")
"""Beginnings of environment variables that Ray sets for each worker; the driver's stay with the driver."""

MAX_SHOWN = 12
"""Parameters that Ray's dashboard may show: a trial has the first few of those that are active in it."""

MAX_DEATHS = 5
"""Deaths of our own Ray after which a sweep gives up: something on this machine kills it."""

Show = Literal["auto", "lines", "none"]
"""`auto`: a live table on a terminal and in a notebook, else nothing; `lines`: instead, one line a trial in a pipe."""


@final
class Session:
    """Runs an engine's assignments on Ray."""

    def __init__(
        self,
        engine: Engine,
        *,
        folder: Path,
        stream: TextIO,
        shipped: bytes,
        num_known: int,
        show: Show,
        num_gpus: int | None,
        notes: tuple[str, ...] = (),
        isolation: Literal["process", "slot"] = "process",
        code_dir: Path | None = None,
        preload: tuple[str, ...] = (),
    ) -> None:
        """Prepare; nothing is started.

        Args:
            engine: New, or with its past replayed.
            folder: The sweep's files.
            stream: The user's console.
            shipped: The trainable, see `SlotSettings.trainable`.
            num_known: Trials of earlier runs of the sweep.
            show: What the user is shown.
            num_gpus: GPUs that a local Ray believes in; None for the real ones.
            notes: What else is said at the start.
            isolation: Whether each attempt has a process of its own.
            code_dir: The snapshot of the user's code; None for a function that travels by value.
            preload: Third-party modules that the user's code imports.
        """
        self._notes, self._code_dir, self._preload = notes, code_dir, preload
        self._engine, self._sweep = engine, engine.sweep
        self._folder, self._shipped, self._show, self._num_gpus = folder, shipped, show, num_gpus
        self._console = SafeConsole(file=stream, highlight=False, soft_wrap=True)
        self._num_known, self._started, self._deaths = num_known, False, 0
        self._began = time.monotonic()
        self._isolation = isolation
        room = DiskGuard(
            folder, say=self._say, give_up=lambda: engine.reason is not None, idle_reasons=engine.idle_reasons
        )
        engine.keep_room(room, folder)

    def run(self) -> int | None:
        """Start Ray, run every assignment, close the books. A Ray of ours that dies is started again.

        Returns:
            130 or 143 after a signal, else None.

        Raises:
            RayGone: A Ray that is not ours died, or ours again and again.
            SpecError: The request can never be met, or the trainable can't be used.
            Interrupted: A signal came before the first trial began.
        """
        with Signals(self._on_signal) as signals, ray_settings():
            files = f"files in {self._folder}, log {driver_log_path(self._folder)}"
            self._say(f"{self._sweep.name}: {files}. Ray takes some seconds to come up.")
            while self._run_on_ray(signals):
                signals.arm()
                self._say("Ray is started again; what ran goes on from its checkpoints.")
            if self._engine.mistake is not None:
                raise self._engine.mistake
            return signals.exit_code

    def _run_on_ray(self, signals: Signals) -> bool:
        """Run assignments as long as there are any and Ray lives; whether Ray is to be started again."""
        owned = False
        try:
            with connect(self._sweep, files=self._files, num_gpus=self._num_gpus) as cluster:
                owned = cluster.owned
                signals.arm()
                if signals.exit_code is not None and self._engine.reason is None:
                    raise Interrupted(signals.exit_code)  # once more: Python drops one that is raised in a `__del__`
                request = resolve_request(self._sweep.resources, cluster.gpus)
                self._engine.concurrent = self._concurrent(request, cluster)
                if not self._started:
                    self._say_start(cluster)
                self._run_trials(request, cluster, signals)
        except RayDied as died:
            self._say(f"{died}.")
            if self._after_death(died, owned=owned):
                return True
            if signals.first is None:
                raise RayGone(
                    f"{died}. When it runs again, go on with: python -m hpsearch resume {self._sweep.name}"
                ) from None
        return False

    def _after_death(self, died: RayDied, *, owned: bool) -> bool:
        """Whether what is left is to be run on a new Ray; else the books are closed."""
        self._deaths += 1
        if self._engine.reason is None and owned and self._deaths < MAX_DEATHS:
            self._engine.requeue_running(str(died))
            return True
        self._engine.stop("interrupted", str(died))
        self._engine.finish()
        return False

    def _run_trials(self, request: WorkerRequest, cluster: Cluster, signals: Signals) -> None:
        from hpsearch.driver.tuner import run_assignments
        from hpsearch.slots.supervisor import make_slot_class

        slot_class = make_slot_class(self._settings(request, cluster))
        watch = NodeWatch(cluster.nodes, lambda nodes, words: self._on_nodes(request, nodes, words))
        gauges = Gauges(self._sweep, self._engine.trials, say=self._say)
        places = PendingPlacements(self._engine.idle_reasons, request, is_ours=cluster.owned)
        ticks = [gauges.tick, places.tick, *([] if cluster.owned else [watch.tick])]
        self._started = True
        with self._display(), advertise(cluster, name=self._sweep.name or "", folder=self._folder):
            try:
                with self._scratch_dir() as scratch_dir:
                    run_assignments(
                        self._engine,
                        slot_class,
                        scratch_dir=scratch_dir,
                        heartbeat=cluster.heartbeat,
                        places=places,
                        signals=signals,
                        ticks=ticks,
                    )
            except RayDied:  # the books stay open
                raise
            except KeyboardInterrupt:  # a second signal, while Tune or Ray hung: the first has stopped the engine
                pass
            except BaseException as error:
                self._engine.stop("interrupted", f"{type(error).__name__}: {error}")
                self._engine.finish()
                raise
            signals.end()
            self._engine.finish()

    @contextmanager
    def _scratch_dir(self) -> Iterator[Path]:
        """A folder for Tune's state; before the books are closed it goes, and what is left of the ranks."""
        scratch_dir = Path(tempfile.mkdtemp(prefix="hps-tune-"))
        try:
            yield scratch_dir
        finally:
            shutil.rmtree(scratch_dir, ignore_errors=True)
            self._end_ranks()

    def _end_ranks(self) -> None:
        """Of trials that still run: their supervisors were killed, or are gone with Ray."""
        for trial in self._engine.trials.values():
            if trial.state == "running" and (roster := self._roster(trial)) is not None:
                kill_ranks(roster)

    @contextmanager
    def _display(self) -> Iterator[None]:
        standing = SweepProgress(self._sweep, self._engine.trials, self._outlook, trains=self._has_processes)
        self._engine.observers = (standing,)
        with ExitStack() as stack:
            tasks: list[Callable[[], None]] = []
            if self._show != "none" and self._console.is_jupyter:
                self._engine.observers = (standing, stack.enter_context(NotebookTable(standing)))
            elif self._show != "none" and self._console.is_terminal:
                tasks.append(stack.enter_context(Screen(Picture(standing), self._console)).draw)
            elif self._show == "lines":
                self._engine.observers = (standing, Lines(standing, self._say))
            notices = StatusFile(self._folder)
            stack.callback(notices.remove)
            stack.enter_context(Ticker([*tasks, lambda: notices.tell(standing.outlook())]))
            yield

    def _has_processes(self, trial: Trial) -> bool:
        return self._roster(trial) is not None

    def _roster(self, trial: Trial) -> TrialProcesses | None:
        return attempt_processes(processes_path(self._folder, trial.number), attempt=trial.attempts)

    def _outlook(self) -> DriverStatus:
        limit = self._sweep.limits.time_s
        left = None if limit is None else max(limit - (time.monotonic() - self._began), 0.0)
        return DriverStatus(
            concurrent=self._engine.concurrent, wait=self._engine.idle_reasons.current, time_left_s=left
        )

    def _concurrent(self, request: WorkerRequest, cluster: Cluster) -> int:
        problems = check_fits_on(request, cluster.machines)
        if problems:
            raise SpecError(problems)
        return self._at_most(fits_on(request, cluster.machines))

    def _at_most(self, fits: int) -> int:
        wanted = self._sweep.limits.concurrent
        return min(fits, self._sweep.max_trials, fits if wanted == "auto" else wanted)

    @property
    def _files(self) -> Files:
        return Files(home=self._folder, code=self._engine.record.code or {})

    def _on_nodes(self, request: WorkerRequest, nodes: tuple[Node, ...], words: str) -> None:
        """Nodes have come or gone: as many trials at once as fit now."""
        fits = fits_on(request, [(node.cpus, node.gpus) for node in nodes])
        self._engine.concurrent = max(self._at_most(fits), 1)  # with no place left, a trial waits for a node
        self._say(f"{words}: {self._engine.concurrent} trials at once")

    def _settings(self, request: WorkerRequest, cluster: Cluster) -> SlotSettings:
        working_dir = str(Path.cwd())
        sys_path = dict.fromkeys([working_dir, *(path for path in sys.path if path)])
        environment = {
            name: value
            for name, value in without_rank_variables(os.environ).items()
            if not name.startswith(KEPT_FROM_RANKS)
        }
        return SlotSettings(
            sweep=self._sweep.name or "",
            shown=tuple(self._sweep.space.searched)[:MAX_SHOWN],
            names_epochs=cluster.owned,  # in another Ray's metrics each name would be a series of `ray_tasks`
            trainable=self._shipped,
            metric=self._sweep.metric.name,
            request=request,
            run=uuid.uuid4().hex,
            isolation=self._isolation,
            grace_s=self._sweep.limits.grace_s,
            concurrent=self._engine.concurrent,
            precision=self._sweep.precision,
            parallel=self._sweep.parallel,
            leak_warnings=self._sweep.leak_warnings,
            loaders=self._sweep.resources.num_loaders,
            data=self._sweep.data,
            sweep_dir=str(self._folder.resolve()),
            sys_path=tuple(sys_path),
            working_dir=working_dir,
            ships_code=cluster.ships_code,
            environment=environment,
            code_dir=None if self._code_dir is None else str(self._code_dir),
            preload=self._preload,
        )

    def _say_start(self, cluster: Cluster) -> None:
        reused = sum(1 for trial in self._engine.trials.values() if trial.state == "reused")
        past = [f"{self._num_known} known, goes on"] if self._num_known else []
        past += [f"{reused} answered from the ledger"] if reused else []
        known = f" ({'; '.join(past)})" if past else ""
        nodes = f" of {len(cluster.nodes)} nodes" if len(cluster.nodes) > 1 else ""
        self._say(
            f"{self._sweep.name}: {counted(self._sweep.max_trials, 'trial')}{known},"
            f" {self._engine.concurrent} at once on {cluster.cpus:g} CPUs and {cluster.gpus} GPUs{nodes}"
        )
        for note in self._notes:
            self._say(note)
        if cluster.dashboard_url is not None:
            token = " (asks for a token: `ray get-auth-token`)" if cluster.asks_for_token else ""
            self._say(f"Ray dashboard: {cluster.dashboard_url}{token}")

    def _say(self, text: str) -> None:
        if self._show != "none" and (self._show == "lines" or self._console.is_terminal):
            self._console.print(text, markup=False)

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._started:
            raise Interrupted(EXIT_CODES[number])
        self._engine.stop("interrupted", f"{number.name} was received")
        self._say("Stopping: running epochs have 15 s to end and be saved. Once more stops at once.")
