"""Owns made-up histories for the tests of read models: frames of plausible events, and a strategy for many of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import Literal

from hypothesis import strategies as st

from eventlog.events import (
    AbandonJob,
    BalanceSheet,
    BrokenRule,
    CancelAccepted,
    CancelJob,
    ClockStepped,
    CommandRefused,
    CommitRefused,
    DeletedEvidence,
    DeleteQuarantine,
    DrainExecutor,
    Event,
    ExecutorDraining,
    ExecutorJoined,
    ExecutorLost,
    FailureClass,
    FilesRefused,
    FilesSeen,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobKey,
    JobPrioritySet,
    JobQueued,
    JobRequeued,
    JobStarted,
    KeyRevoked,
    KeyTrusted,
    LogForked,
    LoggedCommand,
    LogRecovered,
    LogRepaired,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
    ParserPaused,
    ParserResumed,
    ParserRevoked,
    ParserTrusted,
    PromotionAbandoned,
    QuarantineDeleted,
    QuarantineRecorded,
    Record,
    RefusedFile,
    ResumeParser,
    RetriedJob,
    RetryJobs,
    RevokeKey,
    RevokeParser,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    SchemaMismatch,
    SchemaMismatchFound,
    SeenFile,
    SetJobPriority,
    StartRun,
    TrustKey,
    TrustParser,
    TypeDifference,
    UnreadableRange,
    WriterOpened,
)
from eventlog.frames import Frame, LogRecord
from eventlog.ids import (
    ArtifactHash,
    CommitKey,
    ConfigHash,
    Digest,
    EnvHash,
    ExecutorId,
    Instant,
    JobId,
    LeaseId,
    MaterializationKey,
    OutputName,
    ParserName,
    PathText,
    RunId,
    SchemaHash,
    Seq,
    Sha256,
    SourceHash,
    TargetKey,
)
from eventlog.schema import Column, OutputSchema, schema_hash
from reducers.job import MOVES, Job, evolve

SINK = "parquet:///case/output"
EVTX_COLUMNS = (Column(name="event_id", type="int64", nullable=False), Column(name="at_time", type="timestamp_utc"))
HOSTILE_TEXT = 'it\'s "quoted"\nline\ttab \0 nul \u2028 \U0001f600 %4 \\x41'


def now(second: int = 0) -> Instant:
    """Return an instant on one day, `second` seconds after midnight."""
    minutes, seconds = divmod(second, 60)
    return Instant(f"2026-01-22T{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.123456Z")


def frames_of(groups: Sequence[Sequence[Event]], *, after: Frame | None = None) -> list[Frame]:
    """Return one frame per group of events, chained; an empty group is a frame without records."""
    frames: list[Frame] = []
    last, commit, previous = (after.last, after.commit, after.hash) if after else (0, 0, "genesis")
    for group in groups:
        commit += 1
        digest = hashlib.sha256(f"{previous}/{commit}/{len(group)}".encode()).hexdigest()
        frames.append(_frame(group, commit=commit, first=last + 1, prev=previous, digest=digest))
        last, previous = last + len(group), digest
    return frames


def _frame(events: Sequence[Event | LoggedCommand], *, commit: int, first: int, prev: str, digest: str) -> Frame:
    records = tuple(LogRecord(seq=Seq(first + index), data=event) for index, event in enumerate(events))
    return Frame(
        commit=commit,
        first=first,
        last=first + len(events) - 1,
        ts=now(commit % 60),
        actor="test",
        cause=0,
        corr=0,
        epoch=1,
        durable=first - 1,
        prev=prev,
        hash=digest,
        records=records,
    )


# --- single events --------------------------------------------------------------------------------------------------


def opened() -> WriterOpened:
    return WriterOpened(epoch=1, version="0", host="h", pid=1, boot_id="b", opened_at=now())


def deployed(
    parser: str = "evtx", *, version: str = "1", outputs: Sequence[OutputSchema] | None = None
) -> ParserDeployed:
    return ParserDeployed(
        parser=ParserName(parser),
        version=version,
        artifact_hash=ArtifactHash(f"artifact-{parser}-{version}"),
        env_hash=EnvHash("env"),
        builtin=True,
        outputs=tuple(outputs if outputs is not None else (output(),)),
        settings={"raw": "false"},
        components={"parser.py": "x"},
        deployed_at=now(),
    )


def trusted(parser: str = "lines", *, version: str = "1") -> ParserTrusted:
    return ParserTrusted(
        parser=ParserName(parser),
        version=version,
        artifact_hash=ArtifactHash(f"artifact-{parser}-{version}"),
        how="asked",
        by="cli:ada",
        reason="read it",
        trusted_at=now(),
    )


def revoked(parser: str = "lines", *, version: str = "1") -> ParserRevoked:
    return ParserRevoked(
        parser=ParserName(parser),
        version=version,
        artifact_hash=ArtifactHash(f"artifact-{parser}-{version}"),
        by="cli:ada",
        reason="loses the last line",
        revoked_at=now(1),
    )


def paused(parser: str = "evtx", *, version: str = "1", job: int = 1) -> ParserPaused:
    return ParserPaused(
        parser=ParserName(parser),
        version=version,
        artifact_hash=ArtifactHash(f"artifact-{parser}-{version}"),
        job=JobId(job),
        failures=5,
        reason="KeyError: 'no such field'",
        paused_at=now(8),
    )


def resumed(parser: str = "evtx", *, version: str = "1") -> ParserResumed:
    return ParserResumed(
        parser=ParserName(parser),
        artifact_hash=ArtifactHash(f"artifact-{parser}-{version}"),
        by="cli:ada",
        reason="mended",
        resumed_at=now(9),
    )


def key_trusted(key: str = "ada+11111111+AQ==") -> KeyTrusted:
    return KeyTrusted(key=key, by="cli:ada", reason="met her", trusted_at=now())


def key_revoked(key: str = "ada+11111111+AQ==") -> KeyRevoked:
    return KeyRevoked(key=key, by="cli:ada", reason="it was stolen", revoked_at=now(1))


def output(name: str = "evtx_events", columns: Sequence[Column] = EVTX_COLUMNS) -> OutputSchema:
    return OutputSchema(output=OutputName(name), columns=tuple(columns))


def run_started(run: int = 1, *, parser: str = "evtx") -> RunStarted:
    return RunStarted(
        run=RunId(run),
        parser=ParserName(parser),
        inputs=(PathText("/case"),),
        inputs_total=1,
        inputs_digest="",
        sink_uri=SINK,
        sink_mode="append",
        settings={},
        workers=2,
        started_at=now(run),
    )


def run_planned(run: int = 1, *, at_seq: int = 1, found: int = 3) -> RunPlanned:
    return RunPlanned(
        run=RunId(run),
        at_seq=Seq(at_seq),
        parser=ParserName("evtx"),
        parser_version="1",
        artifact_hash=ArtifactHash("artifact"),
        env_hash=EnvHash("env"),
        config_hash=ConfigHash("config"),
        sink_uri=SINK,
        sink_mode="append",
        targets=(),
        found=found,
        reused=0,
        queued=found,
        attached=0,
        refused=0,
        plan_digest=Digest("plan"),
        planned_at=now(run),
    )


def run_finished(run: int = 1) -> RunFinished:
    return RunFinished(
        run=RunId(run), exit=0, processed=3, reused=0, failed=0, superseded=1, finished_at=now(run + 100)
    )


def run_interrupted(run: int = 1) -> RunInterrupted:
    return RunInterrupted(run=RunId(run), reason="Ctrl-C", interrupted_at=now(run + 100))


def reused(*jobs: int, run: int = 1) -> OutputsReused:
    return OutputsReused(run=RunId(run), jobs=tuple(map(JobId, jobs)), reused_at=now(run))


def outputs_lost(*jobs: int, run: int = 1) -> OutputsLost:
    return OutputsLost(run=RunId(run), jobs=tuple(map(JobId, jobs)), lost_at=now(run))


def seen(path: str, *, content: str = "a", size: int = 10) -> SeenFile:
    return SeenFile(
        path=PathText(path),
        size=size,
        mtime_ns=1_700_000_000_000_000_001,
        file_uid="unix:1:2",
        source_hash=SourceHash(content * 64),
        sha256=Sha256(content * 64),
    )


def files_seen(*files: SeenFile, run: int = 1) -> FilesSeen:
    return FilesSeen(run=RunId(run), files=files)


def files_refused(*paths: str, run: int = 1, reason: str = "permission denied") -> FilesRefused:
    return FilesRefused(run=RunId(run), files=tuple(RefusedFile(path=PathText(path), reason=reason) for path in paths))


def joined(executor: str = "exec-1") -> ExecutorJoined:
    return ExecutorJoined(executor=ExecutorId(executor), pid=7, host="h", version="0", capacity=1, joined_at=now())


def draining(executor: str = "exec-1") -> ExecutorDraining:
    return ExecutorDraining(executor=ExecutorId(executor), reason="drained by cli:ada", draining_at=now(8))


def lost(executor: str = "exec-1") -> ExecutorLost:
    return ExecutorLost(executor=ExecutorId(executor), reason="it ended", lost_at=now(9))


def queued(
    job: int, *, run: int = 1, content: str = "a", path: str = "/case/a.evtx", parser: str = "evtx", version: str = "1"
) -> JobQueued:
    key = MaterializationKey(f"key-{parser}-{version}-{content}-evtx_events")
    return JobQueued(
        job=JobId(job),
        run=RunId(run),
        path=PathText(path),
        source_hash=SourceHash(content * 64),
        sha256=Sha256(content * 64),
        size=10,
        mtime_ns=1,
        file_uid="unix:1:2",
        parser=ParserName(parser),
        parser_version=version,
        artifact_hash=ArtifactHash(f"artifact-{parser}-{version}"),
        settings={},
        sink_uri=SINK,
        sink_mode="append",
        keys=(JobKey(output=OutputName("evtx_events"), target_key=TargetKey("target"), materialization_key=key),),
        queued_at=now(job % 60),
    )


def dispatched(job: int, *, attempt: int = 1) -> JobDispatched:
    return JobDispatched(
        job=JobId(job),
        attempt=attempt,
        executor=ExecutorId("exec-1"),
        lease=LeaseId(f"lease-{job}-{attempt}"),
        dispatched_at=now(1),
    )


def started(job: int, *, attempt: int = 1) -> JobStarted:
    return JobStarted(job=JobId(job), attempt=attempt, lease=LeaseId(f"lease-{job}-{attempt}"), started_at=now(2))


def declined(job: int) -> JobDeclined:
    return JobDeclined(job=JobId(job), attempt=1, lease=LeaseId("lease"), reason="no room", declined_at=now(3))


def requeued(job: int, *, failure: Literal["", "transient", "unknown"] = "unknown") -> JobRequeued:
    return JobRequeued(
        job=JobId(job), attempt=1, reason="the guest died", charged=True, not_before=now(5), requeued_at=now(4),
        kind="guest_died", failure=failure,
    )  # fmt: skip


def priority_set(job: int, *, priority: int = 7) -> JobPrioritySet:
    return JobPrioritySet(job=JobId(job), priority=priority, by="cli:ada", set_at=now(3))


def sheet(*, unreadable: int = 0) -> BalanceSheet:
    ranges = tuple(UnreadableRange(offset=n * 512, length=512, reason="bad chunk") for n in range(unreadable))
    return BalanceSheet(
        unit="records",
        output="evtx_events",
        found=3 + unreadable,
        written=3,
        quarantined=0,
        skipped=0,
        unreadable=unreadable,
        ranges=ranges,
        ranges_total=unreadable,
    )


def committed(job: int, *, unreadable: int = 0) -> OutputsCommitted:
    return OutputsCommitted(
        job=JobId(job),
        attempt=1,
        lease=LeaseId("lease"),
        commit_key=CommitKey(f"commit-{job}"),
        status="success",
        sink_uri=SINK,
        outputs=(),
        empty=(),
        sheet=sheet(unreadable=unreadable),
        committed_at=now(6),
    )


def commit_refused(job: int) -> CommitRefused:
    return CommitRefused(
        job=JobId(job), attempt=1, lease=LeaseId("l"), code="stale_lease", why="wrong lease", refused_at=now(6)
    )


def recorded(
    job: int,
    *,
    run: int = 1,
    content: str = "a",
    parser: str = "evtx",
    version: str = "1",
    name: str = "evtx_events",
    sink_uri: str = SINK,
    file: str | None = None,
    size: int = 100,
    schema: OutputSchema | None = None,
    row_first: int = 0,
    rows: int = 3,
) -> MaterializationRecorded:
    shape = schema_hash(schema) if schema is not None else schema_hash(output())
    return MaterializationRecorded(
        job=JobId(job),
        run=RunId(run),
        output=OutputName(name),
        target_key=TargetKey("target"),
        materialization_key=MaterializationKey(f"key-{parser}-{version}-{content}-{name}"),
        source_hash=SourceHash(content * 64),
        parser=ParserName(parser),
        parser_version=version,
        sink_uri=sink_uri,
        file=f"{name}_{job:016x}.parquet" if file is None else file,
        digest="d" * 64,
        bytes=size,
        row_first=row_first,
        rows=rows if file != "" else 0,
        schema_hash=SchemaHash(shape),
        status="success" if file != "" else "no_data",
    )


def completed(job: int, *, run: int = 1, unreadable: int = 0) -> JobCompleted:
    return JobCompleted(
        job=JobId(job), run=RunId(run), attempt=1, status="success", sheet=sheet(unreadable=unreadable),
        finished_at=now(7),
    )  # fmt: skip


def failed(job: int, *, run: int = 1, failure: FailureClass = "permanent", against: int = 0) -> JobFailed:
    return JobFailed(
        job=JobId(job),
        run=RunId(run),
        attempt=1,
        failure=failure,
        kind="not_evtx",
        reason="the file is empty",
        hint="look at it",
        log_tail=HOSTILE_TEXT,
        sheet=None,
        failed_at=now(7),
        against_parser=against,
    )


def quarantined(
    job: int, *, run: int = 1, content: str = "a", rejected: bool = False, name: str = "evtx_events"
) -> QuarantineRecorded:
    return QuarantineRecorded(
        job=JobId(job),
        run=RunId(run),
        output=OutputName(name),
        source_hash=SourceHash(content * 64),
        parser=ParserName("evtx"),
        parser_version="1",
        sink_uri=SINK,
        file=f"{name}_quarantine_{job:016x}.parquet",
        digest=Digest("q" * 64),
        bytes=50,
        rows=2,
        accepted=3,
        schema_hash=SchemaHash("s" * 64),
        rules=(BrokenRule(column="event_id", code="format_invalid", rows=2),),
        rejected=rejected,
    )


def quarantine_deleted(job: int, *, name: str = "evtx_events") -> QuarantineDeleted:
    return QuarantineDeleted(
        job=JobId(job), output=OutputName(name), file=f"{name}_quarantine_{job:016x}.parquet", sink_uri=SINK,
        digest=Digest("q" * 64), reason="the case is closed", deleted_at=now(20),
    )  # fmt: skip


def delete_quarantine(job: int) -> DeleteQuarantine:
    deleted = quarantine_deleted(job)
    file = DeletedEvidence(
        job=deleted.job, output=deleted.output, file=deleted.file, sink_uri=SINK, digest=deleted.digest
    )
    return DeleteQuarantine(files=(file,), reason=deleted.reason, now=now(20))


def mismatch_found(job: int) -> SchemaMismatchFound:
    mismatch = SchemaMismatch(
        output=OutputName("evtx_events"), expected=("a",), actual=("b",), missing=("a",), extra=("b",), misplaced=(),
        types=(TypeDifference(column="c", expected="int64", actual="string"),), expected_total=1, actual_total=1,
    )  # fmt: skip
    return SchemaMismatchFound(job=JobId(job), attempt=1, mismatch=mismatch)


def cancel_accepted(job: int) -> CancelAccepted:
    return CancelAccepted(job=JobId(job), reason="asked", accepted_at=now(8))


def aborted(job: int, *, run: int = 1) -> JobAborted:
    return JobAborted(job=JobId(job), run=RunId(run), reason="asked", aborted_at=now(9))


def abandoned(job: int) -> PromotionAbandoned:
    return PromotionAbandoned(
        job=JobId(job), attempt=1, commit_key=CommitKey(f"commit-{job}"), reason="conflict", abandoned_at=now(9)
    )


def whole_job(job: int, *, run: int = 1, content: str = "a", version: str = "1", parser: str = "evtx") -> list[Event]:
    """Return the life of a job that succeeds."""
    return [
        queued(job, run=run, content=content, version=version, parser=parser, path=f"/case/{content}.evtx"),
        dispatched(job),
        started(job),
        committed(job),
        recorded(job, run=run, content=content, version=version, parser=parser),
        completed(job, run=run),
    ]


# --- many histories -------------------------------------------------------------------------------------------------


class _Walk:
    """Makes a history that decide could have made: every job moves as the table of moves allows."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.events: list[Event] = [opened(), deployed(), joined()]
        self._jobs: dict[int, tuple[Job, JobQueued]] = {}
        self._last_job = self._last_run = 0
        self._open_runs: list[int] = []
        self._executors = {"exec-1"}
        self._trusted: set[tuple[str, str]] = set()

    def step(self) -> None:
        actions = [self._see, self._refuse, self._run, self._executor, self._deploy, self._trust, self._pause]
        if self._open_runs:
            actions += [self._queue] * 3 + [self._end_run, self._look_back]
        if self._jobs:
            actions += [self._move] * 12
        self._random.choice(actions)()

    def _path(self) -> str:
        return f"/case/{self._random.randrange(5)}"

    def _see(self) -> None:
        contents = [self._random.choice("abc") for _ in range(self._random.randrange(1, 4))]
        self.events.append(files_seen(*(seen(self._path(), content=each) for each in contents), run=self._last_run))

    def _refuse(self) -> None:
        self.events.append(files_refused(self._path(), run=self._last_run, reason=HOSTILE_TEXT))

    def _run(self) -> None:
        self._last_run += 1
        self._open_runs.append(self._last_run)
        self.events += [run_started(self._last_run), run_planned(self._last_run)]

    def _look_back(self) -> None:
        """Ask again for what some jobs may have recorded, or declare it lost."""
        jobs = self._random.sample(range(1, self._last_job + 2), k=min(2, self._last_job + 1))
        run = self._random.choice(self._open_runs)
        lost = self._random.random() < 0.3
        self.events.append(outputs_lost(*jobs, run=run) if lost else reused(*jobs, run=run))

    def _end_run(self) -> None:
        run = self._open_runs.pop(self._random.randrange(len(self._open_runs)))
        self.events.append(run_finished(run) if self._random.random() < 0.5 else run_interrupted(run))

    def _executor(self) -> None:
        name = f"exec-{self._random.randrange(1, 4)}"
        if name in self._executors:
            self._executors.remove(name)
            self.events.append(lost(name))
        else:
            self._executors.add(name)
            self.events.append(joined(name))

    def _trust(self) -> None:
        parser, version = self._random.choice(["lines", "rows"]), self._random.choice("12")
        known = (parser, version) in self._trusted
        self._trusted.add((parser, version))
        say = revoked if known and self._random.random() < 0.5 else trusted
        self.events.append(say(parser, version=version))

    def _pause(self) -> None:
        parser, version = self._random.choice(["evtx", "fix"]), self._random.choice("12")
        goes_on = self._random.random() < 0.5
        self.events.append(resumed(parser, version=version) if goes_on else paused(parser, version=version))

    def _deploy(self) -> None:
        self.events.append(deployed(self._random.choice(["evtx", "fix"]), version=self._random.choice("12")))

    def _queue(self) -> None:
        self._last_job += 1
        spec = queued(
            self._last_job,
            run=self._random.choice(self._open_runs),
            content=self._random.choice("abc"),
            version=self._random.choice("12"),
        )
        self._take(spec, spec)

    def _move(self) -> None:
        number = self._random.choice(list(self._jobs))
        state, spec = self._jobs[number]
        kind = self._random.choice(list(MOVES[type(state)]))
        self._take(_job_event(kind, spec, self._random), spec)

    def _take(self, event: Event, spec: JobQueued) -> None:
        self.events.append(event)
        known = self._jobs.pop(spec.job, None)
        after = evolve(known[0] if known else None, event)  # type: ignore[arg-type]  # _take gets job events only
        if after is not None:
            self._jobs[spec.job] = (after, spec)


def _job_event(kind: type[Record], spec: JobQueued, random: Random) -> Event:
    job, run = int(spec.job), int(spec.run)
    unreadable = random.randrange(3)
    made: dict[type[Record], Event] = {
        JobDispatched: dispatched(job, attempt=random.randrange(1, 4)),
        JobStarted: started(job),
        JobDeclined: declined(job),
        JobRequeued: requeued(job, failure=random.choice(["transient", "unknown"])),
        JobPrioritySet: priority_set(job, priority=random.randrange(-2, 3)),
        CommitRefused: commit_refused(job),
        OutputsCommitted: committed(job, unreadable=unreadable),
        MaterializationRecorded: recorded(
            job, run=run, content=spec.source_hash[0], version=spec.parser_version, file=random.choice([None, ""])
        ),
        JobCompleted: completed(job, run=run, unreadable=unreadable),
        JobFailed: failed(job, run=run, failure=random.choice(["permanent", "unknown"]), against=random.randrange(3)),
        CancelAccepted: cancel_accepted(job),
        JobAborted: aborted(job, run=run),
        PromotionAbandoned: abandoned(job),
        QuarantineRecorded: quarantined(job, run=run, content=spec.source_hash[0]),
        SchemaMismatchFound: mismatch_found(job),
    }
    return made[kind]


@st.composite
def event_lists(draw: st.DrawFn, *, steps_max: int = 60) -> list[Event]:
    """Draw a plausible history."""
    walk = _Walk(Random(draw(st.integers(0, 2**32))))
    for _ in range(draw(st.integers(1, steps_max))):
        walk.step()
    return walk.events


@st.composite
def frame_lists(draw: st.DrawFn, *, steps_max: int = 60) -> list[Frame]:
    """Draw a plausible history, cut into frames of 0 to 4 events."""
    events = draw(event_lists(steps_max=steps_max))
    random = Random(draw(st.integers(0, 2**32)))
    groups: list[list[Event]] = []
    while events:
        size = random.randrange(5)
        groups.append(events[:size])
        events = events[size:]
    return frames_of(groups)


def cancel_command() -> CancelJob:
    return CancelJob(job=JobId(1), reason="asked", now=now())


def one_of_each() -> list[Event | LoggedCommand]:
    """Return a record of every type that can stand in the log."""
    return [
        opened(),
        LogRecovered(
            segment="1.ndjson",
            kept_bytes=1,
            removed_bytes=2,
            removed_sha256=Sha256("0" * 64),
            kept_as="q",
            reason="cut",
        ),
        LogRepaired(
            segment="1.ndjson",
            copied_bytes=3,
            own_bytes=4,
            kept_as="q",
            source="/media/second/log",
            reason="its hash does not fit",
            repaired_at=now(),
        ),
        LogForked(old_log_id="0" * 32, seq=1, hash=Sha256("0" * 64), abandoned_seq=2, reason="no copy repairs it"),
        ClockStepped(delta_us=-3_600_000_000, expected_at=now(), stepped_at=now()),
        CommandRefused(code="not_found", why="there is no job 9"),
        deployed(),
        trusted(),
        revoked(),
        paused(),
        resumed(),
        key_trusted(),
        key_revoked(),
        run_started(),
        run_planned(),
        reused(1, 2),
        outputs_lost(1),
        run_finished(),
        run_interrupted(),
        files_seen(seen("/case/a.evtx")),
        files_refused("/case/b.evtx"),
        joined(),
        draining(),
        lost(),
        queued(1),
        dispatched(1),
        started(1),
        declined(1),
        requeued(1),
        priority_set(1),
        commit_refused(1),
        committed(1),
        recorded(1),
        completed(1),
        failed(1),
        cancel_accepted(1),
        aborted(1),
        quarantined(1),
        quarantine_deleted(1),
        mismatch_found(1),
        delete_quarantine(1),
        abandoned(1),
        cancel_command(),
        AbandonJob(
            job=JobId(1),
            commit_key=CommitKey("c" * 64),
            sink_answer="withdrawn",
            sink_said="",
            reason="the disk is gone",
            by="ada",
            now=now(),
        ),
        StartRun(
            parser=ParserName("evtx"),
            inputs=(PathText("/case"),),
            inputs_total=1,
            inputs_digest="",
            sink_uri=SINK,
            sink_mode="append",
            settings={"raw_xml": "true"},
            workers=2,
            now=now(),
        ),
        TrustParser(
            parser=ParserName("lines"),
            version="1",
            artifact_hash=ArtifactHash("artifact-lines-1"),
            how="command",
            by="cli:ada",
            reason="read it",
            now=now(),
        ),
        RevokeParser(parser=ParserName("lines"), by="cli:ada", reason="loses the last line", now=now()),
        DrainExecutor(executor=ExecutorId("exec-1"), reason="its memory is wanted", by="cli:ada", now=now()),
        RetryJobs(
            jobs=(RetriedJob(spec=queued(1), stood="failed", recorded=False),),
            at_seq=Seq(9),
            next_job=JobId(2),
            by="cli:ada",
            reason="the disk is back",
            now=now(),
        ),
        SetJobPriority(job=JobId(1), priority=7, by="cli:ada", now=now()),
        ResumeParser(parser=ParserName("evtx"), by="cli:ada", reason="mended", now=now()),
        TrustKey(key="ada+11111111+AQ==", by="cli:ada", reason="met her", now=now()),
        RevokeKey(key="ada+11111111+AQ==", by="cli:ada", reason="it was stolen", now=now()),
    ]
