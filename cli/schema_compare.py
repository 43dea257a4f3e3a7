"""Gathers what a parser's columns are seen to be, in trials on files or in what is recorded, for `schema diff`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from cli.errors import CliError
from cli.home import Home
from cli.named_parser import Prepared, named_parser, parser_to_run, with_columns
from cli.parser_report import has_log
from cli.preview import check_file, tried
from cli.reading import reading
from eventlog.events import TypeDifference
from eventlog.ids import OutputName
from eventlog.schema import QUARANTINE_SUFFIX, RESERVED_PREFIXES, OutputSchema, schema_hash
from executors.observed import Difference
from executors.recorded import RefusedColumns, refused_differences, table_differences
from executors.shape import CorruptBatch
from projections import queries
from projections.catalog import file_path
from projections.queries import RecordedFile, StandingMismatch

TABLES_READ_MAX: Final = 10_000  # of those with columns that are not declared now; of the others none is read
REFUSALS_READ_MAX: Final = 1_000


class ColumnDifference(Struct, frozen=True, kw_only=True):
    """A difference of one column, and `where` it was seen: a file, the file of a refused job, or that of a table.

    `column` is "" where an output as a whole is not declared any more.
    """

    output: str
    column: str
    kind: str
    declared: str
    observed: str
    where: str


class Compared(Struct, frozen=True, kw_only=True):
    """What was compared with the declaration: so many files, tables, and jobs that were refused for their columns."""

    parser: str
    version: str
    files: int
    tables: int
    jobs: int
    differences: tuple[ColumnDifference, ...]


def compare_files(home: Home, word: str, files: Sequence[str], given: dict[str, str], *, dev: bool) -> Compared:
    """Compare what the parser gives for files. Raises CliError for a file on which it fails in another way."""
    package = parser_to_run(home, word, dev=dev)
    for file in files:
        check_file(file)
    prepared = with_columns(package, files, given)
    found = [each for file in files for each in _of_file(prepared, file)]
    return Compared(
        parser=package.name, version=package.version, files=len(files), tables=0, jobs=0, differences=tuple(found)
    )


def _of_file(prepared: Prepared, file: str) -> Iterator[ColumnDifference]:
    package = prepared.package
    trial = tried(prepared, file, rows_shown=0)
    if trial.failure is not None and (trial.fault is None or isinstance(trial.fault, CorruptBatch)):
        why = f"compare what {package.name} gives for {file}: {trial.failure.reason}"
        raise CliError("parser_failed", why, f"casparian preview {file} --parser {package.name}")
    for output in trial.outputs:
        for each in output.differences:
            yield _placed(output.output, each, file)


def compare_recorded(home: Home, word: str) -> Compared:
    """Compare what is recorded of the parser in this home. Raises CliError where nothing is, or a table is gone."""
    package = named_parser(home, word)
    if package.columns_from:
        why = f"compare {package.name} with what is recorded: each run declares the columns of its tables"
        raise CliError("columns_declared", why, f"casparian schema diff {word} FILE --schema my.schema.json")
    if not has_log(home):
        raise _nothing_recorded(package.name, word)
    with reading(home) as reader:
        recorded = [each for each in queries.recorded_files(reader.connection) if each.parser == package.name]
        refused = queries.standing_mismatches(reader.connection, package.name, limit=REFUSALS_READ_MAX)
    tables = [each for each in recorded if each.current and not each.output_name.endswith(QUARANTINE_SUFFIX)]
    if not tables and not refused:
        raise _nothing_recorded(package.name, word)
    declared = {schema.output: schema for schema in package.outputs}
    found = [*_of_tables(declared, tables), *_of_refusals(declared, refused)]
    return Compared(
        parser=package.name,
        version=package.version,
        files=0,
        tables=len(tables),
        jobs=len(refused),
        differences=tuple(found),
    )


def _nothing_recorded(parser: str, word: str) -> CliError:
    why = f"compare {parser} with what is recorded: in this home nothing is recorded of it"
    return CliError("not_found", why, f"name a file: casparian schema diff {word} FILE")


def _of_tables(declared: dict[OutputName, OutputSchema], tables: list[RecordedFile]) -> Iterator[ColumnDifference]:
    """Compare tables; one whose recorded hash is that of the declaration has its columns, and is not read."""
    hashes = {name: schema_hash(schema) for name, schema in declared.items()}
    others = [each for each in tables if each.schema_hash != hashes.get(each.output_name)]
    for each in others[:TABLES_READ_MAX]:
        if each.output_name not in declared:
            gone = Difference(column="", kind="extra", declared="no such output", observed="published")
            yield _placed(each.output_name, gone, file_path(each))
            continue
        columns, nulls = _columns_of(each)
        for difference in table_differences(declared[each.output_name], columns, nulls):
            yield _placed(each.output_name, difference, file_path(each))


def _columns_of(table: RecordedFile) -> tuple[pa.Schema, dict[str, int]]:
    """Return the data columns of a published file, and how many nulls its statistics tell of. Raises CliError."""
    path = file_path(table)
    try:
        with pq.ParquetFile(path) as file:
            fields = [each for each in file.schema_arrow if not each.name.startswith(RESERVED_PREFIXES)]
            return pa.schema(fields), _null_counts(file.metadata)
    except (OSError, pa.ArrowException) as error:
        why = f"read the columns of {path}: {error}"
        raise CliError("output_lost", why, "casparian outputs") from error


def _null_counts(metadata: pq.FileMetaData) -> dict[str, int]:
    """Return the nulls of each plain column; one with a part that has no statistics is left out, nobody knows it."""
    counts: Counter[str] = Counter()
    unknown: set[str] = set()
    for group in range(metadata.num_row_groups):
        part = metadata.row_group(group)
        for place in range(part.num_columns):
            column = part.column(place)
            nulls = None if column.statistics is None else column.statistics.null_count
            counts[column.path_in_schema] += nulls or 0
            unknown |= {column.path_in_schema} if nulls is None else set()
    return {name: nulls for name, nulls in counts.items() if name not in unknown}


def _of_refusals(
    declared: dict[OutputName, OutputSchema], refused: list[StandingMismatch]
) -> Iterator[ColumnDifference]:
    for row in refused:
        if (schema := declared.get(row.output_name)) is None:
            continue
        columns = RefusedColumns(
            missing=msgspec.json.decode(row.missing, type=tuple[str, ...]),
            extra=msgspec.json.decode(row.extra, type=tuple[str, ...]),
            misplaced=msgspec.json.decode(row.misplaced, type=tuple[str, ...]),
            types=msgspec.json.decode(row.types, type=tuple[TypeDifference, ...]),
        )
        for each in refused_differences(schema, columns):
            yield _placed(row.output_name, each, f"{row.path} (job {row.job_id})")


def _placed(output: str, difference: Difference, where: str) -> ColumnDifference:
    return ColumnDifference(
        output=output,
        column=difference.column,
        kind=difference.kind,
        declared=difference.declared,
        observed=difference.observed,
        where=where,
    )
