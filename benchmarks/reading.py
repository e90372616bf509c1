"""What the verbs that read a sweep cost: seconds on the clock and of CPU, each a process of its own from its start.

    python -m benchmarks.reading

On a finished sweep of 64 trials and one that was left while its trials ran. Of five runs the median, since a machine
that does something else as well disturbs one now and then.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.curves import run
from tests.test_reading import PLAIN, WRITERS

RUNS = 5


def cost_of(words: list[str]) -> tuple[float, float]:
    """(Seconds on the clock, seconds of CPU) of one command."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "hpsearch", *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu_s


def main() -> None:
    """Print a table of all verbs."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "sweeps"
        run(home, name="finished")
        run(home, name="running", seed=1, max_reports=110, early_terminate={"type": "asha_stop"})
        print(f"{'verb':45} clock     CPU")
        for verb in [*PLAIN, *WRITERS]:
            words = [*verb.format(out=folder).split(), "--home", str(home)]
            clock_s, cpu_s = (
                statistics.median(each) for each in zip(*(cost_of(words) for _ in range(RUNS)), strict=True)
            )
            print(f"{verb:45} {clock_s:5.2f} s {cpu_s:5.2f} s", flush=True)


if __name__ == "__main__":
    main()
