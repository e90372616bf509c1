"""Whom the pictures can be read by."""

from __future__ import annotations

from hpsearch.results.charts.palette import FAINT, INK, LOOKS, PAPER


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_colour_can_be_read_on_paper():
    assert all(contrast(colour, PAPER) >= 4.5 for colour in (INK, FAINT, *(look.colour for look in LOOKS.values())))


def test_roles_differ_without_their_colour():
    looks = [(look.dash, look.marker, look.width_px) for role, look in LOOKS.items() if role != "mark"]
    assert len(set(looks)) == len(looks)
