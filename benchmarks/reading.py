"""The cost of the verbs that read a sweep: wall and CPU seconds of a process for each, from its start.

    python -m benchmarks.reading

They read a finished sweep of 64 trials and one whose trials were running when it was left. Medians of five runs.
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


def cost_of(arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one command."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "hpsearch", *arguments], check=True, stdout=subprocess.DEVNULL)
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
            arguments = [*verb.format(out=folder).split(), "--home", str(home)]
            clock_s, cpu_s = (
                statistics.median(each) for each in zip(*(cost_of(arguments) for _ in range(RUNS)), strict=True)
            )
            print(f"{verb:45} {clock_s:5.2f} s {cpu_s:5.2f} s", flush=True)


if __name__ == "__main__":
    main()
