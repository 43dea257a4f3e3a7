from __future__ import annotations

import pytest
from msgspec import structs

from cli.retrying import SPECS_BYTES_MAX, _bounded, _found
from eventlog.events import JobQueued
from eventlog.ids import JobId, PathText
from tests.projections.histories import queued

KEY = queued(1).keys[0].materialization_key


@pytest.mark.parametrize(
    ("status", "held", "missing", "expected"),
    [
        ("failed", set(), {KEY}, ("failed", False)),
        ("aborted", set(), {KEY}, ("aborted", False)),
        ("failed", set(), set(), ("failed", True)),  # another job has made its outputs since
        ("completed", set(), set(), ("completed", True)),
        ("failed", {KEY}, {KEY}, ("open", False)),  # another job is about to
        ("running", {KEY}, {KEY}, ("open", False)),
        ("promoting", set(), {KEY}, ("open", False)),
    ],
)
def test_how_a_job_stands_is_told_by_who_holds_its_keys_and_what_is_recorded(
    status: str, held: set[str], missing: set[str], expected: tuple[str, bool]
) -> None:
    found = _found(queued(1), status, held=held, missing=missing)  # type: ignore[arg-type]  # plain texts are keys here
    assert (found.stood, found.recorded) == expected


def specs(count: int, *, path_bytes: int) -> list[JobQueued]:
    return [structs.replace(queued(1), job=JobId(n), path=PathText("p" * path_bytes)) for n in range(1, count + 1)]


def test_one_command_takes_as_many_jobs_as_a_frame_holds_and_at_least_one() -> None:
    assert len(_bounded(specs(400, path_bytes=10))) == 400
    assert len(_bounded(specs(3, path_bytes=SPECS_BYTES_MAX))) == 1
    assert 1 < len(_bounded(specs(40, path_bytes=SPECS_BYTES_MAX // 20))) < 20
