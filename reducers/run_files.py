"""Owns the answer to which files a run met and what became of each, from the log alone. Pure, in one pass."""

from __future__ import annotations

from msgspec import Struct

from eventlog.events import (
    FilesRefused,
    FilesSeen,
    JobAborted,
    JobCompleted,
    JobFailed,
    JobQueued,
    RunPlanned,
)
from eventlog.ids import JobId, PathText, RunId, SourceHash
from reducers.explain import Fact


class RunFile(Struct, frozen=True, kw_only=True):
    """One file of a run. `outcome` is a sentence; `job` is the one that the run queued for its content, None if none.

    `path` is the name as the scanner met it.
    """

    path: PathText
    job: JobId | None
    outcome: str


class RunFiles:
    """The first `files_max` files of one run, in the order in which it met them; `total` says how many it met."""

    def __init__(self, run: RunId, *, files_max: int) -> None:
        self.total = 0
        self._run = run
        self._files_max = files_max
        self._met: dict[PathText, SourceHash | str] = {}  # a content, or why there is none
        self._refused: set[PathText] = set()
        self._job_of: dict[SourceHash, JobId] = {}
        self._ends: dict[JobId, str] = {}
        self._planned = False

    def see(self, fact: Fact) -> None:
        """Take in one record; those of other runs are passed over."""
        record = fact.record
        if getattr(record, "run", None) != self._run:
            return
        match record:
            case FilesSeen(files=files):
                self._meet([(file.path, file.source_hash) for file in files])
            case FilesRefused(files=files):
                self._refused.update(path for path, _ in self._meet([(file.path, file.reason) for file in files]))
            case RunPlanned():
                self._planned = True
            case JobQueued():
                self._job_of[record.source_hash] = record.job
            case JobCompleted():
                self._ends[record.job] = f"job {record.job} completed: {record.status}"
            case JobFailed():
                self._ends[record.job] = f"job {record.job} failed: {record.reason}"
            case JobAborted():
                self._ends[record.job] = f"job {record.job} was aborted: {record.reason}"
            case _:
                pass

    def _meet(self, files: list[tuple[PathText, str]]) -> list[tuple[PathText, str]]:
        kept = files[: self._files_max - len(self._met)]
        self.total += len(files)
        self._met.update(kept)
        return kept

    def files(self) -> list[RunFile]:
        """Return what became of each file, after the last record."""
        return [self._file(path, content) for path, content in self._met.items()]

    def _file(self, path: PathText, content: str) -> RunFile:
        if path in self._refused:
            return RunFile(path=path, job=None, outcome=f"could not be read: {content}")
        job = self._job_of.get(SourceHash(content))
        if job is not None:
            return RunFile(path=path, job=job, outcome=self._ends.get(job, f"job {job} has not ended"))
        none = "its tables are those of an earlier run's job" if self._planned else "read, and nothing was planned"
        return RunFile(path=path, job=None, outcome=none)
