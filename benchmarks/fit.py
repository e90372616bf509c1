"""The cost of `hpsearch.fit` compared with a hand-written loop: the same ResNet, data and optimizer, epochs in turn.

    python -m benchmarks.fit [--pairs 11] [--width 8] [--depth 8] [--batch 64]

Both train in the same processes, one epoch of each in alternating order, after one epoch each to warm up. The ratio of
a pair is the time of the hand-written epoch divided by the time of fit's epoch: above 1, fit is faster. CPU time is
summed over ranks, and is more reliable than wall time if other programs use the machine. The hand-written loop against
itself shows how reliable a run is, since memory addresses stay the same within a process.

The hand-written loop is what a good tutorial shows: DataLoader, `zero_grad`, forward, backward, step, the loss summed
on the device, an evaluation without gradients; with two ranks, DistributedSampler and DistributedDataParallel with
their defaults.

Then the cost of recovering from a rank that runs out of memory (docs/decisions/0017): CPU time of one step on two ranks
with DistributedDataParallel alone, with fit but without the flag that ranks exchange, and with fit, in turn; and the
copy of all state that fit makes in host memory once per epoch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import start_processes
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

import hpsearch
from experiments.resnet import Augmented, Normalise, ResNet, load_images
from hpsearch.training.context import TrialContext, activate, current_trial
from hpsearch.training.data.loaders import Batch
from hpsearch.training.metrics import accuracy
from hpsearch.training.parallel import any_rank, leave
from hpsearch.training.schedule import LearningRates
from hpsearch.training.snapshot import Snapshot
from hpsearch.training.step import Learner, Recipe
from tests.support.ranks import meet, meeting_place

NUM_STEPS = 150
"""Number of timed steps of each kind."""
LARGE = {"width": 64, "depth": 20}
"""Size of a second network whose snapshot is timed."""


def make_model(images: torch.Tensor, *, width: int, depth: int) -> nn.Module:
    """A ResNet for these images; every call returns the same weights."""
    torch.manual_seed(0)
    return nn.Sequential(Normalise(images), ResNet(1, width, depth))


def make_optimizer(model: nn.Module) -> torch.optim.SGD:
    """The optimizer of every training here."""
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def by_hand(model: nn.Module, train_set: Dataset[Any], val_set: Dataset[Any], batch_size: int) -> Iterator[None]:
    """The hand-written loop; each `next` trains and evaluates one epoch."""
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    sampler: DistributedSampler[Any] | None = DistributedSampler(train_set) if world_size > 1 else None
    train_loader = DataLoader(train_set, batch_size // world_size, shuffle=sampler is None, sampler=sampler)
    val_sampler: Any = DistributedSampler(val_set, shuffle=False) if world_size > 1 else None
    val_loader = DataLoader(val_set, batch_size // world_size, sampler=val_sampler)
    replica = DistributedDataParallel(model) if world_size > 1 else model
    optimizer = make_optimizer(model)
    epoch = 0
    while True:
        if sampler is not None:
            sampler.set_epoch(epoch)
        model.train()
        total, correct = torch.zeros(1), torch.zeros(1)
        for inputs, targets in train_loader:
            optimizer.zero_grad()
            loss = cross_entropy(replica(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(targets)
        model.eval()
        val_total = torch.zeros(1)
        with torch.no_grad():
            for inputs, targets in val_loader:
                outputs = model(inputs)
                val_total += cross_entropy(outputs, targets) * len(targets)
                correct += (outputs.argmax(1) == targets).sum()
        sums = torch.cat([total, val_total, correct])
        if world_size > 1:
            dist.all_reduce(sums)
        sums.tolist()
        epoch += 1
        yield


def by_fit(model: nn.Module, train_set: Any, val_set: Any, batch_size: int) -> Iterator[Any]:
    """The same with `hpsearch.fit`."""
    optimizer = make_optimizer(model)
    metrics = {"val_accuracy": accuracy}
    yield from hpsearch.fit(
        model, train_set, val_set, loss=cross_entropy, optimizer=optimizer, batch_size=batch_size, metrics=metrics
    )


def timed(epochs: Iterator[Any]) -> torch.Tensor:
    """Seconds of the next epoch: float64, (2,), wall time (mean over ranks) and CPU time (summed over ranks)."""
    if dist.is_initialized():
        dist.barrier()
    start = time.perf_counter(), time.process_time()
    next(epochs)
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    costs = torch.tensor([wall, cpu], dtype=torch.float64)
    if dist.is_initialized():
        dist.all_reduce(costs)
        costs[0] /= dist.get_world_size()
    return costs


Loop = Callable[[nn.Module, Any, Any, int], Iterator[Any]]
"""Called with the model, both data sets and the batch size; each `next` of the result is one epoch."""


def compare(options: argparse.Namespace, *, augment: bool, loop: Loop = by_fit) -> list[torch.Tensor]:
    """Seconds of each pair of epochs: float64, (loop, time), that is (hand-written, `loop`) x (wall, CPU)."""
    images, labels, val_images, val_labels = load_images(None)
    train_set = Augmented(images, labels) if augment else TensorDataset(images, labels)
    sets = train_set, TensorDataset(val_images, val_labels)

    models = [make_model(images, width=options.width, depth=options.depth) for _ in range(2)]
    loops = [by_hand(models[0], *sets, options.batch), loop(models[1], *sets, options.batch)]
    for epochs in loops:
        timed(epochs)
    pairs = []
    for number in range(options.pairs):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        costs = {which: timed(loops[which]) for which in order}
        pairs.append(torch.stack([costs[0], costs[1]]))
    return pairs


def show(title: str, pairs: list[torch.Tensor]) -> None:
    """Print medians over pairs as one line."""
    hand, fit = (statistics.median(float(pair[which, 0]) for pair in pairs) for which in (0, 1))
    wall, cpu = (statistics.median(float(pair[0, axis] / pair[1, axis]) for pair in pairs) for axis in (0, 1))
    print(
        f"{title:34} by hand {hand:6.3f} s  fit {fit:6.3f} s  throughput {wall:.3f}  by CPU time {cpu:.3f}", flush=True
    )


def make_learner(images: torch.Tensor, *, width: int, depth: int) -> Learner:
    """The learner that `fit` makes from the same model and optimizer."""
    model = make_model(images, width=width, depth=depth)
    optimizer = make_optimizer(model)
    recipe = Recipe(
        precision="fp32", clip_norm=None, ema_decay=None, compile=False, channels_last=False, sync_batch_norm=False
    )
    rates = LearningRates(optimizer, scheduler=None, schedule=None)
    return Learner(model, loss=cross_entropy, optimizer=optimizer, recipe=recipe, rates=rates, context=current_trial())


def compare_steps(options: argparse.Namespace) -> dict[str, float]:
    """CPU milliseconds of one step on each of two ranks: name to median over steps that alternate."""
    images, labels, _, _ = load_images(None)
    share = options.batch // 2
    batch = Batch(images[:share], labels[:share], share, options.batch)
    replica = DistributedDataParallel(make_model(images, width=options.width, depth=options.depth))
    optimizer = make_optimizer(replica)
    learners = [make_learner(images, width=options.width, depth=options.depth) for _ in range(2)]

    def plain() -> None:
        optimizer.zero_grad()
        cross_entropy(replica(batch.inputs), batch.targets).backward()
        optimizer.step()

    def with_flag() -> None:
        learners[1].step(batch, share)
        any_rank(False, False)

    loops = {
        "DDP alone": forever(plain),
        "fit without the flag": forever(lambda: learners[0].step(batch, share)),
        "fit": forever(with_flag),
    }
    turns = [{name: float(timed(loop)[1]) / 2 for name, loop in loops.items()} for _ in range(NUM_STEPS)]
    return {name: statistics.median(turn[name] for turn in turns) * 1000 for name in loops}


def forever(step: Callable[[], object]) -> Iterator[None]:
    """Call `step` for each `next`."""
    while True:
        step()
        yield


def show_snapshot(width: int, depth: int) -> None:
    """Print the time of a snapshot of all state as one line, after a first one that allocates its memory."""
    images, labels, _, _ = load_images(None)
    learner = make_learner(images, width=width, depth=depth)
    learner.step(Batch(images[:8], labels[:8], 8, 8), 8)  # the optimizer has a state after it
    snapshot = Snapshot(learner.states(), learner.device)
    snapshot.capture()
    seconds = statistics.median(float(timed(forever(snapshot.capture))[0]) for _ in range(21))
    parameters = list(learner.eval_model.parameters())
    megabytes = 2 * sum(one.nbytes for one in parameters) / 1e6  # with their momentum
    print(f"copy of the state, {megabytes:.1f} MB".ljust(34), f"{seconds * 1000:.1f} ms an epoch", flush=True)


def run_rank(rank: int, options: argparse.Namespace, place: Path) -> None:
    """Measure and print, as one of two gloo ranks that meet at `place`."""
    torch.set_num_threads(1)
    meet(rank, 2, place)
    with activate(TrialContext(rank=rank, world_size=2, device="cpu")):
        pairs = compare(options, augment=False)
        steps = compare_steps(options)
    if rank == 0:
        show("two gloo ranks", pairs)
        print("CPU time of a step on each rank   ", ", ".join(f"{name} {ms:.2f} ms" for name, ms in steps.items()))
    leave()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    print(
        f"ResNet-{options.depth}, width {options.width}, digits, batch {options.batch}, {options.pairs} pairs",
        flush=True,
    )
    torch.set_num_threads(1)  # with more threads, waiting for each other would measure other programs
    with activate(TrialContext(device="cpu")):
        show("one process", compare(options, augment=False))
        show("one process, augmented", compare(options, augment=True))
        show("by hand twice, augmented", compare(options, augment=True, loop=by_hand))
        show_snapshot(options.width, options.depth)
        show_snapshot(**LARGE)
    with tempfile.TemporaryDirectory() as folder:
        start_processes(run_rank, (options, meeting_place(Path(folder))), nprocs=2, start_method="spawn")


if __name__ == "__main__":
    main()
