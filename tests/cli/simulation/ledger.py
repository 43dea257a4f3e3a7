"""Owns what was promised: a second fold of the log, written to be compared with the product's and not to serve it.

It sees frames when they are durable, and objects to the first one that breaks a promise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from eventlog.events import (
    CancelAccepted,
    ExecutorDraining,
    ExecutorJoined,
    ExecutorLost,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobFailed,
    JobQueued,
    JobRequeued,
    JobStarted,
    MaterializationRecorded,
    OutputsCommitted,
    ParserDeployed,
    ParserPaused,
    ParserResumed,
    ParserRevoked,
    ParserTrusted,
    PromotionAbandoned,
    QuarantineRecorded,
    RunFinished,
    RunInterrupted,
    RunPlanned,
)
from eventlog.frames import Frame
from eventlog.ids import ArtifactHash, ExecutorId, Instant, JobId, LeaseId, MaterializationKey, RunId, instant_plus
from reducers.fold import State

Standing = Literal["queued", "leased", "committed", "completed", "failed", "aborted"]
OPEN: Final = ("queued", "leased", "committed")
WAIT_SECONDS_MAX: Final = 64
RETRIES_MAX: Final = 3  # what is promised, whatever commands/attempt.py says


class KnownJob(Struct, kw_only=True):
    """What was told of a job so far."""

    spec: JobQueued
    standing: Standing = "queued"
    attempts: int = 0
    charged: int = 0
    not_before: Instant
    executor: ExecutorId | None = None
    lease: LeaseId | None = None
    cancelled: bool = False
    committed: OutputsCommitted | None = None


class Ledger:
    """All that is durable, and what follows from it."""

    def __init__(
        self, object_to: Callable[[str], None], rows_staged: Callable[[str], int | None], unwanted: set[JobId]
    ) -> None:
        self._object = object_to
        self._rows_staged = rows_staged
        self.unwanted = unwanted  # whose promotion a person wanted to be abandoned, whether that was answered or not
        self.seq = 0
        self.hashes: dict[int, str] = {}
        self.jobs: dict[JobId, KnownJob] = {}
        self.standings: dict[Standing, set[JobId]] = {
            each: set() for each in ("queued", "leased", "committed", "completed", "failed", "aborted")
        }
        self.leases: dict[LeaseId, int] = {}  # that were ever given, and by which commit
        self._commit = 0  # that is taken in
        self.executors: dict[ExecutorId, bool] = {}  # those that are here, and whether they are draining
        self.keys: dict[MaterializationKey, JobId] = {}  # of open jobs
        self.recorded: dict[MaterializationKey, JobId] = {}
        self.files: dict[str, str] = {}  # recorded in the target, with their digests
        self.stages: dict[str, set[JobId]] = {}  # that commits of these jobs wait for
        self.finals: dict[str, set[JobId]] = {}  # that commits publish, and of which jobs
        self.shares: set[tuple[str, int]] = set()  # that are recorded: the file, and its first row
        self.open_runs: set[RunId] = set()
        self.paused = False
        self._needs_trust: set[ArtifactHash] = set()  # deployed, and not built in
        self._trusted: set[ArtifactHash] = set()
        self.given_up: Counter[str] = Counter()
        self.live = False  # what is told now happened just now, and the target stands as it did then

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in frames that became durable."""
        for frame in frames:
            self.hashes[frame.commit] = frame.hash
            self._commit = frame.commit
            for record in frame.records:
                self._take(record.data)
            self.seq = max(self.seq, frame.last)
            self._require_whole(record.data for record in frame.records)
            for job in self.standings["leased"]:
                here = self.jobs[job].executor in self.executors
                self._require(here, f"job {job} is leased to {self.jobs[job].executor}, which is not here")

    def _require_whole(self, events: Iterable[object]) -> None:
        """Require that a frame commits artifacts that are there, and every row of them: what is published is a file."""
        rows: Counter[str] = Counter()
        for event in events:
            if self.live and isinstance(event, OutputsCommitted):
                for output in event.outputs:
                    rows[output.staged] += sum(share.rows for share in output.jobs)
                for evidence in event.evidence:
                    rows[evidence.staged] += evidence.rows
        for staged, committed in rows.items():
            there = self._rows_staged(staged)
            self._require(there == committed, f"{committed} rows of {staged} are committed, {there} are staged")

    def follows(self, earlier: Ledger) -> bool:
        """Return whether all that another one was told of stands in this one."""
        return all(self.hashes.get(commit) == hash_ for commit, hash_ in earlier.hashes.items())

    def open_jobs(self) -> set[JobId]:
        return set().union(*(self.standings[each] for each in OPEN))

    def sharing(self, job: JobId) -> set[JobId]:
        """Return the jobs whose commits publish something together with that of a job, itself included."""
        return {job}.union(*(jobs for jobs in self.finals.values() if job in jobs))

    def require_agreement(self, state: State) -> None:
        """Compare with the product's state, where everything that is decided is durable."""
        jobs = state.jobs
        for name, theirs in (("queued", jobs.queued), ("leased", jobs.leased), ("committed", jobs.promoting)):
            mine = self.standings[name]  # type: ignore[index]  # mypy takes the names for any text
            self._require(theirs.keys() == mine, f"{name}: the state has {sorted(theirs)}, the log {sorted(mine)}")
        ended = sum(len(each) for name, each in self.standings.items() if name not in OPEN)
        counted = len(jobs) + ended == jobs.next_id - 1 == len(self.jobs)
        self._require(counted, f"{len(jobs)} open and {ended} ended jobs are not {jobs.next_id - 1}")
        self._require(state.executors.keys() == self.executors.keys(), "the executors of the state are others")

    # --- one event ---

    def _take(self, event: object) -> None:
        handler = _TAKES.get(type(event))
        if handler is not None:
            handler(self, event)

    def _job(self, event: Any, *standings: Standing) -> KnownJob:
        job = self.jobs.get(event.job)
        if job is None:
            self._object(f"{type(event).__name__} of job {event.job}, which was never queued")
            raise AssertionError("objecting raises")
        stood = f"{type(event).__name__} of job {event.job}, which is {job.standing}"
        self._require(job.standing in standings, stood)
        return job

    def _move(self, job: KnownJob, to: Standing) -> None:
        self.standings[job.standing].discard(job.spec.job)
        self.standings[to].add(job.spec.job)
        job.standing = to
        if to != "leased":
            job.executor = job.lease = None
        if to not in OPEN:
            for key in job.spec.keys:
                self.keys.pop(key.materialization_key, None)

    def _queued(self, event: JobQueued) -> None:
        self._require(event.job == len(self.jobs) + 1, f"job {event.job} is not the next one")
        for key in event.keys:
            name = key.materialization_key
            self._require(name not in self.keys, f"job {event.job} makes {name} beside job {self.keys.get(name)}")
            self._require(name not in self.recorded, f"job {event.job} makes {name}, which is recorded")
            self.keys[name] = event.job
        self.jobs[event.job] = KnownJob(spec=event, not_before=event.queued_at)
        self.standings["queued"].add(event.job)

    def _dispatched(self, event: JobDispatched) -> None:
        job = self._job(event, "queued")
        given = self.leases.setdefault(event.lease, self._commit)
        self._require(given == self._commit, f"lease {event.lease} is given twice")
        self._require(not job.cancelled, f"job {event.job} is handed out after its cancel")
        early = f"job {event.job} is handed out at {event.dispatched_at}, before {job.not_before}"
        at = event.dispatched_at
        far_off = instant_plus(at, seconds=WAIT_SECONDS_MAX)  # the clock was set back since
        self._require(job.not_before <= at or job.not_before > far_off, early)
        self._require(event.attempt == job.attempts + 1, f"attempt {event.attempt} of job {event.job} is not the next")
        self._require(
            self.executors.get(event.executor) is False, f"job {event.job} goes to one that leaves or is gone"
        )
        self._require(not self.paused, f"job {event.job} is handed out while its parser is paused")
        self._require_trust(job, "is handed out")
        self._move(job, "leased")
        job.attempts, job.executor, job.lease = event.attempt, event.executor, event.lease

    @property
    def has_untrusted(self) -> bool:
        """Whether a parser is here that nobody trusts now."""
        return not self._needs_trust <= self._trusted

    def _require_trust(self, job: KnownJob, verb: str) -> None:
        artifact = job.spec.artifact_hash
        may_run = artifact not in self._needs_trust or artifact in self._trusted
        self._require(may_run, f"job {job.spec.job} {verb}, and its parser was revoked")

    def _started(self, event: JobStarted) -> None:
        job = self._job(event, "leased")
        self._require(job.lease == event.lease, f"job {event.job} starts under a dead lease")

    def _declined(self, event: JobDeclined) -> None:
        job = self._job(event, "leased")
        self._require(job.lease == event.lease, f"job {event.job} is declined under a dead lease")
        self._require(not job.cancelled, f"job {event.job} waits again after its cancel")
        job.not_before = event.declined_at
        self._move(job, "queued")

    def _requeued(self, event: JobRequeued) -> None:
        job = self._job(event, "leased")
        self._require(not job.cancelled, f"job {event.job} waits again after its cancel")
        job.charged += event.charged
        self._require(job.charged <= RETRIES_MAX, f"job {event.job} is tried again {job.charged} times")
        job.not_before = event.not_before
        self._move(job, "queued")

    def _cancelled(self, event: CancelAccepted) -> None:
        self._job(event, "queued", "leased").cancelled = True

    def _committed(self, event: OutputsCommitted) -> None:
        job = self._job(event, "leased")
        self._require(not job.cancelled, f"job {event.job} commits after its cancel")
        self._require_trust(job, "commits")
        self._require(job.lease == event.lease, f"job {event.job} commits under a dead lease")
        for staged, final in _artifacts(event):
            others = {self.jobs[other].committed for other in self.finals.get(final, ())}
            shared = all(other is not None and other.lease == event.lease for other in others)
            self._require(shared, f"{final} is committed twice")
            self.stages.setdefault(staged, set()).add(event.job)
            self.finals.setdefault(final, set()).add(event.job)
        job.committed = event
        self._move(job, "committed")

    def _recorded(self, event: MaterializationRecorded) -> None:
        job = self._job(event, "committed")
        key = event.materialization_key
        self._require(key not in self.recorded, f"{key} is recorded by jobs {self.recorded.get(key)} and {event.job}")
        self.recorded[key] = event.job
        outputs = job.committed.outputs if job.committed else ()
        staged = next((each for each in outputs if each.output == event.output), None)
        self._require((staged.final if staged else "") == event.file, f"{event.file} is recorded, but not its commit's")
        if staged is not None:
            self._publish(event.file, event.digest, row_first=event.row_first)

    def _kept(self, event: QuarantineRecorded) -> None:
        self._job(event, "committed")
        self._publish(event.file, event.digest)

    def _publish(self, file: str, digest: str, *, row_first: int = 0) -> None:
        self._require((file, row_first) not in self.shares, f"{file} is recorded twice from row {row_first}")
        self.shares.add((file, row_first))
        self.files[file] = digest

    def _completed(self, event: JobCompleted) -> None:
        self._end(self._job(event, "committed"), "completed")

    def _failed(self, event: JobFailed) -> None:
        job = self._job(event, "leased", "committed")
        self._require(not job.cancelled, f"job {event.job} fails after its cancel")
        self._end(job, "failed")

    def _aborted(self, event: JobAborted) -> None:
        self._end(self._job(event, "queued", "leased"), "aborted")

    def _abandoned(self, event: PromotionAbandoned) -> None:
        job = self._job(event, "committed")
        self._require(event.job in self.unwanted, f"job {event.job} was committed, and is given up: {event.reason}")
        self.given_up["abandoned"] += 1
        assert job.committed is not None
        for _staged, final in _artifacts(job.committed):
            self.finals.pop(final, None)  # it goes with all that share it

    def _end(self, job: KnownJob, how: Standing) -> None:
        for waiting in self.stages.values():
            waiting.discard(job.spec.job)
        self.stages = {name: waiting for name, waiting in self.stages.items() if waiting}
        self._move(job, how)

    def _joined(self, event: ExecutorJoined) -> None:
        self.executors[event.executor] = False

    def _draining(self, event: ExecutorDraining) -> None:
        self.executors[event.executor] = True

    def _lost(self, event: ExecutorLost) -> None:
        self.executors.pop(event.executor, None)

    def _planned(self, event: RunPlanned) -> None:
        self.open_runs.add(event.run)

    def _closed(self, event: RunFinished | RunInterrupted) -> None:
        self.open_runs.discard(event.run)

    def _paused(self, _event: ParserPaused) -> None:
        self.paused = True

    def _resumed(self, _event: ParserResumed) -> None:
        self.paused = False

    def _deployed(self, event: ParserDeployed) -> None:
        if not event.builtin:
            self._needs_trust.add(event.artifact_hash)

    def _parser_trusted(self, event: ParserTrusted) -> None:
        self._trusted.add(event.artifact_hash)

    def _parser_revoked(self, event: ParserRevoked) -> None:
        self._trusted.discard(event.artifact_hash)

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            self._object(what)


def _artifacts(committed: OutputsCommitted) -> list[tuple[str, str]]:
    """Return the staged and the final name of all that a commit publishes."""
    outputs = [(each.staged, each.final) for each in committed.outputs]
    return [*outputs, *((each.staged, each.final) for each in committed.evidence)]


# Any: each function takes the event that it stands beside.
_TAKES: Final[dict[type, Callable[[Ledger, Any], None]]] = {
    JobQueued: Ledger._queued,
    JobDispatched: Ledger._dispatched,
    JobStarted: Ledger._started,
    JobDeclined: Ledger._declined,
    JobRequeued: Ledger._requeued,
    CancelAccepted: Ledger._cancelled,
    OutputsCommitted: Ledger._committed,
    MaterializationRecorded: Ledger._recorded,
    QuarantineRecorded: Ledger._kept,
    JobCompleted: Ledger._completed,
    JobFailed: Ledger._failed,
    JobAborted: Ledger._aborted,
    PromotionAbandoned: Ledger._abandoned,
    ExecutorJoined: Ledger._joined,
    ExecutorDraining: Ledger._draining,
    ExecutorLost: Ledger._lost,
    RunPlanned: Ledger._planned,
    RunFinished: Ledger._closed,
    RunInterrupted: Ledger._closed,
    ParserDeployed: Ledger._deployed,
    ParserTrusted: Ledger._parser_trusted,
    ParserRevoked: Ledger._parser_revoked,
    ParserPaused: Ledger._paused,
    ParserResumed: Ledger._resumed,
}
