"""Owns the rows of one input of a lease until it is known what becomes of them. Writes nothing.

An input of a lease may fail at its last row, and its rows are to lie among those of others: so they are not staged
before the input is done.
"""

from __future__ import annotations

from collections import Counter

from eventlog.ids import OutputName
from eventlog.schema import OutputSchema
from executors.stages import Notes, note
from executors.validate import Checked


class OutgrownError(Exception):
    """The rows of an input take more memory than an input of a lease may."""


class HeldRows:
    """The checked batches of one input, in their order, with their counts."""

    def __init__(self, *, bytes_max: int) -> None:
        self.batches: list[tuple[OutputSchema, Checked]] = []
        self.bytes = 0
        self._bytes_max = bytes_max
        self._accepted: Counter[OutputName] = Counter()
        self._rejected: Counter[OutputName] = Counter()
        self._notes: Notes = {}

    def accepted(self, output: OutputName) -> int:
        """Return how many rows of an output were accepted."""
        return self._accepted[output]

    def rejected(self, output: OutputName) -> int:
        """Return how many rows of an output were rejected."""
        return self._rejected[output]

    def seen(self, output: OutputName) -> int:
        """Return how many rows the parser has given for an output."""
        return self._accepted[output] + self._rejected[output]

    @property
    def any_accepted(self) -> bool:
        return self._accepted.total() > 0

    @property
    def any_rejected(self) -> bool:
        return self._rejected.total() > 0

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def write(self, schema: OutputSchema, checked: Checked) -> None:
        """Keep the rows of a batch. Raises OutgrownError."""
        self.batches.append((schema, checked))
        self._accepted[schema.output] += checked.accepted.num_rows
        self.bytes += checked.accepted.get_total_buffer_size()  # its `nbytes` takes a hundred times as long
        if checked.rejected is not None:
            self._rejected[schema.output] += checked.rejected.rows.num_rows
            self.bytes += checked.rejected.rows.get_total_buffer_size()
        note(self._notes, schema.output, checked)
        if self.bytes > self._bytes_max:
            raise OutgrownError(
                f"its rows take more than the {self._bytes_max:,} bytes that a file among many may; it is done alone"
            )
