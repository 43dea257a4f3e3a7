"""Owns the shapes that `run --json` promises: fields may be added, never renamed or taken away."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from cli.render import count

Action = Literal["run", "reused", "failed"]


class RangeReport(Struct, frozen=True, kw_only=True):
    offset: int
    length: int
    reason: str


class SkipReport(Struct, frozen=True, kw_only=True):
    """How many units a parser left out for one reason."""

    count: int
    reason: str


class OutputReport(Struct, frozen=True, kw_only=True):
    """One output of one file. `path` is null where the output has no rows.

    Small files may share it: then `bytes` are of all of it, and the file's rows are those from `row_first` on.
    """

    name: str
    rows: int
    bytes: int
    path: str | None
    row_first: int = 0


class RuleReport(Struct, frozen=True, kw_only=True):
    """How many rows broke one rule of one column; `column` is "" where the parser itself rejected the row."""

    column: str
    code: str
    rows: int


class QuarantineReport(Struct, frozen=True, kw_only=True):
    """The rejected rows of one output of one job. `rejected`: too many of them, so nothing else was published."""

    output: str
    job: int
    file: str
    rows: int
    accepted: int
    pct: float
    rules: tuple[RuleReport, ...]
    rejected: bool
    path: str  # of the file that holds them
    deleted: str = ""  # why a person had that file deleted, if one did


class RejectedExample(Struct, frozen=True, kw_only=True):
    """One rejected row, the first rule that it broke, and where it stood: `line` if the parser says it, else `row`."""

    output: str
    rule: str
    file: str
    line: int | None
    row: int | None
    column: str
    value: str | None
    error: str


# Files that did not fail: a person stopped them, their parser is paused, or they wait.
STOPPED = frozenset({"aborted", "held", "queued", "dispatched", "running", "aborting", "promoting"})


class FileReport(Struct, frozen=True, kw_only=True):
    """How one file ended. Counts are null where nothing was counted (a file that failed before it was read)."""

    path: str
    source_hash: str | None
    sha256: str | None
    action: Action
    job: int | None
    found: int | None
    written: int | None
    quarantined: int | None
    skipped: int | None
    skips: tuple[SkipReport, ...]
    unreadable: int | None
    ranges: tuple[RangeReport, ...]
    outputs: tuple[OutputReport, ...]
    accounting: (
        Literal["balanced", "unaccounted"] | None
    )  # null for a failed file; unaccounted: the parser states no units
    status: str
    reason: str
    next_step: str

    @property
    def is_stopped(self) -> bool:
        """Say whether it was left out without anything having gone wrong with it."""
        return self.action == "failed" and self.status in STOPPED

    @property
    def has_failed(self) -> bool:
        """Say whether something went wrong with it."""
        return self.action == "failed" and self.status not in STOPPED


class Recovery(Struct, frozen=True, kw_only=True):
    """What this start found left by an earlier one: what it goes on with, ended, and removed.

    `requeued` jobs are for the target of this run, `waiting` ones for another: they are not what this run is about.
    `log` says what was wrong with the end of the log, `log_kept_as` where the bytes are that were set aside,
    `read_model` that it was made anew or had much to catch up with, and why, `snapshots` which were ignored, and why.
    """

    requeued: int = 0
    waiting: int = 0
    promoting: int = 0
    interrupted_runs: int = 0
    withdrawn: int = 0
    stages_removed: int = 0
    sockets_removed: int = 0
    scratch_removed: int = 0
    log: str = ""
    log_kept_as: str = ""
    read_model: str = ""
    snapshots: tuple[str, ...] = ()

    def for_all(self) -> Recovery:
        """Return the same for who goes on with all that waits, whatever its target."""
        return msgspec.structs.replace(self, requeued=self.requeued + self.waiting, waiting=0)

    def sentences(self) -> list[str]:
        """Return in words what was found and what is done about it; nothing after a clean end."""
        runs, left = count(self.interrupted_runs, "earlier run"), self._removed()
        facts = (
            (self.log, f"recovered the log: {self.log}; kept as {self.log_kept_as}"),
            (self.read_model, self.read_model),
            *((doubt, f"{doubt}; the log was folded instead") for doubt in self.snapshots),
            (self.interrupted_runs, f"{runs} had not ended: recorded as interrupted"),
            (
                self.requeued or self.promoting,
                f"resumed from an earlier run: {count(self.requeued, 'job')} waiting, {self.promoting} being published",
            ),
            (self.waiting, f"left by an earlier run, not for this command: {count(self.waiting, 'job')} waiting"),
            (self.withdrawn, f"ended {count(self.withdrawn, 'job')} of an earlier run: the parser has changed since"),
            (left, f"removed what an earlier run left behind: {left}"),
        )
        return [sentence for fact, sentence in facts if fact]

    def _removed(self) -> str:
        removed = {
            "unpublished file": self.stages_removed,
            "stale socket": self.sockets_removed,
            "scratch folder": self.scratch_removed,
        }
        return ", ".join(count(number, what) for what, number in removed.items() if number)


def skips_of(text: str | None) -> tuple[SkipReport, ...]:
    """Read the column `skips` of a job."""
    return msgspec.json.decode(text, type=tuple[SkipReport, ...]) if text else ()


class JobEnd(Struct, frozen=True, kw_only=True):
    """How a job stands after a person's wish to stop it; `already`: it had ended before. `outputs` are published.

    `next_step` is what can be typed where the wish came too late, else "".
    """

    job: int
    state: str
    already: bool
    reason: str
    outputs: tuple[OutputReport, ...]
    next_step: str
    exit: int


class RunReport(Struct, frozen=True, kw_only=True):
    run: int
    exit: int
    files: tuple[FileReport, ...]
    parser: str
    parser_version: str
    sink: str
    home: str
    found: int
    processed: int
    reused: int
    failed: int
    stopped: int  # of those: a person stopped them, their parser is paused, or they wait; nothing of theirs went wrong
    superseded: int
    shown_again: int  # files whose reused reading the tables did not show, and show now
    interrupted: str  # what was done about the jobs of a run that was stopped; "" where it was not
    passed_over: int  # names in the folders that the parser does not claim
    gone_total: int = 0  # files that earlier runs have read in the folders, and that are not there any more
    gone_elsewhere: int = 0  # of those: this run has met their content under another name
    gone: tuple[str, ...] = ()  # the first hundred of them, those whose content was not met first
    patterns: tuple[str, ...]
    seconds: float
    resumed: int
    recovery: Recovery
    main_output: str  # the one that the parser declares first
    quarantine: tuple[QuarantineReport, ...] = ()
    examples: tuple[RejectedExample, ...] = ()  # up to three of each output and rule; with --json only
