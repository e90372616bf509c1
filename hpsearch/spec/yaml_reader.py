"""Reads YAML text as plain values with their line numbers, within bounds, and only values that JSON can represent.

ruamel.yaml scans and parses the text. The values are built here from its events, since the events show what a loader
hides: the line of each key, duplicate keys, tags, and the size of the document once its aliases are expanded. The
meaning of the values is the concern of the other modules in this folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from ruamel.yaml.reader import ReaderError

from hpsearch.errors import Problem
from hpsearch.plain import MAX_DEPTH, Key, KeyPath

MAX_NODES = 10_000
"""Keys, items and values of a document, aliases expanded."""
MAX_DIGITS = 100
"""Characters of a number. Python refuses to convert numbers of several thousand digits; no parameter needs them."""
FLOAT = "!!float"
"""The only tag that is accepted; it can turn a number only into a number."""

FREE_SECTIONS = frozenset(("parameters", "param_space", "data"))
"""Top-level keys whose values have no types of their own, so that no check finds a text in place of a number."""

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((f"{sign}{word}" for sign in ("", "+") for word in (".inf", ".Inf", ".INF")), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_OLDER_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?")
_OLDER_BOOLEANS: Mapping[str, str] = {
    **dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON"), "true"),
    **dict.fromkeys(("no", "No", "NO", "off", "Off", "OFF"), "false"),
}
"""Plain words that YAML 1.1, and so PyYAML, reads as truth values."""


def _tag_of(event: Event) -> str | None:
    tag = getattr(event, "ctag", None)
    return None if tag is None else str(tag)[:80].replace("tag:yaml.org,2002:", "!!")


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """Where a value is written: in a line of a file, or in an argument of the command line."""

    file: str
    """The file's path as the user wrote it, or the argument of the command line."""
    line: int | None
    """Line in `file`, counted from 1; None for an argument, which has no lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocatedValue:
    """A value with its location and those of all values in it."""

    value: Any
    """Plain dicts with str keys, lists, str, int, float, bool or None; aliases of the document share objects."""
    location: Location
    """Location of its key for a value in a map, else of its beginning."""
    inner: Mapping[Key, LocatedValue] = field(default_factory=dict)
    """The values of a map by key, or those of a list by position."""

    def location_of(self, where: KeyPath) -> Location:
        """The location of the key or item that `where` leads to; if there is none, of the innermost one that exists."""
        found = self
        for key in where:
            if key not in found.inner:
                break
            found = found.inner[key]
        return found.location


def read_yaml(
    text: str,
    *,
    file: str,
    problems: list[Problem],
    where: KeyPath = (),
    numbered: bool = True,
    notes: list[Problem] | None = None,
) -> LocatedValue | None:
    """Read the one document in `text`, by the core schema of YAML 1.2.

    There `no` and `2020-01-01` are text, and `1e-4` is a number.

    Args:
        text: The document; the caller limits its length.
        file: The file or argument that messages name.
        problems: One entry is added for each mistake.
        where: Keys that lead to the document if it is a part of a spec.
        numbered: Whether messages have the line in `file`.
        notes: One entry is added for each text in FREE_SECTIONS that PyYAML would read as a number, true or false.

    Returns:
        The values that could be read; None if there are none, with at least one entry added to `problems`. Reading
        continues after a mistake unless the text is not YAML or exceeds MAX_DEPTH or MAX_NODES.
    """
    reader = _Reader(file=file, numbered=numbered, problems=problems)
    found = reader.document(text, where)
    if notes is not None:
        notes += reader.notes
    return found


class _FatalError(Exception):
    """Ends the reading; its problem is added to the list before it is raised."""


class _Reader:
    """Builds the values of one document from its events."""

    def __init__(self, *, file: str, numbered: bool, problems: list[Problem]) -> None:
        self.file = file
        self.numbered = numbered
        self.problems = problems
        self.notes: list[Problem] = []
        self.num_nodes = 0
        self.anchors: dict[str, LocatedValue] = {}
        self.events: Iterator[Event] = iter(())

    def document(self, text: str, where: KeyPath) -> LocatedValue | None:
        self.events = iter(YAML(typ="safe", pure=True).parse(text))
        try:
            return self._document(where)
        except _FatalError:
            return None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            if "stream" in str(error.problem):  # the mistake is not the end of the text but what is left open
                mark = error.context_mark or mark
            self._add_syntax_problem(f"{error.problem or error.context}", where, line=mark.line + 1 if mark else None)
        except ReaderError as error:  # a control character, whose line is not given
            line = text.count("\n", 0, error.position) + 1
            self._add_syntax_problem(f"character {ord(text[error.position]):#04x} is not allowed", where, line=line)
        except (YAMLError, ValueError, OverflowError):  # the parser's own int() and chr() on absurd input
            self._add_syntax_problem("an escape or the %YAML line holds an impossible number", where, line=None)
        return None

    def _document(self, where: KeyPath) -> LocatedValue:
        event = next(self.events)
        while isinstance(event, StreamStartEvent | DocumentStartEvent):
            self._check_version(event, where)
            event = next(self.events)
        if isinstance(event, StreamEndEvent):
            self._fatal(
                "expected a map with metric and parameters, got nothing. Write both.",
                where,
                event,
            )
        root = self._value(event, where)
        next(self.events)  # the event that ends the document
        after = next(self.events)
        if not isinstance(after, StreamEndEvent):
            self._fatal("expected one document, got a second one. Remove '---', or write two files.", where, after)
        return root

    def _check_version(self, event: Event, where: KeyPath) -> None:
        version = getattr(event, "version", None)
        if version is not None and tuple(version) != (1, 2):
            self._add_problem("expected YAML 1.2, in which no and 1_000 are text. Remove the line %YAML.", where, event)

    def _value(self, event: Event, where: KeyPath, key: Event | None = None) -> LocatedValue:
        """A value, which is at the line of its key where it has one."""
        self._count(depth=len(where), where=where, event=event)
        if isinstance(event, AliasEvent):
            return self._alias(event, where)
        self._refuse_tag(event, where)
        if isinstance(event, MappingStartEvent):
            found = self._map(event, where)
        elif isinstance(event, SequenceStartEvent):
            found = self._list(event, where)
        else:
            assert isinstance(event, ScalarEvent)
            found = LocatedValue(value=self._tagged(event, where), location=self._location(event))
            self._note_other_reading(event, where, key or event)
        if event.anchor is not None:
            self.anchors[event.anchor] = found
        return found

    def _map(self, start: MappingStartEvent, where: KeyPath) -> LocatedValue:
        inner: dict[Key, LocatedValue] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            key = self._key(event, where)
            if key is None:
                self._value(next(self.events), (*where, "?"))
                continue
            value = replace(self._value(next(self.events), (*where, key), event), location=self._location(event))
            if key in inner:
                first = inner[key].location
                beside = f" in line {first.line}" if first.line else ""
                message = f"the key is there twice, here and{beside or ' before'}. Keep one."
                self._add_problem(message, (*where, key), event)
            inner.setdefault(key, value)
        return LocatedValue(
            value={key: part.value for key, part in inner.items()}, location=self._location(start), inner=inner
        )

    def _list(self, start: SequenceStartEvent, where: KeyPath) -> LocatedValue:
        items: list[LocatedValue] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            item = self._value(event, (*where, len(items)))
            items.append(replace(item, location=self._location(event)))
        return LocatedValue(
            value=[item.value for item in items], location=self._location(start), inner=dict(enumerate(items))
        )

    def _key(self, event: Event, where: KeyPath) -> str | None:
        """The text of a key; None if there is a mistake."""
        found = self._value(event, (*where, "?")).value
        if isinstance(event, ScalarEvent) and event.value == "<<" and event.style is None:
            self._add_problem(
                "'<<' is not part of YAML 1.2. Write the keys out, or use an alias for the whole map.", where, event
            )
        elif isinstance(found, str):
            return found
        elif isinstance(event, ScalarEvent):
            self._add_problem(
                f"expected text as a key, got {event.value or 'nothing'}. Put it in quotes.", where, event
            )
        else:
            self._add_problem(
                "expected text as a key, got a list or map. Put text that begins with { or [ in quotes.", where, event
            )
        return None

    def _alias(self, event: AliasEvent, where: KeyPath) -> LocatedValue:
        if event.anchor not in self.anchors:
            self._fatal(
                f"unknown alias '*{event.anchor}'. Write '&{event.anchor}' before the value that it repeats.",
                where,
                event,
            )
        found = self.anchors[event.anchor]
        for key, part in found.inner.items():
            self._count_copy(part, (*where, key), event)
        return found

    def _count_copy(self, part: LocatedValue, where: KeyPath, event: Event) -> None:
        self._count(depth=len(where), where=where, event=event)
        for key, inner in part.inner.items():
            self._count_copy(inner, (*where, key), event)

    def _count(self, *, depth: int, where: KeyPath, event: Event) -> None:
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES:
            self._fatal(
                f"expected at most {MAX_NODES} values, aliases expanded, got more. Write a shorter spec.", (), event
            )
        if depth >= MAX_DEPTH:
            self._fatal(
                f"expected at most {MAX_DEPTH} levels of nesting, got more. Write fewer levels.", where[:1], event
            )

    def _refuse_tag(self, event: Event, where: KeyPath) -> None:
        tag = _tag_of(event)
        if tag is not None and not (tag == FLOAT and isinstance(event, ScalarEvent)):
            self._add_problem(
                f"expected a value without a tag, got {tag}. Remove it; for text, use quotes.", where, event
            )

    def _tagged(self, event: ScalarEvent, where: KeyPath) -> Any:
        """A scalar; a number with the tag `!!float`, which W&B's documentation recommends for 1e-5, becomes a float."""
        value = self._scalar(event, where)
        if _tag_of(event) != FLOAT:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._add_problem(
                f"expected a number after {FLOAT}, got {event.value[:80] or 'nothing'}. Remove the tag.", where, event
            )
            return 0.0
        return float(value)

    def _scalar(self, event: ScalarEvent, where: KeyPath) -> Any:
        text = event.value
        if event.style is not None:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        is_integer = _INTEGER.fullmatch(text)
        if not is_integer and not _FLOAT.fullmatch(text):
            return text
        if len(text) > MAX_DIGITS:
            expected = f"expected a number of at most {MAX_DIGITS} characters, got {len(text)}"
            self._add_problem(f"{expected}. Shorten it; for text, use quotes.", where, event)
            return 0
        if is_integer:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        return float(text)

    def _note_other_reading(self, event: ScalarEvent, where: KeyPath, located: Event) -> None:
        """Note a text that PyYAML, which W&B and Ray use, would read as a number, true or false."""
        text = event.value
        if event.style is not None or not where or where[0] not in FREE_SECTIONS or where[-1] == "?":
            return
        number = text.replace("_", "") if "_" in text and _OLDER_NUMBER.fullmatch(text) else None
        if (meant := _OLDER_BOOLEANS.get(text, number)) is None:
            return
        message = f"{text} is text, as YAML 1.2 has it. Write {meant}, or '{text}' in quotes if text is meant."
        self.notes.append(Problem(where=where, message=message, file=self.file, line=self._location(located).line))

    def _location(self, event: Event) -> Location:
        return Location(file=self.file, line=event.start_mark.line + 1 if self.numbered else None)

    def _add_problem(self, message: str, where: KeyPath, event: Event) -> None:
        location = self._location(event)
        self.problems.append(Problem(where=where, message=message, file=location.file, line=location.line))

    def _fatal(self, message: str, where: KeyPath, event: Event) -> None:
        self._add_problem(message, where, event)
        raise _FatalError

    def _add_syntax_problem(self, message: str, where: KeyPath, *, line: int | None) -> None:
        text = f"this is not YAML: {message}."
        self.problems.append(Problem(where=where, message=text, file=self.file, line=line if self.numbered else None))
