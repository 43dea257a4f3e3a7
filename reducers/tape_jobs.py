"""Owns what must be true of the jobs on a tape: how they move, how they end, and that their sheets add up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from eventlog.events import (
    BalanceSheet,
    CancelAccepted,
    JobCompleted,
    JobDispatched,
    JobFailed,
    JobQueued,
    MaterializationRecorded,
    OutputsCommitted,
    Record,
)
from eventlog.ids import JobId
from eventlog.tape_reader import Entry
from reducers.job import END, MOVES, Aborting, Dispatched, Job, Promoting, Queued, Running

_State = type[Job] | None
_States = frozenset[_State]
_EVERY: Final[_States] = frozenset(set(MOVES) - {None})

# What the earlier implementations recorded of a job, in the same words: a failed job could be handed out again.
_LEGACY_MOVES: Final[dict[_State, dict[type[Record], _State]]] = {
    None: {JobQueued: Queued},
    Queued: {JobDispatched: Dispatched},
    Dispatched: {JobDispatched: Dispatched, MaterializationRecorded: Dispatched, JobCompleted: END, JobFailed: Queued},
}


def _first_of(entry: Entry, known: int) -> int:
    """Return the log position at which the slice begins, where this entry says it."""
    if entry.envelope is None or entry.envelope.event_name.type != "tape_started":
        return known
    log = entry.envelope.payload.get("log")
    first = log.get("from") if isinstance(log, dict) else 1
    return first if type(first) is int else 1


class Lives:
    """Every job moves as the table of moves allows, ends once, and publishes nothing after its cancel was accepted.

    A job that was queued before the slice may be in any state at first: what it can be is narrowed by each event.
    """

    name = "jobs"

    def __init__(self) -> None:
        self._first = 1
        self._can_be: dict[JobId, _States] = {}
        self._ended: dict[JobId, tuple[str, int]] = {}
        self._cancelled: dict[JobId, int] = {}

    def see(self, entry: Entry) -> Iterator[str]:
        self._first = _first_of(entry, self._first)
        for seq, record in entry.records:
            job = getattr(record, "job", None)
            if job is not None and type(record) in _JOB_EVENTS:
                yield from self._moved(job, record, seq, entry.legacy)

    def _moved(self, job: JobId, record: Any, seq: int, legacy: bool) -> Iterator[str]:
        kind = type(record)
        if job in self._ended and not (legacy and kind is MaterializationRecorded):
            yield self._after_end(job, kind)
            return
        moves = _LEGACY_MOVES if legacy else MOVES
        could_be = self._can_be.get(job) or (_EVERY if self._first > 1 and kind is not JobQueued else frozenset({None}))
        after = _after(could_be, kind, moves)
        if kind is OutputsCommitted and job in self._cancelled:
            yield f"job {job}: OutputsCommitted after its cancel was accepted at log position {self._cancelled[job]}"
        elif not after and job not in self._ended:
            yield f"job {job}: {kind.__name__} is no move from {_named(could_be)}"
        if kind is CancelAccepted:
            self._cancelled[job] = seq
        after = after or _after(moves, kind, moves)
        self._can_be[job] = after
        if END in after:
            self._ended[job] = (kind.__name__, seq)

    def _after_end(self, job: JobId, kind: type[Record]) -> str:
        name, seq = self._ended[job]
        if kind is JobCompleted and name == "JobCompleted":
            return f"job {job} completes twice, first at log position {seq}"
        return f"job {job}: {kind.__name__} after {name} at log position {seq} had ended it"

    def end(self) -> Iterator[str]:
        yield from ()


def _after(states: Iterable[_State], kind: type[Record], moves: dict[_State, dict[type[Record], _State]]) -> _States:
    """Return what a job in one of these states can be after an event of this kind; nothing if it is no move."""
    return frozenset(moves[state][kind] for state in states if state in moves and kind in moves[state])


_JOB_EVENTS: Final[frozenset[type[Record]]] = frozenset(kind for moves in MOVES.values() for kind in moves)
_ORDER: Final[tuple[_State, ...]] = (None, Queued, Dispatched, Running, Aborting, Promoting)


def _named(states: _States) -> str:
    return " or ".join("not yet queued" if state is None else state.__name__ for state in _ORDER if state in states)


# --- the sheets -----------------------------------------------------------------------------------------------------


class Sheets:
    """What a job published is what its sheet says, and every output that was committed is recorded before the end."""

    name = "sheets"

    def __init__(self) -> None:
        self._committed: dict[JobId, OutputsCommitted] = {}
        self._recorded: dict[JobId, set[str]] = {}

    def see(self, entry: Entry) -> Iterator[str]:
        if entry.legacy:  # they had no sheets
            return
        for _seq, record in entry.records:
            match record:
                case OutputsCommitted():
                    self._committed[record.job] = record
                    yield from _unbalanced(record.job, record.sheet)
                    yield from _rows_differ(record)
                case MaterializationRecorded():
                    self._recorded.setdefault(record.job, set()).add(record.output)
                case JobCompleted():
                    yield from self._completed(record)
                case _:
                    pass

    def _completed(self, record: JobCompleted) -> Iterator[str]:
        yield from _unbalanced(record.job, record.sheet)
        committed = self._committed.pop(record.job, None)
        recorded = self._recorded.pop(record.job, set())
        if committed is None:  # before the slice
            return
        if committed.sheet != record.sheet:
            yield f"job {record.job} completes with another sheet than it committed"
        missing = {*(output.output for output in committed.outputs), *committed.empty} - recorded
        if missing:
            yield f"job {record.job} completes, but {len(missing)} of its outputs were never recorded"
        if committed.status == "rejected":
            yield f"job {record.job} completes, although policy forbade its outputs"

    def end(self) -> Iterator[str]:
        yield from ()


def _unbalanced(job: JobId, sheet: BalanceSheet) -> Iterator[str]:
    accounted = sheet.written + sheet.quarantined + sheet.skipped + sheet.unreadable
    if sheet.found != accounted:
        yield (
            f"job {job}: its sheet does not add up: {sheet.found} found, {accounted} accounted for "
            f"({sheet.written} written, {sheet.quarantined} quarantined, {sheet.skipped} skipped, "
            f"{sheet.unreadable} unreadable)"
        )


def _rows_differ(committed: OutputsCommitted) -> Iterator[str]:
    sheet = committed.sheet
    outputs = {sheet.output, *sheet.also}
    shares = [share for output in committed.outputs if output.output in outputs for share in output.jobs]
    rows = sum(share.rows for share in shares if share.job == committed.job)
    if sheet.output and rows != sheet.written and committed.status != "rejected":
        yield f"job {committed.job}: its sheet says {sheet.written} written, {rows} rows were staged"


# --- the shares -----------------------------------------------------------------------------------------------------


class Shares:
    """The jobs that share an artifact have all of its rows, each of them once; their commits are one frame."""

    name = "shares"

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], list[tuple[int, int, int]]] = {}  # row_first, rows, rows of the artifact
        self._told: dict[tuple[str, str], str] = {}  # how an artifact is spoken of: by no value of the tape but numbers
        self._first = 1

    def see(self, entry: Entry) -> Iterator[str]:
        self._first = _first_of(entry, self._first)
        for _seq, record in entry.records:
            if isinstance(record, OutputsCommitted) and not entry.legacy:
                for number, output in enumerate(record.outputs, 1):
                    self._told.setdefault((record.lease, output.final), f"artifact {number} of job {record.job}")
                    shares = self._of.setdefault((record.lease, output.final), [])
                    shares += [(share.row_first, share.rows, output.rows) for share in output.jobs]
        yield from ()

    def end(self) -> Iterator[str]:
        for artifact, shares in self._of.items():
            told = self._told[artifact]
            row = 0 if self._first == 1 else min(shares)[0]  # a slice may begin in the middle of a frame
            for first, rows, _all in sorted(shares):
                if first != row:
                    yield f"the shares of {told} are not its rows: one begins at {first} where {row} is due"
                    break
                row += rows
            else:
                if {row} != {total for _first, _rows, total in shares}:
                    yield f"the shares of {told} have {row} rows in all, not as many as it has"
