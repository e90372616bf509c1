"""Runs a sweep: the only place that starts Ray and calls the Tuner. `run` is its face in Python."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.console import Console

from hpsearch.cluster import Cluster, connect, ray_settings
from hpsearch.devices.requests import WorkerRequest, check_fits, max_concurrent, resolve_request
from hpsearch.engine import Engine, Observer
from hpsearch.errors import Problem, SpecError
from hpsearch.ledger.store import Ledger
from hpsearch.progress import Lines, LiveTable, Standing
from hpsearch.quiet import quiet
from hpsearch.results.results import Results
from hpsearch.search import make_searcher
from hpsearch.signals import Signals
from hpsearch.slots.settings import SlotSettings
from hpsearch.specfile import dump_yaml, find_spec, load_sweep
from hpsearch.stopping import make_stopping_rule
from hpsearch.sweep import NAME_PATTERN, Sweep
from hpsearch.trainable import locate

Trainable = Callable[[dict[str, Any]], Any]
DEFAULT_HOME = "sweeps"
KEPT_FROM_RANKS = ("RAY_", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TUNE_")
"""Beginnings of environment variables that Ray sets for each worker; the driver's stay with the driver."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One sweep, ready to run."""

    sweep: Sweep
    """Checked, with a name."""
    home: Path
    """Folder of the ledger."""
    function: Trainable | None = None
    """The trainable, where the sweep does not name it."""
    spec_dir: Path | None = None
    """The spec's folder, where a trainable's file may be."""
    show: Literal["auto", "lines", "none"] = "auto"
    """`auto`: a live table on a terminal and in a notebook, else the same as `none`; `lines`: like auto, but one line
    for each trial in a pipe."""
    num_gpus: int | None = None
    """GPUs that a local Ray believes in; None for the real ones. For tests."""

    def start(self) -> tuple[Results, int]:
        """Run the sweep to its end.

        Returns:
            The results, and the exit code: 0 at least one trial succeeded, 1 none did or the sweep gave up, 130 and 143
            it was interrupted.

        Raises:
            SpecError: The trainable can't be imported, or the request can never be met.
            SweepExists: The name is taken.
            LedgerError: The storage can't be used.
            KeyboardInterrupt: Ctrl-C before the first trial began.
        """
        name = self.sweep.name
        assert name is not None
        shipped = _ship(self.sweep, self.function, self.spec_dir)
        with Ledger(self.home, create=True) as ledger:
            ledger.check_name(name)
            folder = self.home / name
            (folder / "trials").mkdir(parents=True, exist_ok=True)
            with quiet(folder / "driver.log") as stream:
                exit_code = _Session(self, ledger, folder, stream, shipped).run()
            results = Results(self.home, name)
            results.write()
            return results, exit_code


class _Session:
    """The time between the first and the last process of a sweep."""

    def __init__(self, run: Run, ledger: Ledger, folder: Path, stream: TextIO, shipped: bytes) -> None:
        self._run, self._ledger, self._folder, self._shipped = run, ledger, folder, shipped
        self._sweep = run.sweep
        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        self._engine: Engine | None = None

    def run(self) -> int:
        """Start Ray, run, close the books; returns the exit code."""
        with Signals(self._on_signal) as signals, ray_settings():
            with connect(self._sweep, num_gpus=self._run.num_gpus) as cluster:
                signals.arm()
                request = resolve_request(self._sweep.resources, cluster.gpus)
                concurrent = self._concurrent(request, cluster)
                self._say_start(cluster, concurrent)
                self._run_trials(request, concurrent)
            return signals.exit_code or self._exit_code()

    def _run_trials(self, request: WorkerRequest, concurrent: int) -> None:
        from hpsearch.slots.supervisor import make_slot_class
        from hpsearch.tuner import run_legs

        sweep, standing = self._sweep, Standing(self._sweep)
        searcher, rule = make_searcher(sweep), make_stopping_rule(sweep, can_pause=True)
        record = self._ledger.add_sweep(sweep.name or "", sweep.to_dict())
        (self._folder / "sweep.yaml").write_text(dump_yaml(sweep.to_dict()))
        slot_class = make_slot_class(self._settings(request, concurrent))
        scratch_dir = Path(tempfile.mkdtemp(prefix="hps-tune-"))
        with self._display(standing) as observers:
            engine = self._engine = Engine(
                sweep=sweep, searcher=searcher, rule=rule, ledger=self._ledger, record=record, concurrent=concurrent,
                observers=observers,
            )  # fmt: skip
            try:
                run_legs(engine, slot_class, scratch_dir=scratch_dir)
            except KeyboardInterrupt:  # the second Ctrl-C
                engine.stop("interrupted", "stopped at once by a second signal")
            finally:
                engine.finish()
                shutil.rmtree(scratch_dir, ignore_errors=True)
        if engine.mistake is not None:
            self._ledger.forget_sweep(record)
            raise engine.mistake

    @contextmanager
    def _display(self, standing: Standing) -> Iterator[list[Observer]]:
        if self._run.show != "none" and (self._console.is_terminal or self._console.is_jupyter):
            with LiveTable(standing, self._console) as table:
                yield [standing, table]
        elif self._run.show == "lines":
            yield [standing, Lines(standing, self._say)]
        else:
            yield [standing]

    def _concurrent(self, request: WorkerRequest, cluster: Cluster) -> int:
        problems = check_fits(request, cluster.cpus, cluster.gpus)
        if problems:
            raise SpecError(problems)
        fits = max_concurrent(request, cluster.cpus, cluster.gpus)
        wanted = self._sweep.limits.concurrent
        return min(fits, self._sweep.max_trials, fits if wanted == "auto" else wanted)

    def _settings(self, request: WorkerRequest, concurrent: int) -> SlotSettings:
        working_dir = str(Path.cwd())
        sys_path = dict.fromkeys([working_dir, *(path for path in sys.path if path)])
        environment = {name: value for name, value in os.environ.items() if not name.startswith(KEPT_FROM_RANKS)}
        return SlotSettings(
            sweep=self._sweep.name or "",
            trainable=self._shipped,
            metric=self._sweep.metric.name,
            request=request,
            concurrent=concurrent,
            precision=self._sweep.precision,
            data=self._sweep.data,
            trials_dir=str((self._folder / "trials").resolve()),
            sys_path=tuple(sys_path),
            working_dir=working_dir,
            environment=environment,
        )

    def _say_start(self, cluster: Cluster, concurrent: int) -> None:
        self._say(
            f"{self._sweep.name}: {self._sweep.max_trials} trials, {concurrent} at once on {cluster.cpus:g} CPUs and"
            f" {cluster.gpus} GPUs; files in {self._folder}, log {self._folder / 'driver.log'}"
        )
        if cluster.dashboard_url is not None:
            self._say(f"Ray dashboard: {cluster.dashboard_url} (asks for a token: `ray get-auth-token`)")

    def _say(self, text: str) -> None:
        if self._run.show != "none" and (self._run.show == "lines" or self._console.is_terminal):
            self._console.print(text, markup=False)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._engine is None:
            raise KeyboardInterrupt
        self._engine.stop("interrupted", f"{number.name} was received")
        self._say("Stopping: running epochs have 15 s to end and be saved. Once more stops at once.")

    def _exit_code(self) -> int:
        assert self._engine is not None
        succeeded = any(trial.state in ("done", "stopped") for trial in self._engine.trials.values())
        return 0 if succeeded and self._engine.state != "gave_up" else 1


def run(
    space: str | Path | Mapping[str, Any] | Sweep,
    trainable: Trainable | str | None = None,
    *,
    trials: int | None = None,
    epochs: int | None = None,
    home: str | Path | None = None,
    **keys: Any,
) -> Results:
    """Run a sweep from Python: quiet, with one live display on a terminal or in a notebook.

    Args:
        space: A spec's path or name, a dict of the same shape, or a `Sweep`.
        trainable: A function, or its name as in the YAML; None where the spec names it.
        trials: Short for `limits={"trials": ...}`.
        epochs: Short for `limits={"epochs": ...}`.
        home: Folder of the ledger; None for the environment variable HPSEARCH_HOME, else `./sweeps`.
        keys: Any top-level key of the YAML; maps such as `limits` are merged into the spec's, others replace it.

    Returns:
        The results; after the first Ctrl-C, those so far.

    Raises:
        SpecError: With every mistake in the spec.
        SweepExists: A sweep of this name is in the ledger.
        LedgerError: The ledger can't be used.

    Example:
        >>> results = hpsearch.run("search_spaces/mlp.yaml", trials=8)  # doctest: +SKIP
        >>> results.best.config  # doctest: +SKIP
    """
    spec_dir = None
    if isinstance(space, str | Path):
        path = find_spec(str(space))
        spec_dir = path.parent
        tree = load_sweep(path).to_dict()
    else:
        tree = space.to_dict() if isinstance(space, Sweep) else dict(space)
    function = None if trainable is None or isinstance(trainable, str) else trainable
    limits = {name: value for name, value in (("trials", trials), ("epochs", epochs)) if value is not None}
    for key, value in {**keys, "limits": {**keys.get("limits", {}), **limits}}.items():
        tree[key] = (
            {**tree[key], **value}
            if isinstance(tree.get(key), dict) and isinstance(value, dict) and key != "parameters"
            else value
        )
    if isinstance(trainable, str):
        tree["trainable"] = trainable
    sweep = _named(Sweep.from_dict(tree), function)
    return Run(sweep=sweep, home=home_dir(home), function=function, spec_dir=spec_dir).start()[0]


def home_dir(home: str | Path | None) -> Path:
    """The folder of the ledger: as given, else HPSEARCH_HOME, else `./sweeps`."""
    return Path(home or os.environ.get("HPSEARCH_HOME") or DEFAULT_HOME)


def _named(sweep: Sweep, function: Trainable | None) -> Sweep:
    """A sweep without a name is called after its function."""
    if sweep.name is not None:
        return sweep
    guess = getattr(function, "__name__", None) or (sweep.trainable or "").rpartition(":")[2]
    if not NAME_PATTERN.fullmatch(guess):
        raise SpecError([Problem(where=("name",), message="the sweep needs a name. Write for example name: resnet.")])
    return sweep.with_values(name=guess)


def _ship(sweep: Sweep, function: Trainable | None, spec_dir: Path | None) -> bytes:
    """The trainable as the ranks get it: a function by value, a name as the place where it was found."""
    import cloudpickle

    if function is not None:
        if not callable(function):
            raise SpecError(
                [Problem(where=("trainable",), message=f"expected a function, got {type(function).__name__}.")]
            )
        return bytes(cloudpickle.dumps(function))
    if sweep.trainable is None:
        raise SpecError(
            [Problem(where=("trainable",), message="'trainable' is missing. Write trainable: module:function.")]
        )
    return bytes(cloudpickle.dumps(locate(sweep.trainable, spec_dir=spec_dir)))
