"""Renders screens from a tape: its records are folded into a read model in memory, which the live verbs' code shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import EXIT_VERIFICATION, CliError
from eventlog.events import ExecutorJoined, FilesRefused, FilesSeen, JobQueued, LoggedCommand, Record, RunStarted
from eventlog.frames import Frame, LogRecord
from eventlog.ids import Instant, LogId, Seq
from eventlog.tape_reader import Entry, read_entries, read_lines

if TYPE_CHECKING:
    import duckdb

TAPE_LOG_ID = LogId("0" * 32)  # a tape does not say which log it is of
_INTRODUCED_BY: dict[str, type[Record]] = {"job": JobQueued, "run": RunStarted, "executor": ExecutorJoined}


@contextlib.contextmanager
def entries_of(path: Path) -> Iterator[Iterator[Entry]]:
    """Give the entries of a tape's file."""
    with path.open("rb") as file:
        yield read_entries(read_lines(file))


@contextlib.contextmanager
def replayed(entries: Iterable[Entry]) -> Iterator[tuple[duckdb.DuckDBPyConnection, int]]:
    """Give a read model of a tape, and how many events are not in it: theirs began before the tape.

    Raises CliError for a tape whose records cannot be folded.
    """
    import duckdb

    from projections.projector import Projector, create_tables

    replay = Replay()
    with contextlib.closing(duckdb.connect(":memory:")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        create_tables(connection, TAPE_LOG_ID)
        try:
            Projector(connection).apply_all(replay.frames(entries))
        except (LookupError, ValueError, RuntimeError, OverflowError) as error:
            raise CliError(
                "tape_not_foldable",
                "fold the tape's records into tables: they contradict each other, or hold what no table can",
                "casparian tape validate FILE says what is wrong with it",
                exit_code=EXIT_VERIFICATION,
            ) from error
        yield connection, replay.left_out


class Replay:
    """Makes frames of entries. An event of a job, run or executor that the tape does not introduce is left out."""

    def __init__(self) -> None:
        self.left_out = 0
        self._known: dict[str, set[Any]] = {name: set() for name in _INTRODUCED_BY}

    def frames(self, entries: Iterable[Entry]) -> Iterator[Frame]:
        """Yield one frame for each record that can be folded; positions between them count as empty."""
        last = 0
        for entry in entries:
            for seq, record in entry.records:
                if not self._is_known(record):
                    self.left_out += 1
                    continue
                assert entry.envelope is not None
                first, last = last + 1, max(last + 1, seq)
                yield _frame(first, last, seq, record, Instant(entry.envelope.timestamp))

    def _is_known(self, record: Any) -> bool:
        """Say whether what the event is about was introduced; a job's run may be older than the tape."""
        subject = next((name for name in _INTRODUCED_BY if hasattr(record, name)), None)
        if subject is None or isinstance(record, LoggedCommand | FilesSeen | FilesRefused):
            return True
        known, name = self._known[subject], getattr(record, subject)
        if isinstance(record, _INTRODUCED_BY[subject]):
            known.add(name)
        return name in known


def _frame(first: int, last: int, seq: Seq, record: Any, ts: Instant) -> Frame:
    return Frame(
        commit=last,
        first=first,
        last=last,
        ts=ts,
        actor="tape",
        cause=0,
        corr=0,
        epoch=0,
        durable=first - 1,
        prev=f"{first - 1}",
        hash=f"{last}",
        records=(LogRecord(seq=seq, data=record),),
    )
