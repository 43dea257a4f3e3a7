"""Owns the making of one row a second time: the same parser, settings and source, in a guest of its own.

Nothing is staged, reported or recorded; what comes back is compared by whoever asked.
"""

from __future__ import annotations

import pyarrow as pa

from eventlog.ids import OutputName, PathText, path_bytes
from executors.guest.frames import GuestBatch, GuestFailure
from executors.guest.host import GuestOrders, start_guest
from executors.guest.parents import GuestParents
from executors.parser_catalog import ParserPackage
from executors.shape import sentence
from executors.validate import Checked, validate


class AgainError(Exception):
    """The row could not be made again; the sentence says why."""


def row_again(
    package: ParserPackage, path: PathText, settings: dict[str, str], *, output: OutputName, row: int
) -> pa.RecordBatch:
    """Return row number `row`, from 0, of an output, as the parser makes it now. Reads as far as that row.

    Raises AgainError, GuestStartError.
    """
    orders = GuestOrders(
        parser_file=package.file,
        parser_digests=package.digests,
        source=path_bytes(path),
        settings=settings,
        outputs=tuple(schema.output for schema in package.outputs),
    )
    parents = GuestParents()
    try:
        with start_guest(orders, parents=parents) as guest:
            first = 0
            for frame in guest.frames():
                if isinstance(frame, GuestFailure):
                    raise AgainError(frame.reason)
                if not isinstance(frame, GuestBatch) or package.outputs[frame.output].output != output:
                    continue
                checked = validate(frame.batch, package.outputs[frame.output])
                if not isinstance(checked, Checked):
                    raise AgainError(sentence(checked))
                batch = checked.accepted
                if row < first + batch.num_rows:
                    return batch.slice(row - first, 1)
                first += batch.num_rows
    finally:
        parents.close()
    raise AgainError(f"the parser gives {first} rows of {output} now, so there is no row {row}")
