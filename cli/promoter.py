"""Publishes what was committed: for each OutputsCommitted, promote every artifact, then say so to the log.

It acts from the event only, so that recovery is the same call. A target that cannot be reached is tried again after
each of BACKOFF_SECONDS, once for all its jobs: then they stay in Promoting, `stuck` names them, and they are tried
again as soon as something else could be published there, or by the next start.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from cli import clock
from commands.handle import Handler, Outcome
from commands.job import AbandonPromotion, RecordPromotion
from eventlog.events import AbandonJob, OutputsCommitted, SinkAnswer, StagedEvidence, StagedOutput
from eventlog.frames import Frame, Stamp
from eventlog.ids import CommitKey, JobId
from reducers.fold import State
from reducers.job import Promoting
from sinks.sink import AlreadyPromoted, Conflict, Missing, Promoted, PromoteResult, Sink, StagedArtifact, Unavailable

BACKOFF_SECONDS = (0.1, 0.5, 2.0)
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
        self._held_up: dict[JobId, OutputsCommitted] = {}
        self.stuck: dict[JobId, str] = {}
        self.unreachable: dict[str, str] = {}

    def start(self) -> None:
        """Begin to promote."""
        self._thread.start()

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in what became durable."""
        for frame in frames:
            for record in frame.events:
                if isinstance(record.data, OutputsCommitted) and _artifacts(record.data):
                    self._queue.put(partial(self._try, record.data))

    def recover(self, committed: OutputsCommitted) -> None:
        """Promote a commit of an earlier process, after checking the staged bytes."""
        self._queue.put(partial(self._try, committed))

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
        while (item := self._queue.get()) is not None:
            item()

    def _try(self, committed: OutputsCommitted) -> None:
        try:
            self._promote(committed)
        except Exception as error:  # one commit that cannot be handled must not keep others from being published
            logger.exception("promote the outputs of job %d", committed.job)
            self._hold_up(committed, f"{type(error).__name__}: {error}")

    def _promote(self, committed: OutputsCommitted) -> None:
        result = self._attempt(committed)
        for pause in BACKOFF_SECONDS:
            known = committed.sink_uri in self.unreachable
            if not isinstance(result, Unavailable) or known or self._leaving.wait(pause):
                break
            result = self._attempt(committed)
        match result:
            case Promoted() | AlreadyPromoted():
                done = RecordPromotion(job=committed.job, commit_key=committed.commit_key, now=clock.now())
                self._tell_log(done, committed)
                self._let_go(committed)
            case Unavailable(why=why):
                self.unreachable[committed.sink_uri] = why
                self._hold_up(committed, why)
            case Missing(what=reason) | Conflict(why=reason):
                self._abandon(committed, reason)

    def _tell_log(self, command: RecordPromotion | AbandonPromotion, committed: OutputsCommitted) -> None:
        """Have the log say what became of a commit. While its disk has no room, the commit is held up as any other."""

        def check(done: Future[Outcome]) -> None:
            error = done.exception()
            if error is not None:  # told on the deciding thread; what we hold up is this thread's
                self._queue.put(partial(self._hold_up_untold, committed, str(error)))

        self._handler.submit(command, actor=ACTOR).add_done_callback(check)

    def _hold_up_untold(self, committed: OutputsCommitted, why: str) -> None:
        self.unreachable[committed.sink_uri] = why
        self._hold_up(committed, why)

    def _attempt(self, committed: OutputsCommitted) -> PromoteResult:
        """Promote every artifact of the commit; the first result that is not a success ends the attempt.

        The staged bytes are read again first: the digest in the log is of what was written, and what is published must
        be that. A guest has the rights of its user, and a disk may write something else.
        """
        sink = self._sink(committed.sink_uri)
        for artifact in _artifacts(committed):
            result = sink.promote(artifact, verify_staged=True)
            if not isinstance(result, Promoted | AlreadyPromoted):
                return result
        return self._discard(committed, sink)

    def _discard(self, committed: OutputsCommitted, sink: Sink) -> PromoteResult:
        """Remove what was staged and may not be published."""
        try:
            for staged in committed.discarded:
                sink.discard(staged)
        except OSError as error:
            return Unavailable(f"remove what was staged of job {committed.job}: {error.strerror or error}")
        return Promoted()

    def _hold_up(self, committed: OutputsCommitted, why: str) -> None:
        self._held_up[committed.job] = committed
        self.stuck[committed.job] = why

    def _let_go(self, committed: OutputsCommitted) -> None:
        """Forget why the job waited; where something could be published, all that waits for the target is due."""
        self._forget(committed.job)
        if _artifacts(committed) and self.unreachable.pop(committed.sink_uri, None) is not None:
            for waiting in [other for other in self._held_up.values() if other.sink_uri == committed.sink_uri]:
                self._forget(waiting.job)
                self.recover(waiting)

    def _forget(self, job: JobId) -> None:
        self._held_up.pop(job, None)
        self.stuck.pop(job, None)

    def _abandon(self, committed: OutputsCommitted, reason: str) -> None:
        """Undo what this commit published, so that the answer "not published" is true, then free the key."""
        failure = self._withdraw(committed)
        if failure:
            self._hold_up(committed, f"{reason}; undoing it failed: {failure}")
            return
        command = AbandonPromotion(job=committed.job, commit_key=committed.commit_key, reason=reason, now=clock.now())
        self._tell_log(command, committed)
        self._forget(committed.job)

    def _abandon_for(self, job: JobId, *, reason: str, actor: str, stamp: Stamp) -> Outcome:
        known = self._handler.known(stamp)
        if known is not None:
            return known  # the sink is not asked again: what it undid then may have been published since
        # What this thread has submitted before is decided before the look: a commit that it sees is not recorded yet.
        committed = self._handler.inspect(partial(_commit_of, job=job))
        answer: SinkAnswer = "not_asked"
        said = ""
        if committed is not None:
            said = self._withdraw(committed)
            answer = "unreachable" if said else "withdrawn"
        command = AbandonJob(
            job=job,
            commit_key=committed.commit_key if committed else CommitKey(""),
            sink_answer=answer,
            sink_said=said,
            reason=reason,
            by=actor,
            now=clock.now(),
        )
        outcome = self._handler.submit(command, actor=actor, stamp=stamp).result()
        if outcome.refused is None:
            self._forget(job)
        return outcome

    def _withdraw(self, committed: OutputsCommitted) -> str:
        """Have the sink undo a commit; "" when nothing of it is published, else why that cannot be said."""
        sink = self._sink(committed.sink_uri)
        try:
            for artifact in _artifacts(committed):
                sink.withdraw(artifact)
        except OSError as error:
            return str(error.strerror or error)
        return ""

    def _sink(self, uri: str) -> Sink:
        if uri not in self._sinks:
            self._sinks[uri] = self._open_sink(uri)
        return self._sinks[uri]


def _commit_of(state: State, *, job: JobId) -> OutputsCommitted | None:
    found = state.jobs.get(job)
    return found.committed if isinstance(found, Promoting) else None


def _artifacts(committed: OutputsCommitted) -> list[StagedArtifact]:
    """Return all that a commit publishes: its outputs, then the rejected rows."""
    return [*map(_artifact, committed.outputs), *map(_artifact, committed.evidence)]


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
