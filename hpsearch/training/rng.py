"""Seeds and random states of everything that a training function may draw from: PyTorch, `random`, NumPy's global one.

States are made of tensors, numbers and lists, so that `torch.load(weights_only=True)` reads them.
"""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch

RngStates = dict[str, Any]
"""Generator name to its state."""


def seed_everything(seed: int) -> None:
    """Seed all generators of this process, the GPUs' included; ranks with the same seed draw the same."""
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


def get_rng_states(device: torch.device) -> RngStates:
    """The states of this process; of the GPUs, only `device`."""
    version, words, gauss = random.getstate()
    twister = numpy.random.get_state(legacy=False)
    states: RngStates = {
        "torch": torch.get_rng_state(),
        "python": [version, list(words), gauss],
        "numpy": twister | {"state": _with_key(twister, torch.from_numpy(twister["state"]["key"].astype("int64")))},
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_rng_states(states: RngStates, device: torch.device) -> None:
    """Put back what `get_rng_states` gave; a state of a GPU is left aside on a CPU, and the other way round."""
    torch.set_rng_state(states["torch"])
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    twister = states["numpy"]
    key = twister["state"]["key"].numpy().astype("uint32")
    numpy.random.set_state(twister | {"state": _with_key(twister, key)})
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _with_key(twister: dict[str, Any], key: object) -> dict[str, Any]:
    """NumPy's inner state with another kind of array for its words."""
    return {**twister["state"], "key": key}
