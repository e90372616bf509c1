"""The controller: a recurrent network that writes configurations word by word, trained by reinforcement learning.

An LSTM reads the choices made so far and gives the probabilities of the next one; parameters that are inactive by what
was chosen are passed over. Its reward is the metric; REINFORCE makes choices likelier that did better than a moving
baseline. The only method that needs torch in the driver: on the CPU, with no GPU touched.

The policy is a pure function of the outcomes in the order of their trials' numbers, whatever the order in which they
came: trials are cut into blocks of BLOCK, one update for each. A late or corrected outcome (a trial that was promoted)
rewinds the policy to its block. So a sweep that was replayed goes on with the same policy as an unbroken one.

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
"""Trials of one update."""
HIDDEN = 48
"""Width of the LSTM and of the tokens' vectors."""
LEARNING_RATE = 0.02
"""Adam's."""
ENTROPY_BONUS = 0.2
"""Weight of the policy's entropy (in nats a choice) beside the reward, whose deviation is 1."""
BASELINE_DECAY = 0.9
"""How much of the baseline stays with each block."""
MAX_REWARD = 3.0
"""In deviations."""
MAX_SCORE = 2.0
"""Scores before the softmax stay within it, so that no choice is ever given up; see Bello et al., arXiv:1611.09940."""
HEAT = 0.5
"""A proposal that was tried before is drawn again at a temperature higher by this: a policy that has made up its mind
looks around what it likes, where it would else hand over to random search."""
INIT_SCALE = 0.08
"""Weights begin even in [-0.08, 0.08], as in the paper: all choices about equally likely."""
MAX_GRADIENT = 1.0
"""Norm at which gradients are cut."""
NO_TOKEN = -1
KEPT = 16
"""States of the learner that are kept after the newest blocks; of older ones, every KEPT-th."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing by threads, and lose much where other processes want the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@final
class Policy(nn.Module):
    """Probabilities of one choice after another."""

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        """A policy that prefers nothing.

        Args:
            sizes: Number of tokens of each parameter, in the order in which they are chosen.
            seed: Of its first weights; the process's random state is left alone.
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
        """The first input (sequence, HIDDEN) and the LSTM's state before any choice."""
        zeros = torch.zeros(num_sequences, HIDDEN)
        return self._first.expand(num_sequences, HIDDEN), (zeros, zeros)

    def step(self, position: int, given: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Log probabilities (sequence, token) of one parameter, and the state after it."""
        state = self._cell(given, state)
        scores = MAX_SCORE * torch.tanh(self._heads[position](state[0]) / MAX_SCORE)
        return torch.log_softmax(scores, dim=-1), state

    def vectors(self, position: int, tokens: Tensor) -> Tensor:
        """What the next step is given, (sequence, HIDDEN), after these tokens of one parameter, (sequence,)."""
        vectors: Tensor = self._vectors[position](tokens)
        return vectors

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """How likely whole sequences are.

        Args:
            tokens: int64, (sequence, parameter); NO_TOKEN where a parameter was inactive.

        Returns:
            Log probability of each sequence, and mean entropy of its choices in nats; both (sequence,).
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
            given = torch.where(mask, self.vectors(position, chosen), given)
        return log_probs, entropies / (tokens != NO_TOKEN).sum(1).clamp(min=1)


@dataclass
class _Learner:
    """A policy in the middle of its training: all that the next update depends on."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    baseline: float | None = None

    def update(self, tokens: Tensor, rewards: Tensor) -> None:
        """One step of REINFORCE; rewards: (sequence,), higher is better."""
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
    """Samples from the policy that the outcomes so far have made."""

    def __init__(self, *, space: Space, seed: int, initial: Sequence[Point] = ()) -> None:
        super().__init__(space=space, seed=seed, initial=initial)
        self._words = Vocabulary(space)
        self._names = tuple(self._words.sizes)
        self._tokens: dict[int, Tokens] = {}
        self._outcomes: dict[int, float | None] = {}
        self._learners = {0: self._new_learner()}
        """By the number of blocks learnt from; those that a later outcome makes wrong are cut off."""
        self._first_block = 0
        """Priors, whose numbers are below 1, come before it."""

    def _propose(self, number: int, draw: int) -> Point:
        rng = self.rng(number, draw)
        values: dict[str, Any] = {}
        with one_thread():
            policy = self._current().policy
        with one_thread(), torch.no_grad():
            given, state = policy.start(1)
            for position, name in enumerate(self._names):
                if self._words.is_active(name, values):
                    log_p, state = policy.step(position, given, state)
                    token = _drawn((log_p[0] / (1.0 + HEAT * draw)).exp().tolist(), rng)
                    values[name] = self._words.value(name, token, rng)
                    given = policy.vectors(position, torch.tensor([token]))
        return self.space.complete({**self.space.draw_unchecked(rng), **values})

    def _begin(self, number: int, point: Point) -> None:
        tokens = self._words.encode(point)
        if tokens:
            self._tokens[number] = tokens

    def _learn(self, outcome: Outcome) -> None:
        if outcome.number in self._tokens:
            self._outcomes[outcome.number] = None if outcome.state == "infeasible" else outcome.loss
            block = _block_of(outcome.number)
            self._first_block = min(self._first_block, block)
            right = block - self._first_block
            self._learners = {num: learner for num, learner in self._learners.items() if num <= right}

    def _new_learner(self) -> _Learner:
        policy = Policy(list(self._words.sizes.values()), self.rng(0, "policy").getrandbits(31))
        return _Learner(policy, torch.optim.Adam(policy.parameters(), lr=LEARNING_RATE))

    def _current(self) -> _Learner:
        """The learner after all blocks that have an outcome."""
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
        told = [number for number in numbers if number in self._outcomes]
        if not known or not told:
            return
        rows = [[self._tokens[number].get(name, NO_TOKEN) for name in self._names] for number in told]
        rewards = _rewards([self._outcomes[number] for number in told], known)
        learner.update(torch.tensor(rows), torch.tensor(rewards))


def _block_of(number: int) -> int:
    return (number - 1) // BLOCK


def _rewards(losses: Sequence[float | None], known: Sequence[float]) -> list[float]:
    """How much better than the median each trial is, in deviations; the worst known loss for one that failed.

    The deviation is that of a normal distribution with the same quartiles, so that one loss of 1e10 does not make all
    others equal; rewards are cut at MAX_REWARD.
    """
    low, middle, high = (float(quartile) for quartile in np.quantile(known, (0.25, 0.5, 0.75)))
    deviation = (high - low) / 1.349 or max(known) - min(known) or 1.0
    filled = (max(known) if loss is None else loss for loss in losses)
    return [min(max((middle - loss) / deviation, -MAX_REWARD), MAX_REWARD) for loss in filled]


def _drawn(probabilities: Sequence[float], rng: random.Random) -> int:
    return rng.choices(range(len(probabilities)), weights=probabilities)[0]
