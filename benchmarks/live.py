"""The cost of the live display: CPU time of one refresh in the driver, by number of trials.

python -m benchmarks.live
"""

from __future__ import annotations

import io
import random
import time

from rich.console import Console

from hpsearch.engine.trial import Trial
from hpsearch.live.progress import DriverStatus, SweepProgress
from hpsearch.live.terminal import ProgressView, Screen
from hpsearch.spec.sweep import Sweep
from tests.support.curves import SPEC, losses

REFRESHES = 50
"""Number of timed refreshes."""
CONCURRENT = 8
"""Number of running trials."""


def progress_of(num_trials: int, rule: str) -> SweepProgress:
    """A sweep whose trials have all begun and are paused at rungs, except those that run."""
    sweep = Sweep.from_dict(
        {**SPEC, "early_terminate": {"type": rule}, "limits": {"trials": 2 * num_trials, "epochs": 27}}
    )
    rng, trials = random.Random(0), dict[int, Trial]()
    for number in range(1, num_trials + 1):
        trial = Trial(number=number, point=sweep.space.draw(rng), ledger_id=number, state="paused")
        for epoch in range(1, rng.choice((1, 1, 1, 3, 9, 27)) + 1):
            metrics = losses(trial.point, epoch)
            trial.note_epoch(epoch, metrics, loss=metrics["val_loss"])
        trial.past_s = 2.0 * trial.epochs
        trials[number] = trial
    for number in range(num_trials - CONCURRENT, num_trials):
        trials[number].state = "running"
    progress = SweepProgress(sweep, trials, lambda: DriverStatus(concurrent=CONCURRENT))
    for trial in trials.values():
        progress.on_end(trial)
    return progress


def refresh_ms(num_trials: int, rule: str, *, width: int, height: int) -> float:
    """CPU milliseconds of one refresh."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height)
    with Screen(ProgressView(progress_of(num_trials, rule)), console) as screen:
        screen.draw()
        begin = time.process_time()
        for _ in range(REFRESHES):
            screen.draw()
        return 1000 * (time.process_time() - begin) / REFRESHES


def main() -> None:
    """Measure and print a Markdown table."""
    print("| trials | rule | screen | CPU of a refresh, ms |\n|---|---|---|---|")
    for num_trials in (100, 1000, 10_000):
        for rule in ("asha", "hyperband", "median"):
            for width, height in ((80, 24), (160, 50)):
                cost = refresh_ms(num_trials, rule, width=width, height=height)
                print(f"| {num_trials} | {rule} | {width} x {height} | {cost:.1f} |", flush=True)


if __name__ == "__main__":
    main()
