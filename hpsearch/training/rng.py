"""Seeds and states of the random generators that training code uses: PyTorch, `random` and NumPy's global generator.

States consist of tensors, numbers and lists, so that `torch.load(weights_only=True)` can load them.
"""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch

RngStates = dict[str, Any]
"""`torch`, `python`, `numpy` and, on a GPU, `cuda`, each to the state of that generator."""


def seed_everything(seed: int) -> None:
    """Seed all random generators of this process, including those of the GPUs.

    Args:
        seed: Any non-negative integer below 2**63; NumPy is seeded with its lower 32 bits.
    """
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


def get_rng_states(device: torch.device) -> RngStates:
    """The current random states of this process.

    Args:
        device: Device of this rank; the state of no other GPU is included.
    """
    version, key, gauss = random.getstate()
    twister = numpy.random.get_state(legacy=False)
    states: RngStates = {
        "torch": torch.get_rng_state(),
        "python": [version, list(key), gauss],
        "numpy": twister | {"state": _with_key(twister, torch.from_numpy(twister["state"]["key"].astype("int64")))},
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_rng_states(states: RngStates, device: torch.device) -> None:
    """Restore states that `get_rng_states` returned.

    Args:
        states: The states. A GPU's state is ignored if `device` is a CPU.
        device: Device of this rank.
    """
    torch.set_rng_state(states["torch"])
    version, key, gauss = states["python"]
    random.setstate((version, tuple(key), gauss))
    twister = states["numpy"]
    numpy_key = twister["state"]["key"].numpy().astype("uint32")
    numpy.random.set_state(twister | {"state": _with_key(twister, numpy_key)})
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _with_key(twister: dict[str, Any], key: object) -> dict[str, Any]:
    """The state of NumPy's Mersenne Twister with its key as another type of array."""
    return {**twister["state"], "key": key}
