"""Owns one log being read: its chunks one after the other, and the rows that wait for their batch."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import pyarrow as pa

from . import limits
from .account import Account, Statement
from .decoding import decode
from .events import EventsTable, read_events
from .findings import Findings
from .layout import CHUNK_BYTES, CHUNK_HEADER_BYTES, CHUNK_MAGIC, EMPTY_SLOT, FileHeader, slots
from .notes import ERROR, WARNING, Note, Notes
from .rows import Rows, cuts_of
from .settings import Options
from .tables import Batch, Column, Tables, batch_of
from .unnamed import Pairs, mixed_pairs, mixes_unnamed_data
from .values import Values, read_event_data, read_user_data
from .walk import DAMAGED, NO_RECORD, SOUND, TORN, Chunk, Piece, place_of, sound_starts, walk_chunk

FILE_REF_CHARACTERS: Final = 16  # of the BLAKE3 of the file, which `_cf_source_hash` holds in full

_pa: Any = pa  # what the stubs of pyarrow lack


class Log:
    """One log being read: its account, and the rows that wait for their batch."""

    def __init__(self, options: Options, source_hash: str, header: FileHeader, size: int, tables: Tables) -> None:
        self._options = options
        self._tables = tables
        self._header = header
        self._size = size
        self._source_hash = source_hash
        self._file_ref = source_hash[:FILE_REF_CHARACTERS]
        self._account = Account()
        self._notes = Notes(self._file_ref, tables.notes)
        self._findings = Findings(self._account, self._notes)
        self._values: dict[str, list[pa.RecordBatch]] = {"evtx_eventdata_kv": [], "evtx_userdata_kv": []}
        self._rows = Rows()
        self._unnamed: dict[int, Pairs] = {}  # by offset: values that only the XML holds

    def chunks(self, stream: BinaryIO) -> Iterator[Batch]:
        """Read the chunks to the end of the file; yield batches as they fill."""
        for index, (offset, slot) in enumerate(slots(stream)):
            self._slot(index, offset, slot)
            if len(self._rows) >= limits.BATCH_ROWS:
                yield from self._batches()

    def rest(self) -> Iterator[Batch]:
        """Yield what still waits: rows, the notes about the whole file, key-value rows, the row of the file."""
        yield from self._batches()
        self._findings.note_header(self._header)
        self._findings.note_gaps()
        for output, batches in self._values.items():
            if batches:
                yield output, batches[0] if len(batches) == 1 else _pa.concat_batches(batches)
        if len(self._notes) and "evtx_record_annotations" in self._options.tables:
            yield "evtx_record_annotations", self._notes.take()
        if "evtx_files" in self._options.tables:
            yield "evtx_files", self._file_row()

    # Slots.

    def _slot(self, index: int, offset: int, slot: bytes) -> None:
        """Take in one slot; what is no chunk becomes a range, what was never used is nothing."""
        cut = len(slot) < CHUNK_BYTES
        if slot.startswith(CHUNK_MAGIC) and len(slot) > CHUNK_HEADER_BYTES:
            self._chunk(walk_chunk(index, offset, slot, recover=self._options.recover))
        elif slot != EMPTY_SLOT[: len(slot)]:
            reason = "file ends inside a chunk's header" if cut else f"chunk starts with {slot[:8]!r}"
            if not slot.startswith(CHUNK_MAGIC):
                reason = f"chunk starts with {slot[:8]!r} instead of {CHUNK_MAGIC!r}"
            seen = len(sound_starts(slot, 0, len(slot)))
            self._account.unreadable_chunks += 1
            self._account.note_range(offset, len(slot), reason)
            value = f"{reason}; {seen} whole records can be seen in it"
            self._notes.add("chunk_unreadable", "chunk", value, ERROR, chunk=index, offset=offset, length=len(slot))

    def _chunk(self, chunk: Chunk) -> None:
        self._account.chunk_count += 1
        self._findings.note_chunk(chunk)
        texts, errors = decode(chunk)
        xml: list[str | None] = decode(chunk, xml=True).texts if self._options.raw_xml else [None] * len(texts)
        pieces = chunk.pieces
        self._findings.note_ids(chunk)
        if errors or any(piece[4] != SOUND for piece in pieces):
            kept = [at for at, piece in enumerate(pieces) if self._keep(chunk, piece, texts[at], errors.get(at, ""))]
            pieces = [pieces[at] for at in kept]
            texts = [texts[at] for at in kept]
            xml = [xml[at] for at in kept]
        else:
            self._account.found += len(pieces)
        if "evtx_eventdata_kv" in self._options.tables and mixes_unnamed_data(chunk.data, chunk.used):
            self._read_unnamed(chunk)
        self._rows.add(chunk, pieces, texts, xml)  # type: ignore[arg-type]  # what has no text was not kept

    def _keep(self, chunk: Chunk, piece: Piece, text: str | None, error: str) -> bool:
        """Book a piece of a damaged chunk; say whether it is to become a row."""
        start, _, header_id, _, state = piece
        if state == NO_RECORD:
            where = "the record before it ends" if start > CHUNK_HEADER_BYTES else "the records begin"
            begin = chunk.data[start : start + 8]
            self._lost(chunk, piece, f"no record where {where}: the bytes begin with {begin.hex(' ')}", counted=False)
            return False
        self._account.found += 1
        if state == DAMAGED:
            (told,) = struct.unpack_from("<I", chunk.data, start + 4)
            what = f"the record's header says {told} bytes, which does not fit its place"
            if not self._options.recover:
                what += "; --set recover=true looks for whole records behind it"
            if chunk.cut and start + told > chunk.end:
                what = f"the file ends inside a record: it has {told} bytes, {chunk.end - start} are there"
            self._lost(chunk, piece, what, counted=True)
            return False
        if text is None:
            self._lost(chunk, piece, error or "the decoder gave nothing", counted=True)
            return False
        if state == TORN:
            value = "the size at the record's end is not that of its header: the end was never written or overwritten"
            self._notes.add("torn", "size_copy", value, ERROR, **place_of(chunk, piece), header_id=header_id)
        return True

    def _lost(self, chunk: Chunk, piece: Piece, reason: str, *, counted: bool) -> None:
        start, size, header_id, _, _ = piece
        self._account.unreadable += counted
        self._account.note_range(chunk.offset + start, size, reason)
        note_type = "torn" if chunk.cut and start + size >= chunk.end else "record_undecodable"
        key = "record" if counted else "no_record"
        self._notes.add(note_type, key, reason, ERROR, **place_of(chunk, piece), header_id=header_id)

    # Values that only the XML holds.

    def _read_unnamed(self, chunk: Chunk) -> None:
        texts = decode(chunk, xml=True).texts
        for piece, text in zip(chunk.pieces, texts, strict=True):
            pairs = mixed_pairs(text) if text else None
            if pairs is not None:
                self._unnamed[chunk.offset + piece[0]] = pairs
                value = "raw_event_json lacks the unnamed values of this record; evtx_eventdata_kv holds them"
                self._notes.add(
                    "parse_warning", "unnamed_values", value, WARNING, **place_of(chunk, piece), header_id=piece[2]
                )

    # Batches.

    def _batches(self) -> Iterator[Batch]:
        rows, self._rows = self._rows, Rows()
        for first, end in cuts_of(rows.texts):
            yield from self._batch(rows if end - first == len(rows) else rows.part(slice(first, end)))
        self._unnamed = {}
        if len(self._notes) >= limits.SIDE_BATCH_ROWS:
            notes = self._notes.take()
            if "evtx_record_annotations" in self._options.tables:
                yield "evtx_record_annotations", notes

    def _batch(self, rows: Rows) -> Iterator[Batch]:
        table = read_events(rows, self._file_ref, self._tables.events)
        if table.bad:
            for position, reason in table.bad.items():
                self._record_bad(rows, position, reason)
            rows = rows.part([position for position in range(len(rows)) if position not in table.bad])
            if not len(rows):
                return
            table = read_events(rows, self._file_ref, self._tables.events)
        self._account.written += len(rows)
        yield "evtx_events", table.batch
        if "evtx_eventdata_kv" in self._options.tables:
            values = read_event_data(table.events, table.notes, rows.offsets, self._unnamed)
            yield from self._side("evtx_eventdata_kv", values, table)
        if "evtx_userdata_kv" in self._options.tables:
            yield from self._side("evtx_userdata_kv", read_user_data(table.events, table.notes), table)
        ids = table.batch.column("event_record_id")
        for note in table.notes:
            self._note_value(rows, ids, note)

    def _side(self, output: str, values: Values, table: EventsTable) -> Iterator[Batch]:
        """Gather key-value rows; yield them when there are enough."""
        if not values.values:
            return
        places = table.batch.select(["event_record_id", "file_ref", "chunk_index", "record_offset", "header_record_id"])
        waiting = self._values[output]
        waiting.append(values.batch(places, table.notes, self._tables.values))
        if sum(each.num_rows for each in waiting) >= limits.SIDE_BATCH_ROWS:
            yield output, _pa.concat_batches(waiting)
            waiting.clear()

    def _record_bad(self, rows: Rows, position: int, reason: str) -> None:
        self._account.unreadable += 1
        header_id, offset, length = rows.header_ids[position], rows.offsets[position], rows.lengths[position]
        said = f"record {header_id} {reason}"
        self._account.note_range(offset, length, said)
        place = {"chunk": rows.chunks[position], "offset": offset, "length": length, "header_id": header_id}
        self._notes.add("record_undecodable", "record", said, ERROR, **place)

    def _note_value(self, rows: Rows, ids: Column, note: Note) -> None:
        self._notes.add(
            note.note_type,
            note.key,
            note.value,
            note.severity,
            chunk=rows.chunks[note.position],
            offset=rows.offsets[note.position],
            length=rows.lengths[note.position],
            header_id=rows.header_ids[note.position],
            record_id=ids[note.position].as_py(),
        )

    # Sums.

    def _file_row(self) -> pa.RecordBatch:
        row = self._account.file_row(
            self._header, size=self._size, file_ref=self._file_ref, file_hash=self._source_hash
        )
        return batch_of([row], self._tables.files)

    def statement(self) -> Statement:
        return self._account.statement()
