"""The loop over epochs: how long it goes on, what an epoch's row says, what a checkpoint holds beside the model."""

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
OnStep = Callable[[int, Tensor], None]
"""(optimizer steps done in the trial, sum of the losses of this rank's samples in that step, on the device)."""

OWN_COLUMNS = frozenset({"train_loss", "val_loss", "lr", "val_epoch", "skipped_steps", "micro_batch"})
"""Names that no metric may have."""
FINITE_EVERY = 50
"""Steps after which the training loss is looked at: a GPU is waited for, which costs more the more often."""


@final
@dataclass(frozen=True, kw_only=True)
class Length:
    """How far a trial goes."""

    steps_per_epoch: int
    """Optimizer steps of a whole epoch."""
    epochs: int | None
    """The last one may be a part; None for no end."""
    steps: int | None
    """Optimizer steps of the trial; None for no end."""

    @classmethod
    def of(cls, *, epochs: int | None, steps: int | None, steps_per_epoch: int) -> Length:
        """The shorter of two limits, each of which may be missing.

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
        """The epochs to come, counted from 0."""
        return count(start) if self.epochs is None else range(start, self.epochs)

    def steps_of(self, epoch: int) -> int:
        """Optimizer steps of one epoch."""
        before = epoch * self.steps_per_epoch
        return self.steps_per_epoch if self.steps is None else min(self.steps_per_epoch, self.steps - before)


@final
@dataclass(frozen=True, kw_only=True)
class Loaders:
    """Loaders of this rank."""

    train: Loader
    val: Loader
    num_val: int
    """Samples of the validation set, over all ranks."""


@final
class EpochLoop:
    """Trains epoch after epoch.

    Args:
        learner: What is trained.
        data: What it is trained on.
        micro_batch: Samples of one forward pass on each rank, in training.
        eval_micro_batch: The same, in evaluation.
        length: Where to end.
        metrics: Column name to what is computed of it.
        eval_every: Epochs from one evaluation to the next.
        on_step: Called after each step.
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
        """Everything that a checkpoint has to hold."""
        return {**self._learner.states(), "progress": self._progress}

    def rows(self, start: int) -> Iterator[Metrics]:
        """One row for each epoch.

        Args:
            start: Epochs done before.
        """
        for epoch in self._length.epochs_from(start):
            yield self._epoch(epoch)

    def _epoch(self, epoch: int) -> Metrics:
        lr = self._learner.rates.metrics()
        train_sum, num_train = self._train(epoch)
        is_last = epoch + 1 == self._length.epochs
        is_evaluated = epoch == 0 or (epoch + 1) % self._eval_every == 0 or is_last
        sums = [train_sum, self._evaluate()] if is_evaluated else [train_sum]
        train_total, *val_totals = sum_over_ranks(torch.cat(sums)).tolist()  # the epoch's one transfer to the host
        self._check_finite(train_total, epoch)
        if is_evaluated:
            values = (total / self._data.num_val for total in val_totals)
            self._progress.validated = dict(zip(("val_loss", *self._metrics), values, strict=True))
            self._progress.val_epoch = epoch + 1
        self._learner.rates.after_epoch(self._progress.validated["val_loss"] if is_evaluated else None)
        return {"train_loss": train_total / num_train} | self._progress.validated | lr | self._facts()

    def _train(self, epoch: int) -> tuple[Tensor, int]:
        """One epoch, from its start again with half the micro-batch for as long as memory is short.

        Returns:
            The sum of the losses of this rank's samples, float64, (1,), on the device; and samples over all ranks.
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
        """The same; None if any rank ran out of memory, and then every rank stopped after the same step."""
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
            is_odd = done % FINITE_EVERY == 0 and not learner.may_skip_steps and not math.isfinite(total.item())
            ran_out, diverged = any_rank(micro_batch.ran_out_of_memory, is_odd)
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
        """Sums of this rank's samples, with ever smaller micro-batches for as long as memory is short."""
        rng = get_rng_states(self._learner.device)
        while True:
            sums = evaluate(self._learner, self._data.val, self._metrics, self._eval_micro_batch)
            if any_rank(self._eval_micro_batch.ran_out_of_memory) == [False]:
                return sums
            self._eval_micro_batch.halve()
            self._data.val.close()
            set_rng_states(rng, self._learner.device)

    def _check_finite(self, train_total: float, epoch: int) -> None:
        """In fp16 a batch may overflow and leave the weights unharmed, since its step is skipped; not all may."""
        harmless = self._learner.may_skip_steps and self._learner.skipped_steps < self._length.steps_of(epoch)
        if not math.isfinite(train_total) and not harmless:
            raise Diverged(f"the training loss of epoch {epoch + 1} is {train_total}")

    def _facts(self) -> Metrics:
        """What a row says beside losses and metrics."""
        context = current_trial()
        facts: Metrics = gpu_peak_memory(device=context.device, parallel=context.parallel) | {
            "micro_batch": self._micro_batch.size
        }
        if self._learner.may_skip_steps:
            facts["skipped_steps"] = self._learner.skipped_steps
        if self._eval_every > 1:
            facts["val_epoch"] = self._progress.val_epoch
        return facts


@final
class _Progress:
    """What a checkpoint holds beside the model and all that changes it."""

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
            micro_batch.size = min(micro_batch.size, size)  # other ranks may be at it now, with other shares
