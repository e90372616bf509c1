"""What a trial tells the process that started it of the data that it shares, so that the next trial finds it."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Sharing(ABC):
    """Holds on to shared data for longer than a trial lasts."""

    @abstractmethod
    def uses(self, name: str, file: int) -> None:
        """The trial uses a block: `file` is an open file that holds it."""

    @abstractmethod
    def listing(self, path: str) -> str | None:
        """What an earlier trial found at a path; None if none has looked."""

    @abstractmethod
    def listed(self, path: str, text: str) -> None:
        """This trial has looked what lies at a path."""
