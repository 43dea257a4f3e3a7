"""Owns a look at a source whose columns are not declared yet: rows as text, from a guest, for inference.

A parser whose columns come from a setting shows them without one: behind the two helper columns each column of the
source, as the text that stands there. Nothing is staged, reported or recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
from msgspec import Struct

from eventlog.ids import PathText, path_text
from executors.guest.frames import GuestBatch, GuestFailure
from executors.guest.host import GuestOrders, start_guest
from executors.guest.parents import GuestParents
from executors.infer import ColumnFinding, Kind, TableInference
from executors.parser_catalog import ParserPackage

HELPER_COLUMNS = 2  # the line of a row, and what is wrong with it


class LookError(Exception):
    """A source could not be looked at; the sentence says why. `hint` is what a person can do."""

    def __init__(self, reason: str, *, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class LeftOut(Struct, frozen=True, kw_only=True):
    """A file that could not be looked at; a run says so again, of the file."""

    path: PathText
    reason: str
    hint: str


class HeaderGroup(Struct, frozen=True, kw_only=True):
    """Files that have the same columns in the same order."""

    columns: tuple[str, ...]
    paths: tuple[PathText, ...]


class Inference(Struct, frozen=True, kw_only=True):
    """What a look at files found. `groups` has more than one entry where their headers differ: nothing is said then.

    `wrong` rows are those that the parser itself calls wrong: they speak for no type. `whole` says that every row of
    every file was looked at.
    """

    groups: tuple[HeaderGroup, ...]
    findings: tuple[ColumnFinding, ...]
    rows: int
    wrong: int
    whole: bool
    left_out: tuple[LeftOut, ...]


def infer_columns(package: ParserPackage, paths: Sequence[bytes], settings: dict[str, str]) -> Inference:
    """Look at files and infer the columns that they share; keys of objects are gathered, headers have to be equal.

    Every file is opened, so that no other header is overlooked. Raises GuestStartError.
    """
    looking = _Looking(package, settings)
    parents = GuestParents()
    try:
        for path in paths:
            looking.at(path, parents)
    finally:
        parents.close()
    return looking.inference()


class _Looking:
    def __init__(self, package: ParserPackage, settings: dict[str, str]) -> None:
        (setting,) = set(package.columns_from.values())
        self._package = package
        self._settings = {**package.settings, **settings, setting: ""}
        self._table = TableInference()
        self._groups: dict[tuple[str, ...], list[PathText]] = {}
        self._left_out: list[LeftOut] = []
        self._wrong = 0
        self._whole = True

    def at(self, path: bytes, parents: GuestParents) -> None:
        """Look at one file: at its columns, and at its rows as far as more are wanted."""
        orders = GuestOrders(
            parser_file=self._package.file,
            parser_digests=self._package.digests,
            source=path,
            settings=self._settings,
            outputs=tuple(schema.output for schema in self._package.outputs),
        )
        name = path_text(path)
        try:
            with start_guest(orders, parents=parents) as guest:
                for batch in _batches(guest.frames()):
                    if not self._take(batch, name):
                        break
        except LookError as error:
            self._left_out.append(LeftOut(path=name, reason=str(error), hint=error.hint))

    def inference(self) -> Inference:
        groups = tuple(HeaderGroup(columns=each, paths=tuple(paths)) for each, paths in self._groups.items())
        whole = self._whole and not self._left_out
        return Inference(
            groups=groups,
            findings=self._table.findings(whole=whole) if len(groups) <= 1 else (),
            rows=self._table.rows,
            wrong=self._wrong,
            whole=whole,
            left_out=tuple(self._left_out),
        )

    def _take(self, batch: pa.RecordBatch, path: PathText) -> bool:
        """Take rows; False where no more of this file are wanted."""
        is_json = (batch.schema.metadata or {}).get(b"values") == b"json"
        columns = tuple(batch.schema.names[HELPER_COLUMNS:])
        group = self._groups.setdefault(() if is_json else columns, [])
        if path not in group[-1:]:
            group.append(path)
        sound = _sound(batch)
        wanted = sound.slice(0, 0 if self._table.full else self._table.rows_wanted)
        if len(self._groups) == 1:
            self._wrong += batch.num_rows - sound.num_rows
            _give(wanted, self._table, is_json=is_json)
        if wanted.num_rows < sound.num_rows or self._table.full:
            self._whole = self._whole and wanted.num_rows == sound.num_rows and not self._table.full
            return False
        return True


def _batches(frames: Iterator[object]) -> Iterator[pa.RecordBatch]:
    for frame in frames:
        if isinstance(frame, GuestFailure):
            raise LookError(frame.reason, hint=frame.hint)
        if isinstance(frame, GuestBatch):
            yield _checked(frame.batch)


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch that can be looked into. Raises LookError for one that is not as a look has to be."""
    try:
        batch.validate(full=True)  # before anything else looks into its buffers
    except (pa.ArrowException, ValueError) as error:
        raise LookError(f"the parser gave a corrupt batch: {error}", hint="report it to the parser's author") from error
    line, said, *values = batch.schema.types
    if line != pa.int64() or any(type_ != pa.string() for type_ in (said, *values)):
        raise LookError("the parser shows its source in other types than text", hint="report it to the parser's author")
    return batch


def _sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows that the parser says nothing against."""
    return batch.filter(batch.column(1).is_null()) if batch.column(1).null_count < batch.num_rows else batch


def _give(batch: pa.RecordBatch, table: TableInference, *, is_json: bool) -> None:
    lines = [int(line) for line in batch.column(0).to_pylist() if line is not None]
    columns = [column.to_pylist() for column in batch.columns[HELPER_COLUMNS:]]
    table.take(batch.schema.names[HELPER_COLUMNS:], lines, columns, value_of=json_value if is_json else None)


def json_value(text: str) -> tuple[str, Kind]:
    """Return what the JSON text of a value is, and of what kind; a string without its quotes."""
    first = text[:1]
    if first == '"':
        return str(json.loads(text)), "string"
    if first in ("{", "["):
        return text, "nested"
    if text == "null":
        return text, "null"
    return text, "boolean" if text in ("true", "false") else "number"
