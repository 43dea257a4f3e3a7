"""The verb `record`: the bytes of the source that one row was made from, and the row made from them again."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from msgspec import Struct

from cli.errors import EXIT_OK, EXIT_USAGE, EXIT_VERIFICATION, CliError
from cli.home import Home, find_home
from cli.options import HomeOption, JsonOption
from cli.outputs import blake3_of
from cli.reading import read_facts, reading
from cli.rejected_row import RejectedRows, find_rejected, is_rejected, line_place, show_rejected
from cli.render import out, out_json, place_text, printable

if TYPE_CHECKING:
    import pyarrow as pa

    from eventlog.ids import PathText
    from executors.parser_catalog import ParserPackage
    from projections.queries import Connection
    from projections.rows import JobRow, MaterializationRow

BYTES_SHOWN_MAX = 4096
BYTES_A_LINE = 16
CUT_BYTES_MAX = 64 * 1024**2  # a record that is longer is shown as far as that
ROW_NAME = re.compile(r"([1-9][0-9]{0,17}):([0-9]{1,18})")

TableArgument = Annotated[str, typer.Argument(metavar="TABLE", help="The table, e.g. evtx_events.")]
RowArgument = Annotated[
    str, typer.Argument(metavar="JOB:ROW", help="The row: its _cf_job_id and _cf_row_seq (rejected: _source_row).")
]


class Found(Struct, frozen=True, kw_only=True):
    """A published row and where it came from. `offset` is -1 where the table does not say."""

    table: str
    job: JobRow
    row: int
    values: pa.RecordBatch  # one row, without the host's columns
    offset: int
    length: int


def record(table: TableArgument, row: RowArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Cut the bytes of one row's record out of its source, and make the row from them again.

    A rejected row, of a table whose name ends in _quarantine, is named by its _cf_job_id and its _source_row (or, where
    that is null, its _output_row_index).

    Example: `casparian record evtx_events 17:4211`

    Exit codes: 0 the row made now equals the published one, 5 it does not, or the source has changed, 1 it cannot be
    made again.
    """
    place = find_home(home)
    if is_rejected(table):
        _record_rejected(place, table, row, as_json=as_json)
    with reading(place) as reader:
        found = find_row(reader.connection, table, row)
    source = _source(found.job.path)
    unchanged = source is not None and source[0] == found.job.source_hash
    differences = _differences(place, found) if unchanged else {}
    code = EXIT_OK if unchanged and not differences else EXIT_VERIFICATION
    piece = source[1](found.offset, found.length) if source is not None and found.offset >= 0 else b""
    if as_json:
        out_json(_as_json(found, piece, unchanged=unchanged, differences=differences, code=code))
    else:
        _show(found, piece, missing=source is None, unchanged=unchanged, differences=differences)
    raise typer.Exit(code)


def _record_rejected(place: Home, table: str, row: str, *, as_json: bool) -> NoReturn:
    """Show a rejected row with its bytes, and whether it is rejected again. Raises CliError."""
    from eventlog.ids import path_bytes

    with reading(place) as reader:
        found = find_rejected(reader.connection, table, row)
    source = _source(found.job.path)
    unchanged = source is not None and source[0] == found.job.source_hash
    again = _rejected_again(place, found) if unchanged else None
    at = found.bytes_place()
    if at is None and found.by_source and source is not None:
        at = line_place(path_bytes(found.job.path), found.place)
    piece = source[1](*at) if source is not None and at is not None else b""
    code = EXIT_OK if again == found.values() else EXIT_VERIFICATION
    if as_json:
        out_json(_rejected_json(found, piece, at, again=again, code=code))
    else:
        record_lines = _bytes_lines(piece, *at) if at is not None and piece else []
        show_rejected(found, state=_state(source is None, unchanged=unchanged), hex_of_record=record_lines, again=again)
    raise typer.Exit(code)


def _rejected_again(place: Home, found: RejectedRows) -> list[dict[str, str | None]]:
    from cli.guest_errors import not_started
    from eventlog.ids import OutputName
    from executors.again import AgainError, rejected_again
    from executors.declared_schema import resolve_outputs
    from executors.guest.errors import GuestStartError

    job, doing = found.job, f"make row {found.place} of {found.table} again"
    settings = _settings(place, job)
    try:
        package = resolve_outputs(_package(place, job, doing=doing), settings)
        output = OutputName(found.output)
        return rejected_again(package, job.path, settings, output=output, place=found.place, by_source=found.by_source)
    except GuestStartError as error:
        raise not_started(error, doing=doing) from error
    except AgainError as error:
        raise CliError("not_again", f"{doing}: {error}", "") from error


def _rejected_json(
    found: RejectedRows,
    piece: bytes,
    at: tuple[int, int] | None,
    *,
    again: list[dict[str, str | None]] | None,
    code: int,
) -> dict[str, Any]:
    offset, length = at or (-1, -1)
    return {
        "table": found.table,
        "job": found.job.job_id,
        "place": found.place,
        "place_of": "source" if found.by_source else "output",
        "path": found.job.path,
        "source_hash": found.job.source_hash,
        "source_unchanged": again is not None,
        "offset": offset,
        "length": length,
        "bytes_hex": piece.hex(),
        "rows": found.rows,
        "same_again": None if again is None else again == found.values(),
        "exit": code,
    }


def find_row(connection: Connection, table: str, name: str) -> Found:
    """Return a published row by table and name. Raises CliError for what is not there."""
    from eventlog.ids import JobId
    from projections import queries

    named = ROW_NAME.fullmatch(name)
    if named is None:
        raise CliError(
            "usage", f"find the row {name}: it is not of the form JOB:ROW", "casparian record evtx_events 17:4211",
            exit_code=EXIT_USAGE,
        )  # fmt: skip
    job_id, row = JobId(int(named[1])), int(named[2])
    detail = queries.job(connection, job_id)
    if detail is None:
        raise CliError("not_found", f"find row {row} of job {job_id}: there is no such job", "casparian jobs")
    made = [each for each in detail.outputs if each.output_name == table]
    if not made or not 0 <= row < made[0].rows:
        has = ", ".join(f"{each.output_name} ({each.rows})" for each in detail.outputs) or "none"
        raise CliError(
            "not_found", f"find row {row} of {table}: job {job_id} has no such row; its tables, with their rows: {has}",
            f"casparian job show {job_id}",
        )  # fmt: skip
    values = _published(made[0], row)
    return Found(
        table=table, job=detail.job, row=row, values=values,
        offset=_number(values, "record_offset"), length=_number(values, "record_length"),
    )  # fmt: skip


def _published(made: MaterializationRow, row: int) -> pa.RecordBatch:
    """Read one row out of a published file, a row group at a time, without the host's columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from eventlog.schema import RESERVED_PREFIXES
    from sinks.uri import open_sink

    file = open_sink(made.sink_uri).locate(made.file)
    _check_published(file, made)
    try:
        with pq.ParquetFile(file) as parquet:
            first = made.row_first + row
            group = 0
            while first >= (rows := parquet.metadata.row_group(group).num_rows):
                first, group = first - rows, group + 1
            names = [name for name in parquet.schema_arrow.names if not name.startswith(RESERVED_PREFIXES)]
            table = parquet.read_row_group(group, columns=names).slice(first, 1)
    except (OSError, pa.ArrowException, IndexError) as error:
        why = f"read row {row} of {file}: {str(error)[:200]}"
        raise CliError("output_damaged", why, "put it back from a copy", exit_code=EXIT_VERIFICATION) from error
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _check_published(file: str, made: MaterializationRow) -> None:
    """Raise CliError unless the file holds the bytes that were published: a row of another file proves nothing."""
    found = blake3_of(Path(file))
    if found is None:
        why = f"read {file}: it was published, and cannot be read any more"
        raise CliError("output_lost", why, "put it back from a copy, or run again with --remake-lost")
    if found != made.digest:
        why = f"read {file}: it has other bytes than were published (blake3 {made.digest})"
        raise CliError("output_damaged", why, "casparian outputs", exit_code=EXIT_VERIFICATION)


def _number(values: pa.RecordBatch, name: str) -> int:
    column = values.column(name) if name in values.schema.names else None
    return -1 if column is None or column[0].as_py() is None else int(column[0].as_py())


def _settings(place: Home, job: JobRow) -> dict[str, str]:
    """Return the settings that the job was queued with."""
    from eventlog.events import JobQueued
    from reducers.explain import Interest

    facts = read_facts(place, Interest(jobs=[job.job_id]))
    return next(fact.record.settings for fact in facts if isinstance(fact.record, JobQueued))


def _source(path: PathText) -> tuple[str, Any] | None:
    """Return the BLAKE3 of the source as it is now, and how to cut bytes out of it; None if it is not there."""
    import blake3

    from eventlog.ids import path_bytes

    try:
        with open(path_bytes(path), "rb") as stream:  # noqa: PTH123  the path is bytes
            hasher = blake3.blake3()
            while piece := stream.read(1 << 20):  # bounded by the size of the file
                hasher.update(piece)
    except OSError:
        return None

    def cut(offset: int, length: int) -> bytes:
        with open(path_bytes(path), "rb") as stream:  # noqa: PTH123
            return os.pread(stream.fileno(), min(max(length, 0), CUT_BYTES_MAX), offset)

    return hasher.hexdigest(), cut


def _differences(place: Home, found: Found) -> dict[str, tuple[Any, Any]]:
    """Return the columns whose value now is another than the published one: (published, now)."""
    from cli.guest_errors import not_started
    from eventlog.ids import OutputName
    from executors.again import AgainError, row_again
    from executors.declared_schema import resolve_outputs
    from executors.guest.errors import GuestStartError

    job, doing = found.job, f"make row {found.row} of {found.table} again"
    settings = _settings(place, job)
    try:
        package = resolve_outputs(_package(place, job, doing=doing), settings)
        again = row_again(package, job.path, settings, output=OutputName(found.table), row=found.row)
    except GuestStartError as error:
        raise not_started(error, doing=doing) from error
    except AgainError as error:
        raise CliError("not_again", f"{doing}: {error}", "") from error
    pairs = {name: (found.values.column(name)[0].as_py(), again.column(name)[0].as_py()) for name in again.schema.names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _package(place: Home, job: JobRow, *, doing: str) -> ParserPackage:
    """Return the very parser that a job ran: built in, or one that the home keeps and trusts. Raises CliError."""
    from cli.kept_parsers import load_kept
    from cli.parser_report import trusted_artifacts
    from executors.parser_catalog import builtin_parsers

    package = builtin_parsers().get(job.parser)
    if package is None and job.artifact_hash in trusted_artifacts(place):
        package = load_kept(place, job.parser, job.artifact_hash)
    if package is None or package.artifact_hash != job.artifact_hash:
        raise CliError(
            "other_parser",
            f"{doing}: it was made by {job.parser} {job.parser_version}, artifact {job.artifact_hash}, which is not "
            "the one installed here",
            place.hint(f"casparian explain job {job.job_id}"),
        )
    return package


# --- telling --------------------------------------------------------------------------------------------------------


def _as_json(
    found: Found, piece: bytes, *, unchanged: bool, differences: dict[str, tuple[Any, Any]], code: int
) -> dict[str, Any]:
    return {
        "table": found.table,
        "job": found.job.job_id,
        "row": found.row,
        "path": found.job.path,
        "source_hash": found.job.source_hash,
        "source_unchanged": unchanged,
        "offset": found.offset,
        "length": found.length,
        "bytes_hex": piece.hex(),
        "columns": {name: _plain(found.values.column(name)[0].as_py()) for name in found.values.schema.names},
        "differences": [
            {"column": name, "published": _plain(before), "now": _plain(now)}
            for name, (before, now) in differences.items()
        ],
        "exit": code,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _show(
    found: Found, piece: bytes, *, missing: bool, unchanged: bool, differences: dict[str, tuple[Any, Any]]
) -> None:
    job = found.job
    out(f"row {found.row} of {found.table}, made by job {job.job_id} from {printable(job.path)}")
    out(f"  source {_state(missing, unchanged=unchanged)}; when it was read: blake3 {job.source_hash}")
    for line in _bytes_lines(piece, found.offset, found.length) if piece else ():
        out(f"  {line}")
    out()
    width = max(map(len, found.values.schema.names))
    for name in found.values.schema.names:
        value = found.values.column(name)[0].as_py()
        if value is not None:
            out(f"  {name:<{width}}  {printable(str(value))}")
    out()
    if not unchanged:
        out("the row was not made again: its source is not what it was")
    elif not differences:
        out(f"made again by {job.parser} {job.parser_version}: {len(found.values.schema.names)} columns, all equal")
    for name, (before, now) in differences.items():
        out(f"DIFFERS: {name}: published {printable(str(before))}, now {printable(str(now))}")


def _state(missing: bool, *, unchanged: bool) -> str:
    return "is not there any more" if missing else "is unchanged" if unchanged else "HAS OTHER BYTES NOW"


def _bytes_lines(piece: bytes, offset: int, length: int) -> list[str]:
    lines = [f"{place_text(offset, length)}:"]
    lines += [f"  {line}" for line in hex_lines(piece[:BYTES_SHOWN_MAX], offset)]
    if len(piece) > BYTES_SHOWN_MAX:
        lines.append(f"  … {len(piece) - BYTES_SHOWN_MAX:,} bytes more: --json has them all")
    return lines


def hex_lines(data: bytes, offset: int) -> list[str]:
    """Return the bytes as lines of offset, hexadecimal and text, as `xxd` has them."""
    lines = []
    for start in range(0, len(data), BYTES_A_LINE):
        piece = data[start : start + BYTES_A_LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{offset + start:08x}  {piece.hex(' '):<{BYTES_A_LINE * 3 - 1}}  {text}")
    return lines
