"""Owns what is known of targets: how much has been recorded there. Which materializations exist is a cold noun."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

from msgspec import Struct

from eventlog.events import (
    MaterializationRecorded,
    Record,
)
from eventlog.ids import MaterializationKey, Seq

RECORDED_KEYS_MAX: Final = 10_000
NOTHING_FORGOTTEN: Final = Seq(0)


class Output(Struct, frozen=True, kw_only=True):
    """The sum of what was recorded for one target key."""

    materializations: int
    rows: int
    bytes: int


NOTHING = Output(materializations=0, rows=0, bytes=0)


class Recorded:
    """The materialization keys that were recorded last, oldest first: what a plan may have overlooked.

    Bounded, because a plan is overtaken by what was recorded while it was made, and not by more than that.
    """

    def __init__(
        self, keys: Iterable[tuple[Seq, MaterializationKey]] = (), *, forgotten: Seq = NOTHING_FORGOTTEN
    ) -> None:
        self._keys = deque(keys)
        self.forgotten = forgotten  # the position of the newest that is not kept any more

    def __iter__(self) -> Iterator[tuple[Seq, MaterializationKey]]:
        return iter(self._keys)

    def put(self, seq: Seq, key: MaterializationKey) -> None:
        """Take in what was recorded at a position."""
        self._keys.append((seq, key))
        if len(self._keys) > RECORDED_KEYS_MAX:
            self.forgotten = self._keys.popleft()[0]

    def since(self, seq: Seq) -> set[MaterializationKey] | None:
        """Return what was recorded after a position; None if that is not known any more."""
        if seq < self.forgotten:
            return None
        newer = takewhile(lambda kept: kept[0] > seq, reversed(self._keys))
        return {key for _seq, key in newer}


HANDLES: frozenset[type[Record]] = frozenset({MaterializationRecorded})


def evolve(output: Output | None, event: MaterializationRecorded) -> Output:
    """Return the target's sums after the event."""
    before = output or NOTHING
    return Output(
        materializations=before.materializations + 1,
        rows=before.rows + event.rows,
        bytes=before.bytes + event.bytes,
    )
