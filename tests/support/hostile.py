"""A sweep whose every text tries to run something in its reader: markup, scripts, templates, formulas, escapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpsearch.slots.protocol import Failed
from tests.support import curves

RUN = "globalThis.harmed=1"
"""What must never run."""
TEXTS = (
    f"</script><script>{RUN}</script>",
    f'"><img src=x onerror="{RUN}">',
    f"<svg/onload={RUN}>",
    f'<a href="javascript:{RUN}">b</a>',
    "{{7*7}} ${7*7} <%= 7*7 %> %{customdata}",
    "$\\frac{1}{0}$ _under ^over",
    '=HYPERLINK("http://127.0.0.1:9/")',
    "\x1b[2J\x1b]0;title\x07",
    "\u202eevil\u2066 \ud83d \u2028 \x00",
    "]]><!--",
    "x" * 3000,
    "\u6df1\u5ea6\u5b66\u4e60 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \U0001f525",
)
NAMES = tuple(text.replace(".", "").replace("=", ":")[:150] for text in TEXTS[:4])
"""Names of parameters have neither dots nor equals signs."""
METRIC = f"<b onclick={RUN}>loss</b></script>"


def losses(config: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """Falls with the epochs; how far depends on every parameter."""
    return {METRIC: sum(len(str(value)) % 7 for value in config.values()) / 10 + 1 / epoch, TEXTS[0]: 1.0}


def failure(config: Mapping[str, Any]) -> Failed | None:
    """Some configurations fail with a hostile sentence."""
    text = str(config["kind"])
    return Failed(cause="user_error", evidence=f"ValueError: {text}", elapsed_s=1.0) if "<svg" in text else None


def run(home: Path) -> str:
    """Put the sweep into the ledger of `home`; returns its name."""
    printable = [text for text in TEXTS if text.isprintable() or "\x1b" in text]
    parameters: dict[str, Any] = {
        "kind": {"values": list(printable)},
        **{name: {"min": 0.0, "max": 1.0} for name in NAMES},
        "shape": {"values": [[1, 2], {"deep": TEXTS[0]}, None]},
    }
    return curves.run(
        home,
        landscape=curves.Landscape(report=losses, failure=failure),
        printed="\n".join(printable),
        name="hostile",
        parameters=parameters,
        metric={"name": METRIC, "goal": "minimize"},
        limits={"trials": 30, "epochs": 9, "concurrent": 3, "failures": 100},
        notes={TEXTS[1]: TEXTS[0]},
    )
