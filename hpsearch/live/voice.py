"""What a sweep says, on a terminal or in a pipe: for whoever listens, and nobody has to."""

from __future__ import annotations

import os
from typing import IO, final

from rich.console import Console


@final
class Voice(Console):
    """A console whose reader may leave: `| head`, a `tee` that was killed."""

    def on_broken_pipe(self) -> None:
        """Say no more; rich would end the process, and the sweep with it."""
        hush(self.file)


def hush(stream: IO[str]) -> None:
    """Have a stream that nobody reads lead nowhere, with what its buffer still holds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
