"""Owns what a demo says at its end: what was made, and where the tables do not hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from cli.errors import EXIT_OK, EXIT_PARTIAL, EXIT_VERIFICATION
from cli.home import Home
from cli.render import count, out

if TYPE_CHECKING:
    from cli.demo.evtx_corpus import FileTruth as EvtxTruth
    from cli.demo.fix_truth import FileTruth as FixTruth

DIFFERENCES_SHOWN_MAX = 10

AnyTruth = TypeVar("AnyTruth", "EvtxTruth", "FixTruth")


class Difference(Struct, frozen=True, kw_only=True):
    path: str
    why: str


class Comparison(Struct, frozen=True, kw_only=True):
    """What was made, and where the tables do not hold it. `records` are the messages of FIX logs."""

    exit: int
    files: int
    bytes: int
    records: int
    differences: tuple[Difference, ...]


def compared(
    files: Iterable[AnyTruth], difference: Callable[[AnyTruth], str], *, records: int, damaged: bool
) -> Comparison:
    """Hold the tables to what was made, file by file: `difference` says how one differs, "" if it does not."""
    made = tuple(files)
    differences = tuple(Difference(path=file.path, why=why) for file in made if (why := difference(file)))
    return Comparison(
        exit=EXIT_VERIFICATION if differences else EXIT_PARTIAL if damaged else EXIT_OK,
        files=len(made),
        bytes=sum(file.bytes for file in made),
        records=records,
        differences=differences,
    )


def show(comparison: Comparison, home: Path) -> None:
    """Print a comparison for people."""
    files, wrong = count(comparison.files, "file"), comparison.differences
    out()
    out(f"made: {files}, {comparison.bytes:,} bytes, {count(comparison.records, 'record')}")
    out(f"the tables agree with what was made for {comparison.files - len(wrong)} of {files}")
    for each in wrong[:DIFFERENCES_SHOWN_MAX]:
        out(f"  {each.path}: {each.why}")
    out(f"next: {Home(home, named=True).hint('casparian balance')}")
