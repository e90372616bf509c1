"""A search method and a stopping rule that do what a test has set, and record what reaches them."""

from __future__ import annotations

from hpsearch.search.searcher import Outcome, Searcher
from hpsearch.space.space import Point, Space
from hpsearch.stopping import Decision, StoppingRule


class RecordingSearcher(Searcher):
    """A searcher that counts up and remembers what is reported to it."""

    def __init__(self) -> None:
        super().__init__(space=Space(), seed=0)
        self.outcomes: list[Outcome] = []
        self.dropped: list[int] = []

    def _propose(self, number: int, draw: int) -> Point | None:
        return {"x": number / 100}

    def _learn(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def _forget(self, number: int) -> None:
        self.dropped.append(number)


class ScriptedRule(StoppingRule):
    """Decides and promotes as the test has set."""

    def __init__(self) -> None:
        self.decisions: dict[tuple[int, int], Decision] = {}
        self.promotions: list[int] = []
        self.at_end: list[int] = []
        self.reports: list[tuple[int, int, float]] = []

    def report(self, number: int, epoch: int, loss: float) -> Decision:
        self.reports.append((number, epoch, loss))
        return self.decisions.get((number, epoch), Decision.CONTINUE)

    def rungs(self) -> tuple[int, ...]:
        return (1, 3)

    def promote(self, *, at_end: bool = False) -> int | None:
        waiting = self.at_end if at_end else self.promotions
        return waiting.pop(0) if waiting else None
