"""Owns the comparison of the tables of a FIX day with the truth about it: per file, type and output.

`read_day` asks the tables, `difference` judges one file; neither knows how the day was made or how a log is parsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from cli.demo.fix_truth import OUTPUTS, FileTruth, Tally, output_of
from cli.home import Home
from cli.reading import reading

if TYPE_CHECKING:
    from projections.queries import BalanceRow

FOREIGN_REASON: Final = "no_message"  # the parser's word for a line without a message, in fix_parse_errors

_ROWS: Final = """
    SELECT job.path, message.msg_type, count(*),
        count(*) FILTER (message.checksum_ok), count(*) FILTER (NOT message.checksum_ok),
        count(*) FILTER (message.body_length_ok), count(*) FILTER (NOT message.body_length_ok)
    FROM {output} message JOIN cf_jobs job ON message._cf_job_id = CAST(job.job_id AS VARCHAR)
    GROUP BY ALL
"""
_QUARANTINED: Final = """
    SELECT job.path, count(*)
    FROM {output}_quarantine rejected JOIN cf_jobs job ON rejected._cf_job_id = CAST(job.job_id AS VARCHAR)
    GROUP BY ALL
"""
_ERRORS: Final = """
    SELECT job.path, error.error_reason, count(*)
    FROM fix_parse_errors error JOIN cf_jobs job ON error._cf_job_id = CAST(job.job_id AS VARCHAR)
    GROUP BY ALL
"""
_ENTRIES: Final = """
    SELECT path, group_tag, count(*)
    FROM (
        SELECT DISTINCT job.path, member.byte_offset, member.group_tag, member.entry_path, member.entry_index
        FROM fix_groups member JOIN cf_jobs job ON member._cf_job_id = CAST(job.job_id AS VARCHAR)
        WHERE member.group_tag IS NOT NULL
    )
    GROUP BY ALL
"""


class Written(Struct, frozen=True, kw_only=True):
    """The rows of one type in one table, from one file."""

    output: str
    msg_type: str
    rows: int
    checksum_ok: int
    checksum_bad: int
    body_length_ok: int
    body_length_bad: int


class Sheet(Struct, frozen=True, kw_only=True):
    """The balance sheet of one file, counted in messages."""

    status: str
    reason: str | None
    found: int | None
    written: int | None
    quarantined: int | None
    unreadable: int | None


class Found(Struct, kw_only=True):
    """What the tables have of one file. `errors` is by reason, `group_entries` by the tag of the groups' counter."""

    written: list[Written]
    quarantined: dict[str, int]  # by output
    errors: dict[str, int]
    group_entries: dict[str, int]


def read_day(home: Home) -> tuple[dict[str, Sheet], dict[str, Found]]:
    """Return the sheet and the rows of each path. Raises CliError where nothing can be read, SqlError."""
    from projections import queries
    from projections.sql_guard import run_query

    with reading(home) as reader:
        sheets: dict[str, Sheet] = {row.path: _sheet(row) for row in queries.balance(reader.connection)}
        return sheets, read_rows(lambda sql: run_query(reader, sql, limit_rows=None).rows())


def _sheet(row: BalanceRow) -> Sheet:
    return Sheet(
        status=row.status,
        reason=row.reason,
        found=row.found,
        written=row.written,
        quarantined=row.quarantined,
        unreadable=row.unreadable,
    )


def read_rows(ask: Callable[[str], Iterable[tuple[Any, ...]]]) -> dict[str, Found]:
    """Return the rows of each path; `ask` answers a query."""
    found: dict[str, Found] = {}

    def of(path: str) -> Found:
        return found.setdefault(path, Found(written=[], quarantined={}, errors={}, group_entries={}))

    for output in OUTPUTS:
        for path, msg_type, *numbers in ask(_ROWS.format(output=output)):
            of(path).written.append(_written(output, msg_type, numbers))
        for path, rows in ask(_QUARANTINED.format(output=output)):
            of(path).quarantined[output] = rows
    for path, reason, rows in ask(_ERRORS):
        of(path).errors[reason] = rows
    for path, tag, entries in ask(_ENTRIES):
        of(path).group_entries[tag] = entries
    return found


def _written(output: str, msg_type: str, numbers: Iterable[int]) -> Written:
    rows, checksum_ok, checksum_bad, body_length_ok, body_length_bad = numbers
    return Written(
        output=output,
        msg_type=msg_type,
        rows=rows,
        checksum_ok=checksum_ok,
        checksum_bad=checksum_bad,
        body_length_ok=body_length_ok,
        body_length_bad=body_length_bad,
    )


def difference(file: FileTruth, case: Path, sheets: Mapping[str, Sheet], found: Mapping[str, Found]) -> str:
    """Return how the tables of a file differ from the truth about it, "" if they do not."""
    path = str(case / file.path)
    sheet = sheets.get(path)
    if sheet is None:
        return "it was not read"
    if sheet.status != "completed":
        return sheet.reason or sheet.status
    nothing = Found(written=[], quarantined={}, errors={}, group_entries={})
    return "; ".join([*_sheet_faults(file, sheet), *_row_faults(file, found.get(path, nothing))])


def _sheet_faults(file: FileTruth, sheet: Sheet) -> Iterator[str]:
    expected = {
        "found": file.made.total + file.unreadable,
        "written": file.made.total - file.quarantined.total,
        "quarantined": file.quarantined.total,
        "unreadable": file.unreadable,
    }
    for word, messages in expected.items():
        if (stated := getattr(sheet, word)) != messages:
            yield f"{stated} messages {word}, {messages} expected"


def _row_faults(file: FileTruth, found: Found) -> Iterator[str]:
    yield from _type_faults(file, found)
    for word, expected in _checks(file.made, file.quarantined).items():
        if (rows := sum(getattr(each, word) for each in found.written)) != expected:
            yield f"{rows} rows with {word}, {expected} expected"
    for output in OUTPUTS:
        if (rows := found.quarantined.get(output, 0)) != (expected := file.quarantined_rows(output)):
            yield f"{rows} rows in {output}_quarantine, {expected} expected"
    if (lines := found.errors.get(FOREIGN_REASON, 0)) != file.foreign_lines:
        yield f"{lines} lines without a message, {file.foreign_lines} were written"
    if found.group_entries != file.group_entries:
        yield f"entries of groups {found.group_entries}, {file.group_entries} were made"


def _type_faults(file: FileTruth, found: Found) -> Iterator[str]:
    """Say which types have more or fewer rows than sound messages were made, or have them in another's table."""
    expected = Counter(file.made.messages)
    expected.subtract(file.quarantined.messages)
    rows: Counter[str] = Counter()
    for each in found.written:
        rows[each.msg_type] += each.rows
        if each.output != output_of(each.msg_type):
            yield f"{each.output} has messages of type {each.msg_type}"
    for msg_type in sorted(expected | rows):
        if rows[msg_type] != expected[msg_type]:
            yield f"{rows[msg_type]} rows of type {msg_type}, {expected[msg_type]} expected"


def _checks(made: Tally, quarantined: Tally) -> dict[str, int]:
    """Return how many of the written rows have each check right, and wrong."""
    words = ("checksum_ok", "checksum_bad", "body_length_ok", "body_length_bad")
    return {word: getattr(made, word) - getattr(quarantined, word) for word in words}
