r"""Owns the views through which people ask for rows: one per output, over recorded files only, never a pattern.

    evtx_events                    of each content the reading that a run asked for last
    evtx_events_all                every recorded row, with the job that made it in _cf_job_id
    outputs.evtx__evtx_events      the same two, with the parser in the name
    outputs.evtx__evtx_events_all
    evtx_events_quarantine         the rows that were rejected, with what is wrong with them; the same four names

A bare name that two parsers claim is not created; asking for it is answered with the full names. Names are compared
without regard to case, as DuckDB does. A view is created when it is first needed, because DuckDB looks at every file
of a view when the view is made: 2,000 files cost 0.1 s.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain

import duckdb
import msgspec
from msgspec import Struct

from eventlog.column_types import duckdb_type
from eventlog.ids import OutputName, ParserName, PathText, canonical_hash, path_bytes
from eventlog.schema import LINEAGE_COLUMNS, Column, OutputSchema, quarantine_schema
from projections import queries
from projections.errors import AmbiguousNameError, MissingFileError, UnreachableFileError
from projections.queries import (
    Connection,
    DeclaredOutput,
    Reading,
    RecordedFile,
    declared_outputs,
    recorded_files,
)
from projections.rows import TABLES
from projections.sql_text import exact_pattern, identifier, is_utf8, list_literal

SCHEMA = "outputs"
SETTING_CHARS_MAX = 60
_SCHEME = "parquet://"
_TABLE_NAMES = frozenset(table.name for table in TABLES) | {
    "cf_api_events",
    "cf_api_jobs",
    "cf_dead_letters",
    "cf_materializations",
    "cf_processing_queue",
}


class OutputView(Struct, frozen=True, kw_only=True):
    """One view: the names under which it can be asked for, its recorded files, and what it declares without any.

    `bare` is None where the bare name is not this view's alone.
    """

    qualified: str  # inside the schema `outputs`
    bare: str | None
    parser: ParserName
    output_name: OutputName
    current: bool  # one reading of each content, else every one
    files: tuple[RecordedFile, ...]
    columns: tuple[Column, ...]


class Catalog:
    """The views of one connection. Belongs to one thread, as its connection does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.recorded: list[RecordedFile] = recorded_files(connection)
        self.views, self.ambiguous_names = _named(_views(declared_outputs(connection), self.recorded))
        self._created: dict[str, OutputView] = {}  # by the name as it is written in SQL
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")

    def names(self) -> list[str]:
        """Return every name that can be asked for, sorted: bare names, then those with the parser."""
        bare = sorted(view.bare for view in self.views if view.bare is not None)
        return bare + sorted(f"{SCHEMA}.{_shown(view.qualified)}" for view in self.views)

    def create_mentioned(self, sql: str) -> None:
        """Create the views whose name stands anywhere in a text.

        Raises UnreachableFileError and MissingFileError for a view whose files cannot be opened.
        """
        text = sql.lower()
        for view in self.views:
            if _mentions(text, view.qualified):
                self._create(f"{SCHEMA}.{identifier(view.qualified)}", view)
            if view.bare is not None and _mentions(text, view.bare):
                self._create(identifier(view.bare), view)

    def create_all(self) -> None:
        """Create every view that is not there yet. Raises as `create_mentioned`."""
        for view in self.views:
            self._create_both(view)

    def create_possible(self) -> None:
        """Create every view that can be created, for a list of tables: one lost file must not hide all the others.

        Who asks for a view that could not be created is told why by `create_mentioned`.
        """
        for view in self.views:
            with suppress(MissingFileError, UnreachableFileError):
                self._create_both(view)

    def explain_unknown(self, name: str) -> AmbiguousNameError | None:
        """Return why a name that DuckDB does not know has no view, if it is the name of outputs."""
        owners = self.ambiguous_names.get(name.lower())
        if owners is None:
            return None
        listed = ", ".join(f"{SCHEMA}.{_shown(owner)}" for owner in owners)
        return AmbiguousNameError(
            f"{name} is not the name of one table: it can be any of {listed}; ask for one of these"
        )

    def explain_unread(self) -> MissingFileError | None:
        """Return the sentence for a file of the created views that is gone, if one is."""
        return _missing(each for view in self._created.values() for each in view.files)

    def remarks(self) -> list[str]:
        """Return a sentence for each created view whose rows are of one reading among several, or of different ones."""
        made = {(view.parser, view.output_name) for view in self._created.values() if view.current}
        several: dict[tuple[ParserName, OutputName], list[Reading]] = {}
        for reading in queries.readings(self._connection) if made else ():
            several.setdefault((reading.parser, reading.output_name), []).append(reading)
        return [_remark(output, several[parser, output]) for parser, output in sorted(made & several.keys())]

    def _create_both(self, view: OutputView) -> None:
        self._create(f"{SCHEMA}.{identifier(view.qualified)}", view)
        if view.bare is not None:
            self._create(identifier(view.bare), view)

    def _create(self, name: str, view: OutputView) -> None:
        if name in self._created:
            return
        lost = _missing(view.files)
        if lost is not None:
            raise lost
        body = _select(view)
        try:
            self._connection.execute(f"CREATE VIEW {name} AS {body}")
        except duckdb.Error as error:
            reason = (
                f"make the table {name} from its recorded files: {_first_line(error)}; see cf_output_materializations"
            )
            raise UnreachableFileError(reason) from error
        self._created[name] = view


def _mentions(text: str, name: str) -> bool:
    """Say whether a lower-case text has this name as a word of its own, quoted or not."""
    written = name.lower().replace('"', '""')
    return re.search(rf"(?<!\w){re.escape(written)}(?!\w)", text) is not None


def _missing(recorded: Iterable[RecordedFile]) -> MissingFileError | None:
    """Return the sentence that names the first recorded file that is not as it was published, or None."""
    lost = [(each, why) for each in recorded if (why := lost_reason(each))]
    if not lost:
        return None
    first, why = lost[0]
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    return MissingFileError(
        f"read the recorded file {file_path(first)}: {why}{more}, although the log says that it was published; put it "
        "back from a copy (its BLAKE3 digest is in cf_output_materializations), or run into another --sink"
    )


def lost_reason(recorded: RecordedFile) -> str:
    """Return why a recorded file is not there as it was published, as far as a look at its size tells; "" if it is."""
    path = _path_or_none(recorded)
    if path is None:
        return ""
    try:
        size = os.stat(path).st_size  # noqa: PTH116  # every reused file of a run is asked for: pathlib takes longer
    except OSError as error:
        return "it is not there" if isinstance(error, FileNotFoundError) else f"it cannot be looked at: {error}"
    return "" if size == recorded.bytes else f"it has {size} bytes where {recorded.bytes} were published"


def file_path(recorded: RecordedFile) -> str:
    """Return the path of a recorded file. Raises UnreachableFileError for what DuckDB cannot open by name."""
    if not recorded.sink_uri.startswith(_SCHEME):
        raise UnreachableFileError(
            f"read {recorded.file} of {recorded.sink_uri}: tables are shown of targets that start with {_SCHEME} only; "
            "ask the target itself"
        )
    path = f"{_folder_of(recorded.sink_uri)}/{recorded.file}"
    if not is_utf8(path):
        raise UnreachableFileError(
            f"read {recorded.file} of {recorded.sink_uri}: the folder's name is not UTF-8 and DuckDB cannot open it; "
            "read the file with another program, or parse into a folder whose name is UTF-8"
        )
    return path


@cache
def _folder_of(sink_uri: str) -> str:
    return os.fsdecode(path_bytes(PathText(sink_uri.removeprefix(_SCHEME)))).rstrip("/")


def readable_paths(recorded: Iterable[RecordedFile]) -> list[str]:
    """Return the paths of those recorded files that DuckDB can open, each once, in order."""
    paths = (_path_or_none(each) for each in recorded)
    return list(dict.fromkeys(path for path in paths if path is not None))


# --- which views there are ------------------------------------------------------------------------------------------


def _views(declared: Sequence[DeclaredOutput], recorded: Sequence[RecordedFile]) -> list[OutputView]:
    """Return two views per output: those that a current parser declares, and those that have files."""
    files: dict[tuple[ParserName, OutputName], list[RecordedFile]] = {}
    for each in recorded:
        files.setdefault((each.parser, each.output_name), []).append(each)
    columns: dict[tuple[ParserName, OutputName], tuple[Column, ...]] = {}
    outputs = set(files)
    for declaration in declared:
        shapes = _shapes(declaration)
        columns |= shapes
        outputs |= shapes.keys() if declaration.current else set()
    views: list[OutputView] = []
    for key in sorted(outputs):
        shape = columns.get(key, ())
        every = tuple(files.get(key, ()))
        current = tuple(each for each in every if each.current)
        parser, output = key
        for is_current, chosen in ((True, current), (False, every)):
            name = output if is_current else f"{output}_all"
            view = OutputView(
                qualified=f"{parser}__{name}",
                bare=name,
                parser=parser,
                output_name=output,
                current=is_current,
                files=chosen,
                columns=shape,
            )
            views.append(view)
    return views


def _shapes(declared: DeclaredOutput) -> dict[tuple[ParserName, OutputName], tuple[Column, ...]]:
    """Return the columns of an output and those of its rejected rows, by parser and name."""
    columns = msgspec.json.decode(declared.columns, type=tuple[Column, ...])
    kept = quarantine_schema(OutputSchema(output=declared.output_name, columns=columns))
    return {
        (declared.parser, declared.output_name): (*columns, *LINEAGE_COLUMNS),
        (declared.parser, kept.output): kept.columns,
    }


def _named(views: Sequence[OutputView]) -> tuple[list[OutputView], dict[str, list[str]]]:
    """Return the views with the names that are theirs alone, and the other names with those who claim them."""
    named: dict[str, OutputView] = {}
    claims: dict[str, list[str]] = {}
    for view in views:
        qualified = _free_name(view.qualified, named)
        named[qualified.lower()] = msgspec.structs.replace(view, qualified=qualified)
        claims.setdefault(str(view.bare).lower(), []).append(qualified)
    ambiguous = {name: owners for name, owners in claims.items() if len(owners) > 1 or name in _TABLE_NAMES}
    alone = [
        msgspec.structs.replace(view, bare=None) if str(view.bare).lower() in ambiguous else view
        for view in named.values()
    ]
    return alone, ambiguous


def _free_name(name: str, taken: dict[str, OutputView]) -> str:
    """Return the name, with a number where parsers `a` and `a__b` have made the same one."""
    number, free = 2, name
    while free.lower() in taken:  # bounded by the number of views
        free, number = f"{name}__{number}", number + 1
    return free


def _remark(output: OutputName, readings: Sequence[Reading]) -> str:
    facts = [_facts(reading) for reading in readings]
    telling = [name for name in dict.fromkeys(chain(*facts)) if len({each.get(name) for each in facts}) > 1]
    shown = [
        f"{reading.shown:,} of {reading.contents:,} with " + ", ".join(f"{name} {each.get(name)}" for name in telling)
        for reading, each in zip(readings, facts, strict=True)
    ]
    return (
        f"{output} shows one reading of each content, the one that a run asked for last: {'; '.join(shown)}; "
        f"{output}_all has every reading, told apart by _cf_job_id"
    )


def _facts(reading: Reading) -> dict[str, str]:
    """Return what can tell a reading from another one, by what it is called."""
    settings = msgspec.json.decode(reading.settings, type=dict[str, str])
    return {
        "version": reading.parser_version,
        **{name: _brief(value) for name, value in settings.items()},
        "target": reading.sink_uri,
        "artifact": reading.artifact_hash,
    }


def _brief(value: str) -> str:
    """Return a setting as a sentence can have it: a long one, such as declared columns, by its hash."""
    return value if len(value) <= SETTING_CHARS_MAX else f"of {len(value):,} characters, hash {canonical_hash(value)}"


# --- the text of a view ---------------------------------------------------------------------------------------------


def _select(view: OutputView) -> str:
    """Return the SELECT of a view: its files, or its declared columns without rows."""
    if not view.files:
        return _empty(view.columns)
    # Files of one schema hash have one shape, so DuckDB needs to look into the first only; shapes are joined by name.
    # Those that hold rows which are not to be shown are read apart, so that only they are filtered.
    shapes: dict[tuple[str, bool], list[RecordedFile]] = {}
    for each in view.files:
        shapes.setdefault((each.schema_hash, bool(_hidden_jobs(view, each))), []).append(each)
    return " UNION ALL BY NAME ".join(_read(view, files) for files in shapes.values())


def _hidden_jobs(view: OutputView, recorded: RecordedFile) -> list[int]:
    """Return whose rows in a file that jobs share are not of this view."""
    return [*recorded.lost, *(recorded.superseded if view.current else ())]


def _read(view: OutputView, files: Sequence[RecordedFile]) -> str:
    patterns = list_literal([exact_pattern(file_path(each)) for each in files])
    # Without hive_partitioning=false a folder named `host=A` would become a column.
    read = f"SELECT * FROM read_parquet({patterns}, hive_partitioning=false)"
    hidden = [str(job) for each in files for job in _hidden_jobs(view, each)]
    return f"{read} WHERE NOT list_contains({list_literal(hidden)}, _cf_job_id)" if hidden else read


def _empty(columns: Sequence[Column]) -> str:
    listed = ", ".join(f"CAST(NULL AS {duckdb_type(column.type)}) AS {identifier(column.name)}" for column in columns)
    return f"SELECT {listed} WHERE false"


def _shown(name: str) -> str:
    """Return a name as a person would write it: quoted only where it must be."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else identifier(name)


def _path_or_none(recorded: RecordedFile) -> str | None:
    try:
        return file_path(recorded)
    except UnreachableFileError:
        return None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
