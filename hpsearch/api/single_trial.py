"""Trains one configuration in this process, outside of any sweep: for debugging, without Ray and without the ledger.

This is `hpsearch.trial` and the verb `trial`. The function runs in the main thread with the sweep's seed, data and
precision, and its exceptions are raised unchanged. Under `torchrun` each process is a rank.
"""

from __future__ import annotations

import argparse
import inspect
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any, final

from hpsearch.errors import Problem, SpecError, TrialStopped
from hpsearch.paths import trial_dir
from hpsearch.space.domains import Computed
from hpsearch.space.references import name_hint
from hpsearch.space.space import Point, Space, to_config
from hpsearch.spec.file import find_spec, is_key, load_sweep, read_override, spec_dir_of, trainable_of
from hpsearch.spec.parts import Metric
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.definitions import trainable_error
from hpsearch.trainable.locate import load
from hpsearch.training.context import TrialContext, activate, context_by_hand, metrics_text

MAX_DRAWS = 1000
"""Draws of the parameters that are not set, after which the constraints count as impossible to meet."""
Metrics = dict[str, Any]
"""What a trainable reports after an epoch: name to value."""


def trial(
    spec: str | Path, trainable: Callable[[dict[str, Any]], Any] | None = None, arguments: Sequence[str] = ()
) -> list[Metrics]:
    """Train one configuration of a spec in this process and print a line for each epoch.

    A training file may end with `hpsearch.trial("resnet", train, sys.argv[1:])`: then the file runs by itself
    and under `torchrun`, with `--set lr=0.1` on its command line.

    Args:
        spec: Path of a spec, or the name of a file in `search_spaces/`.
        trainable: The function; None for the one that the spec names.
        arguments: Arguments of a command line, any number of `--set KEY=VALUE`. KEY is the name of a parameter or a key
            of the spec. Parameters that are not set have the values of the sweep's first trial.

    Returns:
        The metrics of each epoch, as the function yielded or reported them; at most `limits.epochs`.

    Raises:
        SpecError: The spec or an argument is wrong; with every mistake.
        BaseException: The exception that the function raises.

    Example:
        >>> hpsearch.trial("search_spaces/mlp.yaml", arguments=["--set", "lr=0.01"])  # doctest: +SKIP
    """
    parser = argparse.ArgumentParser(description=f"Train one configuration of {spec}.")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="a parameter, or a key of the spec"
    )
    path = find_spec(str(spec))
    sweep, point = load_by_hand(path, parser.parse_args(list(arguments)).set)
    if trainable is not None:
        return train_by_hand(sweep, trainable, point)
    with imported_function(sweep, path) as function:
        return train_by_hand(sweep, function, point)


def load_by_hand(path: Path, settings: Sequence[str]) -> tuple[Sweep, Point]:
    """Load a spec and the point to train.

    Args:
        path: Path of the spec.
        settings: Texts `KEY=VALUE`, KEY a parameter's dotted name or a key of the spec.

    Raises:
        SpecError: The spec or a setting is wrong; with every mistake.
    """
    overrides = [text for text in settings if is_key(text.partition("=")[0])]
    sweep = load_sweep(path, overrides=overrides)
    problems: list[Problem] = []
    values: Point = {}
    for text in settings:
        if text not in overrides and (found := read_override(text, problems)) is not None:
            where, value = found
            name = ".".join(where[1:] if where[0] == "parameters" else where)
            message = _wrong_name(name, sweep.space)
            if message is not None:
                problems.append(Problem(where=where, message=message, file=f"--set {text:.80}"))
            values[name] = value.value
    if problems:
        raise SpecError(problems)
    return sweep, point_by_hand(sweep, values)


def point_by_hand(sweep: Sweep, values: Mapping[str, Any]) -> Point:
    """The point with these values, and with those of the sweep's first trial for all other parameters.

    Values may lie outside of their range.

    Raises:
        SpecError: A parameter is set that is inactive with the other values, or the constraints can't be met.
    """
    space, rng = sweep.space, random.Random(f"{sweep.seed}/by hand")
    for draw in range(MAX_DRAWS):
        drawn = {name: domain.draw(rng) for name, domain in space.searched.items()}
        first = {} if draw or space.searched.keys() <= values.keys() else _first_point(sweep)
        point = space.complete({**drawn, **first, **values})
        if missing := [name for name in values if name not in point]:
            name = missing[0]
            message = f"it is only active {space.conditions[name]}. Set that too, or leave it out."
            raise SpecError([Problem(where=(name,), message=message)])
        if space.admits(point):
            return point
    broken = next((each.text for each in space.constraints if not space.meets(each, point)), "expr")
    raise SpecError([Problem(where=("constraints",), message=f"{broken!r} is not met by these values.")])


@contextmanager
def imported_function(sweep: Sweep, path: Path) -> Iterator[Callable[..., Any]]:
    """Import the trainable that a spec names, as in a sweep: within the block it finds no command-line arguments.

    Args:
        sweep: The spec.
        path: Path of the spec; a trainable's file is looked for beside it too.

    Raises:
        SpecError: The spec names no trainable, or one that does not exist, or its module exits when it is imported.
        BaseException: Any other exception that its module raises.
    """
    from hpsearch.slots.user_function import import_failure

    source = trainable_of(sweep, spec_dir=spec_dir_of(path))
    before, sys.argv = sys.argv, [source.program]
    try:
        try:
            function = load(source)
        except SystemExit as error:
            raise trainable_error(import_failure(error)) from error
        yield function
    finally:
        sys.argv = before


def train_by_hand(sweep: Sweep, function: Callable[..., Any], point: Point) -> list[Metrics]:
    """Run a trainable on one point to its end, or for `limits.epochs` epochs, and print a line for each epoch.

    Args:
        sweep: Sets seed, data, precision and `limits.epochs`.
        function: The trainable.
        point: Dotted name to value.

    Returns:
        The metrics of each epoch, as the trainable yielded or reported them.
    """
    from hpsearch.training.rng import seed_everything

    config = to_config(point)
    context = context_by_hand(
        seed=sweep.seed,
        data=sweep.data,
        precision=sweep.precision,
        parallel=sweep.parallel,
        loader_workers=sweep.resources.num_loaders,
    )
    history: list[Metrics] = []
    check = _ReportCheck(sweep.metric, is_silent=context.rank > 0)

    def keep(metrics: Metrics) -> None:
        context.epochs_done += 1
        history.append(metrics)
        if context.rank == 0:
            print(metrics_text(context.epochs_done, metrics), flush=True)
        check.after_epoch(context.epochs_done, metrics)

    def on_report(metrics: Metrics) -> None:
        keep(metrics)
        if len(history) == sweep.max_epochs:
            raise TrialStopped

    context.on_report = on_report
    if context.rank == 0:
        print(json.dumps(config, ensure_ascii=False), flush=True)
    with activate(context), _ray_session(function, context):
        seed_everything(sweep.seed)
        with suppress(TrialStopped):
            _drive(function, config, keep, sweep.max_epochs)
    check.after_trial(num_epochs=len(history))
    return history


@final
class _ReportCheck:
    """Says on stderr, once, why the trial would have failed in a sweep for what it reported."""

    def __init__(self, metric: Metric, *, is_silent: bool) -> None:
        self._metric, self._is_silent = metric, is_silent

    def after_epoch(self, epoch: int, metrics: Metrics) -> None:
        """Check the report of an epoch, counted from 1."""
        from hpsearch.slots.report_check import check_metrics

        checked = {} if self._is_silent else check_metrics(metrics, objective=self._metric.name, epoch=epoch)
        if not isinstance(checked, dict):
            self._say(f"In a sweep the trial would fail here ({checked.cause}): {checked.evidence}.")

    def after_trial(self, *, num_epochs: int) -> None:
        """Check that there was a report."""
        if not num_epochs and not self._is_silent:
            self._say(
                "In a sweep the trial would fail (bad_metric): it ended without a report."
                f" Call {self._metric.report_call} once an epoch."
            )

    def _say(self, text: str) -> None:
        self._is_silent = True
        print(text, file=sys.stderr, flush=True)


def _drive(
    function: Callable[..., Any], config: dict[str, Any], keep: Callable[[Metrics], None], max_epochs: int | None
) -> None:
    returned = function(config)
    if isinstance(returned, Iterator):
        for metrics in islice(returned, max_epochs):
            keep(dict(metrics))
        getattr(returned, "close", lambda: None)()
    elif isinstance(returned, Mapping) and returned:
        keep(dict(returned))


def _ray_session(function: Callable[..., Any], context: TrialContext) -> AbstractContextManager[None]:
    """The session that `ray.tune.report` needs, if the function uses Ray Tune; Ray itself isn't started."""
    from hpsearch.slots.ray_tune_session import RayTuneSession, uses_ray_tune

    if inspect.isgeneratorfunction(function) or not uses_ray_tune(function):
        return nullcontext()
    sweep_dir = Path(tempfile.mkdtemp(prefix="hpsearch-"))
    trial_dir(sweep_dir, context.number or 0).mkdir(parents=True)
    return RayTuneSession(context, sweep_dir, known_epochs=0).active()


def _first_point(sweep: Sweep) -> Point:
    from hpsearch.search import first_points

    return next(iter(first_points(sweep, 1)), {})


def _wrong_name(name: str, space: Space) -> str | None:
    domain = space.domains.get(name)
    if domain is None:
        return f"there is no parameter and no key '{name[:60]}'.{name_hint(name, space.domains)}"
    return f"it is computed, {domain}. Leave it out." if isinstance(domain, Computed) else None
