"""`fit`: what a user can say about training, checked and handed to who does it.

Not here: epochs and rows (`epochs.py`), one step (`step.py`), evaluation (`evaluation.py`), which samples a step sees
(`training/data/loaders.py`), how ranks talk (`parallel.py`), number formats (`precision.py`), learning rates
(`schedule.py`), the weights' average (`ema.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hpsearch.errors import InvalidConfig
from hpsearch.training.context import current_trial
from hpsearch.training.data.loaders import LoaderWorkers, SizedDataset, make_loader
from hpsearch.training.epochs import OWN_COLUMNS, EpochLoop, Length, Loaders, OnStep
from hpsearch.training.evaluation import Metric
from hpsearch.training.precision import tensor_cores
from hpsearch.training.schedule import LearningRates, Schedule, make_schedule
from hpsearch.training.step import Learner, Loss, Recipe


def fit(  # noqa: PLR0913  # one flat list is what a config is spread over, and what an editor shows
    model: nn.Module,
    train_set: SizedDataset,
    val_set: SizedDataset,
    *,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int,
    epochs: int | None = None,
    steps: int | None = None,
    scheduler: LRScheduler | None = None,
    schedule: Schedule | None = None,
    warmup_epochs: float = 0.0,
    metrics: Mapping[str, Metric] | None = None,
    eval_every: int = 1,
    eval_batch_size: int | None = None,
    accumulate: int = 1,
    precision: str | None = None,
    clip_norm: float | None = None,
    ema_decay: float | None = None,
    compile: bool | str = False,
    channels_last: bool = False,
    sync_batch_norm: bool = False,
    on_step: OnStep | None = None,
) -> Iterator[dict[str, float]]:
    """Train, and yield one row of metrics for each epoch.

    Everything is kept (`current_trial().keep`), so a trial that is paused or killed goes on where it was. On a CPU it
    then gives the same numbers, bit for bit.

    Args:
        model: Moved to the trial's device. The optimizer was made of its parameters, on whatever device.
        train_set: Samples are pairs of inputs and targets: tensors, or lists and dicts of tensors.
        val_set: The same.
        loss: Mean over a batch's samples; a module is moved to the device too. With several workers it must have no
            parameters to train.
        optimizer: Any of `torch.optim`'s that needs no closure.
        batch_size: Samples of one optimizer step, over all workers: what it means does not change with their number.
        epochs: None goes on until nobody asks for another row, which a sweep does at `limits.epochs`. By hand, take a
            slice: `itertools.islice(fit(...), 10)`.
        steps: Optimizer steps of the whole trial; the epoch in which they end is the last. None for no limit.
        scheduler: Stepped once an epoch; ReduceLROnPlateau is given each new `val_loss`.
        schedule: Instead of a scheduler: `constant`, or `cosine` or `linear` down to 0 at the end that `epochs` or
            `steps` set; stepped after each optimizer step.
        warmup_epochs: Over so many epochs, or parts of one, the rate rises linearly before `schedule` begins.
        metrics: Column name to what is computed of it on the validation set.
        eval_every: Epochs from one evaluation to the next; the first and the last are always evaluated. The rows
            between repeat the values of the last evaluation, and `val_epoch` says of which epoch they are.
        eval_batch_size: Samples of one evaluation step over all workers; None for `batch_size`.
        accumulate: Pieces that each worker cuts its share of a batch into, one after another, to save memory.
        precision: `fp32`, `tf32`, `bf16` or `fp16`; None for the spec's.
        clip_norm: Gradients whose norm, over all parameters, is above this are scaled down to it. None for no limit.
        ema_decay: Evaluate an exponential moving average of the weights, of which each step keeps this share, in
            [0, 1). None for the weights themselves.
        compile: Compile the model, with PyTorch's own compiler or the one of this name.
        channels_last: Images, (batch, channel, height, width), and their weights are laid out with channels last,
            which convolutions in 16 bits on GPUs are fastest with.
        sync_batch_norm: Batch norms take their statistics over all workers; GPUs only.
        on_step: Called after each optimizer step with the number of steps done in the trial and the sum of the losses
            of this rank's samples, a tensor on the device: reading its value each time makes a GPU wait.

    Yields:
        `train_loss` (mean over the epoch, while the weights moved), `val_loss`, the metrics, `micro_batch` (samples of
        one forward pass on each worker); with a schedule `lr`, the rate of the first parameter group at the epoch's
        first step; in fp16 `skipped_steps`, those of the epoch whose gradients overflowed. Means over samples, exact.

    Raises:
        InvalidConfig: A value that may come from the search does not fit.
        Diverged: The training loss is not finite; looked at every 50 steps and at the end of the epoch.
        ValueError: Arguments contradict each other.

    Example:
        >>> rows = fit(model, train_set, val_set, loss=F.cross_entropy, optimizer=optimizer,  # doctest: +SKIP
        ...            batch_size=64, epochs=3, metrics={"val_accuracy": accuracy})
        >>> for row in rows:  # doctest: +SKIP
        ...     print(row)
    """
    context, metrics = current_trial(), metrics or {}
    recipe = Recipe(
        precision=precision or context.precision,
        clip_norm=clip_norm,
        ema_decay=ema_decay,
        compile=compile,
        channels_last=channels_last,
        sync_batch_norm=sync_batch_norm,
    )
    _check_metrics(metrics)
    piece_size = _piece_size(batch_size, accumulate, context.world_size)
    processes = LoaderWorkers(context)
    train_loader, val_loader = (
        make_loader(dataset, batch_size=size, train=train, context=context, processes=processes)
        for dataset, size, train in ((train_set, batch_size, True), (val_set, eval_batch_size or batch_size, False))
    )
    length = Length.of(epochs=epochs, steps=steps, steps_per_epoch=len(train_loader))
    by_step = _step_schedule(optimizer, schedule, warmup_epochs, length)
    if scheduler is not None and by_step is not None:
        raise ValueError("fit takes scheduler, or schedule and warmup_epochs, not both: put the warm-up into yours.")
    rates = LearningRates(optimizer, scheduler=scheduler, schedule=by_step)
    learner = Learner(model, loss=loss, optimizer=optimizer, recipe=recipe, rates=rates, context=context)
    data = Loaders(train=train_loader, val=val_loader, num_val=len(val_set))
    every = _at_least_1("eval_every", eval_every)
    eval_share = max(1, (eval_batch_size or batch_size) // context.world_size)
    loop = EpochLoop(
        learner,
        data,
        micro_batch=piece_size,
        eval_micro_batch=eval_share,
        length=length,
        metrics=metrics,
        eval_every=every,
        on_step=on_step,
    )
    with tensor_cores(recipe.precision), closing(processes):
        for row in loop.rows(context.keep(**loop.states())):
            yield row
            if context.is_over:
                return


def _step_schedule(
    optimizer: Optimizer, kind: Schedule | None, warmup_epochs: float, length: Length
) -> LRScheduler | None:
    if kind is None and not warmup_epochs:
        return None
    if warmup_epochs < 0:
        raise InvalidConfig(f"warmup_epochs must be at least 0, got {warmup_epochs}.")
    warmup_steps = round(warmup_epochs * length.steps_per_epoch)
    return make_schedule(optimizer, kind or "constant", warmup_steps=warmup_steps, total_steps=length.steps)


def _check_metrics(metrics: Mapping[str, Metric]) -> None:
    taken = OWN_COLUMNS & metrics.keys()
    if taken:
        raise ValueError(f"metrics: the name {min(taken)} is fit's own. Use another.")


def _piece_size(batch_size: int, accumulate: int, world_size: int) -> int:
    """Samples of one forward pass on each rank."""
    pieces = world_size * accumulate
    if accumulate < 1 or batch_size < 1 or batch_size % pieces:
        raise InvalidConfig(
            f"batch_size {batch_size} can't be split over {world_size} workers times {accumulate} pieces"
            f" (accumulate). Use a multiple of {pieces}."
        )
    return batch_size // pieces


def _at_least_1(name: str, value: int) -> int:
    if value < 1:
        raise InvalidConfig(f"{name} must be at least 1, got {value}.")
    return value
