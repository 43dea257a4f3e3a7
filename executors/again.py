"""Owns the making of one row, accepted or rejected, a second time: by the same parser, settings and source, in a guest.

Nothing is staged, reported or recorded; what comes back is compared by whoever asked.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Final

import pyarrow as pa

from eventlog.ids import OutputName, PathText, path_bytes
from executors.arrays import integer, kernel
from executors.guest.frames import GuestBatch, GuestFailure
from executors.guest.host import GuestOrders, start_guest
from executors.guest.parents import GuestParents
from executors.parser_catalog import ParserPackage
from executors.rejected import Rejected
from executors.shape import sentence
from executors.validate import Checked, validate

REJECTED_MAX: Final = 100  # rows of one place in the source: a line may be the source of many


class AgainError(Exception):
    """The row could not be made again; the sentence says why."""


def row_again(
    package: ParserPackage, path: PathText, settings: dict[str, str], *, output: OutputName, row: int
) -> pa.RecordBatch:
    """Return row number `row`, from 0, of an output, as the parser makes it now. Reads as far as that row.

    Raises AgainError, GuestStartError.
    """
    first = 0
    with closing(_checked(package, path, settings, output)) as judged:
        for checked in judged:
            if row < first + checked.accepted.num_rows:
                return checked.accepted.slice(row - first, 1)
            first += checked.accepted.num_rows
    raise AgainError(f"the parser gives {first} rows of {output} now, so there is no row {row}")


def rejected_again(
    package: ParserPackage, path: PathText, settings: dict[str, str], *, output: OutputName, place: int, by_source: bool
) -> list[dict[str, str | None]]:
    """Return the rows at a place that are rejected now: their columns as text, `_error_msg` and `_rule_id`.

    `by_source`: the place is what the parser says in `__cf_row_id`, else the row's among all of its output. Reads the
    whole source, at most REJECTED_MAX of these rows. Raises AgainError, GuestStartError.
    """
    found: list[dict[str, str | None]] = []
    with closing(_checked(package, path, settings, output)) as judged:
        for checked in judged:
            if checked.rejected is not None:
                found += _at(checked.rejected, place, by_source=by_source)
            if len(found) >= REJECTED_MAX:
                break
    return found[:REJECTED_MAX]


def _at(rejected: Rejected, place: int, *, by_source: bool) -> list[dict[str, str | None]]:
    here = kernel.equal(rejected.source_row if by_source else rejected.row_index, integer(place))
    names = [*rejected.rows.schema.names, "_error_msg", "_rule_id"]
    columns = [*rejected.rows.columns, rejected.error_msg, rejected.rule_id]
    rows: list[dict[str, str | None]] = pa.RecordBatch.from_arrays(columns, names=names).filter(here).to_pylist()
    return rows


def _checked(
    package: ParserPackage, path: PathText, settings: dict[str, str], output: OutputName
) -> Generator[Checked, None, None]:
    """Yield what the parser gives for one output, judged as in a job. Raises AgainError, GuestStartError."""
    orders = GuestOrders(
        parser_file=package.file,
        parser_digests=package.digests,
        source=path_bytes(path),
        settings=settings,
        outputs=tuple(schema.output for schema in package.outputs),
    )
    parents = GuestParents()
    seen = 0
    try:
        with start_guest(orders, parents=parents) as guest:
            for frame in guest.frames():
                if isinstance(frame, GuestFailure):
                    raise AgainError(frame.reason)
                if not isinstance(frame, GuestBatch) or package.outputs[frame.output].output != output:
                    continue
                checked = validate(frame.batch, package.outputs[frame.output], row_first=seen)
                if not isinstance(checked, Checked):
                    raise AgainError(sentence(checked))
                seen += frame.batch.num_rows
                yield checked
    finally:
        parents.close()
