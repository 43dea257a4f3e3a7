"""That the double can be read and told to fail; that it keeps the contract is shown by test_contract.py."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor

import pytest

from sinks.errors import StageClosedError
from sinks.memory import MemorySink, Step
from sinks.sink import AlreadyPromoted, Conflict, Missing, Promoted, Unavailable
from tests.sinks.artifacts import LOG_ID, SCHEMA, identity, rows, stage


def marked() -> MemorySink:
    sink = MemorySink()
    sink.mark()
    return sink


def test_nothing_is_published_into_or_withdrawn_from_a_target_without_its_mark() -> None:
    sink = MemorySink()
    artifact = stage(sink)
    answer = sink.promote(artifact, verify_staged=True)
    assert isinstance(answer, Unavailable)
    with pytest.raises(FileNotFoundError, match="mark"):
        sink.withdraw(artifact)
    assert list(sink.staged) == [artifact.staged]


def test_state_can_be_read() -> None:
    sink = marked()
    artifact = stage(sink)
    assert (list(sink.staged), list(sink.published)) == ([artifact.staged], [])
    sink.promote(artifact, verify_staged=False)
    assert (list(sink.staged), list(sink.published)) == ([], [artifact.final])
    assert sink.table(artifact.final).to_pylist() == rows(3).to_pylist()


def test_promote_fails_as_told_in_order_and_changes_nothing() -> None:
    sink = marked()
    artifact = stage(sink)
    told = (Unavailable("later"), Missing("gone"), Conflict("other bytes"))
    sink.fail_next(*told)
    for answer in told:
        assert sink.promote(artifact, verify_staged=True) == answer
        assert list(sink.published) == []
    assert sink.promote(artifact, verify_staged=True) == Promoted()


@pytest.mark.parametrize("step", ["write", "finish"])
def test_a_failed_write_or_finish_breaks_the_stage(step: Step) -> None:
    sink = marked()
    writer = sink.open_stage(identity(), SCHEMA)
    sink.raise_next(step, OSError(errno.ENOSPC, "full"))
    with pytest.raises(OSError, match="full"):
        writer.write(rows(1))
        writer.finish()
    with pytest.raises(StageClosedError, match="an earlier write failed"):
        writer.finish()
    writer.abandon()
    assert sink.staged == {}


def test_open_stage_and_discard_raise_once_as_told() -> None:
    sink = marked()
    sink.raise_next("open_stage", OSError(errno.EROFS, "read-only"))
    with pytest.raises(OSError, match="read-only"):
        sink.open_stage(identity(), SCHEMA)
    artifact = stage(sink)
    sink.raise_next("discard", PermissionError(errno.EACCES, "no"))
    with pytest.raises(PermissionError):
        sink.discard(artifact.staged)
    assert sink.staged_names(LOG_ID) == [artifact.staged]
    sink.discard(artifact.staged)
    assert sink.staged_names(LOG_ID) == []


def test_withdraw_raises_once_as_told() -> None:
    sink = marked()
    artifact = stage(sink)
    sink.promote(artifact, verify_staged=False)
    sink.raise_next("withdraw", OSError(errno.EIO, "broken"))
    with pytest.raises(OSError, match="broken"):
        sink.withdraw(artifact)
    assert list(sink.published) == [artifact.final]
    sink.withdraw(artifact)
    assert sink.published == {}


def test_check_answers_as_told() -> None:
    sink = MemorySink("memory:///case")
    assert sink.check() is None
    sink.refuse_check = "no"
    assert sink.check() == "no"


def test_of_many_threads_one_promotes() -> None:
    sink = marked()
    artifact = stage(sink, count=1000)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: sink.promote(artifact, verify_staged=True), range(32)))
    assert answers.count(Promoted()) == 1
    assert answers.count(AlreadyPromoted()) == 31
