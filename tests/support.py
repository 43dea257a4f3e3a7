"""given / when / then for deciders, ready-made values, and a strategy for whole histories."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import msgspec
from hypothesis import strategies as st

from commands import decide as router
from commands.attempt import FailJob, ReleaseJob
from commands.commit import CommitJob, StagedReport
from commands.decide import Command
from commands.epoch import BeginEpoch
from commands.executor import JoinExecutor, LoseExecutor
from commands.file import RecordFiles
from commands.job import DispatchJob, EnqueueJobs, NewJob, StartJob, WithdrawJob
from commands.lease import ConcludeLease, DispatchLease, RecordLease
from commands.outcome import Decision, Refused
from commands.parser import DeployParser
from commands.promotion import AbandonPromotion, RecordPromotion
from commands.run import FinishRun, InterruptRun, LoseOutputs, PlanRun, ReuseOutputs, RunTally
from eventlog.events import (
    AbandonJob,
    BalanceSheet,
    BrokenRule,
    CancelJob,
    Event,
    JobKey,
    JobQueued,
    QuarantinePolicy,
    ResumeParser,
    RetriedJob,
    RetryJobs,
    RevokeKey,
    RevokeParser,
    SeenFile,
    SetJobPriority,
    SkippedUnits,
    StagedEvidence,
    StartRun,
    Target,
    TrustedHow,
    TrustKey,
    TrustParser,
)
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
    commit_key,
)
from eventlog.schema import Column, OutputSchema, ShapeMode
from reducers.fold import State, apply

NOW = Instant("2026-01-22T10:11:12.123456Z")
LATER = Instant("2026-01-22T11:11:12.123456Z")
LOG_ID = LogId("0123456789abcdef0123456789abcdef")
EVTX = ParserName("evtx")
ROWS = OutputName("evtx_events")
FILES = OutputName("evtx_files")
E1 = ExecutorId("executor-1")
L1 = LeaseId("lease-1")
L2 = LeaseId("lease-2")
J1 = JobId(1)
R1 = RunId(1)


def given(*commands: Command) -> State:
    """Return the state after these commands; each must be accepted."""
    state = State()
    for command in commands:
        events = decide(command, state)
        assert not isinstance(events, Refused), f"{command} was refused: {events}"
        take(state, events)
    return state


def decide(command: Command, state: State) -> Decision:
    """Decide as the house does."""
    return router.decide(command, state)


def take(state: State, events: Iterable[Event]) -> None:
    """Fold events into the state, in order."""
    for event in events:
        apply(state, Seq(state.seq + 1), event)


def types(decision: Decision) -> list[str]:
    """Return the names of the events that a decision brings about."""
    assert not isinstance(decision, Refused), decision
    return [type(event).__name__ for event in decision]


def events_of(decision: Decision) -> list[Event]:
    """Return the events that a decision brings about."""
    assert not isinstance(decision, Refused), decision
    return list(decision)


def code(decision: Decision) -> str:
    """Return the code of a refusal."""
    assert isinstance(decision, Refused), decision
    return decision.code


def picture(state: State) -> Any:
    """Return all of a state as plain values, for comparison."""
    return msgspec.to_builtins(
        {
            "seq": state.seq,
            "epoch": state.epoch,
            "changed": state.changed,
            "parsers": state.parsers,
            "trust": state.trust,
            "runs": {str(key): value for key, value in state.runs.items()},
            "next_run": state.next_run,
            "files": {str(key): value for key, value in state.files.items()},
            "executors": state.executors,
            "outputs": state.outputs,
            "jobs": {str(job): [type(state.jobs.get(job)).__name__, state.jobs.get(job)] for job in state.jobs},
            "indexes": [
                sorted(state.jobs.queued),
                sorted(state.jobs.leased),
                sorted(state.jobs.promoting),
                sorted(state.jobs.by_key.items()),
                state.jobs.next_id,
            ],
        }
    )


# --- ready-made commands ----------------------------------------------------------------------------------------------


def deploy(artifact: str = "a" * 64, version: str = "0.1.0", settings: dict[str, str] | None = None) -> DeployParser:
    columns = (Column(name="event_id", type="int64", nullable=False),)
    return DeployParser(
        parser=EVTX,
        version=version,
        artifact_hash=ArtifactHash(artifact),
        env_hash=EnvHash("e" * 64),
        builtin=True,
        outputs=(OutputSchema(output=ROWS, columns=columns), OutputSchema(output=FILES, columns=columns)),
        settings=settings or {},
        components={"parser.py": "1"},
        now=NOW,
    )


LINES = ParserName("lines")
KEY = "ada+11111111+AQ=="  # decisions compare it; nobody reads it


def deploy_own(
    artifact: str = "1" * 64,
    version: str = "0.1",
    *,
    source: str = "one",
    mode: ShapeMode = "strict",
    parser: ParserName = LINES,
    environment: str = "3.11",
) -> DeployParser:
    """Return the deployment of a parser that is not built in."""
    columns = (Column(name="text", type="string"),)
    return DeployParser(
        parser=parser,
        version=version,
        artifact_hash=ArtifactHash(artifact),
        env_hash=EnvHash(environment),
        builtin=False,
        outputs=(OutputSchema(output=OutputName("lines"), columns=columns, mode=mode),),
        settings={},
        components={"file lines.py": source, "python": environment},
        now=NOW,
        file=PathText("/home/ada/lines.py"),
    )


def trust(
    artifact: str = "1" * 64, *, how: TrustedHow = "command", parser: ParserName = LINES, key: str = ""
) -> TrustParser:
    return TrustParser(
        parser=parser,
        version="0.1",
        artifact_hash=ArtifactHash(artifact),
        how=how,
        by="cli:ada",
        reason="read it",
        now=NOW,
        key=key,
    )


def trust_key(key: str = KEY) -> TrustKey:
    return TrustKey(key=key, by="cli:ada", reason="met her", now=NOW)


def revoke_key(key: str = KEY) -> RevokeKey:
    return RevokeKey(key=key, by="cli:ada", reason="it was stolen", now=NOW)


def revoke(parser: str = LINES) -> RevokeParser:
    return RevokeParser(parser=ParserName(parser), by="cli:ada", reason="loses a line", now=NOW)


def start(
    parser: str = "evtx",
    sink_mode: str = "append",
    inputs: Sequence[str] = ("/case",),
    settings: dict[str, str] | None = None,
    quarantine: QuarantinePolicy | None = None,
) -> StartRun:
    return StartRun(
        parser=ParserName(parser),
        inputs=tuple(PathText(name) for name in inputs),
        inputs_total=len(inputs),
        inputs_digest="",
        sink_uri="parquet:///out",
        sink_mode=sink_mode,
        settings=settings or {},
        workers=2,
        now=NOW,
        quarantine=quarantine or QuarantinePolicy(),
    )


def seen(number: int) -> SeenFile:
    return SeenFile(
        path=PathText(f"/case/{number}.evtx"),
        size=69632,
        mtime_ns=number,
        file_uid=f"unix:1:{number}",
        source_hash=SourceHash(f"{number:064x}"),
        sha256=Sha256(f"{number + 1000:064x}"),
    )


def keys(number: int) -> tuple[JobKey, ...]:
    return tuple(
        JobKey(
            output=output,
            target_key=TargetKey(f"target-{output}"),
            materialization_key=MaterializationKey(f"{output}-{number}"),
        )
        for output in (ROWS, FILES)
    )


def record(*numbers: int, run: int = 1) -> RecordFiles:
    return RecordFiles(run=RunId(run), seen=tuple(seen(number) for number in numbers), refused=())


def plan(
    found: int,
    queued: int,
    *,
    run: int = 1,
    at_seq: int = 10_000,
    attached: int = 0,
    artifact: str = "a" * 64,
    made: Collection[MaterializationKey] = (),
) -> PlanRun:
    return PlanRun(
        run=RunId(run),
        at_seq=Seq(at_seq),
        config_hash=ConfigHash("c" * 64),
        targets=(
            Target(output=ROWS, table_name="", schema_hash=SchemaHash("s"), target_key=TargetKey("target-evtx_events")),
        ),
        made_keys=frozenset(made),
        artifact_hash=ArtifactHash(artifact),
        found=found,
        reused=found - queued - attached,
        queued=queued,
        attached=attached,
        refused=0,
        plan_digest=Digest("d" * 64),
        now=NOW,
    )


def enqueue(*numbers: int, run: int = 1) -> EnqueueJobs:
    return EnqueueJobs(
        run=RunId(run), jobs=tuple(NewJob(file=seen(number), keys=keys(number)) for number in numbers), now=NOW
    )


def join(executor: ExecutorId = E1) -> JoinExecutor:
    return JoinExecutor(executor=executor, pid=7, host="h", version="0.1.0", capacity=1, now=NOW)


def dispatch(job: int = 1, lease: LeaseId = L1, *, executor: ExecutorId = E1, now: Instant = NOW) -> DispatchJob:
    return DispatchJob(job=JobId(job), executor=executor, lease=lease, now=now)


def started(job: int = 1, lease: LeaseId = L1) -> StartJob:
    return StartJob(job=JobId(job), lease=lease, now=NOW)


def sheet(found: int = 10, written: int = 10, **counts: int) -> BalanceSheet:
    skipped = counts.get("skipped", 0)
    return BalanceSheet(
        unit="records",
        output=ROWS,
        found=found,
        written=written,
        quarantined=counts.get("quarantined", 0),
        skipped=skipped,
        skips=(SkippedUnits(count=skipped, reason="a comment"),) if skipped else (),
        unreadable=counts.get("unreadable", 0),
        ranges_total=counts.get("ranges_total", 0),
    )


def staged(rows: int = 10, job: int = 1) -> StagedReport:
    return StagedReport(
        output=ROWS,
        staged=f".stage-{job}",
        final=f"evtx_events_{job}.parquet",
        digest=Digest("9" * 64),
        bytes=1234,
        rows=rows,
        schema_hash=SchemaHash("s"),
    )


def evidence(rows: int = 1, *, accepted: int = 10, job: int = 1) -> StagedEvidence:
    return StagedEvidence(
        output=ROWS,
        staged=f".stage-{job}-quarantine",
        final=f"evtx_events_quarantine_{job}.parquet",
        digest=Digest("8" * 64),
        bytes=123,
        rows=rows,
        accepted=accepted,
        schema_hash=SchemaHash("q"),
        rules=(BrokenRule(column="event_id", code="format_invalid", rows=rows),),
    )


def commit(
    job: int = 1,
    lease: LeaseId = L1,
    *,
    balance: BalanceSheet | None = None,
    rows: int = 10,
    outputs: int = 1,
    rejected: int = 0,
) -> CommitJob:
    found = rows + rejected if outputs else rejected
    return CommitJob(
        job=JobId(job),
        lease=lease,
        log_id=LOG_ID,
        outputs=tuple(staged(rows, job) for _ in range(outputs)),
        empty=(FILES,) if outputs else (ROWS, FILES),
        evidence=(evidence(rejected, accepted=rows, job=job),) if rejected else (),
        sheet=balance or sheet(written=rows if outputs else 0, found=found, quarantined=rejected),
        now=NOW,
    )


def fail(job: int = 1, lease: LeaseId = L1, failure: Any = "permanent") -> FailJob:
    return FailJob(
        job=JobId(job),
        lease=lease,
        failure=failure,
        kind="parser_error",
        reason="read record 3: it is cut",
        hint="look at the file",
        log_tail="",
        sheet=None,
        now=NOW,
    )


def shape_failure(job: int = 1, lease: LeaseId = L1) -> FailJob:
    """Return a failure that speaks against the parser."""
    return msgspec.structs.replace(fail(job, lease), kind="schema_mismatch")


def retried(
    job: int = 1,
    *,
    stood: Literal["open", "completed", "failed", "aborted"] = "failed",
    recorded: bool = False,
    number: int = 1,
    artifact: str = "a" * 64,
) -> RetriedJob:
    """Return what the shell finds of a job that was queued for file `number`."""
    file = seen(number)
    spec = JobQueued(
        job=JobId(job),
        run=R1,
        path=file.path,
        source_hash=file.source_hash,
        sha256=file.sha256,
        size=file.size,
        mtime_ns=file.mtime_ns,
        file_uid=file.file_uid,
        parser=EVTX,
        parser_version="0.1.0",
        artifact_hash=ArtifactHash(artifact),
        settings={},
        sink_uri="parquet:///out",
        sink_mode="append",
        keys=keys(number),
        queued_at=NOW,
    )
    return RetriedJob(spec=spec, stood=stood, recorded=recorded)


def retry(*jobs: RetriedJob, next_job: int = 2, at_seq: int = 10) -> RetryJobs:
    return RetryJobs(
        jobs=jobs or (retried(),),
        at_seq=Seq(at_seq),
        next_job=JobId(next_job),
        by="cli:ada",
        reason="mended",
        now=LATER,
    )


def prioritise(job: int = 1, priority: int = 7) -> SetJobPriority:
    return SetJobPriority(job=JobId(job), priority=priority, by="cli:ada", now=NOW)


def resume(parser: str = "evtx") -> ResumeParser:
    return ResumeParser(parser=ParserName(parser), by="cli:ada", reason="mended", now=NOW)


def release(job: int = 1, lease: LeaseId = L1, *, declined: bool = False) -> ReleaseJob:
    return ReleaseJob(job=JobId(job), lease=lease, declined=declined, reason="told to stop", now=NOW)


def leased(*jobs: int, lease: LeaseId = L1, executor: ExecutorId = E1, now: Instant = NOW) -> DispatchLease:
    """Hand out several jobs under one lease."""
    return DispatchLease(jobs=tuple(map(JobId, jobs)), executor=executor, lease=lease, now=now)


def part(first: int, rows: int, *, of: int) -> StagedReport:
    return msgspec.structs.replace(staged(rows), row_first=first, artifact_rows=of)


def shared(*rows: int, first_job: int = 1, lease: LeaseId = L1) -> tuple[CommitJob, ...]:
    """Return commits of jobs that have so many rows each in one artifact."""
    commits, first = [], 0
    for job, count in enumerate(rows, start=first_job):
        one = commit(job, lease, rows=count, balance=sheet(found=count, written=count))
        commits.append(msgspec.structs.replace(one, outputs=(part(first, count, of=sum(rows)),)))
        first += count
    return tuple(commits)


def conclude(
    *commits: CommitJob, failures: tuple[FailJob, ...] = (), releases: tuple[ReleaseJob, ...] = (), lease: LeaseId = L1
) -> ConcludeLease:
    jobs = [*(each.job for each in commits), *(each.job for each in failures), *(each.job for each in releases)]
    return ConcludeLease(
        lease=lease,
        starts=tuple(started(job, lease) for job in jobs),
        commits=commits,
        failures=failures,
        releases=releases,
        now=NOW,
    )


def cancel(job: int = 1) -> CancelJob:
    return CancelJob(job=JobId(job), reason="Cancelled by user", now=NOW)


def promoted(job: int = 1, attempt: int = 1) -> RecordPromotion:
    return RecordPromotion(job=JobId(job), commit_key=commit_key(LOG_ID, JobId(job), attempt), now=NOW)


def abandon(job: int = 1, attempt: int = 1) -> AbandonPromotion:
    return AbandonPromotion(
        job=JobId(job), commit_key=commit_key(LOG_ID, JobId(job), attempt), reason="the staged file is gone", now=NOW
    )


def abandon_wish(job: int = 1, attempt: int = 1, *, answer: Any = "withdrawn") -> AbandonJob:
    return AbandonJob(
        job=JobId(job),
        commit_key=commit_key(LOG_ID, JobId(job), attempt),
        sink_answer=answer,
        sink_said="" if answer == "withdrawn" else "the disk is away",
        reason="not this case",
        by="cli:ada",
        now=NOW,
    )


def tally(**counts: int) -> RunTally:
    names = ("processed", "reused", "failed", "partial", "unaccounted", "superseded")
    return RunTally(**{name: counts.get(name, 0) for name in names})


def finish(run: int = 1, **counts: int) -> FinishRun:
    return FinishRun(run=RunId(run), tally=tally(**counts), now=NOW)


def reuse(*jobs: int, run: int = 1) -> ReuseOutputs:
    return ReuseOutputs(run=RunId(run), jobs=tuple(map(JobId, jobs)), now=NOW)


def lose(*jobs: int, run: int = 1) -> LoseOutputs:
    return LoseOutputs(run=RunId(run), jobs=tuple(map(JobId, jobs)), now=NOW)


def planned_run(*numbers: int) -> list[Command]:
    """Return the commands of a run that has its jobs queued."""
    count = len(numbers)
    return [deploy(), start(), record(*numbers), plan(count, count), enqueue(*numbers)]


def running_job() -> list[Command]:
    """Return the commands that bring job 1 to Running."""
    return [*planned_run(1), join(), dispatch(), started()]


_STOOD = st.sampled_from(["open", "completed", "failed", "aborted"])


def any_command() -> st.SearchStrategy[Command]:
    """Commands of every kind over few ids, so that random histories meet themselves."""
    jobs = st.integers(1, 4)
    leases = st.sampled_from([LeaseId(f"lease-{n}") for n in range(1, 5)])
    executors = st.sampled_from([E1, ExecutorId("executor-2")])
    runs = st.integers(1, 3)
    numbers = st.lists(st.integers(1, 5), max_size=4, unique=True)
    return st.one_of(
        st.just(deploy()),
        st.builds(deploy, st.sampled_from(["a" * 64, "b" * 64])),
        st.builds(deploy_own, st.sampled_from(["1" * 64, "2" * 64]), source=st.sampled_from(["one", "two"])),
        st.builds(trust, st.sampled_from(["1" * 64, "2" * 64]), how=st.sampled_from(["asked", "dev"])),
        st.builds(revoke),
        st.builds(trust, st.sampled_from(["1" * 64, "2" * 64]), how=st.just("signed"), key=st.just(KEY)),
        st.builds(trust_key),
        st.builds(revoke_key),
        st.builds(start, st.sampled_from(["evtx", "evtx", "lines"])),
        st.builds(lambda ns, run: record(*ns, run=run), numbers, runs),
        st.builds(lambda n, run: plan(n, n, run=run), st.integers(0, 4), runs),
        st.builds(lambda ns, run: enqueue(*ns, run=run), numbers, runs),
        st.builds(join, executors),
        st.builds(
            lambda e, charged: LoseExecutor(executor=e, reason="killed", charged=charged, now=NOW),
            executors,
            st.booleans(),
        ),
        st.builds(lambda job, lease: commit(job, lease, rejected=1), jobs, leases),
        st.just(BeginEpoch(now=NOW)),
        st.builds(lambda j, lease, e: dispatch(j, lease, executor=e, now=LATER), jobs, leases, executors),
        st.builds(started, jobs, leases),
        st.builds(
            lambda j, lease, rows, lost: commit(
                j, lease, rows=rows, balance=sheet(found=rows + lost, written=rows) if lost else None
            ),
            jobs,
            leases,
            st.integers(1, 3),
            st.sampled_from([0, 0, 1]),
        ),
        st.builds(fail, jobs, leases, st.sampled_from(["permanent", "transient", "unknown"])),
        st.builds(shape_failure, jobs, leases),
        st.builds(
            lambda j, stood, n, next_job: retry(retried(j, stood=stood, number=n), next_job=next_job),
            jobs,
            _STOOD,
            st.integers(1, 5),
            st.integers(2, 6),
        ),
        st.builds(prioritise, jobs, st.integers(-2, 2)),
        st.builds(resume, st.sampled_from(["evtx", "lines", "none"])),
        st.builds(lambda j, lease, d: release(j, lease, declined=d), jobs, leases, st.booleans()),
        st.builds(cancel, jobs),
        st.builds(lambda j: WithdrawJob(job=JobId(j), reason="outdated", now=NOW), jobs),
        st.builds(promoted, jobs, st.integers(1, 3)),
        st.builds(
            lambda ns, lease, e: leased(*sorted(ns), lease=lease, executor=e, now=LATER),
            st.sets(jobs, min_size=1),
            leases,
            executors,
        ),
        st.builds(
            lambda rows, first, failed, lease: conclude(
                *shared(*rows, first_job=first, lease=lease),
                failures=tuple(fail(job, lease, "unknown") for job in failed if not first <= job < first + len(rows)),
                lease=lease,
            ),
            st.lists(st.integers(1, 3), min_size=1, max_size=3),
            jobs,
            st.sets(jobs),
            leases,
        ),
        st.builds(
            lambda ns, a: RecordLease(records=tuple(promoted(n, a) for n in ns)), st.sets(jobs), st.integers(1, 2)
        ),
        st.builds(abandon, jobs, st.integers(1, 3)),
        st.builds(
            lambda j, a, answer: abandon_wish(j, a, answer=answer),
            jobs,
            st.integers(1, 3),
            st.sampled_from(["withdrawn", "unreachable", "not_asked"]),
        ),
        st.builds(lambda run: finish(run, processed=1), runs),
        st.builds(lambda run: InterruptRun(run=RunId(run), reason="stopped", now=NOW), runs),
    )
