"""What a run says of setbacks: at once, per target and not per job."""

from __future__ import annotations

from msgspec import structs

from cli.setbacks import Setbacks
from eventlog.events import CancelAccepted, Event, JobRequeued, OutputsCommitted, StagedOutput
from eventlog.frames import Frame
from eventlog.ids import Digest, Instant, JobId, OutputName, SchemaHash, Seq
from eventlog.records import LogRecord
from tests.projections.histories import committed as outputs_committed
from tests.support import NOW

SINK = "parquet:///out"


def frame(*events: Event) -> Frame:
    records = tuple(LogRecord(seq=Seq(number), data=event) for number, event in enumerate(events, 1))
    return Frame(
        commit=1, first=1, last=len(events), ts=NOW, actor="t", cause=0, corr=0, epoch=1, durable=0, prev="", hash="",
        records=records,
    )  # fmt: skip


def requeued(job: int, *, kind: str = "sink_unavailable", charged: bool = True) -> JobRequeued:
    return JobRequeued(
        job=JobId(job), attempt=1, reason="stage rows: no such folder", charged=charged, kind=kind,
        not_before=Instant("2026-01-20T08:00:04.000000Z"), requeued_at=NOW,
    )  # fmt: skip


def committed(job: int) -> OutputsCommitted:
    """Return a commit of rows into the target."""
    staged = StagedOutput(
        output=OutputName("rows"), staged=".s", final="f", digest=Digest("d"), bytes=1, rows=1,
        schema_hash=SchemaHash("s"), jobs=(),
    )  # fmt: skip
    return structs.replace(outputs_committed(job), sink_uri=SINK, outputs=(staged,))


def told(setbacks: Setbacks, unreachable: dict[str, str] | None = None) -> list[str]:
    return setbacks.tell(sink_of=lambda _: SINK, unreachable=unreachable or {})


def test_a_target_that_fails_many_jobs_is_told_once() -> None:
    setbacks = Setbacks()
    setbacks.observe([frame(*(requeued(job) for job in range(1, 61)))])
    (sentence,) = told(setbacks)
    assert "no such folder" in sentence
    assert "tried again at 2026-01-20T08:00:04" in sentence
    setbacks.observe([frame(requeued(1))])
    assert told(setbacks, {SINK: "gone"}) == []


def test_a_target_that_failed_again_after_it_was_back_is_told_again() -> None:
    setbacks = Setbacks()
    setbacks.observe([frame(requeued(1))])
    assert len(told(setbacks)) == 1
    setbacks.observe([frame(committed(1)), frame(requeued(2))])
    assert len(told(setbacks)) == 1


def test_other_setbacks_and_cancels_are_told_by_job() -> None:
    setbacks = Setbacks()
    accepted = CancelAccepted(job=JobId(3), reason="cancelled by cli:ada: asked", accepted_at=NOW)
    setbacks.observe([frame(requeued(2, kind="executor_lost"), accepted, requeued(4, charged=False))])
    first, second = told(setbacks)
    assert first.startswith("job 2, attempt 1: ")
    assert second == "job 3: cancelled by cli:ada: asked"
    assert told(setbacks) == []


def test_a_failure_from_before_the_target_was_back_is_not_told_as_a_new_one() -> None:
    setbacks = Setbacks()
    setbacks.observe([frame(requeued(1))])
    assert len(told(setbacks)) == 1
    setbacks.observe([frame(requeued(2)), frame(committed(3))])
    assert told(setbacks) == []
    setbacks.observe([frame(requeued(2))])
    assert len(told(setbacks)) == 1
