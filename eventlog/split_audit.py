"""Owns the second process of an audit: a long log is cut into pieces, and two processes audit piece after piece.

The process is started anew, never forked: whoever verifies may hold locks and sockets that a copy must not have. It
takes a tenth of a second to come, so the first pieces are done here, and a log that is done by then waits for nobody.
Reports come back in order, and only a few are ahead of the first that is missing: memory does not grow with the log.
A process that dies, or cannot be had, costs speed and nothing else.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from eventlog.chain import Segment
from eventlog.lineage import Lineage
from eventlog.pieces import Piece, PieceReport, audit_named_piece, audit_piece

SPLIT_BYTES_MIN: Final = 32 * 1024 * 1024  # a shorter log is done before another process has come
HANDED_PIECES_MAX: Final = 2  # one that is worked on, and the next
AHEAD_PIECES_MAX: Final = 8  # that wait for the first one missing
ANSWER_SECONDS_MAX: Final = 60.0  # for a piece; a process that takes longer has been stopped, and is given up
_READ_BYTES: Final = 64 * 1024
_WORKER: Final = ("-P", "-m", "eventlog.split_audit")  # -P: no folder of the working directory is taken for ours


class _Task(Struct, frozen=True, kw_only=True):
    folder: str  # as `os.fsencode` and Latin-1 make it: any name goes through JSON
    lineage: Lineage


class _Answer(Struct, frozen=True):
    report: PieceReport | None


_encoder = msgspec.json.Encoder()


class SecondProcess:
    """A process that audits the pieces it is handed, in order. It is there when `ready` says so."""

    def __init__(self, folder: Path, lineage: Lineage) -> None:
        """Start it. Raises OSError."""
        self._child = subprocess.Popen(
            [sys.executable, *_WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._to, self._from = self._child.stdin, self._child.stdout
        self._received = bytearray()
        self._decoder = msgspec.json.Decoder(_Answer)
        self.ready = False
        self.gone = False
        self._send(_Task(folder=os.fsencode(folder.absolute()).decode("latin-1"), lineage=lineage))

    def hand(self, piece: Piece) -> None:
        self._send(piece)

    def _send(self, message: Struct) -> None:
        try:
            self._to.write(_encoder.encode(message) + b"\n")
            self._to.flush()
        except OSError:  # it died; what it was handed is never answered
            self.gone = True

    def answers(self, *, wait: bool) -> Iterator[PieceReport | None]:
        """Yield what has come; if told to wait, something has come or the process is gone."""
        while not self.gone:
            if not select.select([self._from], [], [], ANSWER_SECONDS_MAX if wait else 0)[0]:
                self.gone = wait
                return
            data = os.read(self._from.fileno(), _READ_BYTES)
            self.gone = not data
            self._received += data
            lines = self._received.split(b"\n")
            self._received = lines.pop()
            for line in lines:
                if self.ready:
                    yield self._decoder.decode(line).report
                self.ready = True
            wait = wait and not lines

    def end(self) -> None:
        """End the process, whatever it does, and wait for that."""
        self._child.kill()
        with suppress(OSError):
            self._to.close()
        self._from.close()
        self._child.wait()


class _Entry:
    """One piece on its way: with whom it is, and its report when it is there."""

    __slots__ = ("done", "piece", "report")

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.done = False
        self.report: PieceReport | None = None

    def settle(self, report: PieceReport | None) -> None:
        self.done, self.report = True, report


def reports(
    folder: Path, segments: Sequence[Segment], lineage: Lineage, pieces: Iterable[Piece]
) -> Generator[tuple[Piece, PieceReport | None], None, None]:
    """Yield each piece in order with its report, None for one that must be walked. Raises OSError."""
    second = SecondProcess(folder, lineage)
    try:
        yield from _both(second, segments, lineage, iter(pieces))
    finally:
        second.end()


def _both(
    second: SecondProcess, segments: Sequence[Segment], lineage: Lineage, pieces: Iterator[Piece]
) -> Generator[tuple[Piece, PieceReport | None], None, None]:
    entries: deque[_Entry] = deque()  # in order, the first not yielded
    handed: deque[_Entry] = deque()
    more = True
    while more or entries:  # every round audits a piece, or waits for one
        _collect(second, handed, wait=bool(handed) and (not more or len(entries) >= AHEAD_PIECES_MAX))
        while entries and entries[0].done:
            entry = entries.popleft()
            yield entry.piece, entry.report
        while second.ready and not second.gone and len(handed) < HANDED_PIECES_MAX:
            piece = next(pieces, None)
            if piece is None:
                more = False
                break
            handed.append(_Entry(piece))
            entries.append(handed[-1])
            second.hand(piece)
        if len(entries) < AHEAD_PIECES_MAX:
            piece = next(pieces, None)
            more = piece is not None
            if piece is not None:
                entries.append(_Entry(piece))
                entries[-1].settle(audit_piece(segments[piece.index], lineage, piece))


def _collect(second: SecondProcess, handed: deque[_Entry], *, wait: bool) -> None:
    for report in second.answers(wait=wait):
        handed.popleft().settle(report)
    while second.gone and handed:
        handed.popleft().settle(None)


def main() -> None:
    """Audit the pieces that come in on standard input, until it ends."""
    lines = sys.stdin.buffer
    task = msgspec.json.decode(lines.readline(), type=_Task)
    folder, decoder = Path(os.fsdecode(task.folder.encode("latin-1"))), msgspec.json.Decoder(Piece)
    _answer(b"ready")
    for line in lines:  # as many as the log has pieces
        _answer(_encoder.encode(_Answer(audit_named_piece(folder, task.lineage, decoder.decode(line)))))


def _answer(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
