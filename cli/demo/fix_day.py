"""Owns a day of FIX logs of any size, made from a seed: sessions, files, the dirt of real logs and the truth about it.

Forty sessions of one broker, the first the loudest (Zipf); a session has one version, one precision of its times and
one form of its lines. Its log is rotated by size and by day. One line is in memory at a time, and the truth has one
entry a file, so a day may be as large as the disk.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cli.demo.fix_session import Said, Session
from cli.demo.fix_writer import Cut, choose_cut, encode, fields, replaced

SESSIONS: Final = 40
MESSAGE_BYTES: Final = 240  # of a line, about
MESSAGES_MIN: Final = SESSIONS * 50  # fewer are no day
BYTES_MIN: Final = MESSAGES_MIN * MESSAGE_BYTES
ROTATE_BYTES_MAX: Final = 32 * 1000**2
ROTATE_BYTES_MIN: Final = 16_000

Kind = TypeVar("Kind")
Form = Literal["soh", "time_prefix", "direction_prefix", "pipe", "body", "gzip"]
FORMS: Final[Mapping[Form, float]] = {
    "soh": 0.60,
    "time_prefix": 0.20,
    "direction_prefix": 0.10,
    "pipe": 0.05,
    "body": 0.03,  # all messages in one line without an end
    "gzip": 0.02,
}
VERSIONS: Final = {"FIX.4.4": 0.6, "FIX.4.2": 0.3, "FIXT.1.1": 0.1}
FRACTION_DIGITS: Final = {3: 0.70, 6: 0.25, 9: 0.05}

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
QUARANTINED: Final = frozenset({"bad_price", "long_fraction", "bad_sending_time"})

OUTPUTS: Final = ("fix_order_lifecycle", "fix_session_events", "fix_other_messages")
_OUTPUT_OF: Final = dict.fromkeys("D8FG9H", OUTPUTS[0]) | dict.fromkeys("A012345j", OUTPUTS[1])

_BAD_PRICES: Final = ("abc", "1O.25", "12,50")
_FOREIGN: Final = (
    b"*** connection reset by peer, reconnecting in 5 s",
    b"java.net.SocketTimeoutException: Read timed out",
    b"    at java.base/java.net.SocketInputStream.socketRead0(Native Method)",
    b"INFO  engine - store flushed, 1024 messages",
)


class DayError(ValueError):
    """The day cannot be made as asked; the sentence says why and what to do."""


class Tally(Struct, frozen=True, kw_only=True):
    """Messages, counted. `checksum_absent` and `body_length_absent` are those that were cut before their end."""

    messages: dict[str, int]  # by MsgType
    checksum_ok: int
    checksum_bad: int
    checksum_absent: int
    body_length_ok: int
    body_length_bad: int
    body_length_absent: int

    @property
    def total(self) -> int:
        return sum(self.messages.values())


class FileTruth(Struct, frozen=True, kw_only=True):
    """What a log holds. `made` counts all messages with a MsgType, `quarantined` those with a value that fits no type.

    `unreadable` ones begin with 8=FIX and have no MsgType. `group_entries` has the tag of the groups' counter as key.
    """

    path: str  # relative to the folder
    bytes: int
    form: Form
    lines: int
    made: Tally
    quarantined: Tally
    unreadable: int
    foreign_lines: int
    group_entries: dict[str, int]
    dirt: dict[str, int]

    def quarantined_rows(self, output: str) -> int:
        """Return how many rows of an output must end in quarantine."""
        return sum(rows for msg_type, rows in self.quarantined.messages.items() if output_of(msg_type) == output)


class Truth(Struct, frozen=True, kw_only=True):
    """What was made: one entry a file, in the order of writing."""

    seed: int
    files: tuple[FileTruth, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def messages(self) -> int:
        return sum(file.made.total for file in self.files)

    @property
    def dirt(self) -> Counter[str]:
        """Return how often each dirt was made."""
        total: Counter[str] = Counter()
        for file in self.files:
            total.update(file.dirt)
        return total

    def save(self, path: Path) -> None:
        """Write one JSON line a file."""
        path.write_bytes(b"\n".join(msgspec.json.encode(file) for file in self.files) + b"\n")


def output_of(msg_type: str) -> str:
    """Return the table that has the messages of a type."""
    return _OUTPUT_OF.get(msg_type, OUTPUTS[2])


def generate(
    folder: Path,
    *,
    seed: int,
    messages_total: int | None = None,
    bytes_total: int | None = None,
    dirtiness: float = 1.0,
) -> Truth:
    """Fill a new or empty folder with logs and return the truth.

    Either `messages_total` or `bytes_total` (of text, before gzip) is given, and kept but for a few lines a session.
    `dirtiness` multiplies the shares of the dirt: 0 makes a clean day. The same arguments make the same bytes.
    Raises DayError for a folder that is not empty, or too small a day; OSError.
    """
    if (messages_total is None) == (bytes_total is None):
        raise DayError("make a day of FIX logs: say either how many messages or how many bytes")
    if messages_total is not None and messages_total < MESSAGES_MIN:
        raise DayError(f"make a day of {messages_total:,} messages: it has {MESSAGES_MIN:,} at least; ask for more")
    if bytes_total is not None and bytes_total < BYTES_MIN:
        raise DayError(f"make {bytes_total:,} bytes of FIX logs: a day has {BYTES_MIN:,} at least; ask for more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DayError(f"make FIX logs in {folder}: it is there and not an empty folder; name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    truths: list[FileTruth] = []
    for share, session, form in _sessions(seed, messages_total or (bytes_total or 0) // MESSAGE_BYTES):
        limit = _Limit(
            messages=share * messages_total if messages_total else None,
            bytes=share * bytes_total if bytes_total else None,
        )
        truths.extend(_SessionLog(folder, session, form, limit, dirtiness).write())
    return Truth(seed=seed, files=tuple(truths))


def _sessions(seed: int, messages_expected: int) -> Iterator[tuple[float, Session, Form]]:
    """Yield the sessions, the loudest first, with their shares of the day and the forms of their lines."""
    weights = [1 / number for number in range(1, SESSIONS + 1)]
    shares = [weight / sum(weights) for weight in weights]
    versions, digits = _dealt(VERSIONS, shares), _dealt(FRACTION_DIGITS, shares)
    for index, (share, form) in enumerate(zip(shares, _dealt(FORMS, shares), strict=True)):
        yield (
            share,
            Session(
                number=index + 1,
                begin=versions[index],
                fraction_digits=digits[index],
                with_data=form != "pipe",  # SOH inside data cannot be told from the others once all are printed
                messages_expected=max(1, round(share * messages_expected)),
                seed=f"{seed}/{index}",
            ),
            form,
        )


def _dealt(wanted: Mapping[Kind, float], shares: Sequence[float]) -> list[Kind]:
    """Return a kind for each share, so that the kinds come near to the sums that are wanted of them."""
    lacking = dict(wanted)
    dealt: list[Kind] = []
    for share in shares:
        kind = max(lacking, key=lacking.__getitem__)
        lacking[kind] -= share
        dealt.append(kind)
    return dealt


# --- one session's log --------------------------------------------------------------------------------------------


class _Limit(Struct, frozen=True):
    """How much a session writes; one of the two is None."""

    messages: float | None
    bytes: float | None

    def share_of(self, *, messages: int, bytes_: int) -> float:
        """Return how much of it is written, 1.0 for all."""
        return messages / self.messages if self.messages is not None else bytes_ / (self.bytes or 1)


class _Made(Struct, frozen=True):
    """A message with its bytes and what is true of them."""

    data: bytes
    msg_type: str
    groups: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]

    @property
    def quarantined(self) -> bool:
        return not QUARANTINED.isdisjoint(self.notes)


class _SessionLog:
    """Writes the messages of one session into its files."""

    def __init__(self, folder: Path, session: Session, form: Form, limit: _Limit, dirtiness: float) -> None:
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
        file: _LogFile | None = None
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

    def _open(self, date: str) -> _LogFile:
        self._files += 1
        session = self._session
        name = f"{session.begin}-BROKER-{session.client}.{date}-{self._files:03}.fix"
        return _LogFile(self._folder, name + (".gz" if self._form == "gzip" else ""), date, self._form)

    def _rotated(self, file: _LogFile, date: str) -> Generator[FileTruth, None, _LogFile]:
        yield file.finished()
        self._text_bytes += file.text_bytes
        return self._open(date)

    def _cut(self, file: _LogFile, said: Said) -> bytes | None:
        """End a file in the middle of a message, and return the rest of it; None where this rotation cuts none."""
        if said.notes or self._chance.random() >= self._cut_share:
            return None
        data = encode(said.draft)
        cut = choose_cut(data, self._chance, within_body=not said.groups)
        self._messages += 1
        file.write_fragment(self._prefix(said) + self._printed(data[: cut.at]), said.draft.msg_type, cut)
        return self._printed(data[cut.at :])

    def _write_line(self, file: _LogFile, said: Said, following: Iterator[Said]) -> None:
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

    def _made(self, said: Said) -> _Made:
        """Return a message with its bytes, right or with one dirt; what is unusual already has none."""
        dirt = "" if said.notes else _picked(self._chance.random(), self._message_dirt)
        data = encode(said.draft) if not dirt else self._dirty(said, dirt)
        if data is None:  # the message has no place for that dirt
            dirt, data = "", encode(said.draft)
        notes = (dirt,) if dirt else said.notes
        return _Made(data, said.draft.msg_type, said.groups, notes)

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


class _Counts:
    """A Tally while it is made."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.checksum_bad = self.body_length_bad = self.cut = 0

    def add(self, made: _Made) -> None:
        self.messages[made.msg_type] += 1
        self.checksum_bad += "wrong_checksum" in made.notes
        self.body_length_bad += "wrong_body_length" in made.notes

    def add_cut(self, msg_type: str) -> None:
        self.messages[msg_type] += 1
        self.cut += 1

    def tally(self) -> Tally:
        whole = self.messages.total() - self.cut
        return Tally(
            messages=dict(sorted(self.messages.items())),
            checksum_ok=whole - self.checksum_bad,
            checksum_bad=self.checksum_bad,
            checksum_absent=self.cut,
            body_length_ok=whole - self.body_length_bad,
            body_length_bad=self.body_length_bad,
            body_length_absent=self.cut,
        )


class _LogFile:
    """One file while it is written, and what is counted of it."""

    def __init__(self, folder: Path, name: str, date: str, form: Form) -> None:
        self.date = date
        self.text_bytes = 0
        self.dirt: Counter[str] = Counter()
        self._path = folder / name
        self._form: Form = form
        self._newlines = 0
        self._ends_open = False  # its last line has no end
        self._made, self._quarantined = _Counts(), _Counts()
        self._unreadable = self._foreign = 0
        self._group_entries: Counter[int] = Counter()
        self._raw: BinaryIO = self._path.open("xb")
        # Without name and time in its header, the same text makes the same bytes.
        self._out: BinaryIO | gzip.GzipFile = (
            gzip.GzipFile("", "wb", 6, self._raw, mtime=0) if form == "gzip" else self._raw
        )

    def write_line(self, line: bytes, made: Sequence[_Made]) -> None:
        """Write one line with what is in it."""
        self._write(line)
        for message in made:
            self._made.add(message)
            if message.quarantined:
                self._quarantined.add(message)
            self.dirt.update(message.notes)
            for counter, entries in message.groups:
                self._group_entries[counter] += entries

    def write_foreign(self, line: bytes) -> None:
        self._write(line + b"\n")
        self._foreign += 1

    def write_fragment(self, text: bytes, msg_type: str, cut: Cut) -> None:
        """Write what is left of a message at the end of the file."""
        self._write(text)
        self.dirt["cut_at_rotation"] += 1
        if cut.kind == "unreadable":
            self._unreadable += 1
            return
        self._made.add_cut(msg_type)
        if cut.kind == "header":
            self._quarantined.add_cut(msg_type)

    def write_rest(self, rest: bytes, *, newline: bool) -> None:
        """Write what a cut took off: a line without a message, or what stands before the first one of a body."""
        self._write(rest + b"\n" if newline else rest)
        self._foreign += newline

    def finished(self) -> FileTruth:
        """Close the file and return the truth about it."""
        if self._out is not self._raw:
            self._out.close()
        self._raw.close()
        return FileTruth(
            path=self._path.name,
            bytes=self._path.stat().st_size,
            form=self._form,
            lines=self._newlines + self._ends_open,
            made=self._made.tally(),
            quarantined=self._quarantined.tally(),
            unreadable=self._unreadable,
            foreign_lines=self._foreign,
            group_entries={str(tag): entries for tag, entries in sorted(self._group_entries.items())},
            dirt=dict(sorted(self.dirt.items())),
        )

    def _write(self, text: bytes) -> None:
        self._out.write(text)
        self.text_bytes += len(text)
        self._ends_open = not text.endswith(b"\n")
        self._newlines += not self._ends_open
