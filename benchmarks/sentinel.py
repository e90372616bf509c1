"""What the leak sentinel costs: one look, in a process as a rank is, beside the epochs of a ResNet on the digits.

    python -m benchmarks.sentinel

A look goes through everything that Python has made since the rank started. It is taken at most once in a hundred times
its own length, so its share of a long epoch is its length by the epoch's; of short epochs most are not looked at.
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
"""Lists that a user's trial may have made: samples, tokens, paths."""


def look_ms() -> float:
    """Median milliseconds of a look, of CPU time: it waits for nothing, and other programs shall not count."""
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
        few = look_ms()
        held = [[number] for number in range(MANY)]
        many = look_ms()
        stepper.close()
    del held
    looked_at = max(1, round(COST_SHARE * few / 1000 / epoch_s))
    print(f"an epoch of the ResNet takes {epoch_s:.2f} s; of epochs so short, one in {looked_at} is looked at")
    for name, cost in ((f"{EPOCHS} epochs", few), (f"the same and {MANY} lists", many)):
        print(f"one look after {name}: {cost:.1f} ms, {cost / 10_000:.3%} of an epoch of 10 s")


if __name__ == "__main__":
    main()
