"""The user's training function, loaded in the process that runs it.

Used by both ways to run a trial: in a new process for each attempt (`forked/`) and in one process for all
(`resident/`); and by `hpsearch.trial`, which runs one by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpsearch.slots.diagnosis import message_of, user_location
from hpsearch.slots.settings import SlotSettings

NO_PROGRAM = (
    " To import a function, hpsearch runs the top level of its file, without arguments. Put what only a program does,"
    ' such as parse_args(), below `if __name__ == "__main__":`. Or name the file without a function, `trainable:'
    " FILE.py`: then it runs as a script, with the parameters as its arguments."
)
"""What to do about a module that exits when it is imported."""


def load_trainable(found: Any, *, settings: SlotSettings, working_dir: str) -> Callable[..., Any]:
    """Import the user's function as a program without command-line arguments would import it.

    Args:
        found: A function, or the `TrainableSource` that says where it is in the driver's folders.
        settings: Settings of the sweep.
        working_dir: Working directory of the user's code on this node.

    Raises:
        BaseException: Anything that the user's module raises, SystemExit included.
    """
    from hpsearch.cluster.nodes import moved
    from hpsearch.trainable.locate import TrainableSource, load

    if not isinstance(found, TrainableSource):
        sys.argv = [""]
        return found  # type: ignore[no-any-return]
    path = found.file_path
    if path is not None:
        found = replace(found, file_path=Path(moved(str(path), old=settings.working_dir, new=working_dir)))
    sys.argv = [found.program]
    return load(found)


def import_failure(error: BaseException) -> str:
    """The message on a trainable that can't be imported: what was raised, at which line of the user's code, what to do.

    For a module that reads its command line when it is imported, that is what argparse found wrong.
    """
    advice = f".{NO_PROGRAM}" if isinstance(error, SystemExit) else ""
    return f"it can't be imported: {message_of(error)} ({user_location(error.__traceback__)}){advice}"


def set_torch_threads(settings: SlotSettings) -> None:
    """Let PyTorch use as many threads as the rank has CPUs; with a GPU its default is kept."""
    import torch

    if not settings.request.gpu:
        torch.set_num_threads(max(1, int(settings.request.cpu)))
