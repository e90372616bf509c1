"""What is raised where the ranks of a slot are lost, or do not answer."""

from __future__ import annotations

from typing import Any


class RankLost(Exception):
    """The process of a rank is gone.

    Args:
        rank: The rank.
        pid: Its process id; 0 where it is not known.
        why: What is known of the reason, for a message; empty for nothing.
    """

    def __init__(self, rank: int, pid: int, why: str = "") -> None:
        super().__init__(f"rank {rank} (process {pid}) is gone{f': {why}' if why else ''}")
        self.rank, self.pid, self.why = rank, pid, why


class NodeLost(RankLost):
    """The node of a rank is gone, or can't be used."""


class RanksTimedOut(Exception):
    """Some ranks did not answer a call in time.

    Args:
        behind: These ranks.
    """

    def __init__(self, behind: list[int]) -> None:
        super().__init__(f"ranks {behind} did not answer in time")
        self.behind = behind


class PeersTimedOut(RanksTimedOut):
    """Some ranks failed or ended, and the others did not answer after that.

    They wait in a collective operation that can't complete any more.

    Args:
        answers: The answers of the first ones, by rank.
        behind: The ranks that did not answer.
    """

    def __init__(self, answers: dict[int, Any], behind: list[int]) -> None:
        super().__init__(behind)
        self.answers = answers


class RanksStopped(RanksTimedOut):
    """Some ranks, but not all, were stopped by a signal for `rank_group.STOPPED_S` seconds."""
