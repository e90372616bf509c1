"""The documentation as a site: `make docs`, its links, its reference, and that reading it needs no network."""

from __future__ import annotations

import html.parser
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import hpsearch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; a warning or a dead link is an error there."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    return folder


class _Requests(html.parser.HTMLParser):
    """Addresses that a browser loads when it shows a page: scripts, styles, pictures, frames."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        name = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}.get(tag)
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev"):
            return  # said to search engines and to the reader's keyboard; nothing is loaded
        self.found += [value] if name and (value := values.get(name)) else []


def test_reading_the_site_loads_nothing_from_the_network(site: Path):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        requests = _Requests()
        requests.feed(page.read_text())
        assert requests.found
        assert not [address for address in requests.found if re.match(r"(https?:)?//", address)], page


def test_the_reference_has_every_public_name(site: Path):
    page = (site / "api.html").read_text()
    for name in hpsearch.__all__:
        assert re.search(rf'id="hpsearch\.{name}"|id="hpsearch\.[\w.]+\.{name}"', page), name


def test_examples_of_the_reference_are_code(site: Path):
    page = (site / "api.html").read_text()
    assert "<blockquote>" not in page  # what Markdown makes of the signs `>>>` outside of code
    assert page.count("&gt;&gt;&gt;") > 10


def test_the_page_of_commands_is_what_the_command_line_says():
    module = runpy.run_path(str(ROOT / "docs" / "commands.py"))
    assert (ROOT / "docs" / "commands.md").read_text() == module["page"](), "run: python docs/commands.py"


def prose_of(page: Path) -> list[str]:
    """Lines of a page that are neither in a block of code nor in a table, nor a link or picture alone."""
    lines, in_block = [], False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            in_block = not in_block
        elif not in_block and not line.startswith(("|", "    ", "![")):
            lines.append(line)
    return lines


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda page: page.name,
)
def test_no_line_of_prose_is_longer_than_120_characters(page: Path):
    assert not [line for line in prose_of(page) if len(line) > 120]
