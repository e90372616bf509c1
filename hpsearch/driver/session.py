"""One sweep on Ray: connect, run assignments until none is left, and start over if a Ray of our own dies."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, final

from hpsearch.cluster.connect import Cluster, connect, ray_settings
from hpsearch.cluster.heartbeat import RayDied
from hpsearch.cluster.nodes import Files, Node, NodeWatch
from hpsearch.devices.requests import WorkerRequest, resolve_request
from hpsearch.driver.concurrency import check_a_trial_fits, concurrent_trials
from hpsearch.driver.discovery import advertise
from hpsearch.driver.exposure import watch_exposure
from hpsearch.driver.gauges import Gauges
from hpsearch.driver.placement import PendingPlacements
from hpsearch.driver.signals import EXIT_CODES, Signals
from hpsearch.driver.slot_setup import TrialCode, slot_settings
from hpsearch.engine.engine import Engine
from hpsearch.engine.trial import Trial
from hpsearch.errors import Interrupted, RayGone
from hpsearch.live.display import Display, Show, start_lines
from hpsearch.live.silence import SilenceWatch
from hpsearch.paths import driver_log_path, home_option, processes_path
from hpsearch.slots.process_file import TrialProcesses, attempt_processes
from hpsearch.slots.process_tree import kill_ranks
from hpsearch.text import counted

MAX_DEATHS = 5
"""Deaths of our own Ray after which a sweep gives up: something on this machine kills it."""


@final
class Session:
    """Runs an engine's assignments on Ray, from the first to the last."""

    def __init__(
        self,
        engine: Engine,
        *,
        folder: Path,
        stream: TextIO,
        code: TrialCode,
        num_known: int,
        show: Show,
        num_gpus: int | None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Prepare; nothing is started.

        Args:
            engine: The engine of a new sweep, or one with its past replayed.
            folder: The sweep's folder.
            stream: The user's console.
            code: The user's code, as slots get it.
            num_known: Trials of earlier runs of the sweep.
            show: See `Show`.
            num_gpus: GPUs that a local Ray is started with; None for the real ones.
            notes: Sentences that are shown once Ray runs.
        """
        self._engine, self._sweep, self._folder, self._code = engine, engine.sweep, folder, code
        self._num_known, self._num_gpus, self._notes = num_known, num_gpus, notes
        self._display = Display(engine, folder=folder, stream=stream, show=show, has_processes=self._has_processes)
        self._say = self._display.say
        self._started, self._deaths, self._is_end_announced = False, 0, False
        engine.watch_disk(folder, say=self._say)

    def run(self) -> int | None:
        """Start Ray, run every assignment, record the sweep's end. A Ray of our own that dies is started again.

        Returns:
            130 or 143 after a signal, else None.

        Raises:
            RayGone: A Ray that is not ours died, or ours did MAX_DEATHS times.
            SpecError: No trial can ever fit, or the trainable can't be used.
            Interrupted: A signal came before the first trial began.
        """
        with Signals(self._on_signal) as signals, ray_settings():
            files = f"files in {self._folder}, log {driver_log_path(self._folder)}"
            self._say(f"{self._sweep.name}: {files}. Ray takes some seconds to start.")
            while self._run_on_ray(signals):
                signals.arm()
                self._say("Ray is started again; trials that ran resume from their checkpoints.")
            if self._engine.mistake is not None:
                raise self._engine.mistake
            return signals.exit_code

    def _run_on_ray(self, signals: Signals) -> bool:
        """Run assignments until none is left or Ray dies; whether Ray is to be started again."""
        owned = False
        try:
            with connect(self._sweep, files=self._files, num_gpus=self._num_gpus) as cluster:
                owned = cluster.owned
                signals.arm()
                if signals.exit_code is not None and self._engine.reason is None:
                    raise Interrupted(signals.exit_code)  # Python dropped the first one: it was raised in a `__del__`
                request = resolve_request(self._sweep.resources, cluster.gpus)
                check_a_trial_fits(request, cluster.machines)
                self._engine.concurrent = concurrent_trials(self._sweep, request, cluster.machines)
                if not self._started:
                    for line in start_lines(self._engine, cluster, num_known=self._num_known, notes=self._notes):
                        self._say(line)
                self._run_trials(request, cluster, signals)
        except RayDied as died:
            self._say(f"{died}.")
            if self._after_death(died, owned=owned):
                return True
            if signals.first is None:
                command = f"python -m hpsearch resume {self._sweep.name}{home_option(self._folder.parent)}"
                raise RayGone(f"{died}. When it runs again, resume with: {command}") from None
        return False

    def _after_death(self, died: RayDied, *, owned: bool) -> bool:
        """Whether the remaining trials are to run on a new Ray; if not, the sweep's end is recorded."""
        self._deaths += 1
        if self._engine.reason is None and owned and self._deaths < MAX_DEATHS:
            self._engine.requeue_running(str(died))
            return True
        self._engine.stop("interrupted", str(died))
        self._engine.finish()
        return False

    def _run_trials(self, request: WorkerRequest, cluster: Cluster, signals: Signals) -> None:
        """Run assignments on a Ray that is connected, and record the sweep's end unless that Ray dies."""
        run_assignments = self._assignment_runner(request, cluster, signals)
        self._started = True
        advertised = advertise(cluster, name=self._sweep.name or "", folder=self._folder)
        with self._display.live(), advertised, watch_exposure(cluster, say=self._say):
            try:
                with self._scratch_dir() as scratch_dir:
                    run_assignments(scratch_dir)
            except RayDied:  # the sweep may resume on a new Ray
                raise
            except KeyboardInterrupt:  # a second signal, while Tune or Ray hung: the first has stopped the engine
                pass
            except BaseException as error:
                self._engine.stop("interrupted", f"{type(error).__name__}: {error}")
                self._engine.finish()
                raise
            signals.end()
            self._finish()

    def _finish(self) -> None:
        """Record the sweep's end, and say what becomes of the trials that are still paused."""
        num_paused = self._engine.trials.num_paused
        self._engine.finish()
        if num_paused and self._engine.stop_state.state == "done":
            reason = self._engine.reason or "not among the best of those that reached the same rung"
            self._say(f"Stopped {counted(num_paused, 'paused trial')}: {reason}.")

    def _assignment_runner(self, request: WorkerRequest, cluster: Cluster, signals: Signals) -> Callable[[Path], None]:
        """Import Tune, make the class of slots and the monitors of a running sweep; returns a function that runs it."""
        from hpsearch.driver.tuner import run_assignments
        from hpsearch.slots.supervisor import make_slot_class

        concurrent = self._engine.concurrent
        settings = slot_settings(self._sweep, self._code, request, cluster, folder=self._folder, concurrent=concurrent)
        slot_class = make_slot_class(settings)
        placements = PendingPlacements(self._engine.idle_reasons, request, is_ours=cluster.owned)
        watch = NodeWatch(cluster.nodes, lambda nodes, change: self._on_nodes(request, nodes, change))
        gauges = Gauges(self._sweep, self._engine.trials, say=self._say)
        silence = SilenceWatch(self._sweep.metric, self._engine.trials, say=self._say)
        return lambda scratch_dir: run_assignments(
            self._engine,
            slot_class,
            scratch_dir=scratch_dir,
            heartbeat=cluster.heartbeat,
            placements=placements,
            signals=signals,
            ticks=[
                self._begin_time,
                self._announce_end,
                gauges.tick,
                silence.tick,
                placements.tick,
                *([] if cluster.owned else [watch.tick]),
            ],
        )

    def _begin_time(self) -> None:
        """Count `limits.time` from when the first trial has processes, not from when Ray and the slots start."""
        engine = self._engine
        is_waiting = engine.sweep.limits.time_s is not None and engine.time_left_s is None
        if is_waiting and any(self._has_processes(engine.trials[number]) for number in engine.trials.running):
            engine.begin_time()

    def _announce_end(self) -> None:
        """Say once that the sweep gives up or is out of time, if trials still run: their end may take a while."""
        engine, verbs = self._engine, {"gave_up": "Giving up", "done": "Stopping"}
        verb = verbs.get(engine.stop_state.state)  # a signal has a message of its own
        if verb is not None and engine.reason is not None and engine.num_running and not self._is_end_announced:
            self._is_end_announced = True
            self._say(f"{verb}: {engine.reason}. Running epochs have 15 s to finish.")

    @contextmanager
    def _scratch_dir(self) -> Iterator[Path]:
        """A folder for Tune's state files. At the end it is removed, and ranks that still run are killed."""
        scratch_dir = Path(tempfile.mkdtemp(prefix="hps-tune-"))
        try:
            yield scratch_dir
        finally:
            shutil.rmtree(scratch_dir, ignore_errors=True)
            self._kill_ranks()

    def _kill_ranks(self) -> None:
        """Kill the ranks of trials that still run: their supervisors were killed, or died with Ray."""
        for trial in self._engine.trials.values():
            if trial.state == "running" and (processes := self._processes(trial)) is not None:
                kill_ranks(processes)

    def _has_processes(self, trial: Trial) -> bool:
        return self._processes(trial) is not None

    def _processes(self, trial: Trial) -> TrialProcesses | None:
        return attempt_processes(processes_path(self._folder, trial.number), attempt=trial.attempts)

    @property
    def _files(self) -> Files:
        return Files(home=self._folder, code=self._engine.record.code or {})

    def _on_nodes(self, request: WorkerRequest, nodes: tuple[Node, ...], change: str) -> None:
        """Run as many trials at once as fit on the present nodes, which have changed; if none fits, wait for a node."""
        machines = [(node.cpus, node.gpus) for node in nodes]
        self._engine.concurrent = max(concurrent_trials(self._sweep, request, machines), 1)
        self._say(f"{change}: {counted(self._engine.concurrent, 'trial')} at once")

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._started:
            raise Interrupted(EXIT_CODES[number])
        self._engine.stop("interrupted", f"{number.name} was received")
        self._say("Stopping: running epochs have 15 s to finish and be saved. A second signal stops at once.")
