"""Owns what is to be said of whole chunks, of the ids of their records, and of the file's header."""

from .account import Account
from .layout import CHUNK_BYTES, CHUNK_HEADER_BYTES, INT64_MAX, FileHeader
from .notes import ERROR, INFO, WARNING, Notes
from .times import moment_text
from .walk import SOUND, TORN, Chunk, place_of


class Findings:
    """Notes on what is about no single record, and the counts that come with them."""

    def __init__(self, account: Account, notes: Notes) -> None:
        self._account = account
        self._notes = notes
        self._runs: list[tuple[int, int, int, int]] = []  # first and last id, chunk, offset of its first record

    def note_chunk(self, chunk: Chunk) -> None:
        """Note what is wrong with a chunk as a whole, and the old records behind its own."""
        if not chunk.header_sound:
            value = "the checksum of the chunk's header does not match it"
            place = {"chunk": chunk.index, "offset": chunk.offset, "length": CHUNK_HEADER_BYTES}
            self._notes.add("parse_warning", "chunk_header_checksum", value, WARNING, **place)
        if chunk.cut:
            value = f"the file ends {CHUNK_BYTES - chunk.present} bytes before the end of this chunk"
            place = {"chunk": chunk.index, "offset": chunk.offset, "length": chunk.present}
            self._notes.add("parse_warning", "cut_chunk", value, WARNING, **place)
        elif not chunk.data_sound:
            value = "the checksum of the chunk's records does not match them"
            place = {"chunk": chunk.index, "offset": chunk.offset + CHUNK_HEADER_BYTES}
            length = chunk.end - CHUNK_HEADER_BYTES
            self._notes.add("parse_warning", "chunk_data_checksum", value, WARNING, **place, length=length)
        for piece in chunk.slack:
            self._account.slack_records += 1
            told = moment_text(piece[3])
            self._notes.add("slack", "old_record", told, INFO, **place_of(chunk, piece), header_id=piece[2])

    def note_ids(self, chunk: Chunk) -> None:
        """Remember the run of ids of a chunk and note the ones that are missing inside it."""
        records = [piece for piece in chunk.pieces if piece[4] in (SOUND, TORN)]
        if not records:
            return
        ids = [piece[2] for piece in records]
        if ids != list(range(ids[0], ids[0] + len(ids))):
            for before, piece in zip(ids, records[1:], strict=False):
                self._gap(before, piece[2], chunk.index, chunk.offset + piece[0])
        last = ids[-1]
        if chunk.last_id > last:
            self._gap(last, chunk.last_id + 1, chunk.index, chunk.offset + records[-1][0] + records[-1][1])
            last = chunk.last_id
        self._runs.append((ids[0], last, chunk.index, chunk.offset + records[0][0]))

    def note_gaps(self) -> None:
        """Note the ids that are missing between chunks, taken in the order of their ids: a log is written in a ring."""
        reached = None
        for first, last, index, offset in sorted(self._runs):
            if reached is not None:
                self._gap(reached, first, index, offset)
            reached = last if reached is None else max(reached, last)

    def _gap(self, before: int, after: int, chunk: int, offset: int) -> None:
        missing = after - before - 1
        if missing > 0:
            span = f"{before + 1}" if missing == 1 else f"{before + 1} to {after - 1}"
            value = f"{missing} record ids are missing: {span}"
            self._notes.add("gap", "record_ids", value, WARNING, chunk=chunk, offset=offset, length=0, header_id=after)

    def note_header(self, header: FileHeader) -> None:
        """Note what the file's header says against what was found; a live log's header lags behind."""
        if header.next_record_id > INT64_MAX:
            said = f"the header's next record id {header.next_record_id} does not fit into int64"
            self._account.note_range(24, 8, said)
            self._notes.add("conversion_failed", "header_next_record_id", said, ERROR, chunk=None, offset=24, length=8)
        if not header.sound:
            said = "the checksum of the file's header does not match it"
            self._notes.add("parse_warning", "file_header_checksum", said, WARNING, chunk=None, offset=0, length=128)
        if header.chunk_count != self._account.chunk_count:
            said = f"the header counts {header.chunk_count} chunks, the file holds {self._account.chunk_count}"
            self._notes.add("parse_warning", "chunk_count", said, INFO, chunk=None, offset=42, length=2)
