"""What a rank knows of the process that runs its current attempt."""

from __future__ import annotations

from pathlib import Path
from typing import final

from hpsearch.slots.forked.channel import Channel
from hpsearch.slots.process_file import Process
from hpsearch.slots.replies import Reply
from hpsearch.slots.trial_log import log_tail


@final
class RunningTrial:
    """The process of a rank's current attempt, with what it has replied."""

    def __init__(self, pid: int, channel: Channel, log: Path, log_start: int) -> None:
        self.process, self.channel = Process.of(pid), channel
        self._log, self._log_start = log, log_start
        self.reply: Reply | None = None
        """Its last reply, until `take_reply`."""
        self.status: int | None = None
        """Its exit status; None while it runs."""
        self.note: str | None = None
        """What it raised while it ended, for the log."""
        self.reported_again = False
        """Whether it reported again after its last epoch."""
        self.is_saved = False
        """Whether its last checkpoint is on disk."""
        self.is_disconnected = False
        """Whether its end of the channel is closed."""
        self.lost_server = False
        """Whether it ended together with the preload server."""
        self.has_begun = False
        """Whether its process is set up, so that the user's code has begun."""
        self.has_ended = False
        """Whether the trainable ended by itself, before the slot ended the attempt."""
        self.has_failed = False
        """Whether the trainable failed."""

    @property
    def is_over(self) -> bool:
        """Whether it will train no further epoch."""
        return self.has_ended or self.status is not None

    def take_reply(self) -> Reply | None:
        """Its last reply, if it was not taken before."""
        reply, self.reply = self.reply, None
        return reply

    def log_tail(self) -> str:
        """The end of what this attempt has printed."""
        return log_tail(self._log, start=self._log_start)
