"""What argparse found wrong with the command line of a script, and what to change in the spec.

How a command line is made from a configuration is in `arguments.py`.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from hpsearch.trainable.arguments import flat_values

FOR_LISTS = {
    "args": "args_list",
    "args_no_equals": "args_list",
    "args_no_boolean_flags": "args_list_no_boolean_flags",
}
"""Macro to the one that writes a list as several words."""
FOR_FLAGS = {"args": "args_no_boolean_flags", "args_list": "args_list_no_boolean_flags"}
"""Macro to the one that writes true as a flag and leaves false out."""


def argparse_message(error: SystemExit) -> str | None:
    """The message with which argparse has ended a program; None if it was not argparse."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((str(frame.f_locals.get("message")) for frame in frames if _is_error_of_parser(frame)), None)


def advice_on_arguments(message: str, config: Mapping[str, Any], arguments: Sequence[str]) -> str | None:
    """What to do about an error of argparse that is due to how a parameter is written; None if it is due to another.

    Args:
        message: The message of argparse.
        config: The configuration, nested.
        arguments: The arguments of the spec, with macros.

    Example:
        >>> advice_on_arguments("argument --sizes: invalid int value: '[1, 2]'", {"sizes": [1, 2]}, ["${args}"])
        'a list is one word here; for nargs="+" write `arguments: ["${args_list}"]`'
    """
    named = re.match(r"argument ([^:]*):", message)
    options = named[1].split("/") if named else []
    value = next((value for name, value in flat_values(config) if f"--{name}" in options), "")
    if isinstance(value, list | tuple) and (better := _replaced(arguments, FOR_LISTS)):
        return f'a list is one word here; for nargs="+" write `arguments: {better}`'
    if isinstance(value, bool) and "explicit argument" in message and (better := _replaced(arguments, FOR_FLAGS)):
        return f"for a flag without a value write `arguments: {better}`"
    if value is None:
        return "null reaches a script as the word None: give the argument a type that reads it"
    return None


def _replaced(arguments: Sequence[str], better: Mapping[str, str]) -> str | None:
    """The arguments with better macros, as YAML; None if there is none to replace."""
    macros = {f"${{{name}}}": f"${{{other}}}" for name, other in better.items()}
    replaced = [macros.get(text, text) for text in arguments]
    return None if replaced == list(arguments) else json.dumps(replaced, ensure_ascii=False)


def _is_error_of_parser(frame: FrameType) -> bool:
    """Whether a frame is a call of `ArgumentParser.error`, or of the method `error` of a subclass."""
    parser = getattr(sys.modules.get("argparse"), "ArgumentParser", ())
    return frame.f_code.co_name == "error" and isinstance(frame.f_locals.get("self"), parser)
