"""A hook of MkDocs: pages of the site that are not in `docs/`, and links to them.

`CHANGELOG.md` and the tables of the search benchmark lie where a reader of the repository looks for them. They are
pages of the site too, so links that lead out of `docs/` are rewritten to them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ("CHANGELOG.md", "benchmarks/search/results.md", "benchmarks/search/regret.svg")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the files of the repository that are pages or pictures of the site, and the list of decisions."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_bytes()))
    files.append(File.generated(config, "decisions/index.md", content=_list_of_decisions()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Rewrite links between `docs/` and the rest of the repository."""
    if page.file.src_uri == "CHANGELOG.md":
        return markdown.replace("](docs/", "](")
    return re.sub(r"\]\(\.\./(?=CHANGELOG\.md|benchmarks/)", "](", markdown)


def _list_of_decisions() -> str:
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    titles = [(page, page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")) for page in pages]
    links = "\n".join(f"- [{page.stem[:4]}]({page.name}): {title}" for page, title in titles)
    return f"# Decisions\n\nThe reasons for the design: each page has a question, the choice and its cost.\n\n{links}\n"
