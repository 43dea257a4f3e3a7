"""Owns the rows that wait for their batch, of messages that were read one by one."""

from collections.abc import Iterable, Sequence
from typing import Any

from . import limits
from .groups import GroupRow
from .settings import NO_TAGS
from .tables import Place, Row


class Waiting:
    """Rows by their output, and what they weigh. `outputs` are all that there are, in the order of their batches."""

    def __init__(self, outputs: Iterable[str], tags: frozenset[str] | None) -> None:
        self._outputs = tuple(outputs)
        self._tags = tags  # to be written; None for all of them
        self._rows: dict[str, list[Row]] = {output: [] for output in self._outputs}
        self._messages = 0
        self._text = 0  # their characters, and what is reckoned for rows beside them

    @property
    def full(self) -> bool:
        return self._messages >= limits.BATCH_ROWS or self._text >= limits.BATCH_TEXT_MAX

    def take(self) -> dict[str, list[Row]]:
        """Return all rows; none of them waits any more."""
        rows, self._rows = self._rows, {output: [] for output in self._outputs}
        self._messages = self._text = 0
        return rows

    def message(self, output: str, row: Row, characters: int) -> None:
        self._rows[output].append(row)
        self._messages += 1
        self._text += characters

    def beside(self, characters: int) -> None:
        """Count text of a row that is no part of its message."""
        self._text += characters

    def groups(self, place: Place, kind: str, groups: Sequence[GroupRow], values: Sequence[Any]) -> None:
        self._rows["fix_groups"] += [(place, kind, values[position], static) for position, static in groups]
        self._text += limits.SIDE_ROW_CHARACTERS * len(groups)

    def tags(self, place: Place, kind: str, tags: Sequence[str], values: Sequence[str | None]) -> None:
        """Add the rows of fix_tags of a message, as far as they are asked for."""
        if self._tags == NO_TAGS:
            return
        rows = [
            (*place, kind, tag, value or "", position)
            for position, (tag, value) in enumerate(zip(tags, values, strict=False), 1)
            if self._tags is None or tag in self._tags
        ]
        self._rows["fix_tags"] += rows
        self._text += limits.SIDE_ROW_CHARACTERS * len(rows)

    def error(self, place: Place, length: int, reason: str, detail: str | None, preview: str) -> None:
        self._rows["fix_parse_errors"].append((*place, length, reason, detail, preview))
        self._text += limits.SIDE_ROW_CHARACTERS + len(preview)
