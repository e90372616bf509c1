"""The loop over epochs: its length, the metrics of each epoch, and the progress that a checkpoint contains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, final

import torch
from torch import Tensor

from hpsearch.errors import Diverged, InvalidConfig
from hpsearch.training.context import current_trial
from hpsearch.training.data.loaders import Loader
from hpsearch.training.evaluation import Metric, evaluate
from hpsearch.training.oom import MicroBatch
from hpsearch.training.parallel import any_rank, gpu_peak_memory, sum_over_ranks
from hpsearch.training.rng import get_rng_states, set_rng_states
from hpsearch.training.snapshot import Snapshot
from hpsearch.training.stateful import Stateful
from hpsearch.training.step import Learner

Metrics = dict[str, float]
"""Name to value: the metrics of one epoch."""
OnStep = Callable[[int, Tensor], None]
"""Called with the number of optimizer steps done in the trial, and the sum of the losses of this rank's samples in the
step: float64, (), on the trial's device."""

RESERVED_NAMES = frozenset({"train_loss", "val_loss", "lr", "val_epoch", "skipped_steps", "micro_batch"})
"""Names that no metric of the user may have."""
FINITE_EVERY = 50
"""The training loss is checked for NaN and infinity after every so many steps, since each check waits for the GPU."""


@final
@dataclass(frozen=True, kw_only=True)
class Length:
    """The length of a training."""

    steps_per_epoch: int
    """Optimizer steps of a full epoch."""
    epochs: int | None
    """Epochs of the training, of which the last may be shorter; None for no limit."""
    steps: int | None
    """Optimizer steps of the training; None for no limit."""

    @classmethod
    def of(cls, *, epochs: int | None, steps: int | None, steps_per_epoch: int) -> Length:
        """The shorter of two limits.

        Args:
            epochs: Epochs of the training; None for no limit.
            steps: Optimizer steps of the training, at least 1; None for no limit.
            steps_per_epoch: Optimizer steps of a full epoch.

        Raises:
            InvalidConfig: `steps` is below 1.
        """
        if steps is not None and steps < 1:
            raise InvalidConfig(f"steps must be at least 1, got {steps}.")
        limits = [steps, None if epochs is None else epochs * steps_per_epoch]
        total = min((limit for limit in limits if limit is not None), default=None)
        last = None if total is None else math.ceil(total / steps_per_epoch)
        return cls(steps_per_epoch=steps_per_epoch, epochs=last, steps=total)

    def epochs_from(self, start: int) -> Iterable[int]:
        """The epochs to train, counted from 0, after `start` epochs are done."""
        return count(start) if self.epochs is None else range(start, self.epochs)

    def steps_of(self, epoch: int) -> int:
        """Optimizer steps of one epoch, which is counted from 0."""
        before = epoch * self.steps_per_epoch
        return self.steps_per_epoch if self.steps is None else min(self.steps_per_epoch, self.steps - before)


@final
@dataclass(frozen=True, kw_only=True)
class Loaders:
    """The data loaders of this rank."""

    train: Loader
    """Batches of the training set."""
    val: Loader
    """Batches of the validation set."""
    num_val: int
    """Number of samples of the whole validation set."""


@final
class EpochLoop:
    """Trains and evaluates epoch after epoch.

    Args:
        learner: The model with its loss and optimizer.
        data: The data loaders of this rank.
        micro_batch: Samples of one forward pass on each rank in training.
        eval_micro_batch: Samples of one forward pass on each rank in evaluation.
        length: The length of the training.
        metrics: Name to metric, computed on the validation set.
        eval_every: Evaluate after every so many epochs.
        on_step: Called after each optimizer step; None for nothing.
    """

    def __init__(
        self,
        learner: Learner,
        data: Loaders,
        *,
        micro_batch: int,
        eval_micro_batch: int,
        length: Length,
        metrics: Mapping[str, Metric],
        eval_every: int,
        on_step: OnStep | None,
    ) -> None:
        self._learner, self._data, self._length = learner, data, length
        self._metrics, self._eval_every, self._on_step = metrics, eval_every, on_step
        self._micro_batch = MicroBatch(micro_batch, phase="training", is_recoverable=learner.can_abort_alone)
        self._eval_micro_batch = MicroBatch(eval_micro_batch, phase="evaluation")
        self._progress = _Progress(self._micro_batch, self._eval_micro_batch)
        self._snapshot = Snapshot(learner.states(), learner.device)

    def states(self) -> dict[str, Stateful]:
        """Name to object: everything that a checkpoint must contain."""
        return {**self._learner.states(), "progress": self._progress}

    def run(self, start: int) -> Iterator[Metrics]:
        """Train, and yield the metrics of each epoch.

        Args:
            start: Number of epochs that are already done.
        """
        for epoch in self._length.epochs_from(start):
            yield self._epoch(epoch)

    def _epoch(self, epoch: int) -> Metrics:
        """Train one epoch, counted from 0, and evaluate after it if an evaluation is due."""
        lr = self._learner.rates.metrics()
        train_sum, num_train = self._train(epoch)
        is_last = epoch + 1 == self._length.epochs
        is_evaluated = epoch == 0 or (epoch + 1) % self._eval_every == 0 or is_last
        sums = [train_sum, self._evaluate()] if is_evaluated else [train_sum]
        train_total, *val_totals = sum_over_ranks(torch.cat(sums)).tolist()  # the only transfer to the host in an epoch
        self._check_finite(train_total, epoch)
        if is_evaluated:
            values = (total / self._data.num_val for total in val_totals)
            self._progress.validated = dict(zip(("val_loss", *self._metrics), values, strict=True))
            self._progress.val_epoch = epoch + 1
        self._learner.rates.after_epoch(self._progress.validated["val_loss"] if is_evaluated else None)
        return {"train_loss": train_total / num_train} | self._progress.validated | lr | self._run_metrics()

    def _train(self, epoch: int) -> tuple[Tensor, int]:
        """Train one epoch; after running out of memory, repeat it with half the micro-batch until it fits.

        Returns:
            The sum of the losses of this rank's samples: float64, (1,), on the device. And the number of samples over
            all ranks.
        """
        self._snapshot.capture()
        while (trained := self._try_to_train(epoch)) is None:
            self._micro_batch.halve()
            self._data.train.close()
            self._learner.restart()
            self._snapshot.restore()
        self._learner.end_epoch()
        return trained

    def _try_to_train(self, epoch: int) -> tuple[Tensor, int] | None:
        """Like `_train`, but None if any rank ran out of memory; then all ranks have stopped after the same step."""
        learner, micro_batch = self._learner, self._micro_batch
        self._data.train.set_epoch(epoch)
        learner.begin_epoch()
        done = epoch * self._length.steps_per_epoch
        total, num_train = torch.zeros(1, dtype=torch.float64, device=learner.device), 0
        for batch in islice(self._data.train, self._length.steps_of(epoch)):
            loss_sum = micro_batch.run(learner.step, batch, micro_batch.size)
            if loss_sum is None:
                learner.abort_step()
            else:
                total += loss_sum
            done += 1
            is_checked = done % FINITE_EVERY == 0 and not learner.may_skip_steps
            has_diverged = is_checked and not math.isfinite(total.item())
            ran_out, diverged = any_rank(micro_batch.ran_out_of_memory, has_diverged)
            if ran_out:
                return None
            if diverged:
                raise Diverged(f"the training loss is not finite after step {done}, in epoch {epoch + 1}")
            num_train += batch.num_global
            if self._on_step is not None:
                assert loss_sum is not None
                self._on_step(done, loss_sum)
        return total, num_train

    def _evaluate(self) -> Tensor:
        """The sums of `evaluate`; after running out of memory, repeated with half the micro-batch until it fits."""
        rng = get_rng_states(self._learner.device)
        while True:
            sums = evaluate(self._learner, self._data.val, self._metrics, self._eval_micro_batch)
            if any_rank(self._eval_micro_batch.ran_out_of_memory) == [False]:
                return sums
            self._eval_micro_batch.halve()
            self._data.val.close()
            set_rng_states(rng, self._learner.device)

    def _check_finite(self, train_total: float, epoch: int) -> None:
        """Raise Diverged if the loss of the epoch is NaN or infinite.

        In fp16 the loss of a batch may overflow without harm, since its step is skipped, unless all steps are.
        """
        is_harmless = self._learner.may_skip_steps and self._learner.skipped_steps < self._length.steps_of(epoch)
        if not math.isfinite(train_total) and not is_harmless:
            raise Diverged(f"the training loss of epoch {epoch + 1} is {train_total}")

    def _run_metrics(self) -> Metrics:
        """The metrics of an epoch that describe how it ran: memory, micro-batch, skipped steps, last evaluation."""
        context = current_trial()
        found: Metrics = gpu_peak_memory(device=context.device, parallel=context.parallel) | {
            "micro_batch": self._micro_batch.size
        }
        if self._learner.may_skip_steps:
            found["skipped_steps"] = self._learner.skipped_steps
        if self._eval_every > 1:
            found["val_epoch"] = self._progress.val_epoch
        return found


@final
class _Progress:
    """The progress of the loop in a checkpoint: the last evaluation and the micro-batch sizes."""

    def __init__(self, *micro_batches: MicroBatch) -> None:
        self.validated: Metrics = {}
        self.val_epoch = 0
        self._micro_batches = micro_batches

    def state_dict(self) -> dict[str, Any]:
        sizes = [micro_batch.size for micro_batch in self._micro_batches]
        return {"validated": self.validated, "val_epoch": self.val_epoch, "micro_batches": sizes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validated, self.val_epoch = state_dict["validated"], state_dict["val_epoch"]
        for micro_batch, size in zip(self._micro_batches, state_dict["micro_batches"], strict=True):
            micro_batch.size = min(micro_batch.size, size)  # a resume with more ranks has smaller shares
