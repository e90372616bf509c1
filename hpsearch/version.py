"""The version of hpsearch, in a module that imports nothing; the build reads it here."""

from __future__ import annotations

__version__ = "0.1.0"
