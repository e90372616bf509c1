"""The death of a process, as an exception in the process of pytest."""

from __future__ import annotations


class KilledError(BaseException):
    """The driver is killed at this instant; no handler of hpsearch catches it."""
