"""HTML elements whose texts are always escaped. The report makes all its markup with these."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

VOID = frozenset(("br", "meta", "img", "hr"))
"""Tags of elements without an end tag."""
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_LINK = re.compile(r"#[A-Za-z0-9_-]+|data:image/(png|svg\+xml);base64,[A-Za-z0-9+/=]*")


@dataclass(frozen=True)
class Trusted:
    """Markup that hpsearch itself has made and that contains no text of a user."""

    markup: str
    """The markup, which is not escaped."""


@dataclass(frozen=True)
class Element:
    """An HTML element; make it with `element`, which checks it."""

    tag: str
    """Name of the element, in lower case."""
    children: tuple[Node, ...]
    """Content of the element, in order; texts are escaped."""
    attributes: tuple[tuple[str, str], ...]
    """Names and values of the attributes; values are escaped."""


Node = Element | Trusted | str | None
"""Content of an element; None is nothing."""


def element(tag: str, *children: Node, **attributes: str | None) -> Element:
    """Make an element.

    Args:
        tag: Name of the element.
        children: Content of the element.
        attributes: Attributes by name. `_` becomes `-` and a final `_` is dropped (`class_`); None omits the attribute.
            Event handlers (`onclick`) and links out of the page are not allowed.

    Raises:
        AssertionError: A name or link is not allowed.

    Example:
        >>> render(element("p", "a < b", class_="note"))
        '<p class="note">a &lt; b</p>'
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    assert _NAME.fullmatch(tag)
    assert all(_NAME.fullmatch(name) and not name.startswith("on") for name in named), named
    assert all(_LINK.fullmatch(named[name]) for name in ("href", "src") if name in named), "a link out of the page"
    return Element(tag, children, tuple(named.items()))


def render(*nodes: Node) -> str:
    """The HTML of nodes."""
    return "".join(_pieces(nodes))


def script_json(value: Any) -> str:
    """JSON that is safe inside a `<script>` element: it contains no `<`, `>`, `&` or line separator of JavaScript."""
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
    """The text with control characters (except line ends and tabs) and lone surrogates replaced."""
    return "".join(c if c.isprintable() or c in "\n\t " else "\ufffd" for c in text)
