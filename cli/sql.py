"""The verb `sql`: one SELECT over the tables of the case."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.home import find_home
from cli.options import HomeOption, JsonOption
from cli.reading import reading
from cli.render import fitted, out, out_json, table, talk
from eventlog.schema import QUARANTINE_SUFFIX

if TYPE_CHECKING:
    from projections.queries import Connection

SHOWN_ROWS_MAX = 1000
CELL_CHARACTERS_MAX = 120
QUERY_CHARACTERS_LOOKED_AT_MAX = 2000  # for the table that a wrong query meant
LIKENESS_MIN = 0.75
NUMBER_TYPES = ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "DOUBLE", "FLOAT", "DECIMAL")


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT statement; - reads it from stdin.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many rows to print at most.")] = SHOWN_ROWS_MAX,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the tables of the case, and the read model's own (cf_jobs, scout_files, ...). Reading only.

    Example: `casparian sql "select channel, event_id, count(*) n from evtx_events group by all order by n desc"`
    """
    from projections.errors import MissingFileError, SqlError, SqlRefusedError, UnreachableFileError
    from projections.sql_guard import run_query

    text = sys.stdin.read() if query == "-" else query
    home_folder = find_home(home)
    with reading(home_folder) as reader:
        try:
            result = run_query(reader, text, limit_rows=limit)
            rows = list(result.rows())
            notes = reader.catalog.remarks() if reader.catalog else []
        except SqlRefusedError as error:
            hint = home_folder.hint(_example(reader.connection, text))
            raise CliError("sql_refused", str(error), hint, exit_code=EXIT_USAGE) from error
        except (MissingFileError, UnreachableFileError) as error:
            raise CliError("output_lost", str(error)) from error
        except SqlError as error:
            hint = home_folder.hint(_example(reader.connection, text))
            raise CliError("sql_failed", str(error), hint, exit_code=EXIT_USAGE) from error
    if as_json:
        out_json(
            {
                "columns": result.columns,
                "types": result.types,
                "rows": rows,
                "truncated": result.truncated,
                "notes": notes,
            }
        )
        return
    numbers = [place for place, kind in enumerate(result.types) if kind.startswith(NUMBER_TYPES)]
    for line in table(result.columns, [[_shown(cell) for cell in row] for row in rows], right=numbers):
        out(line)
    for note in notes:
        talk(f"note: {note}")
    if result.truncated:
        talk(f"only the first {limit} rows are shown; --limit shows more")


def _example(connection: Connection, query: str) -> str:
    """Return a command that works in this home: a table with rows, the one that the query names or nearly names.

    One of the read model's own where no output has rows.
    """
    from projections.queries import recorded_files

    tables = {each.output_name for each in recorded_files(connection) if each.current}
    names = sorted(str(name) for name in tables if not name.endswith(QUARANTINE_SUFFIX))
    return f'casparian sql "describe {_nearest(query, names)}"'


def _nearest(query: str, names: Sequence[str]) -> str:
    """Return the name that a word of the query is, or is most like; else the first; cf_jobs if there is none."""
    words = re.findall(r"\w+", query[:QUERY_CHARACTERS_LOOKED_AT_MAX].lower())
    for likeness in (1.0, LIKENESS_MIN):
        for word in words:
            if nearest := get_close_matches(word, names, n=1, cutoff=likeness):
                return str(nearest[0])
    return names[0] if names else "cf_jobs"


def _shown(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bytes):
        return cell.hex()
    return fitted(str(cell), CELL_CHARACTERS_MAX)
