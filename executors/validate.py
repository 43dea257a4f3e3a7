"""Owns the judgement of a guest's batch against its declared output: which rows pass, which are rejected and why.

Pure, and without work per row in Python. What passes has exactly the declared Arrow types and the values that the
parser gave: only changes of representation that keep every value are made (a narrower integer, a coarser time unit,
another zone of the same instant), and text is read where the contract of types says so. A row that does not pass is
kept whole, as text, with all that is wrong with it; the rows beside it pass. A batch that is not of the declared shape
is answered with a ShapeFault and has no rows.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from msgspec import Struct, structs

from eventlog.schema import Column, OutputSchema
from executors.accepted_types import has_no_parts, is_text
from executors.arrays import (
    ASCII_MAX,
    BY_BUFFERS_ROWS_MIN,
    Array,
    Mask,
    UnpackedTooLargeError,
    bound_views,
    byte_range,
    extent,
    kernel,
    plain,
    total,
)
from executors.rejected import Problem, Rejected, rejected_rows
from executors.shape import CorruptBatch, Placed, ShapeFault, place_columns, shown
from executors.values import is_day_or_moment, is_of_known_years, read
from executors.violations import HELPER_COLUMNS, ROW_ERROR_COLUMN, ROW_ID_COLUMN, Rule, ViolationCode, row_sentence
from sinks.arrow_schema import arrow_schema

INT64_MAX: Final = 2**63 - 1
TEXT: Final = pa.string()
BYTES: Final = pa.binary()


class Checked(Struct, frozen=True, kw_only=True):
    """A batch of the declared shape: `accepted` rows and `rejected` ones are together all that came, each in order.

    `counts` says how many rows break each rule; one row may break several. `filled` and `dropped` are the columns that
    the schema's mode let be absent or be too many. `warnings` are sentences for the job's log.
    """

    accepted: pa.RecordBatch
    rejected: Rejected | None = None
    counts: dict[Rule, int]
    filled: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def validate(batch: pa.RecordBatch, schema: OutputSchema, *, row_first: int = 0) -> Checked | ShapeFault:
    """Judge a batch. `row_first` is the place of its first row among all that the parser yielded for the output.

    The schema's metadata that the guest sent is left behind.
    """
    plan = _plan(batch.schema, schema)
    try:
        _look_through(batch, plan)
    except (pa.ArrowException, ValueError, OSError) as error:
        return CorruptBatch(output=schema.output, why=shown(str(error)))
    placed = plan.placed
    if not isinstance(placed, Placed):
        return placed
    if (accepted := _as_given(batch, plan)) is not None:
        return Checked(accepted=accepted, counts={}, dropped=placed.dropped)
    try:
        return _judged(batch, schema, placed, row_first)
    except UnpackedTooLargeError as error:
        return CorruptBatch(output=schema.output, why=str(error))


def _look_through(batch: pa.RecordBatch, plan: _Plan) -> None:
    """Look at every offset and every text before anything else does: those of a hostile batch lead out of its buffers.

    Raises what Arrow has against them. Views that say the same megabytes over and over are refused before they are
    read.
    """
    if not plan.is_flat:
        batch.validate()
        for column in batch.columns:
            bound_views(column)
    if not (plan.is_flat and batch.num_rows >= BY_BUFFERS_ROWS_MIN and _is_sound(batch)):
        batch.validate(full=True)


def _is_sound(batch: pa.RecordBatch) -> bool:
    """Say whether a batch of no nested columns is whole and its texts are ASCII; else Arrow knows what is wrong.

    Most texts are ASCII, which is seen ten times as fast as that they are UTF-8; what is not is looked at twice. Their
    offsets are seen before, as of bytes.
    """
    try:
        batch.validate()
        for column in batch.columns:
            (column.view(BYTES) if column.type == TEXT else column).validate(full=True)
    except (pa.ArrowException, ValueError):
        return False
    return all(byte_range(column)[1] <= ASCII_MAX for column in batch.columns if column.type == TEXT)


class _Plan(Struct, frozen=True, kw_only=True):
    """What follows from the columns of a batch alone: it is the same for all batches that a parser gives an output.

    `as_given` are the places of the declared columns where all of them have exactly their declared types, and the
    parser says nothing of rows itself. `required` and `moments` are those of them that may have no nulls, and whose
    values may be of no known year. `is_exact`: the schema is the declared one. `is_flat`: no column has parts.
    """

    given: pa.Schema
    declared: pa.Schema
    placed: Placed | ShapeFault
    is_flat: bool
    is_exact: bool
    as_given: tuple[int, ...] = ()
    required: tuple[int, ...] = ()
    moments: tuple[int, ...] = ()


PLANS_MAX: Final = 64  # outputs whose plan is kept
PLAN_COLUMNS_MAX: Final = 10_000  # of one that is kept
_plans: dict[OutputSchema, _Plan] = {}


def _plan(given: pa.Schema, schema: OutputSchema) -> _Plan:
    """Return the plan; the last one of an output is kept."""
    kept = _plans.get(schema)
    if kept is not None and kept.given.equals(given, check_metadata=True):
        return kept
    plan = _planned(given, schema)
    if len(_plans) >= PLANS_MAX:
        _plans.clear()
    if len(given) <= PLAN_COLUMNS_MAX:
        _plans[schema] = plan
    return plan


def _planned(given: pa.Schema, schema: OutputSchema) -> _Plan:
    declared, types = arrow_schema(schema.columns), given.types
    placed = place_columns(given, schema)
    is_flat = all(map(has_no_parts, types))
    plan = _Plan(
        given=given,
        declared=declared,
        placed=placed,
        is_flat=is_flat,
        is_exact=given.equals(declared, check_metadata=True),
    )
    if not is_flat or not isinstance(placed, Placed) or set(HELPER_COLUMNS) & set(given.names):
        return plan
    places = tuple(place for place in placed.places if place is not None)
    if [types[place] for place in places] != declared.types:
        return plan
    return structs.replace(
        plan,
        as_given=places,
        required=tuple(at for at, column in zip(places, schema.columns, strict=True) if not column.nullable),
        moments=tuple(at for at in places if is_day_or_moment(types[at])),
    )


def _as_given(batch: pa.RecordBatch, plan: _Plan) -> pa.RecordBatch | None:
    """Return the batch if its rows pass as they came: most parsers give what they declare."""
    if not plan.as_given or any(batch.column(at).null_count for at in plan.required):
        return None
    if not all(is_of_known_years(batch.column(at)) for at in plan.moments):
        return None
    if plan.is_exact:
        return batch
    return pa.RecordBatch.from_arrays([batch.column(at) for at in plan.as_given], schema=plan.declared)


def _judged(batch: pa.RecordBatch, schema: OutputSchema, placed: Placed, row_first: int) -> Checked:
    columns = [_read_column(batch, place, column) for place, column in zip(placed.places, schema.columns, strict=True)]
    problems = [*_parser_errors(batch), *(problem for column in columns for problem in column.problems)]
    accepted = pa.RecordBatch.from_arrays([column.values for column in columns], schema=arrow_schema(schema.columns))
    rejected = None
    warnings: tuple[str, ...] = ()
    if problems:
        bad = _any_of(problems)
        accepted = accepted.filter(kernel.invert(bad))
        source_rows, warnings = _source_rows(batch)
        names, given = [column.name for column in schema.columns], [column.given for column in columns]
        rejected = rejected_rows(names, given, problems, bad, source_rows=source_rows, row_first=row_first)
    return Checked(
        accepted=accepted,
        rejected=rejected,
        counts={problem.rule: total(problem.rows) for problem in problems},
        filled=placed.filled,
        dropped=placed.dropped,
        warnings=warnings,
    )


class _ReadColumn(Struct, frozen=True, kw_only=True):
    """A column as it was given, as declared, and what is wrong with its rows."""

    given: Array
    values: Array
    problems: list[Problem]


def _read_column(batch: pa.RecordBatch, place: int | None, column: Column) -> _ReadColumn:
    """Read the declared column, which stands at `place` or is left out."""
    try:
        given: Array = pa.nulls(batch.num_rows) if place is None else plain(batch.column(place))
        reading = read(given, column.type, column.format)
    except UnpackedTooLargeError as error:
        raise UnpackedTooLargeError(f"{shown(column.name)}: {error}") from error
    found: dict[ViolationCode, Mask] = {fault.code: fault.rows for fault in reading.faults}
    if not column.nullable and given.null_count:
        nulls: Mask = given.is_null()
        inner = found.get("null_not_allowed")
        found["null_not_allowed"] = nulls if inner is None else kernel.or_(nulls, inner)
    problems = [
        Problem(rule=Rule(column=column.name, code=code), rows=rows, sentence=row_sentence(column, code))
        for code, rows in found.items()
    ]
    return _ReadColumn(given=given, values=reading.values, problems=problems)


def _any_of(problems: list[Problem]) -> Mask:
    bad = problems[0].rows
    for problem in problems[1:]:
        bad = kernel.or_(bad, problem.rows)
    return bad


def _parser_errors(batch: pa.RecordBatch) -> list[Problem]:
    """Return what the parser itself has against rows."""
    if ROW_ERROR_COLUMN not in batch.schema.names:
        return []
    said = plain(batch.column(ROW_ERROR_COLUMN))
    if said.null_count == len(said):
        return []
    assert is_text(said.type), "the shape was judged before"
    return [Problem(rule=Rule(column=ROW_ERROR_COLUMN, code="parser"), rows=said.is_valid(), sentence=said)]


def _source_rows(batch: pa.RecordBatch) -> tuple[Array | None, tuple[str, ...]]:
    """Return the rows' places in the source, None if the parser does not say them; and why they are not believed."""
    if ROW_ID_COLUMN not in batch.schema.names:
        return None, ()
    places = batch.column(ROW_ID_COLUMN)
    if (why := _row_id_fault(places)) is not None:
        return None, (
            f"the parser's {ROW_ID_COLUMN} is ignored: {why}; rejected rows have their place in the output only",
        )
    return places.cast(pa.int64()), ()


def _row_id_fault(places: Array) -> str | None:
    if places.type not in {pa.int64(), pa.uint64()}:
        return f"it is {shown(str(places.type))}, not int64 or uint64"
    if places.null_count:
        return "it has nulls"
    bounds = extent(places)
    if bounds is not None and (bounds[0] < 0 or bounds[1] > INT64_MAX):
        return "it has values below 0 or above those of an int64"
    return None
