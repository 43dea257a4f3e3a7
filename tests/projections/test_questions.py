"""Questions from another process: the same answers as in this one, and nothing else is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from eventlog.ids import JobId
from projections import queries
from projections.projector import Projector
from projections.questions import QUESTIONS, UnknownQuestionError, answer, read_answer
from tests.projections import histories as h

ARGUMENTS: dict[str, dict[str, Any]] = {
    "job": {"job_id": 1},
    "job_events": {"job_id": 1, "after": 1},
    "jobs": {"status": "completed", "limit": 1},
    "jobs_of_ids": {"job_ids": [1, 2]},
}


@pytest.fixture
def told(projector: Projector) -> queries.Connection:
    projector.apply(
        h.frames_of(
            [
                [h.opened(), h.deployed(), h.joined()],
                [h.run_started(1), h.files_seen(h.seen("/case/b"), h.seen("/case/a")), h.files_refused("/case/c")],
                [*h.whole_job(1), h.queued(2, content="b"), h.dispatched(2), h.failed(2)],
            ]
        )
    )
    return projector.connection


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_an_answer_that_has_travelled_is_the_answer(told: queries.Connection, question: Callable[..., Any]) -> None:
    arguments = ARGUMENTS.get(question.__name__, {})
    travelled = msgspec.json.decode(msgspec.json.encode(arguments))
    here = question(told, **arguments)
    assert read_answer(question, answer(told, question.__name__, travelled)) == here
    unasked = (queries.quarantine, queries.trusted_keys, queries.trusted_parsers)
    assert here or question in unasked, "an empty answer shows nothing"


def test_what_is_not_there_is_answered_with_nothing(told: queries.Connection) -> None:
    assert read_answer(queries.job, answer(told, "job", {"job_id": 99})) is None
    assert queries.job(told, JobId(99)) is None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("_ask", {"name": "jobs"}),
        ("missing_keys", {"keys": []}),
        ("drop table cf_jobs", {}),
        ("jobs", {"limit": "many"}),
        ("jobs", {"connection": 1}),
        ("jobs", {"order": "status"}),
        ("job", {}),
    ],
)
def test_nothing_else_is_answered(told: queries.Connection, name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(UnknownQuestionError):
        answer(told, name, arguments)
    assert queries.job_counts(told) == {"completed": 1, "failed": 1}
