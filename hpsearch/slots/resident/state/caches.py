"""The caches of the user's functions under `functools.cache` and `functools.lru_cache`.

A data set in such a cache is kept on purpose: for it users want one process for many trials. It stays as long as no
trial changes it. Any other result, such as a model or a setting, may depend on the trial that computed it, and is
dropped.
"""

from __future__ import annotations

import functools
import gc
import sys
from itertools import islice
from types import BuiltinFunctionType, FunctionType
from typing import Any, final

from hpsearch.slots.resident.state.outline import MAX_DEPTH, SAMPLED, Outline, outline

BUDGET = 500
"""Most values that are compared of each result."""
MIN_DATA_BYTES = 16 * 2**10
"""Bytes below which a result is taken for a setting, which is computed again quickly."""
CACHE = type(functools.cache(lambda: None))
"""The class of functions that have a cache."""
_TABLES = frozenset({"pandas", "pyarrow", "scipy"})
"""Packages whose objects count as tables of data."""


@final
class FunctionCache:
    """The cache of one function, with its results when it was made.

    Args:
        cache: The decorated function.
    """

    def __init__(self, cache: Any) -> None:
        self._cache, self._kept = cache, list[object]()
        self._misses, self._began_with = self._count()
        self._outlines = self._outlines_now(self._kept)

    def restore(self) -> None:
        """Empty the cache if it has new results that are no data, and had none before the first trial."""
        if self._count()[0] != self._misses and not self._began_with and not all(map(is_data, results(self._cache))):
            self._cache.cache_clear()

    def is_changed(self) -> bool:
        """Whether a result was changed, or a new result is no data.

        New results that are data are compared from now on too.
        """
        count = self._count()
        now = self._outlines_now(None)
        if any(now.get(key, known) != known for key, known in self._outlines.items()):
            return True
        if now.keys() == self._outlines.keys():
            self._misses = count[0]
            return False
        if any(id(result) not in self._outlines and not is_data(result) for result in results(self._cache)):
            return True
        self._misses, self._outlines = count[0], self._outlines_now(self._kept)
        return False

    def _count(self) -> tuple[int, int]:
        found = self._cache.cache_info()
        return found.misses, found.currsize

    def _outlines_now(self, kept: list[object] | None) -> dict[int, Outline]:
        """Outlines by the id of each result; `kept` gets the results, so that the ids stay valid."""
        found = results(self._cache)
        if kept is not None:
            kept[:] = found
        keeping: list[object] = [] if kept is None else kept
        return {id(result): outline(result, budget=BUDGET, kept=keeping)[0] for result in found}


def results(cache: Any) -> list[Any]:
    """The results in a cache, read by the garbage collector's view of it; at most SAMPLED."""
    size = cache.cache_info().currsize
    if not size:
        return []
    parts = gc.get_referents(cache)
    of_keys = next(part for part in parts if type(part) is dict and len(part) == size)
    if cache.cache_info().maxsize is None:
        return list(islice(of_keys.values(), SAMPLED))
    links = [at for at, part in enumerate(parts) if getattr(part, "__name__", "") == "_lru_list_elem"]
    return [parts[at - 1] for at in links[:SAMPLED] if at < parts.index(of_keys)]


def is_data(value: object) -> bool:
    """Whether a value is data: MIN_DATA_BYTES or more of tensors, arrays or tables, and nothing that is trained."""
    num_bytes = _data_bytes(value, 0)
    return num_bytes is not None and num_bytes >= MIN_DATA_BYTES


def _data_bytes(value: Any, depth: int) -> int | None:
    """Bytes of the data in a value; None if it holds something else too, such as parameters or an open file."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    kind = type(value)
    if torch is not None and issubclass(kind, torch.Tensor):
        return None if value.requires_grad else int(value.nbytes)
    if numpy is not None and issubclass(kind, numpy.ndarray):
        return int(value.nbytes)
    if kind.__module__.partition(".")[0] in _TABLES:
        return MIN_DATA_BYTES
    if issubclass(kind, str | bytes):
        return len(value)
    if value is None or issubclass(kind, int | float | complex | FunctionType | BuiltinFunctionType | type):
        return 0
    if depth >= MAX_DEPTH:
        return None
    members = _members(value, kind)
    found = [] if members is None else [_data_bytes(member, depth + 1) for member in members]
    return None if members is None or None in found else sum(size or 0 for size in found)


def _members(value: Any, kind: type) -> list[Any] | None:
    """Members of a container or attributes of an object, at most SAMPLED; None for what Python can't look into."""
    if issubclass(kind, dict):
        return list(islice(dict.values(value), SAMPLED))
    if issubclass(kind, list | tuple | set | frozenset):
        return list(islice(value, SAMPLED))
    if kind.__module__ in sys.stdlib_module_names:
        return None
    attributes = getattr(value, "__dict__", None)
    return None if attributes is None else list(attributes.values())
