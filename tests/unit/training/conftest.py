"""Tests of this folder train or fit models in the process of pytest."""

from __future__ import annotations

from tests.support.pytorch import first_optimizer_is_made, one_torch_thread

__all__ = ["first_optimizer_is_made", "one_torch_thread"]
