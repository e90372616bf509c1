"""Whom the pictures and the pages can be read by."""

from __future__ import annotations

import re

import pytest

from hpsearch.results.charts.palette import DARK, IN_THE_DARK, LIGHT, ROLE_STYLES
from hpsearch.results.html.page import styles

TEXT = ("ink", "faint", "blue", "warm", "grey", "green", "pink")
"""Whatever letters are written in, and lines and marks are drawn in."""
GROUNDS = pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@GROUNDS
@pytest.mark.parametrize("ground", ["paper", "tint"])
def test_every_colour_can_be_read_on_every_ground(ground, colours):
    assert {
        name: contrast(colours[name], colours[ground])
        for name in TEXT
        if contrast(colours[name], colours[ground]) < 4.5
    } == {}


def test_each_light_colour_has_one_dark_one():
    assert LIGHT.keys() == DARK.keys()
    assert len(IN_THE_DARK) == len(LIGHT), "two names of one light colour would get the same dark one"
    assert {look.colour for look in ROLE_STYLES.values()} <= {LIGHT[name] for name in TEXT}


def test_the_page_declares_these_colours_and_no_other():
    css = styles()
    declared = re.findall(r"--(\w+): ([^;]+);", css)
    assert declared == [*LIGHT.items(), *DARK.items()]
    rest = re.sub(r"--\w+: [^;]+;", "", css)
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(", rest)
    assert set(re.findall(r"var\(--(\w+)\)", css)) <= LIGHT.keys()
    dark = css[css.index("(prefers-color-scheme: dark)") - 60 :]
    assert "@media screen and (prefers-color-scheme: dark)" in dark, "paper stays light"


def test_roles_differ_without_their_colour():
    looks = [(look.dash, look.marker, look.width_px) for role, look in ROLE_STYLES.items() if role != "mark"]
    assert len(set(looks)) == len(looks)
