"""Owns the frame, the unit of the log: its values, its commit line, its hash and its bounds.

    {"seq":101,"type":"CancelJob","id":"<uuid>","data":{...}}
    {"seq":102,"type":"CancelAccepted","data":{...}}
    {"commit":57,"first":101,"last":102,"bytes":412,"ts":"...","actor":"cli:root","cause":99,"corr":99,
     "stamp":{"producer":"executor-3","epoch":7,"sequence":918,"digest":"<32 hex>"},       (only if there is one)
     "epoch":7,"durable":100,"prev":"<64 hex>","hash":"<64 hex>"}          (one physical line, no spaces)

hash = SHA-256("casparian.log.v1\\0" + the 16 bytes of log_id + all bytes from the frame's first through the comma
before `"hash"`), so a frame verifies by itself; `prev` is the hash of the frame before. `bytes` is the length of the
lines before the commit line, `durable` the highest seq known durable when the frame was written. A frame may be empty:
first = last + 1. An auditor needs SHA-256 and a way to slice bytes, no JSON parser.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final

import msgspec
from msgspec import Struct

from eventlog.errors import FrameTooLargeError, InvalidRecordError, LogCorruptError, UnknownEventError
from eventlog.events import Event, LoggedCommand
from eventlog.ids import Instant, LogId
from eventlog.records import (
    COMMAND_TYPES,
    LogRecord,
    Records,
    SkippedRecord,
    decode_records,
    encode_records,
    records_are_in_place,
    version_opened,
)

__all__ = ["CommitLine", "Frame", "FrameDraft", "FrameHash", "Head", "LogRecord", "PreparedFrame", "RawFrame"]

FORMAT: Final = "casparian.log.v1"
FRAME_EVENTS_MAX: Final = 4096
FRAME_BYTES_MAX: Final = 4 * 1024 * 1024  # of the record lines
LINE_BYTES_MAX: Final = 1024 * 1024
COMMIT_LINE_BYTES_MAX: Final = 2048  # an actor of 200 characters of 4 bytes and ten numbers of 18 digits need 1,300
FRAME_SPAN_BYTES_MAX: Final = FRAME_BYTES_MAX + COMMIT_LINE_BYTES_MAX
BATCH_FRAMES_MAX: Final = 512  # of one write and sync; readers hold back at most this many frames
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
ACTOR_CHARACTERS_MAX: Final = 200
ID_CHARACTERS_MAX: Final = 200
COUNT_LIMIT: Final = 10**18  # numbers of the commit line have at most 18 digits
COMMIT_START: Final = b'{"commit":'

_NEXT_COMMIT: Final = b"\n" + COMMIT_START
_HASH_KEY: Final = b'"hash":"'
# Nothing here can match in two ways, so every repeat keeps what it took (`++`) and only the hash is a group: the same
# lines match in half the time.
_COUNT = rb"(?:0|[1-9][0-9]{0,17}+)"
_COMMIT_LINE: Final = re.compile(
    rb'\{"commit":' + _COUNT + rb',"first":' + _COUNT + rb',"last":' + _COUNT + rb',"bytes":' + _COUNT
    + rb',"ts":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"'
    + rb',"actor":"[^"\\\x00-\x1f]*+(?:\\["\\][^"\\\x00-\x1f]*+)*+"'
    + rb',"cause":' + _COUNT + rb',"corr":' + _COUNT
    + rb'(?:,"stamp":\{"producer":"[A-Za-z0-9._:@+-]{1,100}+","epoch":' + _COUNT + rb',"sequence":' + _COUNT
    + rb',"digest":"[0-9a-f]{32}"\})?+'
    + rb',"epoch":' + _COUNT + rb',"durable":' + _COUNT
    + rb',"prev":"[0-9a-f]{64}","hash":"(?P<hash>[0-9a-f]{64})"\}\n'
)  # fmt: skip
_PRODUCER: Final = re.compile(r"[A-Za-z0-9._:@+-]{1,100}")
_DIGEST: Final = re.compile(r"[0-9a-f]{32}")
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", re.ASCII)


_seq_of: Final = attrgetter("seq")
_COMMANDS: Final = tuple(COMMAND_TYPES.values())


class Stamp(Struct, frozen=True):
    """Who sent a request, and the how-manieth of theirs it is, so that one that comes again is known for what it is.

    `epoch` counts the lives of a producer whose name outlives it. `digest` is of the request's bytes (request_digest).
    """

    producer: str
    epoch: int
    sequence: int
    digest: str


def request_digest(request: bytes) -> str:
    """Return what tells a request from another under the same stamp: half a SHA-256, in hexadecimal."""
    return hashlib.sha256(request).hexdigest()[:32]


def stamp_once(request_id: str, request: bytes) -> Stamp:
    """Return the stamp of a request that has an id of its own, and is the only one of its producer."""
    return Stamp(producer=request_id, epoch=0, sequence=1, digest=request_digest(request))


class FrameDraft(Struct, frozen=True, kw_only=True):
    """What a caller wants appended atomically; seqs, time and hashes are given by the log.

    `cause` and `corr` are seqs, 0 where there is none. `command_id` is required with a command and empty without.
    """

    events: tuple[Event, ...]
    actor: str
    command: LoggedCommand | None = None
    command_id: str = ""
    cause: int = 0
    corr: int = 0
    stamp: Stamp | None = None


class Frame(Struct, frozen=True, gc=False):
    """One commit of the log, decoded, without the records that a newer writer let older readers pass over."""

    commit: int
    first: int
    last: int
    ts: Instant
    actor: str
    cause: int
    corr: int
    epoch: int
    durable: int
    prev: str
    hash: str
    records: Sequence[LogRecord]
    stamp: Stamp | None = None

    @property
    def events(self) -> Sequence[LogRecord]:
        """Return the records without the command that opens the frame, if there is one."""
        records = self.records
        return records[1:] if records and isinstance(records[0].data, _COMMANDS) else records


class Head(Struct, frozen=True, kw_only=True):
    """Where the log ends. `bytes` is the size of the active segment up to there."""

    seq: int
    hash: str
    commit: int
    bytes: int


class CommitLine(Struct, frozen=True, gc=False):
    """The commit line's fields, in the order in which they stand there, the stamp last because few have one."""

    commit: int
    first: int
    last: int
    bytes: int
    ts: Instant
    actor: str
    cause: int
    corr: int
    epoch: int
    durable: int
    prev: str
    hash: str
    stamp: Stamp | None = None


_commit_decoder: Final = msgspec.json.Decoder(type=CommitLine)


class RawFrame(Struct, frozen=True, gc=False):
    """A frame in bytes that has passed its hash and link; `offset` is its position in its segment."""

    line: CommitLine
    lines: bytes
    offset: int
    end: int


class WriterVersion:
    """Which version wrote the frames of a walk: what the WriterOpened of their epoch says, "" before one was met."""

    def __init__(self) -> None:
        self.epoch = 0
        self.version = ""

    def hear(self, raw: RawFrame) -> None:
        """Take in a frame of the walk, in order; only the first of an epoch says anything, others may be left out."""
        if raw.line.epoch != self.epoch:
            self.epoch, self.version = raw.line.epoch, version_opened(raw.lines)

    def blame(self, error: UnknownEventError) -> UnknownEventError:
        """Return the error over a record of these frames with the oldest version that is known to read it."""
        if not self.version:
            return error
        next_step = f"The bytes are undamaged: open the log with Casparian {self.version}, which wrote it, or newer."
        return UnknownEventError(error.message, next_step=next_step, seq=error.seq, tag=error.tag)


class PreparedFrame(Struct, frozen=True, kw_only=True):
    """A draft that passed every check that can refuse it: seqs are given, lines are encoded, nothing is written."""

    draft: FrameDraft
    first: int
    last: int
    lines: bytes


class FrameHash:
    """Hashes frames of one log; the log's id is part of every hash, so frames of another log never fit."""

    def __init__(self, log_id: LogId) -> None:
        self._begun = hashlib.sha256(FORMAT.encode() + b"\0" + bytes.fromhex(log_id))

    def of(self, lines: bytes | memoryview, rest: bytes = b"") -> str:
        """Return the hash of a frame's bytes through the comma before `"hash"`, in hexadecimal."""
        hash_ = self._begun.copy()
        hash_.update(lines)
        if rest:
            hash_.update(rest)
        return hash_.hexdigest()


def is_well_formed(stamp: Stamp) -> bool:
    """Return whether a commit line can carry the stamp."""
    return (
        _PRODUCER.fullmatch(stamp.producer) is not None
        and _DIGEST.fullmatch(stamp.digest) is not None
        and all(type(number) is int and 0 <= number < COUNT_LIMIT for number in (stamp.epoch, stamp.sequence))
    )


# --- reading --------------------------------------------------------------------------------------------------------


def match_commit_line(data: bytes, at: int) -> re.Match[bytes] | None:
    """Match a whole commit line that starts at `at`, byte for byte in the one form it can have."""
    return _COMMIT_LINE.match(data, at)


def find_commit_line(data: bytes, start: int) -> re.Match[bytes] | None:
    """Match the first commit line of the frame that starts at `start`; None if it is not whole or not well formed.

    A line break cannot stand inside a JSON text, so the search cannot stop inside a payload.
    """
    if data.startswith(COMMIT_START, start):  # an empty frame
        return match_commit_line(data, start)
    at = data.find(_NEXT_COMMIT, start)
    return match_commit_line(data, at + 1) if at >= 0 else None


def read_commit_line(match: re.Match[bytes]) -> CommitLine:
    """Return the fields of a matched commit line."""
    try:
        return _commit_decoder.decode(match[0])
    except UnicodeDecodeError:  # no writer of ours put these bytes there; they are shown as far as they can be
        return _commit_decoder.decode(match[0].decode("utf-8", "replace"))


def hashed_end(match: re.Match[bytes]) -> int:
    """Return where the hashed bytes of a frame end: after the comma before `"hash"`."""
    return match.start("hash") - len(_HASH_KEY)


def decode_frame(raw: RawFrame) -> Frame:
    """Return the frame with its records. Raises UnknownEventError; LogCorruptError if a seq is not in its place."""
    line = raw.line
    records, skipped = decode_records(raw.lines)
    every: Sequence[LogRecord | SkippedRecord] = sorted([*records, *skipped], key=_seq_of) if skipped else records
    if not records_are_in_place(every, first=line.first, last=line.last):
        raise LogCorruptError(
            f"Read commit {line.commit} of the log: its lines are not the records {line.first} to {line.last}.",
            next_step="Run `casparian log verify` and keep the folder as it is.",
        )
    return Frame(
        line.commit, line.first, line.last, line.ts, line.actor, line.cause, line.corr, line.epoch, line.durable,
        line.prev, line.hash, records, line.stamp,
    )  # fmt: skip


def decoded(frames: Iterable[RawFrame], *, from_seq: int) -> Iterator[Frame]:
    """Yield the frames of a walk that end at `from_seq` or later, decoded. Raises as `decode_frame` does."""
    writer = WriterVersion()
    for raw in frames:
        if raw.line.epoch != writer.epoch:
            writer.hear(raw)
        if raw.line.last < from_seq:
            continue
        try:
            frame = decode_frame(raw)
        except UnknownEventError as error:
            raise writer.blame(error) from error
        yield frame


# --- writing --------------------------------------------------------------------------------------------------------


def prepare_frame(draft: FrameDraft, *, first: int) -> PreparedFrame:
    """Encode a draft and check everything that can refuse it. Raises FrameTooLargeError, InvalidRecordError."""
    _refuse_malformed(draft)
    count = len(draft.events) + (draft.command is not None)
    last = first + count - 1
    _refuse_reference(draft.cause, "cause", last=last)
    _refuse_reference(draft.corr, "corr", last=last)
    if len(draft.events) > FRAME_EVENTS_MAX:
        raise _too_large(f"{len(draft.events)} events in one frame, at most {FRAME_EVENTS_MAX}")
    lines = encode_records(draft.events, first=first, command=draft.command, command_id=draft.command_id)
    if len(lines) > FRAME_BYTES_MAX:
        raise _too_large(f"{len(lines)} bytes in one frame, at most {FRAME_BYTES_MAX}")
    if len(lines) > LINE_BYTES_MAX and (longest := max(map(len, lines.split(b"\n"))) + 1) > LINE_BYTES_MAX:
        raise _too_large(f"{longest} bytes in one line, at most {LINE_BYTES_MAX}")
    return PreparedFrame(draft=draft, first=first, last=last, lines=lines)


class Seal:
    """Closes the frames of one batch: what they share is formatted once.

    Raises InvalidRecordError if the clock's instant is not in the one form.
    """

    def __init__(self, hasher: FrameHash, *, ts: Instant, epoch: int, durable: int) -> None:
        if _INSTANT.fullmatch(ts) is None:
            raise _malformed(f"the clock gave {ts!r}, which is not an instant such as 2026-01-22T10:11:12.123456Z")
        self._hasher = hasher
        self._ts = ts
        self._epoch = epoch
        self._durable = durable
        self._before_actor = f',"ts":"{ts}","actor":'
        self._before_prev = f',"epoch":{epoch},"durable":{durable},"prev":"'

    def close(self, prepared: PreparedFrame, *, commit: int, prev: str) -> tuple[Frame, bytes]:
        """Return the frame and its commit line, which stands after the frame's lines."""
        draft, first, last, lines = prepared.draft, prepared.first, prepared.last, prepared.lines
        actor, cause, corr = draft.actor, draft.cause, draft.corr
        start = (
            f'{{"commit":{commit},"first":{first},"last":{last},"bytes":{len(lines)}{self._before_actor}'
            f'{_quoted(actor)},"cause":{cause},"corr":{corr}{_stamped(draft.stamp)}{self._before_prev}{prev}",'
        ).encode()
        hash_ = self._hasher.of(lines, start)
        frame = Frame(
            commit, first, last, self._ts, actor, cause, corr, self._epoch, self._durable, prev, hash_,
            Records(lines, last - first + 1), draft.stamp,
        )  # fmt: skip
        return frame, b'%b"hash":"%b"}\n' % (start, hash_.encode())


@lru_cache(maxsize=256)
def _quoted(actor: str) -> str:
    """Return the actor as JSON. Raises InvalidRecordError for one that the commit line cannot carry."""
    if not 1 <= len(actor) <= ACTOR_CHARACTERS_MAX or not actor.isprintable():
        raise _malformed(f"the actor must be 1 to {ACTOR_CHARACTERS_MAX} printable characters, not {actor!r:.80}")
    return msgspec.json.encode(actor).decode()


def _stamped(stamp: Stamp | None) -> str:
    return "" if stamp is None else f',"stamp":{msgspec.json.encode(stamp).decode()}'


def _refuse_malformed(draft: FrameDraft) -> None:
    _quoted(draft.actor)
    if draft.stamp is not None and not is_well_formed(draft.stamp):
        raise _malformed(f"the stamp {draft.stamp!r:.300} is not of the one form")
    if bool(draft.command_id) != (draft.command is not None):
        raise _malformed("a command needs an id, and an id needs a command")
    if type(draft.command_id) is not str or len(draft.command_id) > ID_CHARACTERS_MAX:
        raise _malformed(
            f"a command id is text of at most {ID_CHARACTERS_MAX} characters, not {draft.command_id!r:.300}"
        )
    if not draft.events and draft.command is None:
        raise _malformed("it holds neither an event nor a command")


def _refuse_reference(seq: int, name: str, *, last: int) -> None:
    """Cause and correlation point at what is in the log up to this frame, never ahead of it."""
    if type(seq) is not int or not 0 <= seq <= last:
        raise _malformed(f"{name} is {seq}, which is not a position up to {last}")


def _malformed(why: str) -> InvalidRecordError:
    return InvalidRecordError(
        f"Refused a frame for the log before writing it: {why}.",
        next_step="Correct the draft that was built; nothing was written.",
    )


def _too_large(what: str) -> FrameTooLargeError:
    return FrameTooLargeError(
        f"Refused a frame for the log before writing it: {what}.",
        next_step="Split it into several frames, or keep large content outside and record its digest.",
    )
