"""The promoter, with targets that come and go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import promoter as module
from cli.promoter import Promoter
from commands.handle import Handler
from eventlog.errors import LogFullError
from eventlog.events import AbandonJob, JobFailed, MaterializationRecorded, PromotionAbandoned
from eventlog.frames import stamp_once
from eventlog.ids import JobId, LogId
from eventlog.log import Log
from sinks.sink import Promoted, PromoteResult, Sink, StagedArtifact, Unavailable
from tests.acceptance.terminal import eventually
from tests.support import LOG_ID, NOW, commit, conclude, dispatch, join, leased, planned_run, shared, started


class FickleSink:
    """A target that can be reached or not; counts what it is asked."""

    uri = "memory://fickle"

    def __init__(self) -> None:
        self.reachable = False
        self.asked = 0
        self.withdrawn: list[str] = []
        self.promoted: list[str] = []
        self.discarded: list[str] = []

    def promote(self, artifact: StagedArtifact, *, verify_staged: bool) -> PromoteResult:
        self.asked += 1
        self.promoted += [artifact.final] if self.reachable else []
        return Promoted() if self.reachable else Unavailable("the disk is away")

    def discard(self, staged: str) -> None:
        self.discarded.append(staged)

    def withdraw(self, artifact: StagedArtifact) -> None:
        if not self.reachable:
            raise OSError("the disk is away")
        self.withdrawn.append(artifact.final)


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[Handler]:
    log = Log.open(tmp_path / "log", clock=lambda: NOW, new_log_id=lambda: LogId(LOG_ID), version="t", purpose="t")
    handler = Handler(log, manager=lambda _: (), actor="test")
    handler.replay(lambda _: None)
    yield handler
    handler.stop()
    log.close()


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> FickleSink:
    monkeypatch.setattr(module, "BACKOFF_SECONDS", (0.01, 0.01))
    return FickleSink()


@pytest.fixture
def promoter(handler: Handler, sink: FickleSink) -> Iterator[Promoter]:
    def open_sink(_: str) -> Sink:
        return sink  # type: ignore[return-value]  # only what a promoter uses

    made = Promoter(handler, open_sink=open_sink)
    handler.subscribe(made.observe)
    handler.start()
    made.start()
    yield made
    made.stop()


def commit_jobs(handler: Handler, *jobs: int, rejected: int = 0) -> None:
    """Bring jobs to their commit point."""
    for command in planned_run(*jobs):
        assert handler.call(command, actor="t").refused is None
    handler.call(join(), actor="t")
    for job in jobs:
        for command in (dispatch(job), started(job), commit(job, rejected=rejected)):
            assert handler.call(command, actor="t").refused is None


def commit_lease(handler: Handler, *rows: int) -> None:
    """Bring jobs with so many rows each in one artifact to their commit point, all of one lease."""
    jobs = range(1, len(rows) + 1)
    for command in (*planned_run(*jobs), join(), leased(*jobs), conclude(*shared(*rows))):
        assert handler.call(command, actor="t").refused is None


def promoting(handler: Handler) -> list[int]:
    return handler.inspect(lambda state: list(state.jobs.promoting))


def test_a_lost_target_is_waited_for_once_and_not_for_every_job(
    handler: Handler, promoter: Promoter, sink: FickleSink
) -> None:
    commit_jobs(handler, 1, 2, 3)
    eventually(lambda: len(promoter.stuck) == 3, what="all to be stuck")
    assert sink.asked == 3 + 1 + 1  # three attempts for the first, one for each of the others
    assert list(promoter.unreachable.values()) == ["the disk is away"]
    assert promoting(handler) == [1, 2, 3]


def test_a_target_that_is_back_is_found_without_anybodys_help(
    handler: Handler, promoter: Promoter, sink: FickleSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.05)
    commit_jobs(handler, 1, 2, 3)
    eventually(lambda: len(promoter.stuck) == 3, what="all to be stuck")
    asked = sink.asked
    eventually(lambda: sink.asked >= asked + 3, what="it to be tried again and again")
    assert len(promoter.stuck) == 3
    sink.reachable = True
    eventually(lambda: promoting(handler) == [], what="all to be recorded")
    assert (promoter.stuck, promoter.unreachable) == ({}, {})


def test_what_waits_is_published_when_the_target_is_back(
    handler: Handler, promoter: Promoter, sink: FickleSink
) -> None:
    commit_jobs(handler, 1, 2)
    eventually(lambda: len(promoter.stuck) == 2, what="both to be stuck")
    sink.reachable = True
    committed = handler.inspect(lambda state: state.jobs.promoting[JobId(1)].committed)
    promoter.recover((committed,))
    eventually(lambda: promoting(handler) == [], what="both to be recorded")
    assert (promoter.stuck, promoter.unreachable) == ({}, {})


def test_what_the_log_has_no_room_to_hear_is_held_up_and_recorded_later(
    handler: Handler, promoter: Promoter, sink: FickleSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise LogFullError("append to the log: its disk is full", next_step="free some space")

    commit_jobs(handler, 1)
    eventually(lambda: bool(promoter.stuck), what="the job to be stuck")
    committed = handler.inspect(lambda state: state.jobs.promoting[JobId(1)].committed)
    sink.reachable = True
    with monkeypatch.context() as full:
        full.setattr(handler._log, "require_room", refuse)
        promoter.recover((committed,))
        eventually(lambda: "full" in promoter.stuck.get(JobId(1), ""), what="the job to be held up")
    assert promoting(handler) == [1]
    promoter.recover((committed,))
    eventually(lambda: promoting(handler) == [], what="the job to be recorded")
    eventually(lambda: (promoter.stuck, promoter.unreachable) == ({}, {}), what="nothing to be held up")


def test_what_policy_forbids_is_discarded_and_its_evidence_published(
    handler: Handler, promoter: Promoter, sink: FickleSink
) -> None:
    sink.reachable = True
    commit_jobs(handler, 1, rejected=1)
    eventually(lambda: promoting(handler) == [], what="the job to end")
    assert sink.promoted == ["evtx_events_quarantine_1.parquet"]
    assert sink.discarded == [".stage-1"]


def test_a_person_may_abandon_what_the_target_has_undone(
    handler: Handler, promoter: Promoter, sink: FickleSink
) -> None:
    commit_jobs(handler, 1)
    eventually(lambda: bool(promoter.stuck), what="the job to be stuck")
    refused = promoter.abandon(JobId(1), reason="asked", actor="cli:ada", stamp=stamp_once("one", b"")).result(10)
    assert refused.refused is not None
    assert refused.refused.code == "sink_unavailable"
    assert promoting(handler) == [1]
    sink.reachable = True
    done = promoter.abandon(JobId(1), reason="asked", actor="cli:ada", stamp=stamp_once("two", b"")).result(10)
    assert [type(event) for event in done.events] == [PromotionAbandoned, JobFailed]
    assert sink.withdrawn
    assert promoter.stuck == {}


def test_a_person_who_asks_again_gets_the_old_answer_and_nothing_is_undone_twice(
    handler: Handler, promoter: Promoter, sink: FickleSink
) -> None:
    commit_jobs(handler, 1)
    eventually(lambda: bool(promoter.stuck), what="the job to be stuck")
    sink.reachable = True
    first = promoter.abandon(JobId(1), reason="asked", actor="cli:ada", stamp=stamp_once("one", b"1")).result(10)
    withdrawn, head = list(sink.withdrawn), handler._log.head
    again = promoter.abandon(JobId(1), reason="asked", actor="cli:ada", stamp=stamp_once("one", b"1")).result(10)
    assert (again.events, again.refused) == (first.events, None)
    reused = promoter.abandon(JobId(2), reason="asked", actor="cli:ada", stamp=stamp_once("one", b"2")).result(10)
    assert reused.refused is not None
    assert reused.refused.code == "id_reused"
    assert (sink.withdrawn, handler._log.head.seq) == (withdrawn, head.seq)


def test_abandoning_what_is_recorded_touches_no_published_file(
    handler: Handler, promoter: Promoter, sink: FickleSink
) -> None:
    sink.reachable = True
    commit_jobs(handler, 1)
    done = promoter.abandon(JobId(1), reason="asked", actor="cli:ada", stamp=stamp_once("one", b"")).result(10)
    assert done.refused is not None
    assert done.refused.code == "already_completed"
    assert sink.withdrawn == []


def test_the_sinks_answer_is_in_the_logged_command(handler: Handler, promoter: Promoter, tmp_path: Path) -> None:
    commit_jobs(handler, 1)
    promoter.abandon(JobId(1), reason="asked", actor="cli:ada", stamp=stamp_once("one", b"")).result(10)
    frames = list(handler._log.replay())
    (logged,) = [record.data for frame in frames for record in frame.records if isinstance(record.data, AbandonJob)]
    assert (logged.sink_answer, logged.sink_said, logged.by) == ("unreachable", "the disk is away", "cli:ada")
    assert not any(isinstance(r.data, MaterializationRecorded) for frame in frames for r in frame.records)


def test_an_artifact_that_jobs_share_is_published_once_and_they_are_recorded_in_one_frame(
    handler: Handler, promoter: Promoter, sink: FickleSink
) -> None:
    sink.reachable = True
    commit_lease(handler, 2, 3, 5)
    eventually(lambda: promoting(handler) == [], what="all to be recorded")
    assert sink.promoted == ["evtx_events_1.parquet"]
    frames = [[type(record.data).__name__ for record in frame.events] for frame in handler._log.replay()]
    (recorded,) = [names for names in frames if "JobCompleted" in names]
    assert recorded.count("JobCompleted") == 3


def test_jobs_that_share_an_artifact_wait_and_are_abandoned_together(
    handler: Handler, promoter: Promoter, sink: FickleSink
) -> None:
    commit_lease(handler, 2, 3)
    eventually(lambda: len(promoter.stuck) == 2, what="both to be stuck")
    assert sink.asked == 3
    sink.reachable = True
    done = promoter.abandon(JobId(2), reason="asked", actor="cli:ada", stamp=stamp_once("one", b"")).result(10)
    assert [type(event) for event in done.events] == [PromotionAbandoned, JobFailed] * 2
    assert sink.withdrawn == ["evtx_events_1.parquet"]
    assert (promoter.stuck, promoting(handler)) == ({}, [])


def test_a_bundle_that_waited_is_published_when_the_target_is_back(
    handler: Handler, promoter: Promoter, sink: FickleSink
) -> None:
    commit_lease(handler, 2, 3)
    eventually(lambda: len(promoter.stuck) == 2, what="both to be stuck")
    sink.reachable = True
    for bundle in handler.inspect(module.promoting_bundles):
        promoter.recover(bundle)
    eventually(lambda: promoting(handler) == [], what="both to be recorded")
    assert (promoter.stuck, promoter.unreachable) == ({}, {})
    assert sink.promoted == ["evtx_events_1.parquet"]
