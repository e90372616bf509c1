"""A tree of HTML elements whose texts are always escaped; the only way in which the report makes markup."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

VOID = frozenset(("br", "meta", "img", "hr"))
"""Elements without an end tag."""
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_LINK = re.compile(r"#[A-Za-z0-9_-]+|data:image/(png|svg\+xml);base64,[A-Za-z0-9+/=]*")


@dataclass(frozen=True)
class Trusted:
    """Markup that we made ourselves and that holds no text of a user."""

    markup: str
    """Goes out as it is."""


@dataclass(frozen=True)
class Element:
    """One element with what is in it."""

    tag: str
    """Lower case."""
    children: tuple[Node, ...]
    """In order; texts are escaped."""
    attributes: tuple[tuple[str, str], ...]
    """Names and values; values are escaped."""


Node = Element | Trusted | str | None
"""What may stand in an element; None is nothing."""


def element(tag: str, *children: Node, **attributes: str | None) -> Element:
    """An element.

    Args:
        tag: Its name.
        children: What is in it.
        attributes: `_` stands for `-`, a `_` at the end is dropped (`class_`); None leaves an attribute out. Handlers
            (`onclick`) and links out of the page are refused.
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    assert _NAME.fullmatch(tag)
    assert all(_NAME.fullmatch(name) and not name.startswith("on") for name in named), named
    assert all(_LINK.fullmatch(named[name]) for name in ("href", "src") if name in named), "a link out of the page"
    return Element(tag, children, tuple(named.items()))


def render(*nodes: Node) -> str:
    """The markup of some nodes."""
    return "".join(_pieces(nodes))


def script_json(value: Any) -> str:
    """JSON that stands in a `<script>` without ending it: no `<`, `>` or `&`, and no line ends of JavaScript."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _pieces(nodes: Iterable[Node]) -> Iterable[str]:
    for node in nodes:
        if isinstance(node, Trusted):
            yield node.markup
        elif isinstance(node, str):
            yield html.escape(_printable(node))
        elif node is not None:
            yield f"<{node.tag}"
            yield from (f' {name}="{html.escape(_printable(value))}"' for name, value in node.attributes)
            yield ">"
            if node.tag not in VOID:
                yield from _pieces(node.children)
                yield f"</{node.tag}>"


def _printable(text: str) -> str:
    """Without control characters but line ends and tabs, and without halves of characters."""
    return "".join(c if c.isprintable() or c in "\n\t " else "\ufffd" for c in text)
