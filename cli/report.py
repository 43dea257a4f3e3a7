"""Owns the shapes that `run --json` promises: fields may be added, never renamed or taken away."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Action = Literal["run", "reused", "failed"]


class RangeReport(Struct, frozen=True, kw_only=True):
    offset: int
    length: int
    reason: str


class OutputReport(Struct, frozen=True, kw_only=True):
    """One output of one file. `path` is null where the output has no rows."""

    name: str
    rows: int
    bytes: int
    path: str | None


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
    unreadable: int | None
    ranges: tuple[RangeReport, ...]
    outputs: tuple[OutputReport, ...]
    status: str
    reason: str
    next_step: str


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
    superseded: int
    passed_over: int  # names in the folders that the parser does not claim
    patterns: tuple[str, ...]
    seconds: float
    resumed: int
