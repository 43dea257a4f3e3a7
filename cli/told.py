"""Owns the words in which a sentinel tells what has become durable, for both sides; no shape of a record is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from executors.errors import TransportError

if TYPE_CHECKING:
    from eventlog.frames import Frame

FRAME_BYTES_MAX: Final = 1024 * 1024  # a longer one is not told: it is found in the log


class ToldRecord(Struct, frozen=True, kw_only=True):
    """A record as it is told: its data as JSON, to be handed on as it is."""

    seq: int
    type: str
    data: msgspec.Raw


class ToldFrame(Struct, frozen=True, kw_only=True):
    """Records that became durable together, from `first` to `last`."""

    first: int
    last: int
    ts: str
    actor: str
    records: tuple[ToldRecord, ...]


def told(frame: Frame) -> bytes:
    """Return a frame as it is told."""
    encode = msgspec.json.encode
    records = tuple(
        ToldRecord(seq=record.seq, type=record.type, data=msgspec.Raw(encode(record.data))) for record in frame.records
    )
    return encode(ToldFrame(first=frame.first, last=frame.last, ts=frame.ts, actor=frame.actor, records=records))


def read_told(message: bytes) -> ToldFrame:
    """Return a frame that was told. Raises TransportError for what is none."""
    try:
        return msgspec.json.decode(message, type=ToldFrame)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TransportError(f"read what the sentinel tells: {error}; is it of another version?") from error
