"""Publishes what was committed: for each OutputsCommitted, promote every artifact, then say so to the log.

It acts from the events only, so that recovery is the same call. Commits that share artifacts are a bundle: each
artifact is published once, and all their jobs are recorded in one frame. A target that cannot be reached is tried again
after each of BACKOFF_SECONDS, once for all its jobs: then they stay in Promoting and `stuck` names them. From then on
one of them is tried every AGAIN_SECONDS; as soon as anything could be published there, all of them are due.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from cli import clock
from commands.handle import Handler, Outcome
from commands.lease import RecordLease
from commands.promotion import AbandonPromotion, RecordPromotion
from eventlog.events import AbandonJob, OutputsCommitted, SinkAnswer, StagedEvidence, StagedOutput
from eventlog.frames import Frame, Stamp
from eventlog.ids import CommitKey, JobId
from reducers.fold import State
from reducers.shares import Bundle, bundle_with, bundles
from sinks.sink import AlreadyPromoted, Conflict, Missing, Promoted, PromoteResult, Sink, StagedArtifact, Unavailable

BACKOFF_SECONDS = (0.1, 0.5, 2.0)
AGAIN_SECONDS = 5.0  # between two looks whether a target can be reached again
WAITING_COMMITS_MAX = 100_000
ACTOR = "sentinel"
logger = logging.getLogger("casparian.promoter")


class Promoter:
    """One thread that promotes in the order of the log.

    `stuck` holds the jobs that cannot be published now, `unreachable` the targets that are why; each with the reason.
    """

    def __init__(self, handler: Handler, *, open_sink: Callable[[str], Sink]) -> None:
        self._handler = handler
        self._open_sink = open_sink
        self._sinks: dict[str, Sink] = {}
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING_COMMITS_MAX)
        self._thread = threading.Thread(target=self._loop, name="promoter", daemon=True)
        self._leaving = threading.Event()
        self._held_up: dict[JobId, Bundle] = {}  # by the first job of each
        self._again_at = 0.0  # on the monotonic clock: when something of that is tried again
        self.stuck: dict[JobId, str] = {}
        self.unreachable: dict[str, str] = {}

    def start(self) -> None:
        """Begin to promote."""
        self._thread.start()

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in what became durable."""
        for frame in frames:
            commits = [record.data for record in frame.events if isinstance(record.data, OutputsCommitted)]
            for bundle in bundles(commit for commit in commits if commit.outputs or commit.evidence):
                self._queue.put(partial(self._try, bundle))

    def recover(self, bundle: Bundle) -> None:
        """Promote commits of an earlier process, after checking the staged bytes."""
        self._queue.put(partial(self._try, bundle))

    def abandon(self, job: JobId, *, reason: str, actor: str, stamp: Stamp) -> Future[Outcome]:
        """Undo what a job has published and end it, on a person's word.

        In turn with the promotions, so that nothing is published or recorded between the sink's answer and the log's.
        """
        answer: Future[Outcome] = Future()

        def settle() -> None:
            try:
                answer.set_result(self._abandon_for(job, reason=reason, actor=actor, stamp=stamp))
            except Exception as error:  # noqa: BLE001  # whatever it is, the asker must be told and not hang
                answer.set_exception(error)

        self._queue.put(settle)
        return answer

    def stop(self) -> None:
        """Promote what is queued, then end. What cannot be promoted now stays for the next start."""
        self._leaving.set()
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (item := self._next()) is not None:
            item()

    def _next(self) -> Callable[[], None] | None:
        """Wait for what is to be done: what comes next or, every AGAIN_SECONDS, another try at what is held up."""
        if not self._held_up:
            return self._queue.get()
        wait_seconds = self._again_at - time.monotonic()
        if wait_seconds > 0:
            try:
                return self._queue.get(timeout=wait_seconds)
            except queue.Empty:
                pass  # then it is time
        return self.look_again

    def look_again(self) -> None:
        """Try what has waited longest for each target; `_let_go` says what follows from a success."""
        self._again_at = time.monotonic() + AGAIN_SECONDS
        longest = {bundle[0].sink_uri: bundle for bundle in reversed(self._held_up.values())}
        for bundle in longest.values():
            self._try(bundle)

    def _try(self, bundle: Bundle) -> None:
        try:
            self._promote(bundle)
        except Exception as error:  # one commit that cannot be handled must not keep others from being published
            logger.exception("promote the outputs of job %d", bundle[0].job)
            self._hold_up(bundle, f"{type(error).__name__}: {error}")

    def _promote(self, bundle: Bundle) -> None:
        sink_uri = bundle[0].sink_uri
        result = self._attempt(bundle)
        for pause in BACKOFF_SECONDS:
            known = sink_uri in self.unreachable
            if not isinstance(result, Unavailable) or known or self._leaving.wait(pause):
                break
            result = self._attempt(bundle)
        match result:
            case Promoted() | AlreadyPromoted():
                self._tell_log(_record(bundle), bundle)
                self._let_go(bundle)
            case Unavailable(why=why):
                self.unreachable[sink_uri] = why
                self._hold_up(bundle, why)
            case Missing(what=reason) | Conflict(why=reason):
                self._abandon(bundle, reason)

    def _tell_log(self, command: RecordPromotion | RecordLease | AbandonPromotion, bundle: Bundle) -> None:
        """Have the log say what became of a commit. While its disk has no room, the commit is held up as any other."""

        def check(done: Future[Outcome]) -> None:
            error = done.exception()
            if error is not None:  # told on the deciding thread; what we hold up is this thread's
                self._queue.put(partial(self._hold_up_untold, bundle, str(error)))

        self._handler.submit(command, actor=ACTOR).add_done_callback(check)

    def _hold_up_untold(self, bundle: Bundle, why: str) -> None:
        self.unreachable[bundle[0].sink_uri] = why
        self._hold_up(bundle, why)

    def _attempt(self, bundle: Bundle) -> PromoteResult:
        """Promote every artifact of the bundle; the first result that is not a success ends the attempt.

        The staged bytes are read again first: the digest in the log is of what was written, and what is published must
        be that. A guest has the rights of its user, and a disk may write something else.
        """
        sink = self._sink(bundle[0].sink_uri)
        for artifact in _artifacts(bundle):
            result = sink.promote(artifact, verify_staged=True)
            if not isinstance(result, Promoted | AlreadyPromoted):
                return result
        return self._discard(bundle, sink)

    def _discard(self, bundle: Bundle, sink: Sink) -> PromoteResult:
        """Remove what was staged and may not be published."""
        for committed in bundle:
            try:
                for staged in committed.discarded:
                    sink.discard(staged)
            except OSError as error:
                return Unavailable(f"remove what was staged of job {committed.job}: {error.strerror or error}")
        return Promoted()

    def _hold_up(self, bundle: Bundle, why: str) -> None:
        """Keep it for another try, behind those that wait already."""
        if not self._held_up:
            self._again_at = time.monotonic() + AGAIN_SECONDS
        self._held_up.pop(bundle[0].job, None)
        self._held_up[bundle[0].job] = bundle
        self.stuck |= {committed.job: why for committed in bundle}

    def _let_go(self, bundle: Bundle) -> None:
        """Forget why the jobs waited; where something could be published, all that waits for the target is due."""
        sink_uri = bundle[0].sink_uri
        self._forget(bundle)
        if _artifacts(bundle) and self.unreachable.pop(sink_uri, None) is not None:
            for waiting in [other for other in self._held_up.values() if other[0].sink_uri == sink_uri]:
                self._forget(waiting)
                self.recover(waiting)

    def _forget(self, bundle: Bundle) -> None:
        self._held_up.pop(bundle[0].job, None)
        for committed in bundle:
            self.stuck.pop(committed.job, None)

    def _abandon(self, bundle: Bundle, reason: str) -> None:
        """Undo what these commits published, so that the answer "not published" is true, then free their keys."""
        failure = self._withdraw(bundle)
        if failure:
            self._hold_up(bundle, f"{reason}; undoing it failed: {failure}")
            return
        first = bundle[0]  # with which all end that share its artifacts
        command = AbandonPromotion(job=first.job, commit_key=first.commit_key, reason=reason, now=clock.now())
        self._tell_log(command, bundle)
        self._forget(bundle)

    def _abandon_for(self, job: JobId, *, reason: str, actor: str, stamp: Stamp) -> Outcome:
        known = self._handler.known(stamp)
        if known is not None:
            return known  # the sink is not asked again: what it undid then may have been published since
        # What this thread has submitted before is decided before the look: a commit that it sees is not recorded yet.
        bundle = self._handler.inspect(partial(_bundle_of, job=job))
        answer: SinkAnswer = "not_asked"
        said = ""
        if bundle:
            said = self._withdraw(bundle)
            answer = "unreachable" if said else "withdrawn"
        command = AbandonJob(
            job=job,
            commit_key=next((committed.commit_key for committed in bundle if committed.job == job), CommitKey("")),
            sink_answer=answer,
            sink_said=said,
            reason=reason,
            by=actor,
            now=clock.now(),
        )
        outcome = self._handler.submit(command, actor=actor, stamp=stamp).result()
        if outcome.refused is None and bundle:
            self._forget(bundle)
        return outcome

    def _withdraw(self, bundle: Bundle) -> str:
        """Have the sink undo commits; "" when nothing of them is published, else why that cannot be said."""
        sink = self._sink(bundle[0].sink_uri)
        try:
            for artifact in _artifacts(bundle):
                sink.withdraw(artifact)
        except OSError as error:
            return str(error.strerror or error)
        return ""

    def _sink(self, uri: str) -> Sink:
        if uri not in self._sinks:
            self._sinks[uri] = self._open_sink(uri)
        return self._sinks[uri]


def promoting_bundles(state: State) -> list[Bundle]:
    """Return all commits that wait to be published, those that share artifacts together."""
    return bundles(job.committed for job in state.jobs.promoting.values())


def _bundle_of(state: State, *, job: JobId) -> Bundle:
    """Return the commit of a job, with those that share its artifacts; none if it is not being published."""
    found = state.jobs.promoting.get(job)
    if found is None:
        return ()
    return bundle_with(found.committed, (each.committed for each in state.jobs.promoting.values()))


def _record(bundle: Bundle) -> RecordPromotion | RecordLease:
    now = clock.now()
    records = tuple(
        RecordPromotion(job=committed.job, commit_key=committed.commit_key, now=now) for committed in bundle
    )
    return records[0] if len(records) == 1 else RecordLease(records=records)


def _artifacts(bundle: Bundle) -> list[StagedArtifact]:
    """Return all that commits publish, each artifact once: their outputs, then the rejected rows."""
    staged: list[StagedOutput | StagedEvidence] = [each for committed in bundle for each in committed.outputs]
    staged += [each for committed in bundle for each in committed.evidence]
    return list({each.staged: _artifact(each) for each in staged}.values())


def _artifact(staged: StagedOutput | StagedEvidence) -> StagedArtifact:
    return StagedArtifact(
        output=staged.output,
        staged=staged.staged,
        final=staged.final,
        digest=staged.digest,
        bytes=staged.bytes,
        rows=staged.rows,
        schema_hash=staged.schema_hash,
    )
