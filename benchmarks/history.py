"""Makes histories for measurements: what runs of many jobs bring about, decided by the real deciders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from cli import clock
from commands.commit import CommitJob, StagedReport
from commands.decide import Command, decide
from commands.executor import JoinExecutor
from commands.file import RecordFiles
from commands.job import DispatchJob, EnqueueJobs, NewJob, StartJob
from commands.outcome import Refused
from commands.parser import DeployParser
from commands.promotion import RecordPromotion
from commands.run import FinishRun, PlanRun, RunTally
from eventlog.events import BalanceSheet, Event, JobKey, SeenFile, StartRun, Target
from eventlog.frames import FrameDraft
from eventlog.ids import (
    ArtifactHash,
    ConfigHash,
    Digest,
    EnvHash,
    ExecutorId,
    Instant,
    JobId,
    LeaseId,
    LogId,
    OutputName,
    ParserName,
    PathText,
    RunId,
    SchemaHash,
    Seq,
    SourceHash,
    TargetKey,
    canonical_hash,
    commit_key,
)
from eventlog.ids import MaterializationKey as Key
from eventlog.ids import Sha256 as Sha
from eventlog.log import Log
from eventlog.schema import Column, OutputSchema
from reducers.fold import State, apply

RUN_JOBS = 500
ENQUEUED_MAX = 50  # jobs of one EnqueueJobs
FRAME_EVENTS = 5
COMMIT_FRAMES = 512
OUTPUTS = (OutputName("evtx_events"), OutputName("evtx_files"))
EXECUTOR = ExecutorId("executor-1-0a1b2c3d")
NOW = Instant("2026-01-22T10:11:12.123456Z")


def make_log(folder: Path, *, events: int, frame_events: int = FRAME_EVENTS) -> int:
    """Write a closed log with at least so many events, so many to a frame; return how many there are."""
    log = Log.open(folder, clock=clock.now, new_log_id=clock.new_log_id, version="bench", purpose="bench")
    history = islice(history_of(log.log_id), events)
    while frames := [
        FrameDraft(events=frame, actor="bench") for frame in islice(_framed(history, frame_events), COMMIT_FRAMES)
    ]:
        log.commit(frames)
    last = log.head.seq
    log.close()
    return last


def history_of(log_id: LogId) -> Iterator[Event]:
    """Yield the events of one run after the other, without end."""
    state = State()
    yield from _brought_about(state, _deploy())
    join = JoinExecutor(executor=EXECUTOR, pid=4711, host="bench", version="bench", capacity=1, now=NOW)
    yield from _brought_about(state, join)
    while True:
        for command in _run(RunId(state.next_run), JobId(state.jobs.next_id), log_id):
            yield from _brought_about(state, command)


def _framed(history: Iterator[Event], frame_events: int) -> Iterator[tuple[Event, ...]]:
    while frame := tuple(islice(history, frame_events)):
        yield frame


def _brought_about(state: State, command: Command) -> Iterator[Event]:
    events = decide(command, state)
    assert not isinstance(events, Refused), events
    assert events, command
    for event in events:
        apply(state, Seq(state.seq + 1), event)
        yield event


def _run(run: RunId, first: JobId, log_id: LogId) -> Iterator[Command]:
    """Yield the commands of a run whose jobs all succeed."""
    jobs = [JobId(first + index) for index in range(RUN_JOBS)]
    files = {job: _file(job) for job in jobs}
    yield StartRun(
        parser=ParserName("evtx"),
        inputs=(PathText("/cases/2026-014/evidence"),),
        inputs_total=1,
        inputs_digest="",
        sink_uri="parquet:///cases/2026-014/output",
        sink_mode="append",
        settings={},
        workers=2,
        now=NOW,
    )
    yield RecordFiles(run=run, seen=tuple(files.values()), refused=())
    yield _plan(run)
    for start in range(0, RUN_JOBS, ENQUEUED_MAX):
        new = tuple(NewJob(file=files[job], keys=_keys(job)) for job in jobs[start : start + ENQUEUED_MAX])
        yield EnqueueJobs(run=run, jobs=new, now=NOW)
    for job in jobs:
        yield from _job(job, log_id)
    tally = RunTally(processed=RUN_JOBS, reused=0, failed=0, partial=0, unaccounted=0, superseded=0)
    yield FinishRun(run=run, tally=tally, now=NOW)


def _job(job: JobId, log_id: LogId) -> Iterator[Command]:
    lease = LeaseId(f"{job:032x}")
    yield DispatchJob(job=job, executor=EXECUTOR, lease=lease, now=NOW)
    yield StartJob(job=job, lease=lease, now=NOW)
    sheet = BalanceSheet(
        unit="records", output=OUTPUTS[0], found=1843, written=1843, quarantined=0, skipped=0, unreadable=0
    )
    staged = tuple(_staged(job, output) for output in OUTPUTS)
    yield CommitJob(job=job, lease=lease, log_id=log_id, outputs=staged, empty=(), sheet=sheet, now=NOW)
    yield RecordPromotion(job=job, commit_key=commit_key(log_id, job, 1), now=NOW)


def _staged(job: JobId, output: OutputName) -> StagedReport:
    return StagedReport(
        output=output,
        staged=f".0a1b2c3d-{job}-1-{output}.stage",
        final=f"{output}_{job:016x}.parquet",
        digest=Digest(f"{job:064x}"),
        bytes=91_234,
        rows=1843 if output == OUTPUTS[0] else 1,
        schema_hash=SchemaHash("5" * 64),
    )


def _file(job: JobId) -> SeenFile:
    return SeenFile(
        path=PathText(f"/cases/2026-014/evidence/host-{job % 97}/Windows/System32/winevt/Logs/Security-{job}.evtx"),
        size=69_632,
        mtime_ns=1_769_076_672_123_456_789 + job,
        file_uid=f"unix:64769:{1_000_000 + job}",
        source_hash=SourceHash(canonical_hash(job)),
        sha256=Sha(canonical_hash("sha", job)),
    )


def _keys(job: JobId) -> tuple[JobKey, ...]:
    return tuple(
        JobKey(
            output=output,
            target_key=TargetKey(canonical_hash(output)),
            materialization_key=Key(canonical_hash(output, job)),
        )
        for output in OUTPUTS
    )


def _plan(run: RunId) -> PlanRun:
    targets = tuple(
        Target(
            output=output,
            table_name="",
            schema_hash=SchemaHash("5" * 64),
            target_key=TargetKey(canonical_hash(output)),
        )
        for output in OUTPUTS
    )
    return PlanRun(
        run=run,
        at_seq=Seq(10**9),
        config_hash=ConfigHash("c" * 64),
        targets=targets,
        made_keys=frozenset(),
        artifact_hash=ArtifactHash("a" * 64),
        found=RUN_JOBS,
        reused=0,
        queued=RUN_JOBS,
        attached=0,
        refused=0,
        plan_digest=Digest("d" * 64),
        now=NOW,
    )


def _deploy() -> DeployParser:
    columns = (Column(name="event_id", type="int64", nullable=False),)
    return DeployParser(
        parser=ParserName("evtx"),
        version="0.1.0",
        artifact_hash=ArtifactHash("a" * 64),
        env_hash=EnvHash("e" * 64),
        builtin=True,
        outputs=tuple(OutputSchema(output=output, columns=columns) for output in OUTPUTS),
        settings={},
        components={"parser.py": "1"},
        now=NOW,
    )
