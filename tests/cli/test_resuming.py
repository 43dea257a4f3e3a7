"""What a start takes up of a process that ended between a commit and its publication."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.promoter import Promoter
from cli.resuming import committed_stages, open_sinks, publish_committed, sweep
from commands.handle import Handler
from eventlog.ids import JobId, LogId
from eventlog.log import Log
from sinks.memory import MemorySink
from tests.acceptance.terminal import eventually
from tests.support import LOG_ID, NOW, commit, dispatch, given, join, planned_run, started

COMMITTED = [*planned_run(1), join(), dispatch(), started(), commit(rejected=1)]
STAGES = {f".{LOG_ID[:8]}-1-1-evtx_events.stage", f".{LOG_ID[:8]}-1-1-evtx_events_quarantine.stage"}


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[Handler]:
    log = Log.open(tmp_path / "log", clock=lambda: NOW, new_log_id=lambda: LogId(LOG_ID), version="t", purpose="t")
    handler = Handler(log, manager=lambda _: (), actor="test")
    handler.replay(lambda _: None)
    handler.start()
    for command in COMMITTED:
        assert handler.call(command, actor="test").refused is None
    yield handler
    handler.stop()
    log.close()


def test_rejected_rows_that_a_commit_waits_to_publish_are_kept() -> None:
    """Their policy forbade the outputs: what is committed is the evidence alone."""
    assert committed_stages(given(*COMMITTED)) == {".stage-1-quarantine"}
    assert open_sinks(given(*COMMITTED)) == {"parquet:///out"}


def test_a_sweep_removes_what_no_commit_waits_for(handler: Handler) -> None:
    sink = MemorySink()
    sink.staged = {".stage-1-quarantine": b"kept, and of no log", **dict.fromkeys(STAGES, b"in vain")}
    assert sweep(handler, ["memory:///"], open_sink=lambda _: sink, log_id=LogId(LOG_ID)) == len(STAGES)
    assert sink.staged.keys() == {".stage-1-quarantine"}


def test_a_target_that_cannot_be_cleaned_is_left(handler: Handler) -> None:
    sink = MemorySink()
    sink.staged = dict.fromkeys(STAGES, b"in vain")
    sink.raise_next("discard", OSError("the disk is away"))
    assert sweep(handler, ["memory:///"], open_sink=lambda _: sink, log_id=LogId(LOG_ID)) == 0
    assert sink.staged.keys() == STAGES


def test_what_was_committed_is_published_but_what_a_person_decides_on(handler: Handler) -> None:
    sink = MemorySink()  # without its mark: nothing can be published now, and that is known of what was tried
    promoter = Promoter(handler, open_sink=lambda _: sink)
    publish_committed(handler, promoter, withhold=JobId(1))
    promoter.start()
    assert promoter.stuck == {}
    publish_committed(handler, promoter, withhold=None)
    eventually(lambda: JobId(1) in promoter.stuck, what="the promotion to be tried")
    promoter.stop()
