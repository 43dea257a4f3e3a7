"""Owns a case folder of event logs of any size, made from a seed, with the damage of real ones and the truth about it.

The shape is that of six real hosts: 72 % of the files have one chunk, 25 % seventeen, 3 % up to 17 MB; about a third to
two thirds of the bytes hold records. A chunk is written once for each kind of log and then copied: ids, times and the
computer's name are put in at their places and the checksums made anew, which is a hundred times faster than writing it.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from cli.demo import evtx_writer as writer
from cli.demo.evtx_writer import CHUNK_BYTES, FILE_HEADER_BYTES, Event, Layout

LOGS_FOLDER: Final = "Windows/System32/winevt/Logs"
FILES_PER_HOST: Final = 106
BYTES_MIN: Final = FILE_HEADER_BYTES + CHUNK_BYTES  # the smallest log
VARIANTS: Final = 3  # of the full chunk of each kind

# Shares of the files. The first two change no record; of the others a file has one at most.
DAMAGE_SHARES: Final[Mapping[str, float]] = {
    "dirty_flag": 0.72,
    "stale_chunk_count": 0.17,
    "cut": 0.01,
    "zero_chunk_magic": 0.005,
    "overwrite_chunk_from_middle": 0.005,
    "zero_record_size": 0.005,
    "slack": 0.005,
    "empty": 0.002,
    "text": 0.002,
}
_HARMLESS: Final = ("dirty_flag", "stale_chunk_count")

_COMPUTER: Final = "HOST0000.corp.example"
_MARK_ID: Final = 0x7A5A_C3E1_0000_0000  # ids of the prototypes: not met in any other bytes
_MARK_TIME: Final = datetime(2031, 7, 19, 3, 41, 17, 271_828, tzinfo=UTC)
_DAY: Final = datetime(2026, 1, 20, 7, 0, tzinfo=UTC)
_TICKS_PER_SECOND: Final = 10_000_000


class Lost(Struct, frozen=True, kw_only=True):
    """Bytes of a file that give no row."""

    offset: int
    length: int


class FileTruth(Struct, frozen=True, kw_only=True):
    """What a log holds, for a reader that passes over damage to the next whole record of a chunk.

    `found` counts the record headers that stand in readable chunks, `unreadable` those of them that cannot be decoded.
    `doubtful` records lost their end: a decoder may give them or not, so rows are found - unreadable - doubtful at
    least. `readable` is false for what is no event log at all.
    """

    path: str  # relative to the folder
    bytes: int
    damage: tuple[str, ...] = ()
    readable: bool = True
    found: int = 0
    unreadable: int = 0
    doubtful: int = 0
    slack: int = 0
    lost: tuple[Lost, ...] = ()


class Truth(Struct, frozen=True, kw_only=True):
    """What was made: one entry a file, in the order of writing."""

    seed: int
    files: tuple[FileTruth, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def records(self) -> int:
        return sum(file.found for file in self.files)

    def save(self, path: Path) -> None:
        """Write one JSON line a file."""
        path.write_bytes(b"\n".join(msgspec.json.encode(file) for file in self.files) + b"\n")


class CorpusError(ValueError):
    """The folder cannot be made as asked; the sentence says why and what to do."""


def generate(folder: Path, *, seed: int, bytes_total: int, damage_shares: Mapping[str, float] = DAMAGE_SHARES) -> Truth:
    """Fill a new or empty folder with logs of `bytes_total` bytes, one log more or less, and return the truth.

    The same arguments make the same bytes. `damage_shares` maps names of DAMAGE_SHARES to shares of the files, 0 to 1.
    Raises CorpusError for a folder that is not empty, an unknown damage, or less than BYTES_MIN; OSError.
    """
    if unknown := sorted(set(damage_shares) - set(DAMAGE_SHARES)):
        raise CorpusError(f"make logs with the damage {unknown[0]!r}: there are {', '.join(DAMAGE_SHARES)}")
    if bytes_total < BYTES_MIN:
        raise CorpusError(f"make {bytes_total} bytes of logs: the smallest log has {BYTES_MIN}; ask for more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"make logs in {folder}: it is there and not an empty folder; name a new one")
    truths: list[FileTruth] = []
    left = bytes_total
    host = 0
    while left >= BYTES_MIN:  # every host has at least one file of at least BYTES_MIN
        host += 1
        for truth in _host(folder, host, random.Random(f"{seed}/{host}"), left, damage_shares):
            truths.append(truth)
            left -= max(truth.bytes, BYTES_MIN)
    return Truth(seed=seed, files=tuple(truths))


def _host(
    folder: Path, number: int, chance: random.Random, bytes_left: int, shares: Mapping[str, float]
) -> Iterator[FileTruth]:
    name = f"HOST{number:04}"
    logs = folder / name / LOGS_FOLDER
    logs.mkdir(parents=True)
    computer = f"{name}.corp.example"
    chunks = {kind: tuple(_named(chunk, computer) for chunk in _prototypes(kind)) for kind in _KINDS}
    for index in range(FILES_PER_HOST):
        if bytes_left < BYTES_MIN:
            return
        kind = _KIND_NAMES[index % len(_KIND_NAMES)]
        slots = min(_slots(chance), (bytes_left - FILE_HEADER_BYTES) // CHUNK_BYTES)
        log = _log(chunks[kind], slots, chance)
        data, truth = _damaged(log, chance, shares)
        file = logs / f"{kind}%4{index:03}.evtx"
        file.write_bytes(data)
        bytes_left -= max(len(data), BYTES_MIN)
        yield msgspec.structs.replace(truth, path=file.relative_to(folder).as_posix(), bytes=len(data))


def _slots(chance: random.Random) -> int:
    """Return the number of chunk slots of a file, as often as real hosts have it."""
    draw = chance.random()
    if draw < 0.72:
        return 1
    return 17 if draw < 0.97 else chance.randrange(33, 260)


# --- chunks ---------------------------------------------------------------------------------------------------------


class _Prototype(Struct, frozen=True):
    """A full chunk, and for each record its start, end, and where its id and time stand a second time."""

    data: bytes
    places: tuple[tuple[int, int, int, int], ...]
    records_min: int  # the first ones, which bring all names and templates


def _prototypes(kind: str) -> tuple[_Prototype, ...]:
    if kind not in _made:
        _made[kind] = tuple(_prototype(kind, random.Random(f"{kind}/{variant}")) for variant in range(VARIANTS))
    return _made[kind]


_made: dict[str, tuple[_Prototype, ...]] = {}  # the same for every seed; a few milliseconds each


def _prototype(kind: str, chance: random.Random) -> _Prototype:
    """Write one full chunk. Every shape of event comes once before any comes twice, so that it can be cut short."""
    shapes = _KINDS[kind]
    stream = io.BytesIO()
    events = (_event(kind, number, shapes[number % len(shapes)], chance) for number in range(400))
    layout = writer.write_evtx(stream, events)
    data = stream.getvalue()[FILE_HEADER_BYTES : FILE_HEADER_BYTES + CHUNK_BYTES]
    places: list[tuple[int, int, int, int]] = []
    for number, record in enumerate(layout.chunks[0].records):
        start = record.offset - FILE_HEADER_BYTES
        end = start + record.length
        inside = start + writer.RECORD_HEADER_BYTES
        id_at = data.index(struct.pack("<Q", _MARK_ID + number), inside, end)
        time_at = data.index(struct.pack("<Q", writer.filetime(_mark_time(number))), inside, end)
        places.append((start, end, id_at, time_at))
    return _Prototype(data, tuple(places), len(shapes))


def _mark_time(number: int) -> datetime:
    return _MARK_TIME + timedelta(microseconds=number)


def _named(prototype: _Prototype, computer: str) -> _Prototype:
    """Return the chunk with the name of another computer, of the same length."""
    old, new = (name.encode("utf-16-le") for name in (_COMPUTER, computer))
    return msgspec.structs.replace(prototype, data=prototype.data.replace(old, new))


class _Log(Struct):
    """A sound log: its slots, and how many records of which prototype the used ones hold."""

    slots: int
    used: list[tuple[_Prototype, int]]
    first_id: int
    filetime: int
    step: int  # between two records, in units of 100 ns


def _log(prototypes: tuple[_Prototype, ...], slots: int, chance: random.Random) -> _Log:
    """Choose how full a log is: its last used chunk is part full, the slots behind it were never used."""
    used = 1 if slots == 1 else chance.randrange(max(1, slots // 3), slots + 1)
    chosen = [chance.choice(prototypes) for _ in range(used)]
    last = chosen[-1]
    fill = chance.random() ** 2
    count = max(last.records_min, int(fill * len(last.places)))
    return _Log(
        slots=slots,
        used=[*((each, len(each.places)) for each in chosen[:-1]), (last, count)],
        first_id=chance.randrange(1, 90_000),
        filetime=writer.filetime(_DAY) + chance.randrange(86_400 * _TICKS_PER_SECOND),
        step=chance.randrange(1, 60 * _TICKS_PER_SECOND),
    )


def _sound(log: _Log) -> bytes:
    """Return the bytes of a log."""
    pieces: list[bytes | bytearray] = [b""]
    number = 0
    for prototype, count in log.used:
        pieces.append(_filled(prototype, count, number, log))
        number += count
    pieces.append(bytes(CHUNK_BYTES * (log.slots - len(log.used))))
    pieces[0] = writer.file_header(chunk_count=len(log.used), next_record_id=log.first_id + number, flags=0)
    return b"".join(pieces)


def _filled(prototype: _Prototype, count: int, number: int, log: _Log) -> bytearray:
    """Return a chunk of the first `count` records, with ids and times from the log's record `number` on."""
    data = bytearray(prototype.data)
    start, free, _, _ = prototype.places[count - 1]
    data[free:] = bytes(CHUNK_BYTES - free)
    first = log.first_id + number
    moment = log.filetime + log.step * number
    header, single = struct.Struct("<QQ").pack_into, struct.Struct("<Q").pack_into
    for record_id, (at, _, id_at, time_at) in enumerate(prototype.places[:count], first):
        header(data, at + 8, record_id, moment)
        single(data, id_at, record_id)
        single(data, time_at, moment)
        moment += log.step
    struct.pack_into("<QQQQ", data, 8, number + 1, number + count, first, first + count - 1)
    struct.pack_into("<III", data, 44, start, free, zlib.crc32(memoryview(data)[512:free]))
    struct.pack_into("<I", data, 124, writer.chunk_header_checksum(data))
    return data


# --- damage ---------------------------------------------------------------------------------------------------------


def _damaged(log: _Log, chance: random.Random, shares: Mapping[str, float]) -> tuple[bytes, FileTruth]:
    """Return the bytes of a log after its share of damage, and the truth, still without path and size."""
    data = _sound(log)
    records = sum(count for _, count in log.used)
    truth = FileTruth(path="", bytes=0, found=records)
    names: list[str] = []
    harmless = {name: chance.random() < shares.get(name, 0.0) for name in _HARMLESS}
    layout = _layout(log)
    if harmless["stale_chunk_count"] and len(log.used) > 1:
        data = writer.make_chunk_count_stale(data, layout).data
        names.append("stale_chunk_count")
    if harmless["dirty_flag"]:
        data = writer.set_dirty_flag(data).data
        names.append("dirty_flag")
    draw = chance.random()
    for name in (each for each in DAMAGE_SHARES if each not in _HARMLESS):
        draw -= shares.get(name, 0.0)
        if draw < 0:
            names.append(name)
            data, truth = _break(name, data, layout, chance, truth)
            break
    return data, msgspec.structs.replace(truth, damage=tuple(names))


def _layout(log: _Log) -> Layout:
    chunks: list[writer.ChunkPlace] = []
    number = log.first_id
    for index, (prototype, count) in enumerate(log.used):
        offset = FILE_HEADER_BYTES + CHUNK_BYTES * index
        records = tuple(
            writer.RecordPlace(record_id=number + position, offset=offset + start, length=end - start)
            for position, (start, end, _, _) in enumerate(prototype.places[:count])
        )
        chunks.append(writer.ChunkPlace(offset=offset, free=offset + prototype.places[count - 1][1], records=records))
        number += count
    return Layout(size=FILE_HEADER_BYTES + CHUNK_BYTES * log.slots, chunks=tuple(chunks))


def _break(name: str, data: bytes, layout: Layout, chance: random.Random, whole: FileTruth) -> tuple[bytes, FileTruth]:
    chunk = chance.randrange(len(layout.chunks))
    place = layout.chunks[chunk]
    change = msgspec.structs.replace
    match name:
        case "cut":
            at = chance.randrange(FILE_HEADER_BYTES + 1, layout.size)
            return writer.cut(data, layout, at=at).data, _cut_truth(layout, at, whole)
        case "zero_chunk_magic":
            lost = (Lost(offset=place.offset, length=CHUNK_BYTES),)
            found = whole.found - len(place.records)
            return writer.zero_chunk_magic(data, layout, chunk=chunk).data, change(whole, found=found, lost=lost)
        case "overwrite_chunk_from_middle":
            broken = writer.overwrite_chunk_from_middle(data, layout, chunk=chunk, seed=chance.randrange(2**32))
            return broken.data, _overwritten_truth(place, whole)
        case "zero_record_size":
            record = chance.randrange(len(place.records))
            victim = place.records[record]
            lost = (Lost(offset=victim.offset, length=victim.length),)
            broken = writer.zero_record_size(data, layout, chunk=chunk, record=record)
            return broken.data, change(whole, unreadable=1, lost=lost)
        case "slack":
            try:
                broken = writer.fill_slack(data, layout, chunk=len(layout.chunks) - 1)
            except writer.SlackTooSmallError:  # the last chunk is full: such a log has no slack
                return data, whole
            return broken.data, change(whole, slack=1)
        case "empty":
            return writer.empty_file(layout).data, change(whole, found=0, readable=False)
        case _:
            return writer.text_file(layout).data, change(whole, found=0, readable=False)


def _cut_truth(layout: Layout, at: int, whole: FileTruth) -> FileTruth:
    """Say what is left of a log that ends at `at`."""
    kept = sum(record.offset + record.length <= at for chunk in layout.chunks for record in chunk.records)
    change = msgspec.structs.replace
    for chunk in layout.chunks:
        if chunk.offset < at <= chunk.offset + writer.CHUNK_HEADER_BYTES:
            return change(whole, found=kept, lost=(Lost(offset=chunk.offset, length=at - chunk.offset),))
        for record in chunk.records:
            if record.offset < at < record.offset + record.length:
                counted = at - record.offset >= writer.RECORD_HEADER_BYTES
                lost = (Lost(offset=record.offset, length=at - record.offset),)
                return change(whole, found=kept + counted, unreadable=int(counted), lost=lost)
    return change(whole, found=kept)


def _overwritten_truth(place: writer.ChunkPlace, whole: FileTruth) -> FileTruth:
    """Say what is left of a chunk whose second half is noise: the record across the middle has lost its end."""
    middle = place.offset + CHUNK_BYTES // 2
    touched = [record for record in place.records if record.offset + record.length > middle]
    if not touched:
        return whole
    change = msgspec.structs.replace
    first = touched[0]
    across = middle - first.offset >= writer.RECORD_HEADER_BYTES
    found = whole.found - len(touched) + across
    start = first.offset + first.length if across else first.offset
    lost = (Lost(offset=start, length=place.free - start),) if start < place.free else ()
    return change(whole, found=found, doubtful=int(across), lost=lost)


# --- what the logs say ----------------------------------------------------------------------------------------------


class _Shape(Struct, frozen=True, kw_only=True):
    event_id: int
    fields: tuple[str, ...]
    level: int = 4
    task: int = 0
    user_data: str = ""  # the name of the element, for events that have no EventData


_WORDS: Final = (
    "S-1-5-18",
    "S-1-5-21-1004336348-1177238915-682003330-1108",
    "svc_backup",
    "a.keller",
    "CORP",
    "0x3e7",
    "0xc000006d",
    "10.20.30.99",
    "-",
    r"C:\Windows\System32\svchost.exe",
    r"C:\Program Files\Microsoft Office\root\Office16\OUTLOOK.EXE",
    "svchost.exe -k netsvcs -p -s Schedule",
    "überall « Größe »",
    "54849625-5478-4994-a5ba-3e3b0328c30d",
    "SHA256=9F914D42706FE215501044ACD85A32D58AAEF1419D404FDDFA5D3B48F66CCD9F",
)


def _fields(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in range(1, count + 1))


_KINDS: Final[Mapping[str, tuple[_Shape, ...]]] = {
    "Security": (
        _Shape(event_id=4624, fields=_fields("Logon", 20), level=0, task=12544),
        _Shape(event_id=4688, fields=_fields("Process", 12), level=0, task=13312),
        _Shape(event_id=4625, fields=_fields("Failure", 18), level=0, task=12544),
        _Shape(event_id=1102, fields=("SubjectUserName", "SubjectLogonId"), user_data="LogFileCleared"),
    ),
    "System": (_Shape(event_id=7036, fields=("param1", "param2")), _Shape(event_id=7045, fields=_fields("Service", 5))),
    "Microsoft-Windows-Sysmon": (
        _Shape(event_id=1, fields=_fields("Image", 20)),
        _Shape(event_id=3, fields=_fields("Network", 16)),
    ),
    "Application": (_Shape(event_id=1000, fields=("", "", "")), _Shape(event_id=16384, fields=("",))),
    "Microsoft-Windows-TaskScheduler": (_Shape(event_id=201, fields=("TaskName", "ActionName", "ResultCode")),),
}
_KIND_NAMES: Final = tuple(_KINDS)


def _event(kind: str, number: int, shape: _Shape, chance: random.Random) -> Event:
    fields = [(name, chance.choice(_WORDS)) for name in shape.fields]
    return Event(
        record_id=number + 1,
        event_record_id=_MARK_ID + number,
        time=_mark_time(number),
        provider=f"{kind}-Provider",
        provider_guid="54849625-5478-4994-a5ba-3e3b0328c30d",
        event_id=shape.event_id,
        channel=kind,
        computer=_COMPUTER,
        level=shape.level,
        task=shape.task,
        keywords=0x8020000000000000,
        process_id=chance.randrange(4, 20_000, 4),
        thread_id=chance.randrange(4, 20_000, 4),
        user_sid="S-1-5-18" if number % 3 == 0 else None,
        data=[] if shape.user_data else fields,
        user_data=writer.UserData(name=shape.user_data, fields=fields) if shape.user_data else None,
    )
