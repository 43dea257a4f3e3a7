"""Owns the writers that the tests run in processes of their own: `python -m tests.eventlog.child MODE FOLDER [N]`."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

from eventlog.backup import back_up
from eventlog.lineage import alone
from eventlog.lock import this_process
from eventlog.log import SEGMENT_BYTES, Log
from eventlog.repair import repair_log
from eventlog.sealing import seal_full_segments
from tests.eventlog.support import LOG_ID, NOW, draft, event, genesis_hash


def opened(folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> Log:
    """Open a log with the `die` of the product."""
    return Log.open(
        folder,
        clock=lambda: NOW,
        new_log_id=lambda: LOG_ID,
        version="0.0.test",
        purpose="child",
        segment_bytes=segment_bytes,
    )


def acks(folder: Path, count: int) -> None:
    """Commit `count` times and say so after each, in one write."""
    log = opened(folder)
    for number in range(1, count + 1):
        (frame,) = log.commit([draft(event(number, "x" * 200))])
        os.write(1, f"ACK {frame.last}\n".encode())
    log.close()


def hold(folder: Path) -> None:
    """Hold the log until standard input ends."""
    log = opened(folder)
    os.write(1, b"OPEN\n")
    sys.stdin.read()
    log.close()


def ask(folder: Path) -> None:
    """Commit once for each line of standard input, and say so."""
    log = opened(folder)
    os.write(1, b"OPEN\n")
    for number, _ in enumerate(sys.stdin):
        (frame,) = log.commit([draft(event(number))])
        os.write(1, f"ACK {frame.last}\n".encode())
    log.close()


def life(folder: Path, segment_bytes: int) -> None:
    """Open, commit twice and close, and say after each step that it is done."""
    log = opened(folder, segment_bytes=segment_bytes)
    os.write(1, f"OPEN {log.head.seq}\n".encode())
    for number in (1, 2):
        (frame,) = log.commit([draft(event(number), event(number))])
        os.write(1, f"ACK {frame.last}\n".encode())
    log.close()
    os.write(1, b"CLOSED\n")


def seal(folder: Path) -> None:
    """Seal the full segments of a log that nobody writes, and say how many there were."""
    sealed = seal_full_segments(folder, lineage=alone(LOG_ID, genesis_hash(folder)), key=None, leave=lambda: False)
    os.write(1, f"SEALED {sealed}\n".encode())


def backup(folder: Path, target: Path) -> None:
    """Copy a log, and say when the copy was found whole."""
    made = back_up(folder, target, holder=this_process(since=NOW, purpose="child"))
    assert made.verification.verdict == "OK", made.verification.findings
    os.write(1, b"DONE\n")


def repair(folder: Path, copy: Path) -> None:
    """Mend a log from its copy, and say when it is done."""
    repair_log(folder, copy, holder=this_process(since=NOW, purpose="child"), now=NOW)
    os.write(1, b"DONE\n")


def by_the_byte(folder: Path, count: int) -> None:
    """Commit with a system that takes one byte at a time, until the file may grow no further."""
    write = os.write

    def one_byte(fd: int, data: bytes) -> int:
        return write(fd, bytes(data[:1]) if fd > sys.stderr.fileno() else data)

    os.write = one_byte  # type: ignore[assignment]  # it takes less than the real one: bytes are all it gets here
    limited(folder, count)


def limited(folder: Path, count: int) -> None:
    """Commit until the file may grow no further."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
    acks(folder, 1000)


def orphan(folder: Path) -> None:
    """Leave a forked child alive behind a writer that is about to be killed."""
    log = opened(folder)
    assert log.epoch == 1
    if os.fork() == 0:
        os.write(1, b"OPEN\n")
        time.sleep(60)
    time.sleep(60)


if __name__ == "__main__":
    mode, where, *rest = sys.argv[1:]
    if mode == "acks":
        acks(Path(where), int(rest[0]))
    elif mode == "hold":
        hold(Path(where))
    elif mode == "ask":
        ask(Path(where))
    elif mode == "life":
        life(Path(where), int(rest[0]))
    elif mode == "seal":
        seal(Path(where))
    elif mode == "backup":
        backup(Path(where), Path(rest[0]))
    elif mode == "repair":
        repair(Path(where), Path(rest[0]))
    elif mode == "by-the-byte":
        by_the_byte(Path(where), int(rest[0]))
    elif mode == "limited":
        limited(Path(where), int(rest[0]))
    else:
        assert mode == "orphan", mode
        orphan(Path(where))
