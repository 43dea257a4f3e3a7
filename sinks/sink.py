"""Owns the contract of a sink: stage, promote, discard. Knows nothing of jobs' states; it is told what to do.

1. *Stage is durable before it is reported*: when `StageWriter.finish` returns, the artifact's bytes and its directory
   entry have been synced. A staged artifact is invisible to anybody who looks for the target's extension.
2. *Promote is idempotent and never overwrites*: called again after a crash it answers AlreadyPromoted. A final name
   that holds other bytes is a Conflict. It is called by the sentinel alone, from an OutputsCommitted event.
3. *Discard is idempotent*: what is not there is discarded.
4. *An unmarked target is Unavailable*: where a disk is not mounted, its mount point is an empty folder that answers.
   Nothing is published into, withdrawn from or concluded about a target without the mark that `mark` left there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from eventlog.ids import Digest, JobId, LogId, OutputName, PathText, SchemaHash

if TYPE_CHECKING:
    import pyarrow as pa


class ArtifactIdentity(Struct, frozen=True, kw_only=True):
    """All that names an artifact: file names are derived from it, its metadata carries it in full."""

    log_id: LogId
    job: JobId
    attempt: int
    output: OutputName
    schema_hash: SchemaHash
    metadata: dict[str, str]  # further facts for the artifact's own metadata (parser, source hash, ...)


class StagedArtifact(Struct, frozen=True, kw_only=True):
    """A durable staged artifact. `staged` and `final` are names in the sink's folder; `digest` is of its bytes."""

    output: OutputName
    staged: str
    final: str
    digest: Digest
    bytes: int
    rows: int
    schema_hash: SchemaHash


class Promoted(Struct, frozen=True):
    """The artifact now has its final name, durably."""


class AlreadyPromoted(Struct, frozen=True):
    """The final name already held these very bytes; nothing was changed."""


class Missing(Struct, frozen=True):
    """Neither the staged nor the final artifact exists."""

    what: str


class Conflict(Struct, frozen=True):
    """The final name holds other bytes, or the staged artifact is not what was reported. Nothing was changed."""

    why: str


class Unavailable(Struct, frozen=True):
    """The target could not be reached now; trying again later may work."""

    why: str


PromoteResult = Promoted | AlreadyPromoted | Missing | Conflict | Unavailable


class StageWriter(Protocol):
    """Writes one output of one attempt. Rows written are counted by the writer."""

    @property
    def rows(self) -> int: ...

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch of the schema the writer was opened with. Raises OSError when the disk gives out."""
        ...

    def finish(self) -> StagedArtifact:
        """Make the artifact durable and describe it. Raises OSError; call once, after the last write."""
        ...

    def abandon(self) -> None:
        """Close and remove what was written, if anything. Never raises for what is not there."""
        ...


class Sink(Protocol):
    """One target, named by its URI (scheme://absolute path)."""

    @property
    def uri(self) -> str: ...

    def check(self) -> str | None:
        """Create the target's folder if needed and prove that it can be written; the reason if it cannot."""
        ...

    def is_marked(self) -> bool:
        """Say whether the target carries its mark. Raises OSError if it cannot be looked at."""
        ...

    def mark(self) -> None:
        """Leave the mark, durably; a second time changes nothing. Raises OSError. Who calls it knows that the target is
        the right one: that nothing was published there before, or that what was is there."""
        ...

    def claimed_by(self, log_id: LogId) -> PathText | None:
        """Return the home that has claimed a marked target for this log, as it was last said. Raises OSError."""
        ...

    def claim(self, log_id: LogId, home: PathText) -> None:
        """Say in the mark, durably, that this home uses the target for this log. Raises OSError."""
        ...

    def open_stage(self, identity: ArtifactIdentity, schema: pa.Schema) -> StageWriter: ...

    def promote(self, artifact: StagedArtifact, *, verify_staged: bool) -> PromoteResult:
        """Give the artifact its final name, once. `verify_staged` re-reads the staged bytes first (after a crash)."""
        ...

    def withdraw(self, artifact: StagedArtifact) -> None:
        """Undo a promotion that was never recorded: remove the final name if it holds these very bytes, and the
        staged one. A final name with other bytes is somebody else's and stays. Idempotent; raises OSError."""
        ...

    def discard(self, staged: str) -> None:
        """Remove a staged artifact by its name. Raises OSError only if it exists and cannot be removed."""
        ...

    def staged_names(self, log_id: LogId) -> list[str]:
        """Return the names of staged artifacts of this log, sorted; empty if the target does not exist."""
        ...

    def locate(self, final: str) -> str:
        """Return the full path (or URI) under which a reader finds the artifact."""
        ...
