"""The user's function in the process that runs it: imported there, with the number of threads that it may use.

Both ways to run a trial need it: a process for each attempt (`forked/`), and one for many (`resident/`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpsearch.slots.diagnosis import user_location
from hpsearch.slots.settings import SlotSettings


def load_trainable(found: Any, *, settings: SlotSettings, working_dir: str) -> Callable[..., Any]:
    """The user's function, imported as a program without arguments would import it.

    Args:
        found: A function, or the `TrainableSource` that says where it is in the driver's folders.
        settings: Of the sweep.
        working_dir: Of the user's code on this machine.

    Raises:
        BaseException: Whatever the user's module raises.
    """
    from hpsearch.cluster.nodes import moved
    from hpsearch.trainable.locate import TrainableSource, load

    if not isinstance(found, TrainableSource):
        sys.argv = [""]
        return found  # type: ignore[no-any-return]
    path = found.file_path
    if path is not None:
        found = replace(found, file_path=Path(moved(str(path), old=settings.working_dir, new=working_dir)))
    sys.argv = [str(found.file_path or found.module)]
    return load(found)


def import_failure(error: BaseException) -> str:
    """Why a trainable can't be used: what was raised, and the last frame of the user's own code."""
    return f"it can't be imported: {type(error).__name__}: {error} ({user_location(error.__traceback__)})"


def set_torch_threads(settings: SlotSettings) -> None:
    """Let PyTorch use as many threads as the rank has CPUs; with a GPU its default stays."""
    import torch

    if not settings.request.gpu:
        torch.set_num_threads(max(1, int(settings.request.cpu)))
