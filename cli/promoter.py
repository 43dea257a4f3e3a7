"""Publishes what was committed: for each OutputsCommitted, promote every artifact, then say so to the log.

It acts from the event only, so that recovery is the same call. An unreachable target is tried again after each of
BACKOFF_SECONDS; then the job stays in Promoting, `stuck` names it, and every later start tries again.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence

from cli import clock
from commands.handle import Handler
from commands.job import AbandonPromotion, RecordPromotion
from eventlog.events import OutputsCommitted, StagedOutput
from eventlog.frames import Frame
from eventlog.ids import JobId
from sinks.sink import AlreadyPromoted, Conflict, Missing, Promoted, PromoteResult, Sink, StagedArtifact, Unavailable

BACKOFF_SECONDS = (0.1, 0.5, 2.0)
WAITING_COMMITS_MAX = 100_000
ACTOR = "sentinel"
logger = logging.getLogger("casparian.promoter")


class Promoter:
    """One thread that promotes in the order of the log. `stuck` holds the jobs whose target cannot be reached."""

    def __init__(self, handler: Handler, *, open_sink: Callable[[str], Sink]) -> None:
        self._handler = handler
        self._open_sink = open_sink
        self._sinks: dict[str, Sink] = {}
        self._queue: queue.Queue[tuple[OutputsCommitted, bool] | None] = queue.Queue(WAITING_COMMITS_MAX)
        self._thread = threading.Thread(target=self._loop, name="promoter", daemon=True)
        self._leaving = threading.Event()
        self.stuck: dict[JobId, str] = {}

    def start(self) -> None:
        """Begin to promote."""
        self._thread.start()

    def observe(self, frames: Sequence[Frame]) -> None:
        """Take in what became durable."""
        for frame in frames:
            for record in frame.events:
                if isinstance(record.data, OutputsCommitted):
                    self._queue.put((record.data, False))

    def recover(self, committed: OutputsCommitted) -> None:
        """Promote a commit of an earlier process, after checking the staged bytes."""
        self._queue.put((committed, True))

    def stop(self) -> None:
        """Promote what is queued, then end. What cannot be promoted now stays for the next start."""
        self._leaving.set()
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._promote(*item)
            except Exception as error:  # one commit that cannot be handled must not keep others from being published
                logger.exception("promote the outputs of job %d", item[0].job)
                self.stuck[item[0].job] = f"{type(error).__name__}: {error}"

    def _promote(self, committed: OutputsCommitted, verify_staged: bool) -> None:
        result = self._attempt(committed, verify_staged)
        for pause in BACKOFF_SECONDS:
            if not isinstance(result, Unavailable) or self._leaving.is_set():
                break
            self._leaving.wait(pause)
            result = self._attempt(committed, True)
        match result:
            case Promoted() | AlreadyPromoted():
                done = RecordPromotion(job=committed.job, commit_key=committed.commit_key, now=clock.now())
                self._handler.submit(done, actor=ACTOR)
            case Unavailable(why=why):
                self.stuck[committed.job] = why
            case Missing(what=reason) | Conflict(why=reason):
                self._abandon(committed, reason)

    def _attempt(self, committed: OutputsCommitted, verify_staged: bool) -> PromoteResult:
        """Promote every artifact of the commit; the first result that is not a success ends the attempt."""
        sink = self._sink(committed.sink_uri)
        for output in committed.outputs:
            result = sink.promote(_artifact(output), verify_staged=verify_staged)
            if not isinstance(result, Promoted | AlreadyPromoted):
                return result
        return Promoted()

    def _abandon(self, committed: OutputsCommitted, reason: str) -> None:
        """Undo what this commit published, so that the answer "not published" is true, then free the key."""
        sink = self._sink(committed.sink_uri)
        try:
            for output in committed.outputs:
                sink.withdraw(_artifact(output))
        except OSError as error:
            self.stuck[committed.job] = f"{reason}; undoing it failed: {error}"
            return
        command = AbandonPromotion(job=committed.job, commit_key=committed.commit_key, reason=reason, now=clock.now())
        self._handler.submit(command, actor=ACTOR)

    def _sink(self, uri: str) -> Sink:
        if uri not in self._sinks:
            self._sinks[uri] = self._open_sink(uri)
        return self._sinks[uri]


def _artifact(output: StagedOutput) -> StagedArtifact:
    return StagedArtifact(
        output=output.output,
        staged=output.staged,
        final=output.final,
        digest=output.digest,
        bytes=output.bytes,
        rows=output.rows,
        schema_hash=output.schema_hash,
    )
