"""Owns which lines of a block are plain, and where everything stands in them."""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import zip_longest
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from . import limits
from .arrays import (
    INT32,
    ZERO,
    Column,
    Rows,
    all_of,
    by_value,
    bytes_of,
    count_up,
    cuts_of,
    looked_up,
    plus,
    scalar,
    strings,
    sums_between,
    together,
    with_zero,
)
from .checks import THREE_DIGITS
from .lines import Block
from .shapes import Layout, Shape, Shapes
from .spans import Delimiter, usual_delimiter

# Most lines of most logs are plain: text without an equals sign, then one message that is whole, right and ASCII, then
# the end of the line. They are read together, each step for all lines of a block. Whatever is not plain in every way is
# left to `Log._line`, which reads anything; of a plain line it would make the same rows.

_pa: Any = pa  # what the stubs of pyarrow lack
_pc: Any = pc

_ENDS_OF_LINE: Final = pa.array(["", "\r"])
_VERSION: Final = re.compile(r"FIXT?\.\d{1,2}\.\d{1,2}")


@lru_cache(maxsize=64)
def _marks(separators: bytes) -> bytes:
    return bytes(byte in separators for byte in range(256))


class SeparatedTexts:
    """What stands between the separators of a block: equals signs, delimiters and ends of lines."""

    def __init__(self, data: bytes, delimiter: str) -> None:
        separators = b"=\n" + delimiter.encode("latin-1")
        marked = _pc.equal(bytes_of(data.translate(_marks(separators))), scalar(1, pa.uint8()))
        self.data = data
        self.bytes = bytes_of(data)
        self.ends = _pc.indices_nonzero(marked).cast(INT32)
        self.kinds = self.bytes.take(self.ends)  # the separators alone
        offsets = with_zero(_pc.subtract(self.ends, count_up(len(self.ends))))
        self._texts = strings(offsets, data.translate(None, separators))

    def take(self, places: Column) -> Column:
        """Return the texts that end at these separators, by their numbers; none where there is none."""
        return self._texts.take(places)

    def kind(self, sign: str) -> Column:
        """Return for each separator whether it is this one."""
        return _pc.equal(self.kinds, scalar(ord(sign), pa.uint8()))

    def tags(self) -> Column:
        """Return what ends with an equals sign, with it."""
        return strings(with_zero(plus(self.ends, 1)), self.data).filter(self.kind("="))


class Known(NamedTuple):
    """What messages of a block have in common."""

    shape: Shape
    kind: str
    layout: Layout


def plain_lines(block: Block, shapes: Shapes) -> "PlainLines | None":
    """Look at a block as a whole; None if that is not worth while or no one character separates its fields."""
    if block.piece or len(block.data) < limits.SCANNED_BYTES_MIN:
        return None
    delimiter = usual_delimiter(block.data)
    return None if delimiter is None else PlainLines(block, delimiter, shapes)


class PlainLines:
    """The plain lines of a block. `others` are the indexes of those that are not.

    `rows` has a row for each plain line: its index; where it, its message and its end are; its separators by their
    numbers, the equals sign of BeginString and the end of the line; how many equals signs stand before it in the block;
    and which of the layouts that were met it has.
    """

    def __init__(self, block: Block, delimiter: Delimiter, shapes: Shapes) -> None:
        self.block = block
        self.delimiter = delimiter
        self._shapes = shapes
        self.texts = SeparatedTexts(block.data, delimiter.text)
        self._met: list[Shape | None] = []
        self.known: list[Known] = []
        self.rows: Rows = self._lines()
        for step in (self._formed, self._framed, self._shaped, self._laid_out, self._tried, self._hashed):
            if self.rows.num_rows:
                self.rows = step(self.rows)

    @property
    def others(self) -> list[int]:
        plain = set(self.rows["line"].to_pylist())
        return [line for line in range(len(self.block.lines)) if line not in plain]

    def _lines(self) -> Rows:
        texts = self.texts
        last = _pc.indices_nonzero(texts.kind("\n")).cast(INT32)
        stop = texts.ends.take(last)
        count = len(last)
        return _pa.RecordBatch.from_pydict(
            {
                "line": count_up(count),
                "begin": with_zero(plus(stop, 1)).slice(0, count),
                "stop": stop,
                "first": with_zero(plus(last, 1)).slice(0, count),
                "last": last,
            }
        )

    def _formed(self, rows: Rows) -> Rows:
        """Keep lines whose separators are those of one message, behind delimiters that may stand in a prefix."""
        between = re.escape(self.delimiter.text.encode("latin-1"))
        form = re.compile(rb"((?:%b)*)(?:=%b){4,}\n" % (between, between))
        bounds = with_zero(plus(rows["last"], 1))
        kinds = strings(bounds, self.texts.kinds.buffers()[1]).cast(pa.binary())
        encoded = kinds.dictionary_encode()
        signs = encoded.dictionary.to_pylist()
        leading = [len(found[1]) if (found := form.fullmatch(each)) else None for each in signs]
        first = _pc.add(rows["first"], looked_up(leading, INT32, encoded.indices))
        count = looked_up([each.count(b"=") for each in signs], INT32, encoded.indices)
        rows = rows.set_column(rows.schema.get_field_index("first"), "first", first)
        rows = rows.append_column("tags", _pc.subtract(_pc.cumulative_sum(count), count))
        data, empty = self.block.data, self.delimiter.empty.encode("latin-1")
        if not data.isascii() or empty in data:
            usual = [line.isascii() and empty not in line for line in self.block.lines]
            rows = rows.filter(pa.array(usual, pa.bool_()))
        return rows.filter(_pc.is_valid(rows["first"]))

    def _framed(self, rows: Rows) -> Rows:
        """Keep lines with a BeginString behind a prefix that is not too long, and nothing behind the message."""
        texts = self.texts
        message = plus(texts.ends.take(rows["first"]), -1)
        version = texts.take(plus(rows["first"], 1))
        fine = (
            _pc.equal(texts.bytes.take(_pc.max_element_wise(message, ZERO[0])), scalar(ord("8"), pa.uint8())),
            _pc.less_equal(_pc.subtract(message, rows["begin"]), scalar(limits.TEXT_AROUND_BYTES_MAX)),
            _pc.less_equal(_pc.subtract(rows["stop"], rows["begin"]), scalar(limits.MESSAGE_BYTES_MAX)),
            _pc.is_in(texts.take(rows["last"]), value_set=_ENDS_OF_LINE),
            by_value(version, lambda text: _VERSION.fullmatch(text) is not None, pa.bool_()),
        )
        return rows.append_column("message", message).filter(all_of(fine))

    def _shaped(self, rows: Rows) -> Rows:
        """Keep lines with tags by which a message can be taken apart, whatever its values are."""
        tags = self.texts.tags()
        _, offsets, data = tags.buffers()
        bounds = _pa.Array.from_buffers(INT32, len(tags) + 1, [None, offsets])
        count = _pc.shift_right(_pc.subtract(rows["last"], rows["first"]), scalar(1))  # of the tags of the message
        (told,) = cuts_of(data, bounds.take(plus(rows["tags"], 1)), bounds.take(_pc.add(rows["tags"], count)))
        encoded = told.dictionary_encode()
        self._met = [self._shape(text) for text in encoded.dictionary.to_pylist()]
        fine = looked_up([shape is not None for shape in self._met], pa.bool_(), encoded.indices)
        return rows.append_column("shape", encoded.indices).filter(fine)

    def _shape(self, told: str) -> Shape | None:
        """Return the shape of a message by its tags behind the first; None if the message is to be read on its own."""
        tags = ("8", *told[:-1].split("="))
        shape = self._shapes.shape(tags)
        framed = tags[1] == "9" and tags[-1] == "10" and len(tags[2]) <= 7  # as `START` has it
        return shape if shape.plain and framed and len(shape.counters) <= limits.SCANNED_COUNTERS_MAX else None

    def _laid_out(self, rows: Rows) -> Rows:
        """Keep lines whose last field is the CheckSum of the message itself."""
        deciding = [(shape.kind_at, *shape.counters) if shape else () for shape in self._met]
        values = [self.fields(rows, places, rows["shape"]) for places in zip_longest(*deciding)]
        codes, met = together([rows["shape"], *values])
        for row in met:
            kind, *told = (column[row].as_py() for column in values)
            self._know(self._met[rows["shape"][row].as_py()], kind, told)
        fine = [known.layout.sum_at == len(known.shape.tags) - 1 for known in self.known]
        return rows.append_column("known", codes).filter(looked_up(fine, pa.bool_(), codes))

    def _know(self, shape: Shape | None, kind: str, told: list[str]) -> None:
        assert shape is not None
        layout = self._shapes.layout(shape, kind, dict(zip(shape.counters, told, strict=False)))
        self.known.append(Known(shape, kind, layout))

    def _tried(self, rows: Rows) -> Rows:
        """Keep lines whose BodyLength and CheckSum are right."""
        texts = self.texts
        trailer = texts.ends.take(plus(rows["last"], -3))  # the delimiter before CheckSum
        counted = _pc.subtract(trailer, texts.ends.take(plus(rows["first"], 3)))
        printed = sums_between(self.block.data, rows["message"], plus(trailer, 1))
        fields = plus(_pc.divide(_pc.subtract(rows["last"], rows["first"]), scalar(2)), -1)  # before CheckSum
        excess = _pc.multiply(fields, scalar(self.delimiter.excess))
        sent = _pc.bit_wise_and(_pc.subtract(printed, excess), scalar(0xFF))
        fine = (
            _pc.equal(counted.cast(pa.string()), texts.take(plus(rows["first"], 3))),
            _pc.equal(looked_up(THREE_DIGITS, pa.string(), sent), texts.take(plus(rows["last"], -1))),
        )
        return rows.filter(all_of(fine))

    def _hashed(self, rows: Rows) -> Rows:
        lines: Iterable[bytes] = self.block.lines
        if rows.num_rows < len(self.block.lines):
            lines = map(self.block.lines.__getitem__, rows["line"].to_pylist())
        if b"\r" in self.block.data:
            lines = (line.removesuffix(b"\r") for line in lines)
        digits = b"".join([hashlib.sha256(line).digest() for line in lines]).hex().encode()
        return rows.append_column("hash", strings(_pa.arange(0, len(digits) + 1, 64).cast(INT32), digits))

    def fields(self, rows: Rows, places: Iterable[int | None], codes: Column) -> Column:
        """Return values of fields, by their place in messages of each code."""
        steps = [None if place is None else 2 * place + 1 for place in places]
        if steps.count(None) == len(steps):
            return _pa.nulls(rows.num_rows, pa.string())
        return self.texts.take(_pc.add(rows["first"], looked_up(steps, INT32, codes)))


class Stretches:
    """The lines of a block whose plain rows wait: all from `begin` up to `stop`, and in stretches before."""

    def __init__(self, begin: int) -> None:
        self.stop = begin
        self._begin = begin
        self._before: list[tuple[int, int]] = []

    def skip(self, stop: int) -> None:
        """Leave out the lines up to `stop`: a message that began before goes on there."""
        self._before.append((self._begin, self.stop))
        self._begin = self.stop = stop

    def take(self) -> list[tuple[int, int]]:
        """Return the stretches; none of their lines waits any more."""
        taken = [*self._before, (self._begin, self.stop)]
        self._before, self._begin = [], self.stop
        return [(begin, stop) for begin, stop in taken if begin < stop]
