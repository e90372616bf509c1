"""The cost of the leak sentinel: one sample, in a process like that of a rank, next to epochs of a ResNet on digits.

    python -m benchmarks.sentinel

A sample traverses all objects that Python has made since the rank started. Between two samples there is at least a
hundred times the duration of one. The cost for a long epoch is therefore the ratio of both durations; of short epochs,
most get no sample.
"""

from __future__ import annotations

import gc
import platform
import statistics
import time

import torch
import torch._dynamo  # what any optimizer imports

from experiments.resnet import train
from hpsearch.training.context import TrialContext, activate
from hpsearch.training.leaks.sentinel import COST_SHARE, SampleInterval, Sentinel
from hpsearch.training.stepper import make_stepper

EPOCHS = 2
CONFIG = {
    "model": {"width": 8, "depth": 8},
    "batch_size": 64,
    "augment": True,
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
}
MANY = 300_000
"""Number of lists that a user's trial may have made: samples, tokens, paths."""


def sample_ms() -> float:
    """Median CPU milliseconds of a sample; CPU time, because a sample waits for nothing."""
    times = []
    for _ in range(5):
        sentinel = Sentinel(interval=SampleInterval())
        start = time.process_time()
        sentinel.after_epoch()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    """Measure and print."""
    print(f"Python {platform.python_version()}, PyTorch {torch.__version__}, {platform.machine()}")
    gc.collect()
    gc.freeze()  # as a rank does
    context = TrialContext(device="cpu", leak_warnings=True)
    with activate(context):
        stepper = make_stepper(train, CONFIG, context)
        start = time.perf_counter()
        for _ in range(EPOCHS):
            stepper.advance()
        epoch_s = (time.perf_counter() - start) / EPOCHS
        few = sample_ms()
        held = [[number] for number in range(MANY)]
        many = sample_ms()
        stepper.close()
    del held
    every = max(1, round(COST_SHARE * few / 1000 / epoch_s))
    print(f"an epoch of the ResNet takes {epoch_s:.2f} s; of epochs this short, one in {every} gets a sample")
    for name, cost in ((f"{EPOCHS} epochs", few), (f"the same and {MANY} lists", many)):
        print(f"one sample after {name}: {cost:.1f} ms, {cost / 10_000:.3%} of an epoch of 10 s")


if __name__ == "__main__":
    main()
