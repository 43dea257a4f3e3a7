"""Owns the log of one made-up FIX session: the form of its lines, their dirt, and its rotation into files."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from cli.demo.fix_log_file import LogFile, Made
from cli.demo.fix_session import BROKER, Said, Session
from cli.demo.fix_truth import FileTruth, Form
from cli.demo.fix_writer import choose_cut, encode, fields, replaced

MESSAGE_BYTES: Final = 240  # of a line, about
ROTATE_BYTES_MAX: Final = 32 * 1000**2
ROTATE_BYTES_MIN: Final = 16_000

# Shares of the messages with each dirt; a message has one of them at most.
MESSAGE_DIRT: Final[Mapping[str, float]] = {
    "wrong_checksum": 0.001,
    "wrong_body_length": 0.0006,
    "empty_value": 0.002,
    "custom_tag": 0.01,
    "bad_price": 0.0006,
    "long_fraction": 0.0006,
    "bad_sending_time": 0.0004,
}
# Shares of the lines; a line has one of them at most.
LINE_DIRT: Final[Mapping[str, float]] = {
    "no_last_soh": 0.001,
    "two_on_a_line": 0.001,
    "duplicated_line": 0.0006,
    "foreign_line": 0.002,
}
CUT_SHARE: Final = 0.7  # of the rotations by size
# Every word that `FileTruth.dirt` can hold.
DIRT: Final = (
    *MESSAGE_DIRT, *LINE_DIRT, "cut_at_rotation", "resent", "negative_price", "data_field", "reused_cl_ord_id",
)  # fmt: skip

_BAD_PRICES: Final = ("abc", "1O.25", "12,50")
_FOREIGN: Final = (
    b"*** connection reset by peer, reconnecting in 5 s",
    b"java.net.SocketTimeoutException: Read timed out",
    b"    at java.base/java.net.SocketInputStream.socketRead0(Native Method)",
    b"INFO  engine - store flushed, 1024 messages",
)


class Limit(Struct, frozen=True):
    """How much a session writes; one of the two is None."""

    messages: float | None
    bytes: float | None

    def share_of(self, *, messages: int, bytes_: int) -> float:
        """Return how much of it is written, 1.0 for all."""
        return messages / self.messages if self.messages is not None else bytes_ / (self.bytes or 1)


class SessionLog:
    """Writes the messages of one session into its files."""

    def __init__(self, folder: Path, session: Session, form: Form, limit: Limit, dirtiness: float) -> None:
        self._folder = folder
        self._session = session
        self._form = form
        self._limit = limit
        self._chance = session.chance
        self._message_dirt = {name: share * dirtiness for name, share in MESSAGE_DIRT.items()}
        self._line_dirt = {name: share * dirtiness for name, share in LINE_DIRT.items()}
        self._cut_share = CUT_SHARE * dirtiness
        self._files = 0
        self._messages = 0
        self._text_bytes = 0  # of the files before the open one
        expected = limit.bytes if limit.bytes is not None else (limit.messages or 0) * MESSAGE_BYTES
        self._rotate_bytes = min(max(int(expected / 3), ROTATE_BYTES_MIN), ROTATE_BYTES_MAX)

    def write(self) -> Iterator[FileTruth]:
        """Write all that the session says, and yield the truth about each file when it is closed."""
        said_all = self._session.messages()
        file: LogFile | None = None
        for said in said_all:
            if file is None:
                file = self._open(said.date)
            elif said.date != file.date:
                file = yield from self._rotated(file, said.date)
            elif file.text_bytes >= self._rotate_bytes:
                cut = self._cut(file, said)
                file = yield from self._rotated(file, said.date)
                if cut is not None:
                    file.write_rest(cut, newline=self._form != "body")
                    continue
            self._write_line(file, said, said_all)
            self._session.done = self._limit.share_of(
                messages=self._messages, bytes_=self._text_bytes + file.text_bytes
            )
        if file is not None:
            yield file.finished()

    def _open(self, date: str) -> LogFile:
        self._files += 1
        session = self._session
        name = f"{session.begin}-{BROKER}-{session.client}.{date}-{self._files:03}.fix"
        return LogFile(self._folder, name + (".gz" if self._form == "gzip" else ""), date, self._form)

    def _rotated(self, file: LogFile, date: str) -> Generator[FileTruth, None, LogFile]:
        yield file.finished()
        self._text_bytes += file.text_bytes
        return self._open(date)

    def _cut(self, file: LogFile, said: Said) -> bytes | None:
        """End a file in the middle of a message, and return the rest of it; None where this rotation cuts none."""
        if said.notes or self._chance.random() >= self._cut_share:
            return None
        data = encode(said.draft)
        cut = choose_cut(data, self._chance, within_body=not said.groups)
        self._messages += 1
        file.write_fragment(self._prefix(said) + self._printed(data[: cut.at]), said.draft.msg_type, cut)
        return self._printed(data[cut.at :])

    def _write_line(self, file: LogFile, said: Said, following: Iterator[Said]) -> None:
        """Write a message, or two, as one line with its dirt; in the form `body` a message is all there is."""
        made = [self._made(said)]
        if self._form == "body":
            self._messages += 1
            file.write_line(made[0].data, made)
            return
        dirt = _picked(self._chance.random(), self._line_dirt)
        if dirt == "two_on_a_line" and (second := next(following, None)) is not None:
            made.append(self._made(second))
        elif dirt == "foreign_line":
            file.write_foreign(self._chance.choice(_FOREIGN))
        line = self._prefix(said) + self._printed(b"".join(each.data for each in made))
        if dirt == "no_last_soh":
            line = line[:-1]
        for _ in range(2 if dirt == "duplicated_line" else 1):
            file.write_line(line + b"\n", made)
            self._messages += len(made)
        if dirt and (dirt != "two_on_a_line" or len(made) == 2):
            file.dirt[dirt] += 1

    def _made(self, said: Said) -> Made:
        """Return a message with its bytes, right or with one dirt; what is unusual already has none."""
        dirt = "" if said.notes else _picked(self._chance.random(), self._message_dirt)
        data = encode(said.draft) if not dirt else self._dirty(said, dirt)
        if data is None:  # the message has no place for that dirt
            dirt, data = "", encode(said.draft)
        notes = (dirt,) if dirt else said.notes
        return Made(data, said.draft.msg_type, said.groups, notes)

    def _dirty(self, said: Said, dirt: str) -> bytes | None:
        draft, chance = said.draft, self._chance
        match dirt:
            case "wrong_checksum":
                return encode(draft, checksum_off=chance.randrange(1, 256))
            case "wrong_body_length":
                return encode(draft, body_length_off=chance.randrange(1, 10))
            case "empty_value":
                return encode(replace(draft, header=draft.header + fields((57, ""))))
            case "custom_tag":
                return encode(replace(draft, body=draft.body + fields((5001, "ALGO"), (9702, chance.randrange(100)))))
            case "bad_sending_time":
                return encode(replace(draft, sending_time=f"20260231{draft.sending_time[8:]}"))
            case _:
                price = chance.choice(_BAD_PRICES) if dirt == "bad_price" else f"{chance.randrange(1, 400)}.12345678901"
                tag = 31 if chance.random() < 0.5 else 44
                body = replaced(draft.body, tag, price) if draft.msg_type in ("D", "G", "8") else None
                return None if body is None else encode(replace(draft, body=body))

    def _prefix(self, said: Said) -> bytes:
        if self._form == "time_prefix":
            return f"{said.time} : ".encode()
        if self._form == "direction_prefix":
            draft = said.draft
            return f"{'IN ' if said.incoming else 'OUT'} {draft.begin}:{draft.sender}->{draft.target} ".encode()
        return b""

    def _printed(self, data: bytes) -> bytes:
        return data.replace(b"\x01", b"|") if self._form == "pipe" else data


def _picked(draw: float, shares: Mapping[str, float]) -> str:
    """Return the dirt that a draw from 0 to 1 falls on, mostly none: ""."""
    for name, share in shares.items():
        if draw < share:
            return name
        draw -= share
    return ""
