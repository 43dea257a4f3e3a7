"""Owns the target of the simulation: the sink in memory, which goes away for a while and is in use by many at once.

It is the double that the contract of sinks is tested on. Executors stage here as a folder of files would have it; the
sentinel's calls take time, in which everybody else goes on, and may be its last ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import blake3

from eventlog.ids import Digest, JobId, LogId, OutputName, SchemaHash, final_name, stage_name
from executors.protocol import Dispatch
from sinks.memory import MemorySink
from sinks.sink import Promoted, PromoteResult, StagedArtifact, Unavailable

ROWS: Final = (10, 2)  # of one job, by output
REJECTED: Final = 1
URI: Final = "parquet:///out"


class Watcher(Protocol):
    """Who is told of what cannot be undone, and may object; and who lets time pass."""

    def after_promotion(self, artifact: StagedArtifact) -> None: ...
    def before_removal(self, staged: str) -> None: ...
    def held_up(self) -> None: ...
    def may_crash(self, where: str) -> None: ...


class Target(MemorySink):
    """The one target of a world. `away`: it cannot be reached. `closed`: it is, but nothing can be published now."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__(URI)
        self.marked = True
        self.away = False
        self.closed = False
        self.rows: dict[str, int] = {}  # of every artifact that was ever staged, by its staged name
        self._watcher = watcher

    # --- what executors do ---

    def begin(
        self, job: JobId, dispatch: Dispatch, which: list[tuple[int, bool]], *, jobs: int = 1
    ) -> list[StagedArtifact]:
        """Open what an attempt stages, for so many jobs. Raises OSError while the target is away."""
        opened = [self._opened(job, dispatch, number, rejected=rejected, jobs=jobs) for number, rejected in which]
        if opened:
            self._reach()
        for each in opened:
            if each.staged in self.staged:
                raise AssertionError(f"{each.staged} was staged before: two attempts have one name")
            self.staged[each.staged] = b""
            self.rows[each.staged] = each.rows
        return opened

    def finish(self, opened: StagedArtifact) -> StagedArtifact:
        """Make what was opened durable. Raises OSError while the target is away."""
        self._reach()
        if opened.staged not in self.staged:
            raise FileNotFoundError(f"finish {opened.staged}: it was removed")
        self.staged[opened.staged] = _data(opened.staged)
        return opened

    def abandon(self, job: JobId, dispatch: Dispatch) -> None:
        """Remove what an attempt has staged; what cannot be removed now is left to sweeping."""
        if self.away:
            return
        mine = f".{dispatch.log_id[:8]}-{job}-{dispatch.attempt}-"
        for staged in [name for name in self.staged if name.startswith(mine)]:
            self._watcher.before_removal(staged)
            del self.staged[staged]

    def digest_of(self, final: str) -> str:
        """Return the digest of what is published under a name."""
        return blake3.blake3(self.published[final]).hexdigest()

    def lose_unfinished(self) -> None:
        """Lose what was not durable, as a power cut does."""
        self.staged = {name: data for name, data in self.staged.items() if data}

    def _opened(self, job: JobId, dispatch: Dispatch, number: int, *, rejected: bool, jobs: int) -> StagedArtifact:
        schema = dispatch.outputs[number]
        output = OutputName(f"{schema.output}_quarantine") if rejected else schema.output
        staged = stage_name(dispatch.log_id, job, dispatch.attempt, output)
        data = _data(staged)
        return StagedArtifact(
            output=output,
            staged=staged,
            final=final_name(dispatch.log_id, job, dispatch.attempt, output, "arrow"),
            digest=Digest(blake3.blake3(data).hexdigest()),
            bytes=len(data),
            rows=REJECTED if rejected else ROWS[number] * jobs,
            schema_hash=SchemaHash("s"),
        )

    # --- what the sentinel does ---

    def promote(self, artifact: StagedArtifact, *, verify_staged: bool) -> PromoteResult:
        self._watcher.held_up()
        if self.away or self.closed:
            return Unavailable("the disk is away")
        self._watcher.may_crash("before a promotion")
        result = super().promote(artifact, verify_staged=verify_staged)
        if isinstance(result, Promoted):
            self._watcher.after_promotion(artifact)
            self._after_link(lambda: self._watcher.may_crash("after a promotion"), artifact)
        return result

    def withdraw(self, artifact: StagedArtifact) -> None:
        self._watcher.held_up()
        self._reach()
        super().withdraw(artifact)

    def discard(self, staged: str) -> None:
        self._reach()
        self._watcher.before_removal(staged)
        super().discard(staged)

    def staged_names(self, log_id: LogId) -> list[str]:
        self._reach()
        return super().staged_names(log_id)

    def _after_link(self, crash: Callable[[], None], artifact: StagedArtifact) -> None:
        """Leave the staged name beside the final one if the process ends between the two steps of a promotion."""
        try:
            crash()
        except BaseException:
            self.staged[artifact.staged] = self.published[artifact.final]
            raise

    def _reach(self) -> None:
        if self.away:
            raise OSError("the disk is away")


def _data(staged: str) -> bytes:
    return f"the rows of {staged}".encode()
