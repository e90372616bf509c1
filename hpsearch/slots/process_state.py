"""What one trial may change for the next in the same process, and how it is put back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True, kw_only=True)
class ProcessState:
    """Settings of the process that a training function may set; random states are not here, since trials seed them."""

    environment: Mapping[str, str]
    working_dir: str
    torch: Mapping[str, Any]

    @classmethod
    def take(cls) -> ProcessState:
        """As it is now."""
        return cls(environment=dict(os.environ), working_dir=os.getcwd(), torch=_torch_settings())  # noqa: PTH109

    def put_back(self) -> None:
        """As it was when it was taken."""
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.working_dir)
        _set_torch(self.torch)


def _torch_settings() -> dict[str, Any]:
    import torch

    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
    }


def _set_torch(settings: Mapping[str, Any]) -> None:
    import torch

    torch.set_default_dtype(settings["dtype"])
    torch.set_default_device(None if settings["device"].type == "cpu" else settings["device"])
    torch.set_num_threads(settings["threads"])
    torch.set_grad_enabled(settings["grad"])
    torch.autograd.set_detect_anomaly(settings["anomaly"])
    torch.use_deterministic_algorithms(settings["deterministic"])
    torch.set_float32_matmul_precision(settings["matmul"])
    torch.backends.cudnn.benchmark = settings["benchmark"]
    torch.backends.cudnn.deterministic = settings["cudnn_deterministic"]
    torch.backends.cudnn.allow_tf32 = settings["cudnn_tf32"]
