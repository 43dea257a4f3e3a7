"""Owns the sink that keeps everything in memory: the double for tests of those who use sinks.

It honours the same contract as a folder of files, lets its state be read, and fails when told to.
"""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, Literal

import blake3

from eventlog.ids import Digest, LogId, PathText, final_name, stage_name
from sinks.errors import StageClosedError, StageSchemaError
from sinks.sink import (
    AlreadyPromoted,
    ArtifactIdentity,
    Conflict,
    Missing,
    Promoted,
    PromoteResult,
    StagedArtifact,
    StageWriter,
    Unavailable,
)
from sinks.uri import final_name_refusal, require_name, staged_name_refusal

if TYPE_CHECKING:
    import pyarrow as pa

EXTENSION = "arrow"
Step = Literal["open_stage", "write", "finish", "withdraw", "discard"]


class MemorySink:
    """Artifacts as Arrow IPC streams in two dictionaries: name -> bytes. Safe for use by several threads."""

    def __init__(self, uri: str = "memory:///") -> None:
        self._uri = uri
        self._lock = RLock()
        self._failures: deque[Unavailable | Missing | Conflict] = deque()
        self._errors: dict[Step, deque[OSError]] = {}
        self.staged: dict[str, bytes] = {}  # b"" while it is being written
        self.published: dict[str, bytes] = {}
        self.refuse_check: str | None = None  # what `check` answers
        self.marked = False
        self.claims: dict[LogId, PathText] = {}

    @property
    def uri(self) -> str:
        return self._uri

    def fail_next(self, *results: Unavailable | Missing | Conflict) -> None:
        """Let the next calls of `promote` answer this, in order, and change nothing."""
        self._failures.extend(results)

    def raise_next(self, step: Step, *errors: OSError) -> None:
        """Let the next calls of this step raise, in order, before they do anything."""
        self._errors.setdefault(step, deque()).extend(errors)

    def table(self, final: str) -> pa.Table:
        """Return a published artifact as a table. Raises KeyError if there is none of that name."""
        import pyarrow as pa

        return pa.ipc.open_stream(self.published[final]).read_all()

    def check(self) -> str | None:
        return self.refuse_check

    def is_marked(self) -> bool:
        return self.marked

    def mark(self) -> None:
        self.marked = True

    def claimed_by(self, log_id: LogId) -> PathText | None:
        return self.claims.get(log_id)

    def claim(self, log_id: LogId, home: PathText) -> None:
        if not self.marked:
            raise FileNotFoundError(f"claim {self._uri}: it does not carry its mark")
        self.claims[log_id] = home

    def open_stage(self, identity: ArtifactIdentity, schema: pa.Schema) -> StageWriter:
        with self._lock:
            self.raise_if_told("open_stage")
            return _MemoryStage(self, identity, schema)

    def promote(self, artifact: StagedArtifact, *, verify_staged: bool) -> PromoteResult:
        with self._lock:
            if self._failures:
                return self._failures.popleft()
            if not self.marked:
                return Unavailable(f"publish {artifact.final} in {self._uri}: it does not carry its mark")
            refusal = staged_name_refusal(artifact.staged) or final_name_refusal(artifact.final)
            if refusal is not None:
                return Conflict(refusal)
            return self._promote(artifact, verify_staged=verify_staged)

    def withdraw(self, artifact: StagedArtifact) -> None:
        with self._lock:
            self.raise_if_told("withdraw")
            if not self.marked:
                raise FileNotFoundError(f"withdraw {artifact.final} from {self._uri}: it does not carry its mark")
            published = self.published.get(artifact.final)
            if published is not None and _difference(published, artifact, read=True) is None:
                del self.published[artifact.final]
            self.staged.pop(artifact.staged, None)

    def discard(self, staged: str) -> None:
        require_name(staged_name_refusal(staged), doing=f"discard from {self._uri}")
        with self._lock:
            if staged in self.staged:
                self.raise_if_told("discard")
                del self.staged[staged]

    def staged_names(self, log_id: LogId) -> list[str]:
        with self._lock:
            return sorted(name for name in self.staged if name.startswith(f".{log_id[:8]}-"))

    def locate(self, final: str) -> str:
        require_name(final_name_refusal(final), doing=f"locate in {self._uri}")
        return f"{self._uri.rstrip('/')}/{final}"

    def raise_if_told(self, step: Step) -> None:
        """Raise what `raise_next` left for this step, if anything."""
        if errors := self._errors.get(step):
            raise errors.popleft()

    def _promote(self, artifact: StagedArtifact, *, verify_staged: bool) -> PromoteResult:
        published = self.published.get(artifact.final)
        if published is not None:
            difference = _difference(published, artifact, read=True)
            if difference is not None:
                return Conflict(f"{artifact.final} {difference}")
            self.staged.pop(artifact.staged, None)
            return AlreadyPromoted()
        staged = self.staged.get(artifact.staged)
        if staged is None:
            return Missing(f"neither {artifact.staged} nor {artifact.final} exists")
        difference = _difference(staged, artifact, read=verify_staged)
        if difference is not None:
            return Conflict(f"{artifact.staged} {difference}")
        self.published[artifact.final] = self.staged.pop(artifact.staged)
        return Promoted()


class _MemoryStage:
    def __init__(self, sink: MemorySink, identity: ArtifactIdentity, schema: pa.Schema) -> None:
        from sinks.arrow_schema import artifact_schema

        self._sink = sink
        self._identity = identity
        self._schema = artifact_schema(schema, identity)
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0
        self._state: Literal["open", "broken", "finished", "abandoned"] = "open"
        self._staged = stage_name(identity.log_id, identity.job, identity.attempt, identity.output)
        require_name(staged_name_refusal(self._staged), doing=f"stage in {sink.uri}")
        if self._staged in sink.staged:
            raise FileExistsError(
                f"stage {self._staged} in {sink.uri}: this attempt has staged the output before; "
                "discard it or dispatch a new attempt"
            )
        sink.staged[self._staged] = b""

    @property
    def rows(self) -> int:
        return self._rows

    def write(self, batch: pa.RecordBatch) -> None:
        self._must_be_open("write to")
        if not batch.schema.equals(self._schema):
            raise StageSchemaError(f"write to {self._staged}: the batch is not of the output's schema; cast it first")
        self._run("write")
        self._batches.append(batch)
        self._rows += batch.num_rows

    def finish(self) -> StagedArtifact:
        self._must_be_open("finish")
        self._run("finish")
        data = self._stream()
        self._sink.staged[self._staged] = data
        self._state = "finished"
        identity = self._identity
        return StagedArtifact(
            output=identity.output,
            staged=self._staged,
            final=final_name(identity.log_id, identity.job, identity.attempt, identity.output, EXTENSION),
            digest=_digest(data),
            bytes=len(data),
            rows=self._rows,
            schema_hash=identity.schema_hash,
        )

    def abandon(self) -> None:
        self._state = "abandoned"
        self._batches.clear()
        self._sink.staged.pop(self._staged, None)

    def _run(self, step: Literal["write", "finish"]) -> None:
        self._state = "broken"  # if told to fail
        self._sink.raise_if_told(step)
        self._state = "open"

    def _must_be_open(self, verb: str) -> None:
        if self._state != "open":
            why = "an earlier write failed" if self._state == "broken" else f"it is {self._state}"
            raise StageClosedError(f"{verb} {self._staged}: {why}; abandon it and stage the output in a new attempt")

    def _stream(self) -> bytes:
        import pyarrow as pa

        target = pa.BufferOutputStream()
        with pa.ipc.new_stream(target, self._schema) as writer:
            for batch in self._batches:
                writer.write_batch(batch)
        return target.getvalue().to_pybytes()


def _digest(data: bytes) -> Digest:
    return Digest(blake3.blake3(data).hexdigest())


def _difference(data: bytes, artifact: StagedArtifact, *, read: bool) -> str | None:
    if len(data) != artifact.bytes:
        return f"has {len(data)} bytes, {artifact.bytes} were reported"
    if read and _digest(data) != artifact.digest:
        return f"has the digest {_digest(data)}, {artifact.digest} was reported"
    return None
