"""YAML text to plain values that remember their lines: bounded, and blind to everything that JSON could not hold.

ruamel.yaml scans and parses; values are built here from its events, because that one pass sees what a loader hides:
the line of each key, keys that stand twice, tags, and how large the document becomes once its aliases are expanded.
What the values mean is none of this module's business; see `file.py`.
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
"""Keys, items and values, aliases expanded."""
MAX_DIGITS = 100
"""Characters of a number; Python refuses to read some thousands of digits, and no parameter needs them."""
FLOAT = "!!float"
"""The one tag that is read; it can't make anything of a number but a number."""

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((f"{sign}{word}" for sign in ("", "+") for word in (".inf", ".Inf", ".INF")), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


def _tag_of(event: Event) -> str | None:
    tag = getattr(event, "ctag", None)
    return None if tag is None else str(tag)[:80].replace("tag:yaml.org,2002:", "!!")


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """Where something was written."""

    file: str
    """The file as the user wrote its path, or the argument that stood for one."""
    line: int | None
    """Line in `file`, counted from 1; None where lines mean nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocatedValue:
    """A value, and the places of all that is in it."""

    value: Any
    """Plain dicts with text keys, lists, text, numbers, true, false, None; shared where the document has aliases."""
    location: Location
    """Where its key stands, for a value in a map; else where it begins."""
    inner: Mapping[Key, LocatedValue] = field(default_factory=dict)
    """The parts of a map by key and those of a list by position."""

    def location_of(self, where: KeyPath) -> Location:
        """The place of the key or item that `where` leads to, or of the nearest one around it that is there."""
        found = self
        for key in where:
            if key not in found.inner:
                break
            found = found.inner[key]
        return found.location


def read_yaml(
    text: str, *, file: str, problems: list[Problem], where: KeyPath = (), numbered: bool = True
) -> LocatedValue | None:
    """The one document in `text`, by the core schema of YAML 1.2: `no` and `2020-01-01` are text, `1e-4` is a number.

    Args:
        text: The document; the caller bounds its length.
        file: Named by messages.
        problems: Gets one entry for each mistake.
        where: Keys that lead to the document when it is a part of something larger.
        numbered: Whether messages give lines in `file`.

    Returns:
        What could be read; None if that is nothing, which is always told in `problems`. Reading goes on after a
        mistake unless the text is no YAML or goes past MAX_DEPTH or MAX_NODES.
    """
    return _Reader(file=file, numbered=numbered, problems=problems).document(text, where)


class _FatalError(Exception):
    """Ends the reading; its problem is told already."""


class _Reader:
    def __init__(self, *, file: str, numbered: bool, problems: list[Problem]) -> None:
        self.file = file
        self.numbered = numbered
        self.problems = problems
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
            if "stream" in str(error.problem):  # the end of the text is never the mistake, what is left open is
                mark = error.context_mark or mark
            self._tell_syntax(f"{error.problem or error.context}", where, line=mark.line + 1 if mark else None)
        except ReaderError as error:  # a control character; it has no line
            line = text.count("\n", 0, error.position) + 1
            self._tell_syntax(f"character {ord(text[error.position]):#04x} is not allowed", where, line=line)
        except (YAMLError, ValueError, OverflowError):  # the parser's own int() and chr() on absurd input
            self._tell_syntax("an escape or the %YAML line holds an impossible number", where, line=None)
        return None

    def _document(self, where: KeyPath) -> LocatedValue:
        event = next(self.events)
        while isinstance(event, StreamStartEvent | DocumentStartEvent):
            self._check_version(event, where)
            event = next(self.events)
        if isinstance(event, StreamEndEvent):
            self._fatal("there is nothing in it. Write at least metric and parameters.", where, event)
        root = self._value(event, where)
        next(self.events)  # the document's end
        after = next(self.events)
        if not isinstance(after, StreamEndEvent):
            self._fatal("a second document begins here. Keep one to a file; remove '---'.", where, after)
        return root

    def _check_version(self, event: Event, where: KeyPath) -> None:
        version = getattr(event, "version", None)
        if version is not None and tuple(version) != (1, 2):
            self._tell("expected YAML 1.2, where no and 1_000 are text. Remove the line %YAML.", where, event)

    def _value(self, event: Event, where: KeyPath) -> LocatedValue:
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
            value = replace(self._value(next(self.events), (*where, key)), location=self._location(event))
            if key in inner:
                first = inner[key].location
                beside = f" in line {first.line}" if first.line else ""
                self._tell(f"the key stands twice, here and{beside or ' before'}. Keep one.", (*where, key), event)
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
        """The text of a key; None after a mistake."""
        found = self._value(event, (*where, "?")).value
        if isinstance(event, ScalarEvent) and event.value == "<<" and event.style is None:
            self._tell("'<<' is not YAML 1.2. Write the keys out, or give the whole map by an alias.", where, event)
        elif isinstance(found, str):
            return found
        elif isinstance(event, ScalarEvent):
            self._tell(f"a key must be text, got {event.value or 'nothing'}. Put it in quotes.", where, event)
        else:
            self._tell("a key must be text, got a list or map. Did you forget quotes around {...}?", where, event)
        return None

    def _alias(self, event: AliasEvent, where: KeyPath) -> LocatedValue:
        if event.anchor not in self.anchors:
            self._fatal(f"no '&{event.anchor}' stands before '*{event.anchor}'.", where, event)
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
            self._fatal(f"there are more than {MAX_NODES} values, aliases expanded. Write a shorter one.", (), event)
        if depth >= MAX_DEPTH:
            self._fatal(f"values nest deeper than {MAX_DEPTH} levels. Write it flatter.", where[:1], event)

    def _refuse_tag(self, event: Event, where: KeyPath) -> None:
        tag = _tag_of(event)
        if tag is not None and not (tag == FLOAT and isinstance(event, ScalarEvent)):
            self._tell(f"tags are not read, got {tag}. Remove it; for text, use quotes.", where, event)

    def _tagged(self, event: ScalarEvent, where: KeyPath) -> Any:
        """A scalar; with `!!float`, which W&B's pages advise for 1e-5, a number is one with a fraction."""
        value = self._scalar(event, where)
        if _tag_of(event) != FLOAT:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._tell(f"expected a number behind {FLOAT}, got {event.value[:80] or 'nothing'}.", where, event)
            return 0.0
        return float(value)

    def _scalar(self, event: ScalarEvent, where: KeyPath) -> Any:
        text = event.value
        if event.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        is_integer = _INTEGER.fullmatch(text)
        if not is_integer and not _FLOAT.fullmatch(text):
            return text
        if len(text) > MAX_DIGITS:
            self._tell(f"the number has {len(text)} digits. Shorten it; for text, use quotes.", where, event)
            return 0
        if is_integer:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        return float(text)

    def _location(self, event: Event) -> Location:
        return Location(file=self.file, line=event.start_mark.line + 1 if self.numbered else None)

    def _tell(self, message: str, where: KeyPath, event: Event) -> None:
        location = self._location(event)
        self.problems.append(Problem(where=where, message=message, file=location.file, line=location.line))

    def _fatal(self, message: str, where: KeyPath, event: Event) -> None:
        self._tell(message, where, event)
        raise _FatalError

    def _tell_syntax(self, message: str, where: KeyPath, *, line: int | None) -> None:
        text = f"this is not YAML: {message}."
        self.problems.append(Problem(where=where, message=text, file=self.file, line=line if self.numbered else None))
