"""Owns the way from a rejected row back to the file, the bytes and the rules that it broke, for `explain` and `record`.

A rejected row is named JOB:PLACE by what stands in its table: `_cf_job_id`, and `_source_row` or, where that is null,
`_output_row_index`. Several rows may come from one place of the source; then all of them are meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from cli.errors import EXIT_USAGE, EXIT_VERIFICATION, CliError
from cli.outputs import blake3_of
from cli.render import count, fitted, out, printable
from eventlog.schema import QUARANTINE_COLUMNS, QUARANTINE_SUFFIX

if TYPE_CHECKING:
    from projections.queries import Connection, KeptRows
    from projections.rows import JobRow

ROW_NAME: Final = re.compile(r"([1-9][0-9]{0,17}):([0-9]{1,18})")
ROWS_MAX: Final = 100  # of one place: as many as are made again, see executors/again.py
ROWS_SHOWN: Final = 3
LINE_BYTES_MAX: Final = 1024 * 1024
GZIP: Final = b"\x1f\x8b"
SAID: Final = frozenset(column.name for column in QUARANTINE_COLUMNS)

Row = dict[str, str | int | None]
Made = dict[str, str | None]  # a row without its places, as it is made again


class RejectedRows(Struct, frozen=True, kw_only=True):
    """The rejected rows of one place. `by_source`: the place is one in the source, a line say, else in the output."""

    table: str
    job: JobRow
    output: str
    place: int
    by_source: bool
    rows: tuple[Row, ...]

    def sentence(self) -> str:
        """Return what they are and what is wrong with the first."""
        where = f"line {self.place} of" if self.by_source else f"row {self.place} that came from"
        what = "the row of" if len(self.rows) == 1 else f"{len(self.rows):,} rows of"
        first = self.rows[0]
        return (
            f"{what} {self.table} from {where} {self.job.path}, read by job {self.job.job_id}, broke "
            f"{first['_rule_id']}: {first['_error_msg']}"
        )

    def values(self) -> list[Made]:
        """Return the columns as the parser gave them, as text, with what is wrong: as they are made again."""
        kept = ("_error_msg", "_rule_id")
        return [
            {
                name: None if value is None else str(value)
                for name, value in row.items()
                if name not in SAID or name in kept
            }
            for row in self.rows
        ]

    def bytes_place(self) -> tuple[int, int] | None:
        """Return offset and length of the record in its source, where the table says both."""
        offset, length = (self.rows[0].get(name) for name in ("record_offset", "record_length"))
        return (int(offset), int(length)) if offset is not None and length is not None else None


def is_rejected(table: str) -> bool:
    """Say whether a table is one of rejected rows; no output of a parser is called so."""
    return table.endswith(QUARANTINE_SUFFIX)


def find_rejected(connection: Connection, table: str, name: str) -> RejectedRows:
    """Return the rejected rows of that name. Raises CliError for what is not there any more, or never was."""
    from eventlog.ids import JobId
    from projections import queries

    named = ROW_NAME.fullmatch(name)
    if named is None:
        raise CliError(
            "usage",
            f"find the row {name} of {table}: it is not of the form JOB:PLACE, its _cf_job_id and its _source_row "
            "(or _output_row_index)",
            f"casparian record {table} 17:12",
            exit_code=EXIT_USAGE,
        )
    output, job_id, place = table.removesuffix(QUARANTINE_SUFFIX), JobId(int(named[1])), int(named[2])
    detail = queries.job(connection, job_id)
    if detail is None:
        raise CliError("not_found", f"find a row of job {job_id}: there is no such job", "casparian jobs")
    kept = queries.quarantine(connection, job_id=job_id, output=output, limit=1)
    if not kept:
        why = f"find a row of {table}: job {job_id} has no rejected rows of {output}"
        raise CliError("not_found", why, "casparian quarantine ls")
    rows, by_source = _rows_at(kept[0], place)
    if not rows:
        why = f"find row {place} of {table}: job {job_id} has no rejected row of that place"
        raise CliError("not_found", why, f"casparian quarantine show {job_id}")
    return RejectedRows(
        table=table, job=detail.job, output=output, place=place, by_source=by_source, rows=tuple(rows[:ROWS_MAX])
    )


def _rows_at(kept: KeptRows, place: int) -> tuple[list[Row], bool]:
    """Return the kept rows of a place and whether it is one in the source. Raises CliError."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = _evidence(kept)
    found: dict[str, list[Row]] = {"_source_row": [], "_output_row_index": []}
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for column, rows in found.items():
                    here = pc.equal(batch.column(column), pa.scalar(place, pa.int64()))
                    rows.extend(batch.filter(here).slice(0, ROWS_MAX).to_pylist())
                if len(found["_source_row"]) >= ROWS_MAX:
                    break
    except (OSError, pa.ArrowException) as error:
        why = f"read the rejected rows in {path}: {str(error)[:200]}"
        raise CliError("output_damaged", why, "casparian outputs", exit_code=EXIT_VERIFICATION) from error
    by_source = bool(found["_source_row"])
    return found["_source_row" if by_source else "_output_row_index"], by_source


def _evidence(kept: KeptRows) -> Path:
    """Return the file of rejected rows. Raises CliError unless it holds the bytes that were recorded."""
    from sinks.uri import open_sink

    if kept.deleted_seq is not None:
        why = f"find a row of {kept.output_name}: what was kept of job {kept.job_id} was deleted: {kept.deleted_reason}"
        raise CliError("evidence_deleted", why, f"casparian explain job {kept.job_id}")
    path = Path(open_sink(kept.sink_uri).locate(kept.file))
    found = blake3_of(path)
    if found is None:
        why = f"read {path}: it holds rejected rows, and cannot be read any more"
        raise CliError("output_lost", why, "put it back from a copy")
    if found != kept.digest:
        why = f"read {path}: it has other bytes than were recorded (blake3 {kept.digest})"
        raise CliError("output_damaged", why, "casparian outputs", exit_code=EXIT_VERIFICATION)
    return path


def line_place(path: bytes, number: int) -> tuple[int, int] | None:
    """Return offset and length of a line of a file, from 1, its end included; None for what has no such line.

    A compressed file has its lines elsewhere. Of a long line the first LINE_BYTES_MAX.
    """
    with open(path, "rb") as source:  # noqa: PTH123  the path is bytes
        if source.read(len(GZIP)) == GZIP:
            return None
        source.seek(0)
        line, offset, begins = 0, 0, True
        while piece := source.readline(LINE_BYTES_MAX):  # ends with the file
            line += begins
            if line == number:
                return offset, len(piece)
            begins = piece.endswith(b"\n")
            offset += len(piece)
    return None


def show_rejected(found: RejectedRows, *, state: str, hex_of_record: list[str], again: Sequence[Made] | None) -> None:
    """Print the rows, the bytes that they come from, and whether they are rejected again for the same reasons."""
    out(printable(found.sentence()))
    out(f"  source {state}; when it was read: blake3 {found.job.source_hash}")
    for line in hex_of_record:
        out(f"  {line}")
    for row in found.rows[:ROWS_SHOWN]:
        _show_row(row)
    if (more := len(found.rows) - ROWS_SHOWN) > 0:
        out(f"… and {count(more, 'row')} more of that place: --json lists them")
    out()
    if again is None:
        out("the rows were not made again: their source is not what it was")
    elif again == found.values():
        parser = f"{found.job.parser} {found.job.parser_version}"
        out(f"made again by {parser}: {count(len(again), 'row')}, rejected for the same reasons")
    else:
        out(f"DIFFERS: made again, {count(len(again), 'row')} of that place, not rejected as what is kept was")


def _show_row(row: Row) -> None:
    out()
    width = max(map(len, row))
    for name, value in row.items():
        if value is not None and name not in SAID:
            out(f"  {name:<{width}}  {fitted(printable(str(value)))}")
    out(f"  {'broke':<{width}}  {printable(str(row['_rule_id']))}")
    for said in str(row["_error_msg"]).split("; "):
        out(f"  {'':<{width}}  {fitted(printable(said))}")
