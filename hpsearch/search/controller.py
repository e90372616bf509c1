"""The controller: a recurrent network that writes configurations token by token, trained by reinforcement learning.

An LSTM reads the choices made so far and gives the probabilities of the next one; parameters that are inactive by these
choices are skipped. REINFORCE makes choices more likely whose loss was better than a moving baseline. The network needs
torch in the driver and runs on the CPU.

The policy is a pure function of the outcomes in the order of their trials' numbers, whatever order they arrive in:
there is one update for each block of BLOCK trials. A late outcome, or a longer one of a trial that was promoted, resets
the policy to the start of its block. So a resumed sweep has the same policy as an uninterrupted one.

Source:
    Zoph and Le, "Neural Architecture Search with Reinforcement Learning", arXiv:1611.01578, sections 3.1 and 3.2.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.search.tokens import Tokens, Vocabulary
from hpsearch.space.space import Point, Space

BLOCK = 5
"""Trials in one update."""
HIDDEN = 48
"""Width of the LSTM and of the embeddings of tokens."""
LEARNING_RATE = 0.02
"""Learning rate of Adam."""
ENTROPY_BONUS = 0.2
"""Weight of the policy's entropy, in nats per choice, beside the reward, whose standard deviation is about 1."""
BASELINE_DECAY = 0.9
"""Weight of the old baseline in the moving average of the blocks' mean rewards."""
MAX_REWARD = 3.0
"""Bound of a reward, in standard deviations."""
MAX_SCORE = 2.0
"""Bound of the logits, so that every choice keeps some probability; see Bello et al., arXiv:1611.09940."""
TEMPERATURE_STEP = 0.5
"""Added to the softmax temperature, which is 1, each time that a proposal is refused, for example because its point was
tried before. So a policy that has converged proposes similar points, and `Searcher.ask` needs fewer random ones."""
INIT_SCALE = 0.08
"""Weights are initialised uniformly in [-0.08, 0.08], as in the paper: all choices are about equally likely."""
MAX_GRADIENT = 1.0
"""Norm to which gradients are clipped."""
NO_TOKEN = -1
"""Marks an inactive parameter, which has no token."""
KEPT = 16
"""Number of learners that are kept for the newest blocks; of the older ones, every KEPT-th is kept."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: for small tensors, more threads gain nothing, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@final
class Policy(nn.Module):
    """An LSTM that gives the probabilities of one choice after another."""

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        """Make a policy with random weights.

        Args:
            sizes: Number of tokens of each parameter, in the order in which they are chosen.
            seed: Seeds the weights; the random state of the process does not change.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._first = nn.Parameter(torch.empty(HIDDEN))
            self._vectors = nn.ModuleList(nn.Embedding(size, HIDDEN) for size in sizes)
            self._cell = nn.LSTMCell(HIDDEN, HIDDEN)
            self._heads = nn.ModuleList(nn.Linear(HIDDEN, size) for size in sizes)
            for weight in self.parameters():
                nn.init.uniform_(weight, -INIT_SCALE, INIT_SCALE)

    def start(self, num_sequences: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The first input, (sequence, HIDDEN), and the LSTM's state before any choice, twice (sequence, HIDDEN)."""
        zeros = torch.zeros(num_sequences, HIDDEN)
        return self._first.expand(num_sequences, HIDDEN), (zeros, zeros)

    def step(self, position: int, given: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Log probabilities of one parameter's tokens, (sequence, token), and the state after it."""
        state = self._cell(given, state)
        scores = MAX_SCORE * torch.tanh(self._heads[position](state[0]) / MAX_SCORE)
        return torch.log_softmax(scores, dim=-1), state

    def embed(self, position: int, tokens: Tensor) -> Tensor:
        """The input of the next step, (sequence, HIDDEN), after these tokens of one parameter, (sequence,)."""
        embedded: Tensor = self._vectors[position](tokens)
        return embedded

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities and entropies of whole sequences.

        Args:
            tokens: int64, (sequence, parameter); NO_TOKEN for an inactive parameter.

        Returns:
            Log probability of each sequence, and mean entropy of its choices in nats; both float32, (sequence,).
        """
        given, state = self.start(len(tokens))
        log_probs, entropies = torch.zeros(len(tokens)), torch.zeros(len(tokens))
        for position, column in enumerate(tokens.unbind(1)):
            active, chosen = column != NO_TOKEN, column.clamp(min=0)
            log_p, (hidden, cell) = self.step(position, given, state)
            log_probs = log_probs + log_p.gather(1, chosen[:, None])[:, 0] * active
            entropies = entropies - (log_p.exp() * log_p).sum(1) * active
            mask = active[:, None]
            state = (torch.where(mask, hidden, state[0]), torch.where(mask, cell, state[1]))
            given = torch.where(mask, self.embed(position, chosen), given)
        return log_probs, entropies / (tokens != NO_TOKEN).sum(1).clamp(min=1)


@dataclass
class _Learner:
    """A policy during its training: all that the next update depends on."""

    policy: Policy
    """Its weights so far."""
    optimizer: torch.optim.Optimizer
    """Adam, with its state."""
    baseline: float | None = None
    """Moving average of the mean reward; None before the first update."""

    def update(self, tokens: Tensor, rewards: Tensor) -> None:
        """Take one step of REINFORCE.

        Args:
            tokens: As for `Policy.forward`.
            rewards: float32, (sequence,); higher is better.
        """
        mean = rewards.mean().item()
        self.baseline = mean if self.baseline is None else self.baseline
        log_probs, entropies = self.policy(tokens)
        gain = log_probs * (rewards - self.baseline) + ENTROPY_BONUS * entropies
        self.optimizer.zero_grad()
        (-gain.mean()).backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), MAX_GRADIENT)
        self.optimizer.step()
        self.baseline = BASELINE_DECAY * self.baseline + (1 - BASELINE_DECAY) * mean


@final
class ControllerSearcher(Searcher):
    """Samples configurations from a policy that is trained on the outcomes so far.

    Source:
        Zoph and Le, "Neural Architecture Search with Reinforcement Learning", arXiv:1611.01578.
    """

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        super().__init__(space=space, seed=seed, initial=initial)
        self._vocabulary = Vocabulary(space)
        self._names = tuple(self._vocabulary.sizes)
        self._tokens: dict[int, Tokens] = {}
        self._outcomes: dict[int, float | None] = {}
        self._learners = {0: self._new_learner()}
        """Number of blocks to the learner after them; removed where a late outcome makes them wrong."""
        self._first_block = 0
        """Block of the earliest outcome; below 0 if there are priors, whose numbers are below 1."""

    def _propose(self, number: int, draw: int) -> Point:
        rng = self.rng(number, draw)
        values: dict[str, Any] = {}
        with one_thread():
            policy = self._current().policy
        with one_thread(), torch.no_grad():
            given, state = policy.start(1)
            for position, name in enumerate(self._names):
                if self._vocabulary.is_active(name, values):
                    log_p, state = policy.step(position, given, state)
                    token = _sample_token((log_p[0] / (1.0 + TEMPERATURE_STEP * draw)).exp().tolist(), rng)
                    values[name] = self._vocabulary.value(name, token, rng)
                    given = policy.embed(position, torch.tensor([token]))
        return self.space.complete({**self.space.draw_unchecked(rng), **values})

    def _begin(self, number: int, point: Point) -> None:
        tokens = self._vocabulary.encode(point)
        if tokens:
            self._tokens[number] = tokens

    def _learn(self, outcome: Outcome) -> None:
        if outcome.number in self._tokens:
            self._outcomes[outcome.number] = None if outcome.state == "infeasible" else outcome.loss
            block = _block_of(outcome.number)
            self._first_block = min(self._first_block, block)
            valid = block - self._first_block
            self._learners = {num: learner for num, learner in self._learners.items() if num <= valid}

    def _new_learner(self) -> _Learner:
        policy = Policy(list(self._vocabulary.sizes.values()), self.rng(0, "policy").getrandbits(31))
        return _Learner(policy, torch.optim.Adam(policy.parameters(), lr=LEARNING_RATE))

    def _current(self) -> _Learner:
        """The learner after the last block that has an outcome."""
        num_blocks = _block_of(max(self._outcomes, default=0)) + 1 - self._first_block
        for num in range(max(self._learners), num_blocks):
            learner = deepcopy(self._learners[num])
            self._update(learner, self._first_block + num)
            self._learners[num + 1] = learner
            if (num + 1 - KEPT) % KEPT:
                self._learners.pop(num + 1 - KEPT, None)
        return self._learners[max(self._learners)]

    def _update(self, learner: _Learner, block: int) -> None:
        numbers = range(block * BLOCK + 1, block * BLOCK + BLOCK + 1)
        known = [loss for number, loss in self._outcomes.items() if number < numbers.stop and loss is not None]
        ended = [number for number in numbers if number in self._outcomes]
        if not known or not ended:
            return
        tokens = [[self._tokens[number].get(name, NO_TOKEN) for name in self._names] for number in ended]
        rewards = _rewards([self._outcomes[number] for number in ended], known)
        learner.update(torch.tensor(tokens), torch.tensor(rewards))


def _block_of(number: int) -> int:
    return (number - 1) // BLOCK


def _rewards(losses: Sequence[float | None], known: Sequence[float]) -> list[float]:
    """How much better than the median each trial is, in standard deviations, within MAX_REWARD.

    A failed trial counts as one with the worst loss known. The standard deviation is that of a normal distribution with
    the same quartiles, so that one loss of 1e10 does not make all others equal.
    """
    low, middle, high = (float(quartile) for quartile in np.quantile(known, (0.25, 0.5, 0.75)))
    deviation = (high - low) / 1.349 or max(known) - min(known) or 1.0
    filled = (max(known) if loss is None else loss for loss in losses)
    return [min(max((middle - loss) / deviation, -MAX_REWARD), MAX_REWARD) for loss in filled]


def _sample_token(probabilities: Sequence[float], rng: random.Random) -> int:
    return rng.choices(range(len(probabilities)), weights=probabilities)[0]
