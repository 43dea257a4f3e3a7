"""Owns what the tests of the log share: opening one, images of crashes, frames built with the standard library."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from eventlog.events import Event, RunInterrupted
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Instant, LogId, RunId
from eventlog.log import SEGMENT_BYTES, FrameDraft, Log

ROOT: Final = Path(__file__).resolve().parents[2]
LOG_ID: Final = LogId("0123456789abcdef0123456789abcdef")
NOW: Final = Instant("2026-01-22T10:11:12.123456Z")
SEGMENT: Final = "00000000000000000001.ndjson"


class StoppedError(Exception):
    """What `die` does in tests instead of ending the process."""


def stop(message: str) -> NoReturn:
    raise StoppedError(message)


def fixed_clock() -> Instant:
    return NOW


def open_log(
    folder: Path, *, clock: Callable[[], Instant] = fixed_clock, purpose: str = "test",
    segment_bytes: int = SEGMENT_BYTES, ahead_bytes: int = 0, fs: FsPort = OS_FS,
) -> Log:  # fmt: skip
    """Open a log whose storage errors raise; without ballast, and without zeros ahead where a test does not ask for
    them, because tests copy logs by the thousand, and look at what is in them."""
    return Log.open(
        folder, clock=clock, new_log_id=lambda: LOG_ID, version="0.0.test", purpose=purpose, die=stop, ballast_bytes=0,
        segment_bytes=segment_bytes, ahead_bytes=ahead_bytes, fs=fs,
    )  # fmt: skip


def abandon(log: Log) -> None:
    """Let go of a log without closing it, as the end of its process would."""
    log._let_go("its process is over")


def event(number: int, text: str = "a reason") -> RunInterrupted:
    return RunInterrupted(run=RunId(number), reason=text, interrupted_at=NOW)


def draft(*events: Event) -> FrameDraft:
    return FrameDraft(events=events, actor="cli:test")


def crash_image(folder: Path, target: Path) -> Path:
    """Copy a log as a crash of its writer at this moment would leave it."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(folder, target)
    return target


def small_log(folder: Path, *, frames: int = 3, clean: bool = False) -> list[int]:
    """Make a log of WriterOpened and `frames` commits; return where each frame ends. Not `clean` is after a crash."""
    source = folder.with_name(folder.name + "-live")
    log = open_log(source)
    ends = [log.head.bytes]
    for number in range(1, frames + 1):
        log.commit([draft(event(number))])
        ends.append(log.head.bytes)
    if clean:
        log.close()
        ends.append(log.head.bytes)
    crash_image(source, folder)
    log.close()
    shutil.rmtree(source)
    return ends


def genesis_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "GENESIS.json").read_bytes()).hexdigest()


def stdlib_frame(
    *, prev: str, commit: int, first: int, records: list[tuple[str, dict[str, Any]]], epoch: int = 1, durable: int = 0,
    log_id: str = LOG_ID, actor: str = "cli:test", first_line_seq: int | None = None, opt: tuple[str, ...] = (),
) -> tuple[bytes, str]:  # fmt: skip
    """Build a frame from the format's description alone; returns its bytes and its hash. `opt` names the tags whose
    lines older readers may pass over."""
    lines = []
    for index, (tag, data) in enumerate(records):
        seq = (first if first_line_seq is None else first_line_seq) + index
        mark = {"opt": 1} if tag in opt else {}
        text = json.dumps({"seq": seq, "type": tag, **mark, "data": data}, separators=(",", ":"), ensure_ascii=False)
        lines.append(text.encode())
    return frame_of_lines(
        lines, prev=prev, commit=commit, first=first, epoch=epoch, durable=durable, log_id=log_id, actor=actor
    )


def frame_of_lines(
    records: list[bytes], *, prev: str, commit: int, first: int, epoch: int = 1, durable: int = 0,
    log_id: str = LOG_ID, actor: str = "cli:test",
) -> tuple[bytes, str]:  # fmt: skip
    """Build a frame around record lines that may hold anything; returns its bytes and its hash."""
    lines = b"".join(line + b"\n" for line in records)
    head = {
        "commit": commit, "first": first, "last": first + len(records) - 1, "bytes": len(lines), "ts": NOW,
        "actor": actor, "cause": 0, "corr": 0, "epoch": epoch, "durable": durable, "prev": prev,
    }  # fmt: skip
    start = json.dumps(head, separators=(",", ":"))[:-1].encode() + b","
    digest = hashlib.sha256(b"casparian.log.v1\0" + bytes.fromhex(log_id) + lines + start).hexdigest()
    return lines + start + b'"hash":"' + digest.encode() + b'"}\n', digest


def frames_of(data: bytes) -> Iterator[bytes]:
    """Cut a segment into its frames, by its commit lines."""
    frame = b""
    for line in data.split(b"\n")[:-1]:
        frame += line + b"\n"
        if line.startswith(b'{"commit":'):
            yield frame
            frame = b""


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def flip_bit(path: Path, *, byte: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(byte)
        value = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([value ^ (1 << bit)]))
