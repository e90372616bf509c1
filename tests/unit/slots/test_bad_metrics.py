"""A rank checks what a trainable reports, for every kind of trainable; without Ray's processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpsearch.slots.protocol import Assignment
from hpsearch.slots.rank_environment import RankPosition
from hpsearch.slots.replies import Reply
from hpsearch.slots.resident.attempt import ResidentAttempt
from hpsearch.trainable.script import Script
from tests.support import bad_rows
from tests.support.slot_settings import settings_of


def _script(folder: Path) -> Script:
    path = folder / "train.py"
    path.write_text(bad_rows.SCRIPT)
    return Script(path)


FORMS: dict[str, Callable[[Path], Callable[..., Any]]] = {
    "generator": lambda _: bad_rows.generator,
    "report": lambda _: bad_rows.reporter,
    "ray": lambda _: bad_rows.ray_function,
    "script": _script,
}


@pytest.fixture(params=FORMS)
def second_reply(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Reply]]:
    """Runs a trainable of one form up to its second report, which is of the kind that is asked for."""
    attempts = []

    def run(kind: str) -> Reply:
        attempt = ResidentAttempt(
            Assignment(number=1, attempt=1, config={"kind": kind}, seed=0, max_epochs=None, known_epochs=0),
            FORMS[request.param](tmp_path),
            settings=settings_of(sweep_dir=str(tmp_path), working_dir=str(tmp_path)),
            position=RankPosition(),
            ranks_here=1,
            in_ray_session=request.param == "ray",
        )
        attempts.append(attempt)
        assert attempt.advance(save=False).metrics == {"loss": 5.0}
        return attempt.advance(save=False)

    yield run
    for attempt in attempts:
        assert attempt.close(save=False), "it is really over"


@pytest.mark.parametrize("kind", bad_rows.BAD)
def test_metrics_that_cannot_be_used_fail_the_trial_with_what_was_found(second_reply: Any, kind: str):
    failure = second_reply(kind).failure
    _, cause, text = bad_rows.BAD[kind]
    assert failure is not None and failure.cause == cause
    assert text in failure.evidence


@pytest.mark.parametrize("kind", bad_rows.GOOD)
def test_numbers_of_any_kind_are_accepted(second_reply: Any, kind: str):
    reply = second_reply(kind)
    assert reply.failure is None
    assert reply.metrics == {"loss": 1.0, "acc": 2.0}
