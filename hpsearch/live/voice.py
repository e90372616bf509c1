"""What a sweep says, on a terminal or in a pipe: for whoever listens, and nobody has to."""

from __future__ import annotations

import os
from typing import final

from rich.console import Console


@final
class Voice(Console):
    """A console whose reader may leave: `| head`, a `tee` that was killed."""

    def on_broken_pipe(self) -> None:
        """Say no more; rich would end the process, and the sweep with it."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())  # what its buffer still holds goes there too
        os.close(nowhere)
