"""`fit`: the public training loop. This module checks its arguments and builds the parts that do the work.

The parts have modules of their own: the loop over epochs (`epochs.py`), one optimizer step (`step.py`), evaluation
(`evaluation.py`), batches (`data/loaders.py`), several ranks (`parallel.py`), number formats (`precision.py`), learning
rate schedules (`schedule.py`) and the average of the weights (`ema.py`).
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
from hpsearch.training.epochs import RESERVED_NAMES, EpochLoop, Length, Loaders, OnStep
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
    """Train a model, and yield its metrics after each epoch.

    `fit` is a generator, so a training function of a sweep is usually one `yield from hpsearch.fit(...)`. It trains in
    one process or in several ranks (DistributedDataParallel) without a change to the call, and shuffles with the
    trial's seed.

    Model, optimizer, scheduler and random states are registered with `current_trial().keep`, so that a paused or
    killed trial resumes after its last checkpoint. On a CPU the resumed trial gives the same numbers as an
    uninterrupted one, bit for bit.

    When a GPU runs out of memory, all ranks halve their micro-batch and repeat the epoch from its start. The samples
    of an optimizer step stay the same, so the hyperparameters keep their meaning; only batch norm sees smaller batches.

    Args:
        model: The model; `fit` moves it to the trial's device.
        train_set: Map-style data set of the training samples, shuffled in each epoch. Each sample is a pair of inputs
            and targets, and each of the two is a tensor or a list, tuple or dict of tensors.
        val_set: The validation set, with samples of the same form. Its order is kept.
        loss: Called with (outputs, targets) of a batch; returns the mean loss of its samples, a scalar tensor. A module
            is moved to the trial's device. With several workers it must not have trainable parameters.
        optimizer: Any optimizer of `torch.optim` that needs no closure, made from the parameters of `model` on any
            device.
        batch_size: Samples of one optimizer step over all workers and micro-batches; a multiple of the number of
            workers times `accumulate`. Its meaning does not depend on the number of workers.
        epochs: Epochs to train; None trains until the caller stops asking for the next epoch. A sweep stops asking at
            `limits.epochs`; elsewhere use a slice, `itertools.islice(fit(...), 10)`.
        steps: Optimizer steps of the whole trial, at least 1; the epoch in which they are used up is the last one. None
            sets no limit.
        scheduler: A learning rate scheduler of `torch.optim.lr_scheduler`, stepped once per epoch. ReduceLROnPlateau
            gets each new `val_loss`.
        schedule: A built-in schedule instead of `scheduler`, stepped after each optimizer step: `constant`, or `cosine`
            or `linear` decay to 0 at the end of training, which `epochs` or `steps` must then set.
        warmup_epochs: Epochs, or a fraction of one, in which the learning rate first rises linearly to its full value.
            Not together with `scheduler`.
        metrics: Name to function for more columns computed on the validation set. Each function gets (outputs, targets)
            of a batch and returns one value per sample or their mean; see `hpsearch.training.metrics`.
        eval_every: Evaluate after every so many epochs, at least 1, and always after the first and the last. The
            epochs between repeat the values of the last evaluation, and `val_epoch` is the epoch of that evaluation.
        eval_batch_size: Samples of one evaluation step over all workers; None uses `batch_size`.
        accumulate: Micro-batches into which each worker splits its share of a batch; their gradients are accumulated.
            More of them need less memory and more time.
        precision: `fp32`, `tf32`, `bf16` or `fp16`; None uses the precision of the spec.
        clip_norm: Largest norm of the gradient over all parameters; a longer gradient is scaled down to it. None does
            not clip.
        ema_decay: Evaluate an exponential moving average of the weights instead of the weights. Each step keeps this
            share of the average; in [0, 1), for example 0.999. None keeps no average.
        compile: True compiles the model with `torch.compile`; a text names another backend.
        channels_last: Use the channels-last memory format for the model and for inputs of shape (batch, channel,
            height, width). It is the fastest one for 16-bit convolutions on GPUs.
        sync_batch_norm: Compute batch norm statistics over all workers; only on GPUs.
        on_step: Called after each optimizer step with the number of steps of the trial so far, and the sum of the
            losses of this rank's samples: a float64 scalar tensor on the trial's device. Reading its value
            synchronises with the GPU.

    Yields:
        The metrics of one epoch, by name:

        - `train_loss`: mean loss of the training samples, while the weights changed.
        - `val_loss` and one value for each of `metrics`: exact means over the validation set.
        - `micro_batch`: samples of one forward pass on each worker.
        - `lr`: learning rate of the first parameter group at the first step of the epoch; only with a schedule or
          scheduler.
        - `val_epoch`: epoch of the validation values, from 1; only with `eval_every` above 1.
        - `skipped_steps`: steps of the epoch that were skipped because their gradients overflowed; only in fp16.
        - `gpu0_peak_gib`, `gpu1_peak_gib`, ...: peak memory of each GPU, GiB; only with `parallel: dp`.

    Raises:
        InvalidConfig: A hyperparameter is out of range, for example a batch size that can't be split over the workers.
            The trial fails, and the search method avoids such configurations.
        Diverged: The training loss is NaN or infinite. It is checked every 50 steps and at the end of each epoch.
        ValueError: The call itself is wrong: both `scheduler` and `schedule`, a metric with a reserved name, an empty
            data set.
        torch.OutOfMemoryError: A micro-batch of one sample does not fit into GPU memory.

    Example:
        >>> from torch.nn.functional import cross_entropy
        >>> from hpsearch.training.metrics import accuracy
        >>> def train(config):
        ...     model = make_model(config["width"])
        ...     optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"])
        ...     yield from hpsearch.fit(
        ...         model, train_set, val_set, loss=cross_entropy, optimizer=optimizer,
        ...         batch_size=config["batch_size"], metrics={"val_accuracy": accuracy},
        ...     )
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
    micro_batch_size = _micro_batch_size(batch_size, accumulate, context.world_size)
    workers = LoaderWorkers(context)
    train_loader, val_loader = (
        make_loader(dataset, batch_size=size, train=train, context=context, workers=workers)
        for dataset, size, train in ((train_set, batch_size, True), (val_set, eval_batch_size or batch_size, False))
    )
    length = Length.of(epochs=epochs, steps=steps, steps_per_epoch=len(train_loader))
    by_step = _step_schedule(optimizer, schedule, warmup_epochs, length)
    if scheduler is not None and by_step is not None:
        raise ValueError(
            "fit: use either scheduler, or schedule and warmup_epochs, not both. With a scheduler of your own, make the"
            " warm-up a part of it."
        )
    rates = LearningRates(optimizer, scheduler=scheduler, schedule=by_step)
    learner = Learner(model, loss=loss, optimizer=optimizer, recipe=recipe, rates=rates, context=context)
    data = Loaders(train=train_loader, val=val_loader, num_val=len(val_set))
    every = _at_least_1("eval_every", eval_every)
    eval_share = max(1, (eval_batch_size or batch_size) // context.world_size)
    loop = EpochLoop(
        learner,
        data,
        micro_batch=micro_batch_size,
        eval_micro_batch=eval_share,
        length=length,
        metrics=metrics,
        eval_every=every,
        on_step=on_step,
    )
    with tensor_cores(recipe.precision), closing(workers):
        for epoch_metrics in loop.run(context.keep(**loop.states())):
            yield epoch_metrics
            if context.is_over:
                return


def _step_schedule(
    optimizer: Optimizer, kind: Schedule | None, warmup_epochs: float, length: Length
) -> LRScheduler | None:
    """The scheduler that is stepped after each optimizer step; None without a schedule and a warm-up."""
    if kind is None and not warmup_epochs:
        return None
    if warmup_epochs < 0:
        raise InvalidConfig(f"warmup_epochs must be at least 0, got {warmup_epochs}.")
    warmup_steps = round(warmup_epochs * length.steps_per_epoch)
    return make_schedule(optimizer, kind or "constant", warmup_steps=warmup_steps, total_steps=length.steps)


def _check_metrics(metrics: Mapping[str, Metric]) -> None:
    reserved = RESERVED_NAMES & metrics.keys()
    if reserved:
        raise ValueError(f"metrics: the name {min(reserved)} is reserved for fit. Use another one.")


def _micro_batch_size(batch_size: int, accumulate: int, world_size: int) -> int:
    """Samples of one forward pass on each rank."""
    num_parts = world_size * accumulate
    if accumulate < 1 or batch_size < 1 or batch_size % num_parts:
        raise InvalidConfig(
            f"batch_size {batch_size} can't be split over {world_size} workers with {accumulate} micro-batches each"
            f" (accumulate). Use a multiple of {num_parts}."
        )
    return batch_size // num_parts


def _at_least_1(name: str, value: int) -> int:
    if value < 1:
        raise InvalidConfig(f"{name} must be at least 1, got {value}.")
    return value
