"""Which modules and functions of this process are the user's; results are cached, since thousands are checked."""

from __future__ import annotations

import functools
import sys
from types import CodeType, ModuleType
from typing import Any

from hpsearch.training.user_code import is_user_code


def is_users_file(file: str) -> bool:
    """Whether a file is the user's; `is_user_code` is called once for each folder."""
    folder, slash, _ = file.rpartition("/")
    return _is_users_folder(folder) if slash else is_user_code(file)


def is_users_code(code: CodeType) -> bool:
    """Whether the user wrote this function."""
    return is_users_file(code.co_filename)


def is_users_module(module: object) -> bool:
    """Whether this is a module that was imported from a file of the user's."""
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return isinstance(file, str) and is_users_file(file)


def is_library(name: str) -> bool:
    """Whether this is a loaded package or module that is not the user's."""
    module: Any = sys.modules.get(name)
    return module is not None and not is_users_module(module) and name != "__main__"


@functools.cache
def _is_users_folder(folder: str) -> bool:
    return is_user_code(f"{folder}/module.py")
