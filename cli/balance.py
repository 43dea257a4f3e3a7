"""The verb `balance`: every record of the case, accounted for, with the places that could not be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer
from msgspec import Struct

from cli.errors import EXIT_ERROR, EXIT_OK, EXIT_PARTIAL, EXIT_VERIFICATION, CliError
from cli.home import find_home
from cli.options import HomeOption, JsonOption, LimitOption
from cli.reading import reading
from cli.render import count, fitted, out, out_json, place_text, printable, table, talk
from cli.report import SkipReport, skips_of
from cli.shown_name import file_not_met

if TYPE_CHECKING:
    from projections.queries import BalanceRow, Connection

PLACES_SHOWN_MAX = 3  # of one file, in the view of the whole case

Accounting = Literal["balanced", "unaccounted", "unbalanced", "failed", "refused", "not processed"]


class Place(Struct, frozen=True, kw_only=True):
    """Bytes that could not be read; length -1 where the decoder does not say."""

    offset: int
    length: int
    reason: str


class UnitTotal(Struct, frozen=True, kw_only=True):
    """A balance in one unit: of one file, or the sum over all balanced files, each content once."""

    unit: str
    found: int
    written: int
    quarantined: int
    skipped: int
    unreadable: int


class FileBalance(Struct, frozen=True, kw_only=True):
    """One path and one parser. Counts are null where nothing was counted or the parser states no units."""

    path: str
    parser: str | None
    job: int | None
    accounting: Accounting
    unit: str | None
    found: int | None
    written: int | None
    quarantined: int | None
    skipped: int | None
    skips: tuple[SkipReport, ...]
    unreadable: int | None
    further: tuple[UnitTotal, ...]  # the same input, counted in other units
    reason: str
    places_total: int
    places: tuple[Place, ...]
    counted: bool  # false for a copy of a content that another path stands for


class Balance(Struct, frozen=True, kw_only=True):
    exit: int
    places: int  # that could not be read, each content once
    place_bytes: int  # of those places whose length is known
    totals: tuple[UnitTotal, ...]
    not_in_totals: int  # files that failed, were refused or are not accounted for: no sum counts them
    files: tuple[FileBalance, ...]


def balance(
    file: Annotated[
        Path | None, typer.Option("--file", metavar="PATH", help="Only this file, with every place.")
    ] = None,
    job: Annotated[int | None, typer.Option("--job", min=1, help="Only what this job accounts for.")] = None,
    limit: LimitOption = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show that nothing is missing: found = written + quarantined + skipped + unreadable, per file and in all.

    Example: `casparian balance --file ./case/Security.evtx`

    Exit codes: 0 everything found was written, 1 a file failed or was not processed, 3 records could not be read or
    were quarantined, 5 a sheet does not add up or a parser states none.
    """
    from eventlog.ids import JobId, path_text
    from projections import queries

    place = find_home(home)
    with reading(place) as reader:
        rows = (
            queries.balance(reader.connection) if job is None else queries.balance_of_job(reader.connection, JobId(job))
        )
        if file is not None:
            wanted = path_text(os.fsencode(os.path.abspath(file)))  # noqa: PTH100  as scanned: links are not resolved
            rows = [row for row in rows if row.path == wanted]
        if not rows and file is not None and job is None:
            raise file_not_met(
                place, reader.connection, doing=f"balance {file}", file=file, command="casparian balance --file"
            )
        if not rows:
            what = f"file {file} of job {job}" if file is not None else f"job {job}" if job is not None else "case"
            raise CliError("not_found", f"balance the {what}: nothing that was read answers to it", "casparian files")
        report = _report(reader.connection, rows)
    if as_json:
        out_json(report)
    else:
        _show(report, limit=limit, places=None if file is not None or job is not None else PLACES_SHOWN_MAX)
    raise typer.Exit(report.exit)


def _report(connection: Connection, rows: Sequence[BalanceRow]) -> Balance:
    from projections import queries

    damaged = {row.job_id for row in rows if row.job_id is not None and row.ranges_total}
    places: dict[int, list[Place]] = {}
    for each in queries.ranges_of_jobs(connection, damaged):
        place = Place(offset=each.byte_offset, length=each.byte_length, reason=each.reason)
        places.setdefault(each.job_id, []).append(place)
    files = tuple(_file(row, tuple(places.get(row.job_id or 0, ()))) for row in rows)
    counted = [file for file in files if file.counted]
    return Balance(
        exit=_exit(files),
        places=sum(file.places_total for file in counted),
        place_bytes=sum(place.length for file in counted for place in file.places if place.length > 0),
        totals=_totals(files),
        not_in_totals=sum(file.accounting != "balanced" for file in files),
        files=files,
    )


def _file(row: BalanceRow, places: tuple[Place, ...]) -> FileBalance:
    stated = bool(row.unit)
    return FileBalance(
        path=row.path,
        parser=row.parser,
        job=row.job_id,
        accounting=_accounting(row),
        unit=row.unit if stated else None,
        found=row.found if stated else None,
        written=row.written if stated else None,
        quarantined=row.quarantined if stated else None,
        skipped=row.skipped if stated else None,
        skips=skips_of(row.skips),
        unreadable=row.unreadable if stated else None,
        further=msgspec.json.decode(row.further, type=tuple[UnitTotal, ...]) if row.further else (),
        reason=row.reason or "",
        places_total=row.ranges_total or 0,
        places=places,
        counted=row.first_of_job,
    )


def _accounting(row: BalanceRow) -> Accounting:
    if row.status == "failed":
        return "unbalanced" if row.error_class == "accounting" else "failed"
    if row.status != "completed":
        return row.status
    if not row.unit:
        return "unaccounted"
    parts = (row.written, row.quarantined, row.skipped, row.unreadable)
    return "balanced" if row.found == sum(part or 0 for part in parts) else "unbalanced"


def _totals(files: Sequence[FileBalance]) -> tuple[UnitTotal, ...]:
    """Sum each content once: a copy at another path has no records of its own."""
    balanced = [file for file in files if file.accounting == "balanced" and file.counted]
    sheets = [sheet for file in balanced for sheet in _sheets(file)]
    units = dict.fromkeys(sheet.unit for sheet in sheets)
    return tuple(_total(unit, [sheet for sheet in sheets if sheet.unit == unit]) for unit in units)


def _sheets(file: FileBalance) -> list[UnitTotal]:
    """Return a file's sheet in its main unit, then those in others."""
    main = UnitTotal(
        unit=file.unit or "",
        found=file.found or 0,
        written=file.written or 0,
        quarantined=file.quarantined or 0,
        skipped=file.skipped or 0,
        unreadable=file.unreadable or 0,
    )
    return [main, *file.further]


def _total(unit: str, sheets: Sequence[UnitTotal]) -> UnitTotal:
    return UnitTotal(
        unit=unit,
        found=sum(sheet.found for sheet in sheets),
        written=sum(sheet.written for sheet in sheets),
        quarantined=sum(sheet.quarantined for sheet in sheets),
        skipped=sum(sheet.skipped for sheet in sheets),
        unreadable=sum(sheet.unreadable for sheet in sheets),
    )


def _exit(files: Sequence[FileBalance]) -> int:
    kinds = {file.accounting for file in files}
    if kinds & {"unbalanced", "unaccounted"}:
        return EXIT_VERIFICATION
    if kinds - {"balanced"}:
        return EXIT_ERROR
    return EXIT_OK if all(map(_is_clean, files)) else EXIT_PARTIAL


# --- for people -----------------------------------------------------------------------------------------------------


def _show(report: Balance, *, limit: int, places: int | None) -> None:
    _show_totals(report)
    out()
    shown = sorted(report.files, key=_is_clean)[:limit]  # what needs a look comes first
    headings = ("file", "unit", "found", "written", "quarantined", "skipped", "unreadable", "places", "accounting")
    rows = [
        (
            fitted(file.path), file.unit, file.found, file.written, file.quarantined, file.skipped, file.unreadable,
            file.places_total or None, file.accounting if file.counted or file.job is None else "copy",
        )
        for file in shown
    ]  # fmt: skip
    for line in table(headings, rows, right=(2, 3, 4, 5, 6, 7)):
        out(line)
    for file in shown:
        _show_places(file, places)
    if len(report.files) > limit:
        talk(f"only {limit} of {len(report.files)} files are shown; --limit shows more")


def _show_totals(report: Balance) -> None:
    from reducers.say import units

    copies = sum(file.accounting == "balanced" and not file.counted for file in report.files)
    for total in report.totals:
        unit = units(total.found, total.unit)
        out(
            f"{total.found:,} {unit} found = {total.written:,} written + {total.quarantined:,} quarantined"
            f" + {total.skipped:,} skipped + {total.unreadable:,} unreadable"
        )
    if report.totals and report.not_in_totals:
        out(f"not in these sums: {count(report.not_in_totals, 'file')}, for the reasons below")
    if report.places:
        out(
            f"{count(report.places, 'place')} of {report.place_bytes:,} bytes could not be read; "
            "how many records they held, beyond those counted, is not known"
        )
    balanced = sum(file.accounting == "balanced" for file in report.files)
    files = count(len(report.files), "file")
    said = f"{files}, balanced" if balanced == len(report.files) else f"{balanced} of {files} balanced"
    out(said + (f", {copies} of them copies of a content that is counted once" if copies else ""))
    for kind in ("unbalanced", "unaccounted", "failed", "refused", "not processed"):
        if number := sum(file.accounting == kind for file in report.files):
            out(f"{count(number, 'file')} {kind}: {_MEANING[kind]}")


def _is_clean(file: FileBalance) -> bool:
    return file.accounting == "balanced" and not file.quarantined and not file.unreadable and not file.places_total


_MEANING = {
    "unbalanced": "the sums differ, so nothing of them is in a table",
    "unaccounted": "their parser states no units, so nobody can say whether all of them is in the tables",
    "failed": "their records are in no table",
    "refused": "they could not be read at all",
    "not processed": "no parser has run on them",
}


def _show_places(file: FileBalance, places_max: int | None) -> None:
    if not file.places and not file.reason and not file.skips:
        return
    out()
    out(printable(file.path))
    if file.reason:
        out(f"  {printable(file.reason)}")
    for skip in file.skips[:places_max]:
        out(f"  {skip.count:,} skipped: {printable(skip.reason)}")
    if len(file.skips) > len(file.skips[:places_max]):
        out(f"  … and {count(len(file.skips) - len(file.skips[:places_max]), 'reason')} more: --file PATH shows them")
    for place in file.places[:places_max]:
        out(f"  {place_text(place.offset, place.length)}: {printable(place.reason)}")
    left = file.places_total - len(file.places[:places_max])
    if left:
        out(f"  … and {count(left, 'place')} more: --file PATH shows them")
