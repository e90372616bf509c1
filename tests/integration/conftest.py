"""One Ray for all tests of this folder, with logical GPUs: starting one takes 5 to 15 s."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hpsearch.api.results import Results
from hpsearch.driver.driver import Run
from hpsearch.errors import HpsearchError
from hpsearch.spec.sweep import Sweep
from tests.support import trainables

TRAINABLES = Path(trainables.__file__)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A Ray with 4 CPUs and 4 GPUs that nobody has; a sweep uses it and leaves it running."""
    import ray

    from hpsearch.cluster.connect import ray_settings

    folder = tempfile.mkdtemp(prefix="hps-", dir="/tmp")
    with ray_settings():
        ray.init(
            address="local",
            num_cpus=4,
            num_gpus=4,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
            _system_config={"memory_monitor_refresh_ms": 0},
        )
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


class Outcome:
    """What a user sees of a sweep: results, exit code, error."""

    def __init__(self, results: Results | None, exit_code: int, error: HpsearchError | None) -> None:
        self._results, self.exit_code, self.error = results, exit_code, error

    @property
    def results(self) -> Results:
        assert self._results is not None, self.error
        return self._results

    def trial(self, number: int) -> dict[str, Any]:
        """One row of the table."""
        frame = self.results.trials
        return dict(frame[frame["trial"] == number].iloc[0])

    def log(self, number: int) -> str:
        return (self.results.folder / "trials" / f"{number:04d}" / "log.txt").read_text()


def run_sweep(
    home: Path, function: str, *, trials: int = 2, parameters: dict[str, Any] | None = None, **keys: Any
) -> Outcome:
    """Run a function of `trainables.py` in a sweep without GPUs, on the Ray that runs."""
    limits = {"trials": trials, "concurrent": 1, **keys.pop("limits", {})}
    tree = {
        "name": function,
        "trainable": f"{TRAINABLES}:{function}",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": parameters or {"x": {"min": 0.0, "max": 1.0}},
        "resources": {"gpu": 0},
        "limits": limits,
        **keys,
    }
    try:
        exit_code = Run(sweep=Sweep.from_dict(tree), home=home, show="none").start()
    except HpsearchError as error:
        return Outcome(None, error.exit_code, error)
    return Outcome(Results(home, tree["name"]), exit_code, None)


@pytest.fixture
def sweep(ray_session: None, home: Path) -> Callable[..., Outcome]:
    """Run a sweep in a home of the test's own: `sweep("steady", trials=3)`."""
    return partial(run_sweep, home)
