"""The memory and time of a data set on which four trials train at once, shared and not shared.

    python -m benchmarks.shared_data

Four processes request the same 500 MiB at the same time, read all of it, and wait until all have it. Then their
proportional memory is summed (PSS: of a page that four processes map, each counts a quarter). Loading means computing
random bytes, which uses one core, as decoding does. `object store` is Ray's: the driver loads and puts, workers get.
"""

from __future__ import annotations

import logging
import multiprocessing
import platform
import re
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy
import torch

import hpsearch

NUM_TRIALS = 4
MIB = 500
ROUNDS = 3


def load() -> torch.Tensor:
    """500 MiB of random bytes, which take about a second: uint8, (byte,)."""
    return torch.from_numpy(numpy.random.default_rng(0).integers(0, 256, MIB * 2**20, dtype=numpy.uint8))


def own_copy() -> torch.Tensor:
    """Load without hpsearch: each process has a copy."""
    return load()


def shared() -> torch.Tensor:
    """Load with `hpsearch.shared_data`."""
    return hpsearch.shared_data(load)


def trial(get: Callable[[], torch.Tensor], barrier: Barrier, facts: Any) -> None:
    """One process: get the data, read it, measure, and put (seconds, MiB, seconds of a second call) into `facts`."""
    before = pss_mib()
    barrier.wait()
    start = time.perf_counter()
    data = get()
    got_s = time.perf_counter() - start
    data[::1024].sum()  # touches every page; a sum of all bytes would first make 8 of each
    barrier.wait()
    size = pss_mib() - before
    barrier.wait()
    del data
    again = time.perf_counter()
    get()[::1024].sum()
    facts.put((got_s, size, time.perf_counter() - again))
    barrier.wait()


def pss_mib() -> float:
    """Proportional set size of this process, MiB."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.findall(r"^Pss: +(\d+) kB", text, flags=re.MULTILINE)[0]) / 1024


def four_at_once(get: Callable[[], torch.Tensor]) -> tuple[float, float, float]:
    """Seconds until the last trial can begin, MiB of all trials, and seconds for the next trial in a warm slot."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "hpsearch.training.data.shared"])  # else they import for a minute
    barrier, facts = context.Barrier(NUM_TRIALS), context.SimpleQueue()
    processes = [context.Process(target=trial, args=(get, barrier, facts)) for _ in range(NUM_TRIALS)]
    for process in processes:
        process.start()
    found = [facts.get() for _ in processes]
    for process in processes:
        process.join()
    times, sizes, later = zip(*found, strict=True)
    return max(times), sum(sizes), max(later)


def in_object_store(folder: Path) -> tuple[float, float]:
    """The same with Ray's object store: seconds, and MiB of the workers and the store."""
    import ray

    ray.init(
        address="local", num_cpus=NUM_TRIALS, num_gpus=0, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR, _temp_dir=str(folder), object_store_memory=2 * MIB * 2**20,
    )  # fmt: skip

    class Trial:
        def start(self) -> float:
            import torch  # noqa: F401

            return pss_mib()

        def get(self, data: Any) -> float:
            self.data = data
            int(self.data[::1024].sum())
            return time.time()

        def size(self) -> float:
            return pss_mib()

    actors: list[Any] = [ray.remote(Trial).remote() for _ in range(NUM_TRIALS)]
    before = sum(ray.get([actor.start.remote() for actor in actors]))
    start = time.time()
    held = ray.put(load().numpy())
    ends = ray.get([actor.get.remote(held) for actor in actors])
    after = sum(ray.get([actor.size.remote() for actor in actors]))
    ray.shutdown()
    return max(ends) - start, after - before


def main() -> None:
    """Measure and print."""
    print(f"Python {platform.python_version()}, PyTorch {torch.__version__}, {platform.machine()}, best of {ROUNDS}")
    for get in (own_copy, shared):
        rounds = [four_at_once(get) for _ in range(ROUNDS)]
        seconds, size, later = (min(values) for values in zip(*rounds, strict=True))
        print(
            f"{get.__name__:<14} {seconds:6.2f} s until all four have it   {size:6.0f} MiB"
            f"   {later:6.3f} s the next time"
        )
    with tempfile.TemporaryDirectory(prefix="hps-", dir="/tmp") as folder:
        seconds, size = in_object_store(Path(folder))
    print(f"{'object store':<14} {seconds:6.2f} s until all four have it   {size:6.0f} MiB")


if __name__ == "__main__":
    main()
