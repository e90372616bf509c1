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
from hpsearch.training.data import Loader
from hpsearch.training.evaluation import Metric, evaluate
from hpsearch.training.parallel import sum_over_ranks
from hpsearch.training.step import Learner
from hpsearch.training.trial import Stateful

Row = dict[str, float]
OnStep = Callable[[int, Tensor], None]
"""(optimizer steps done in the trial, sum of the losses of this rank's samples in that step, on the device)."""

OWN_COLUMNS = frozenset({"train_loss", "val_loss", "lr", "val_epoch", "skipped_steps", "micro_batch"})
"""Names that no metric may have."""


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
class Data:
    """Loaders of this rank."""

    train: Loader
    val: Loader
    num_val: int
    """Samples of the validation set, over all ranks."""


@final
class Epochs:
    """Trains epoch after epoch.

    Args:
        learner: What is trained.
        data: What it is trained on.
        piece_size: Samples of one forward pass on each rank.
        length: Where to end.
        metrics: Column name to what is computed of it.
        eval_every: Epochs from one evaluation to the next.
        on_step: Called after each step.
    """

    def __init__(
        self,
        learner: Learner,
        data: Data,
        *,
        piece_size: int,
        length: Length,
        metrics: Mapping[str, Metric],
        eval_every: int,
        on_step: OnStep | None,
    ) -> None:
        self._learner, self._data, self._length, self._piece_size = learner, data, length, piece_size
        self._metrics, self._eval_every, self._on_step = metrics, eval_every, on_step
        self._progress = _Progress()

    def states(self) -> dict[str, Stateful]:
        """Everything that a checkpoint has to hold."""
        return {**self._learner.states(), "progress": self._progress}

    def rows(self, start: int) -> Iterator[Row]:
        """One row for each epoch.

        Args:
            start: Epochs done before.
        """
        for epoch in self._length.epochs_from(start):
            yield self._epoch(epoch)

    def _epoch(self, epoch: int) -> Row:
        lr = self._learner.rates.column()
        train_sum, num_train = self._train(epoch)
        is_last = epoch + 1 == self._length.epochs
        is_evaluated = epoch == 0 or (epoch + 1) % self._eval_every == 0 or is_last
        sums = [train_sum, evaluate(self._learner, self._data.val, self._metrics)] if is_evaluated else [train_sum]
        train_total, *val_totals = sum_over_ranks(torch.cat(sums)).tolist()  # the epoch's one transfer to the host
        self._check_finite(train_total, epoch)
        if is_evaluated:
            values = (total / self._data.num_val for total in val_totals)
            self._progress.validated = dict(zip(("val_loss", *self._metrics), values, strict=True))
            self._progress.val_epoch = epoch + 1
        self._learner.rates.after_epoch(self._progress.validated["val_loss"] if is_evaluated else None)
        return {"train_loss": train_total / num_train} | self._progress.validated | lr | self._facts()

    def _train(self, epoch: int) -> tuple[Tensor, int]:
        """One epoch.

        Returns:
            The sum of the losses of this rank's samples, float64, (1,), on the device; and samples over all ranks.
        """
        learner, data = self._learner, self._data
        data.train.set_epoch(epoch)
        learner.begin()
        done = epoch * self._length.steps_per_epoch
        total, num_train = torch.zeros(1, dtype=torch.float64, device=learner.device), 0
        for batch in islice(data.train, self._length.steps_of(epoch)):
            loss_sum = learner.step(batch, self._piece_size)
            total += loss_sum
            num_train += batch.num_global
            done += 1
            if self._on_step is not None:
                self._on_step(done, loss_sum)
        return total, num_train

    def _check_finite(self, train_total: float, epoch: int) -> None:
        """In fp16 a batch may overflow and leave the weights unharmed, since its step is skipped; not all may."""
        harmless = self._learner.scales and self._learner.skipped_steps < self._length.steps_of(epoch)
        if not math.isfinite(train_total) and not harmless:
            raise Diverged(f"the training loss of epoch {epoch + 1} is {train_total}")

    def _facts(self) -> Row:
        """What a row says beside losses and metrics."""
        facts: Row = {"micro_batch": self._piece_size}
        if self._learner.scales:
            facts["skipped_steps"] = self._learner.skipped_steps
            self._learner.skipped_steps = 0
        if self._eval_every > 1:
            facts["val_epoch"] = self._progress.val_epoch
        return facts


@final
class _Progress:
    """What rows are made of and no model knows."""

    def __init__(self) -> None:
        self.validated: Row = {}
        self.val_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)
