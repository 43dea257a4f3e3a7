"""Owns one log being read: its messages one after the other, and the rows that wait for their batch."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from . import limits
from .account import Account, Statement
from .checks import checked
from .dictionary import MESSAGE_TABLES
from .fields import empty_values, split
from .lines import Block, Line, Lines
from .plain_lines import PlainLines, Stretches, plain_lines
from .plain_rows import PlainRows
from .settings import Options
from .shapes import Shape, Shapes
from .spans import START, Delimiter, Span, delimiter_of, span_of
from .tables import Batch, Tables, in_order
from .text import decoded, joined_notes, shown
from .times import prefix_time
from .waiting import Waiting

_CHECKSUM_FIELD: Final = re.compile(rb"10=\d{1,3}(?!\d)")
_NOTHING_AROUND: Final = ("", "")
_NOTHING_FOUND: Final = (None, None, None, None)


class Log:
    """One log being read: its account, and the rows that wait for their batch."""

    def __init__(self, options: Options, lines: Lines, tables: Tables) -> None:
        self._options = options
        self._lines = lines
        self._tables = tables
        self._shapes = Shapes(tables.column_tags)
        self._account = Account()
        self._waiting = Waiting(tables.schemas, options.tags)
        self._ready: list[Batch] = []
        self._plain: PlainLines | None = None  # of the block that is being read
        self._stretches = Stretches(0)
        self._index = 0  # of the message in its line
        self._digest = ""  # of the line
        self._joined = False  # several lines are read as one
        self._joins_in_vain = 0  # bytes

    def batches(self) -> Iterator[Batch]:
        """Read all lines; yield batches as they fill, then what is left."""
        for block in self._lines:
            yield from self._block(block)
        if self._lines.fault:
            self._note_fault()
            self._take()
        yield from self._given()

    def _block(self, block: Block) -> Iterator[Batch]:
        """Read the lines of a block that an earlier message did not take: the plain ones together, the others each."""
        self._plain = plain_lines(block, self._shapes)
        self._stretches = Stretches(block.taken)
        for at in range(len(block.lines)) if self._plain is None else self._plain.others:
            if at < block.taken:
                continue
            self._stretches.stop = at
            self._line(block.take(at))
            if block.taken > at + 1:
                self._stretches.skip(block.taken)
            if self._waiting.full:
                self._take()
            yield from self._given()
        block.taken = self._stretches.stop = len(block.lines)
        self._take()
        yield from self._given()

    def _given(self) -> Iterator[Batch]:
        ready, self._ready = self._ready, []
        return iter(ready)

    def statements(self) -> list[Statement]:
        """Return the account of the messages, then that of the lines."""
        return self._account.statements(self._lines.count)

    def _note_fault(self) -> None:
        at = self._lines.position
        reason = f"the packed log cannot be read further: {self._lines.fault}"
        self._account.note_range(at, 0, reason)
        place = (max(self._lines.count, 1), 0, at, hashlib.sha256().hexdigest())
        self._waiting.error(place, 0, "gzip_damaged", self._lines.fault, "")

    # Lines.

    def _line(self, line: Line) -> None:
        """Take in one line, and the following ones where a message goes on there."""
        if line.piece < 2:
            self._index = 0
        self._joined = False
        start = None
        if b"8=FIX" in line.data:
            text = line.data.decode("latin-1")
            start = START.search(text)
        if start is None:
            self._foreign(line)
        else:
            self._messages(line, text, start)

    def _foreign(self, line: Line) -> None:
        data = line.data.removesuffix(b"\r")
        if not data or (data.isspace() and not line.piece):
            self._account.skips["blank line"] += not line.piece
            return
        self._digest = hashlib.sha256(data).hexdigest()
        if line.piece:
            self._lost(line, 0, len(data), "line_too_long", f"no message in {len(data):,} bytes of a line", counted=0)
            self._account.close_line(line, rows=0)
        else:
            self._account.skips["no message in the line"] += 1
            self._error(line, 0, len(data), "no_message", None)

    def _messages(self, line: Line, text: str, start: "re.Match[str] | None") -> None:
        """Take in the messages of a line that holds at least the beginning of one."""
        rows = at = 0
        size = self._whole_line(line, text)
        while start is not None:  # each turn moves on by a message
            begin = start.start()
            if start[2] is None:
                start = START.search(text, start.end())
                end = start.start() if start else size
                self._lost(line, begin, end, "no_delimiter", "nothing separates BeginString from what follows")
            else:
                delimiter = delimiter_of(start[2])
                span = span_of(text, start, delimiter)
                if span.trailer < 0 and span.body + span.told >= size and (joined := self._join(line, span)):
                    line, text = joined, joined.data.decode("latin-1")
                    size = self._whole_line(line, text)
                    span = span_of(text, start, delimiter)
                end = min(span.end, size)
                start = START.search(text, end)
                around = (text[at:begin], "" if start else text[end:size])
                rows += self._message(line, text, span, end, delimiter, around)
            at = end
            self._index += 1
            if self._waiting.full:
                self._take()
        self._account.close_line(line, rows=rows)

    def _whole_line(self, line: Line, text: str) -> int:
        """Take the hash of a line; return its length without the end of line."""
        size = len(text) - text.endswith("\r")
        self._digest = hashlib.sha256(line.data if size == len(text) else line.data[:size]).hexdigest()
        return size

    def _join(self, line: Line, span: Span) -> Line | None:
        """Return the line with those behind it, as far as BodyLength says, if a CheckSum stands there."""
        stop = span.body + span.told
        if line.piece or stop - span.start > limits.JOINED_BYTES_MAX:
            return None
        if self._joins_in_vain > limits.JOINS_IN_VAIN_BYTES_MAX:
            return None
        taken = [line]
        held = len(line.data)
        while (
            held < stop + 4 and len(taken) < limits.JOINED_LINES_MAX and (more := self._lines.following()) is not None
        ):
            taken.append(more)
            held += 1 + len(more.data)
        data = b"\n".join(each.data for each in taken)
        if len(taken) > 1 and not any(each.piece for each in taken) and _CHECKSUM_FIELD.match(data, stop):
            self._account.accepted_lines += len(taken) - 1
            self._joined = True
            return line._replace(data=data)
        self._lines.put_back(len(taken) - 1)
        self._joins_in_vain += held - len(line.data)
        return None

    # What could not be read.

    def _lost(self, line: Line, begin: int, end: int, reason: str, detail: str, *, counted: int = 1) -> None:
        self._account.unreadable += counted
        self._account.note_range(line.offset + begin, end - begin, detail)
        self._error(line, begin, end, reason, detail)

    def _error(self, line: Line, begin: int, end: int, reason: str, detail: str | None) -> None:
        preview = shown(line.data[begin : min(end, begin + limits.PREVIEW_CHARACTERS)].decode("latin-1"))
        place = (line.number, self._index, line.offset + begin, self._digest)
        self._waiting.error(place, end - begin, reason, detail, preview)

    # Messages.

    def _message(
        self, line: Line, text: str, span: Span, end: int, delimiter: Delimiter, around: tuple[str, str]
    ) -> int:
        """Make the rows of one message; return how many messages it was: one, or none."""
        begin = span.start
        if end - begin > limits.MESSAGE_BYTES_MAX:
            self._lost(line, begin, end, "message_too_long", f"a message of {end - begin:,} bytes")
            return 0
        notes: list[str] = []
        message = text[begin:end]
        whole = message.endswith(delimiter.text)
        shape, values, count = self._fields(message, line.data[begin:end], whole, delimiter, notes)
        kind = values[shape.kind_at] if shape.kind_at >= 0 else ""
        if not kind:
            self._lost(line, begin, end, "no_msg_type", "a message without MsgType (35)")
            return 0
        layout = self._shapes.layout(shape, kind, values)
        notes += layout.notes
        if "=" + delimiter.text in message or message.endswith("="):
            notes += empty_values(shape.tags, values, layout.typed)
        values.append(None)  # what a column without its field holds
        if span.told < 0:
            notes.append("body_length_misplaced" if "9" in shape.tags else "body_length_absent")
        checks = checked(line.data, span, values[layout.sum_at] or "", delimiter, count - 1, notes)
        if not whole:
            notes.append("last_delimiter_absent")
        if not message.isascii():
            message = shown(message)
        number = self._number(line, message, begin, notes) if self._joined or line.piece else line.number
        found = self._around(line, begin, end, around, notes) if around != _NOTHING_AROUND else _NOTHING_FOUND
        place = (number, self._index, line.offset + begin, self._digest)
        values += (*checks, joined_notes(notes), *found, delimiter.name, message, *place)
        self._waiting.message(layout.output, layout.row(values), end - begin)
        if layout.groups:
            self._waiting.groups(place, kind, layout.groups, values)
        self._waiting.tags(place, kind, shape.tags, values)
        self._account.messages += 1
        return 1

    def _fields(
        self, message: str, data: bytes, whole: bool, delimiter: Delimiter, notes: list[str]
    ) -> tuple[Shape, list[Any], int]:
        """Return the shape of a message, its values, and how many delimiters stand between them, and one."""
        inner = message[: -delimiter.length] if whole else message
        parts = inner.replace(delimiter.text, "=").split("=")
        tags = tuple(parts[::2])
        shape = self._shapes.shape(tags)
        # In order where each field has one equals sign and ends with the delimiter; a longer one may be torn.
        signs = delimiter.shape * len(tags) if len(parts) == 2 * len(tags) else None
        if shape.plain and data.translate(None, delimiter.others) == signs and message.isascii():
            return shape, parts[1::2], len(tags)
        pairs, count = split(inner, delimiter, notes)
        if not message.isascii():
            pairs = decoded(message, pairs, notes)
        return self._shapes.shape(tuple(tag for tag, _ in pairs)), [value for _, value in pairs], count

    def _number(self, line: Line, message: str, begin: int, notes: list[str]) -> int:
        """Return the number of the line in which a message begins that is not in a line of its own."""
        if line.piece:
            notes.append("line_piece")
        if "\n" in message:
            notes.append("joined_lines")
        return line.number + line.data.count(b"\n", 0, begin)

    def _around(
        self, line: Line, begin: int, end: int, around: tuple[str, str], notes: list[str]
    ) -> tuple[str | None, str | None, datetime | None, str | None]:
        """Return the text before the message, its time as text and as an instant, and the text behind the message."""
        prefix, suffix = around
        if len(prefix) > limits.TEXT_AROUND_BYTES_MAX:
            cut = len(prefix) - limits.TEXT_AROUND_BYTES_MAX
            self._error(line, begin - len(prefix), begin - limits.TEXT_AROUND_BYTES_MAX, "prefix_cut", None)
            notes.append(f"prefix_cut:{cut}")
            prefix = prefix[cut:]
        if len(suffix) > limits.TEXT_AROUND_BYTES_MAX:
            self._error(line, end + limits.TEXT_AROUND_BYTES_MAX, end + len(suffix), "suffix_cut", None)
            notes.append(f"suffix_cut:{len(suffix) - limits.TEXT_AROUND_BYTES_MAX}")
            suffix = suffix[: limits.TEXT_AROUND_BYTES_MAX]
        self._waiting.beside(len(prefix) + len(suffix))
        return (*self._prefix(prefix, notes), shown(suffix) or None)

    def _prefix(self, prefix: str, notes: list[str]) -> tuple[str | None, str | None, datetime | None]:
        text = shown(prefix)
        return (text or None, *prefix_time(text, self._options.prefix_zone, notes))

    # Batches.

    def _take(self) -> None:
        """Make a batch of each output that has rows, those of plain lines and the others in the order of the log."""
        plain = self._of_plain_lines(self._stretches.take())
        for output, waiting in self._waiting.take().items():
            made = [plain[output]] if output in plain else []
            if waiting:
                made.append(self._tables.of_rows(output, waiting))
            if made:
                self._ready.append((output, made[0] if len(made) == 1 else in_order(made)))

    def _of_plain_lines(self, stretches: Sequence[tuple[int, int]]) -> dict[str, pa.RecordBatch]:
        """Make and book the rows of the plain lines in some stretches, each of which is a message."""
        if self._plain is None:
            return {}
        made = PlainRows(self._plain, self._tables, self._options).batches(stretches)
        self._account.plain(sum(made[output].num_rows for output in MESSAGE_TABLES if output in made))
        return made
