"""One attempt whose batches are taken behind what is read of its guest. What one does: test_executor_loop.py."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog.ids import JobId
from executors import behind
from executors.attempt import Attempt
from executors.guest.parents import GuestParents
from executors.protocol import Aborted, Failed, Receipt, Succeeded
from sinks.memory import MemorySink
from tests.executors.jobs import make_dispatch, make_source


@pytest.fixture(scope="module")
def parents() -> Iterator[GuestParents]:
    warm = GuestParents()
    yield warm
    warm.close()


@pytest.fixture(autouse=True)
def all_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "AT_ONCE_BYTES", 0)


def attempt(folder: Path, parents: GuestParents, sink: MemorySink, mode: str, **settings: str) -> Attempt:
    dispatch = make_dispatch(make_source(folder), mode, **settings)
    return Attempt(JobId(1), dispatch, sink_factory=lambda _uri: sink, parents=parents)


def run(folder: Path, parents: GuestParents, sink: MemorySink, mode: str, **settings: str) -> Receipt | None:
    return attempt(folder, parents, sink, mode, **settings).run(lambda _pid: None)


def test_all_rows_are_staged_in_their_order(tmp_path: Path, parents: GuestParents) -> None:
    receipt = run(tmp_path, parents, MemorySink(), "many", rows="120000")
    assert isinstance(receipt, Succeeded)
    assert [(staged.output, staged.rows) for staged in receipt.outputs] == [("lines", 120_000)]


@pytest.mark.parametrize(
    ("mode", "kind"), [("bad_shape", "schema_mismatch"), ("corrupt_arrow", "bad_frame"), ("error", "parser_error")]
)
def test_a_failure_is_told_and_leaves_nothing(tmp_path: Path, parents: GuestParents, mode: str, kind: str) -> None:
    sink = MemorySink()
    receipt = run(tmp_path, parents, sink, mode)
    assert isinstance(receipt, Failed) and receipt.kind == kind
    assert (receipt.mismatch is not None) == (mode == "bad_shape")
    assert not sink.staged


def test_a_sink_that_fails_while_the_guest_goes_on_is_why_the_attempt_fails(
    tmp_path: Path, parents: GuestParents
) -> None:
    sink = MemorySink()
    sink.raise_next("write", OSError(errno.ENOSPC, "No space left on device"))
    receipt = run(tmp_path, parents, sink, "many", rows="120000")
    assert isinstance(receipt, Failed) and receipt.kind == "sink_unavailable"
    assert not sink.staged


def test_what_was_read_before_an_abort_is_not_taken(tmp_path: Path, parents: GuestParents) -> None:
    sink = MemorySink()
    ended = attempt(tmp_path, parents, sink, "many", rows="120000")
    receipt = ended.run(lambda _pid: ended.abort("told to stop"))
    assert isinstance(receipt, Aborted)
    assert (ended.rows, sink.staged) == (0, {})
