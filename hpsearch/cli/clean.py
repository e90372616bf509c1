"""The verb that frees disk space."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from hpsearch.cli.app import Home, Json, Name, app
from hpsearch.cli.printing import print_json
from hpsearch.text import size_text


@app.command(epilog="Example: python -m hpsearch clean resnet --dry-run")
def clean(
    name: Name = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Remove the checkpoints of a finished sweep, except those of its best trials."""
    from hpsearch.ledger.cleaning import clean as clean_up
    from hpsearch.paths import home_dir

    cleaned = clean_up(home_dir(home), name, dry_run=dry_run)
    if as_json:
        print_json({**asdict(cleaned), "dry_run": dry_run})
        return
    verb = "would free" if dry_run else "freed"
    kept = f"; kept those of {_numbers(cleaned.kept)}" if cleaned.kept else ""
    what = f"the checkpoints of {_numbers(cleaned.trials)}" if cleaned.trials else "there was nothing to remove"
    print(f"{cleaned.sweep}: {verb} {size_text(cleaned.freed_bytes)}: {what}{kept}")


def _numbers(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8]) + (", ..." if len(numbers) > 8 else "")
    return f"trial {shown}" if len(numbers) == 1 else f"{len(numbers)} trials ({shown})"
