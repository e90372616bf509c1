"""Settings of NumPy and PyTorch that a trial may change; a library that is not loaded has none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from hpsearch.slots.resident.state.setting import Setting


def library_settings() -> Iterator[Setting]:
    """The settings of the libraries that are loaded."""
    if "numpy" in sys.modules:
        yield from _numpy_settings()
    if "torch" in sys.modules:
        yield from _torch_settings()
        yield from _torch_backends()


def _numpy_settings() -> Iterator[Setting]:
    import numpy

    yield Setting(what="numpy.seterr", read=numpy.geterr, write=lambda kinds: numpy.seterr(**kinds))
    yield Setting(
        what="numpy.set_printoptions",
        read=lambda: {**numpy.get_printoptions(), "override_repr": None},
        write=lambda options: numpy.set_printoptions(**options),
    )


def _torch_settings() -> Iterator[Setting]:
    import torch

    yield Setting(what="torch's default dtype", read=torch.get_default_dtype, write=torch.set_default_dtype)
    yield Setting(what="torch's default device", read=torch.get_default_device, write=_set_default_device)
    yield Setting(what="torch.set_num_threads", read=torch.get_num_threads, write=torch.set_num_threads)
    yield Setting(what="torch.set_grad_enabled", read=torch.is_grad_enabled, write=torch.set_grad_enabled)
    yield Setting(
        what="torch's anomaly detection",
        read=lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        write=lambda modes: torch.autograd.set_detect_anomaly(*modes),
    )
    yield Setting(
        what="torch.use_deterministic_algorithms",
        read=lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        write=lambda modes: torch.use_deterministic_algorithms(modes[0], warn_only=modes[1]),
    )
    yield Setting(
        what="torch.set_float32_matmul_precision",
        read=torch.get_float32_matmul_precision,
        write=torch.set_float32_matmul_precision,
    )
    for kind in ("cpu", "cuda"):
        yield _autocast(kind)
    yield Setting(what="a global hook of torch.nn", read=_global_hooks, write=_set_global_hooks)


def _torch_backends() -> Iterator[Setting]:
    from torch import backends

    for module, name in (
        (backends.cudnn, "enabled"),
        (backends.cudnn, "benchmark"),
        (backends.cudnn, "deterministic"),
        (backends.cudnn, "allow_tf32"),
        (backends.cuda.matmul, "allow_tf32"),
        (backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
        (backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
        (backends.mkldnn, "enabled"),
    ):
        yield _backend(module, name)


def _backend(module: Any, name: str) -> Setting:
    return Setting(
        what=f"{getattr(module, '__name__', type(module).__name__)}.{name}",
        read=lambda: getattr(module, name),
        write=lambda value: setattr(module, name, value),
    )


def _set_default_device(device: Any) -> None:
    import torch

    torch.set_default_device(None if device.type == "cpu" else device)


def _autocast(kind: str) -> Setting:
    import torch

    def write(state: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(kind, state[0])
        torch.set_autocast_dtype(kind, state[1])

    return Setting(
        what=f"autocast on {kind}",
        read=lambda: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)),
        write=write,
    )


def _global_hooks() -> dict[str, dict[Any, Any]]:
    """The hooks that run for every `nn.Module`, by kind."""
    import torch.nn.modules.module as torch_module

    return {
        name: dict(hooks)
        for name, hooks in vars(torch_module).items()
        if name.startswith("_global_") and isinstance(hooks, dict)
    }


def _set_global_hooks(hooks: dict[str, dict[Any, Any]]) -> None:
    import torch.nn.modules.module as torch_module

    for name, members in hooks.items():
        kept = vars(torch_module)[name]
        kept.clear()
        kept.update(members)
