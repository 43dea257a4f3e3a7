"""Owns the writing of one Parquet file: gathered into row groups, hashed while it passes, synced, never read again.

Sketch of one artifact: its bytes are written and hashed once; two fsyncs to stage it (file, folder).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, cast

import blake3

from eventlog.ids import Digest, final_name, stage_name
from eventlog.schema import RESERVED_PREFIXES
from sinks.errors import StageClosedError, StageSchemaError, disk_error
from sinks.folder import CREATE, MODE, opened
from sinks.sink import ArtifactIdentity, StagedArtifact
from sinks.uri import require_name, shown, staged_name_refusal

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

EXTENSION: Final = "parquet"
ROW_GROUP_ROWS_MAX: Final = 122_880  # what DuckDB scans with one thread
BUFFER_BYTES_MAX: Final = 64 * 1024 * 1024  # a row group is written earlier once it has gathered so many
# A batch of one row costs far more than its bytes: about this much for every column (buffers are padded to 64 bytes).
COLUMN_OVERHEAD_BYTES: Final = 1024
ZSTD_LEVEL: Final = 1
WRITE_BYTES: Final = 1024 * 1024  # gathered before they are hashed and written: pyarrow gives a page at a time
LONG_VALUE_BYTES: Final = 256  # of a value, on the average of its column
SAMPLE_ROWS: Final = 2_048  # the first of an artifact, by which texts are told that hardly repeat


class ParquetStage:
    """One staged file while it is written. Batches are gathered into row groups, so small ones cost little."""

    def __init__(self, folder: Path, identity: ArtifactIdentity, schema: pa.Schema) -> None:
        from sinks.arrow_schema import artifact_schema

        self._identity = identity
        self._folder = folder
        self._staged = stage_name(identity.log_id, identity.job, identity.attempt, identity.output)
        require_name(staged_name_refusal(self._staged), doing=f"stage in {shown(folder)}")
        self._schema = artifact_schema(schema, identity)
        self._rows = 0
        self._buffer: list[pa.RecordBatch] = []
        self._buffer_rows = 0
        self._buffer_bytes = 0
        self._state: Literal["open", "broken", "finished", "abandoned"] = "open"
        self._file = _HashingFile(folder / self._staged)
        self._writer: pq.ParquetWriter | None = None  # made for the first rows, whose shape decides how it writes

    @property
    def rows(self) -> int:
        return self._rows

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch. Raises OSError, StageSchemaError, StageClosedError; ValueError for a null where none may be.

        Rows are gathered first, so an error of the disk or of a null may concern rows of earlier calls; after it the
        stage is broken.
        """
        self._must_be_open("write to")
        if not batch.schema.equals(self._schema):
            raise StageSchemaError(
                f"write to {self._staged}: the batch has ({_columns(batch.schema)}) and the output "
                f"({_columns(self._schema)}); cast the batch before it is staged"
            )
        offset = 0
        while offset < batch.num_rows:  # at most one round per row: a flush leaves room for at least one
            piece = batch.slice(offset, ROW_GROUP_ROWS_MAX - self._buffer_rows)
            offset += piece.num_rows
            self._gather(piece)
        self._rows += batch.num_rows

    def finish(self) -> StagedArtifact:
        """Write what is left, sync file and folder, describe the artifact. Raises OSError; call once."""
        self._must_be_open("finish")
        self._flush()
        self._state = "broken"  # until all of it is durable
        if self._writer is None:
            self._writer = self._opened_writer(self._schema.empty_table())
        self._writer.close()
        self._file.sync_and_close()
        try:
            with opened(self._folder) as folder:
                os.fsync(folder)
        except OSError as error:
            raise disk_error(error, doing=f"sync the folder {shown(self._folder)}") from error
        self._state = "finished"
        return self._artifact()

    def abandon(self) -> None:
        """Remove the staged file, finished or not; what has been published meanwhile stays. Raises OSError."""
        self._state = "abandoned"
        self._buffer.clear()
        self._file.silence()
        if self._writer is not None:
            self._writer.close()
        self._remove()

    def _remove(self) -> None:
        self._file.silence()
        try:
            (self._folder / self._staged).unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, doing=f"remove {self._staged} from {shown(self._folder)}") from error

    def _gather(self, piece: pa.RecordBatch) -> None:
        self._buffer.append(piece)
        self._buffer_rows += piece.num_rows
        self._buffer_bytes += piece.nbytes + COLUMN_OVERHEAD_BYTES * max(piece.num_columns, 1)
        if self._buffer_rows >= ROW_GROUP_ROWS_MAX or self._buffer_bytes >= BUFFER_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._buffer:
            return
        self._state = "broken"  # until the row group is in: pyarrow closes a half-written file without complaint
        # One chunk per column: the bytes of a row group then do not depend on how its rows were cut into batches.
        table = pa.Table.from_batches(self._buffer, schema=self._schema).combine_chunks()
        self._buffer = []
        self._buffer_rows = self._buffer_bytes = 0
        if self._writer is None:
            self._writer = self._opened_writer(table)
        self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS_MAX)
        self._state = "open"

    def _opened_writer(self, first: pa.Table) -> pq.ParquetWriter:
        import pyarrow.parquet as pq

        file = cast("IO[bytes]", self._file)  # it has what pyarrow calls: write, tell, flush, closed, close
        return pq.ParquetWriter(file, self._schema, **_storage(first))

    def _must_be_open(self, verb: str) -> None:
        if self._state != "open":
            why = "an earlier write failed" if self._state == "broken" else f"it is {self._state}"
            raise StageClosedError(f"{verb} {self._staged}: {why}; abandon it and stage the output in a new attempt")

    def _artifact(self) -> StagedArtifact:
        identity = self._identity
        return StagedArtifact(
            output=identity.output,
            staged=self._staged,
            final=final_name(identity.log_id, identity.job, identity.attempt, identity.output, EXTENSION),
            digest=self._file.digest(),
            bytes=self._file.size,
            rows=self._rows,
            schema_hash=identity.schema_hash,
        )


def _storage(rows: pa.Table) -> dict[str, Any]:
    """Return how ParquetWriter is to store each column, by its type and the first rows.

    Whole numbers and times are packed as differences, which are smaller than zstd makes them and need no second pass.
    Long values hardly repeat: a dictionary of them is built and thrown away, and the smallest of them tells nobody
    anything. Other texts that do not repeat, numbers of orders or hashes, are smaller without one too. Lineage is one
    value a file, and compressing that costs more than its bytes.
    """
    import pyarrow as pa

    types = pa.types
    names = [field.name for field in rows.schema]
    numbers = [field.name for field in rows.schema if types.is_int64(field.type) or types.is_timestamp(field.type)]
    long = [name for name in names if rows.num_rows and rows[name].nbytes > LONG_VALUE_BYTES * rows.num_rows]
    single = [field.name for field in rows.schema if types.is_string(field.type) and _hardly_repeats(rows[field.name])]
    plain = {*numbers, *(name for name in names if name.startswith(RESERVED_PREFIXES))}
    return {
        "compression": {name: "NONE" if name in plain else "ZSTD" for name in names},
        "compression_level": {name: ZSTD_LEVEL for name in names if name not in plain},
        "use_dictionary": [name for name in names if name not in {*numbers, *long, *single}],
        "column_encoding": dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
        "write_statistics": [name for name in names if name not in long],
    }


def _hardly_repeats(texts: Any) -> bool:
    """Say whether most of the first texts of a column are different; not asked of a few, where nothing is to be won."""
    if len(texts) < SAMPLE_ROWS:
        return False
    import pyarrow.compute as pc

    sample = texts.slice(0, SAMPLE_ROWS)
    return bool(2 * pc.count_distinct(sample).as_py() > SAMPLE_ROWS)


class _HashingFile:
    """A new file, written front to back, that knows the BLAKE3 and the size of its bytes.

    It is what pyarrow writes into; only the stage closes it. The first failure is final, because pyarrow goes on
    writing after one. Once silenced it takes bytes and drops them, because pyarrow ends what it began with a footer.
    """

    closed: Final = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = blake3.blake3()
        self._failure: OSError | None = None
        self._silent = False
        self._waiting = bytearray()
        self.size = 0
        try:
            self._file = open(os.open(path, CREATE, MODE), "wb", buffering=0)  # noqa: PTH123, SIM115  kept open
        except FileExistsError as error:
            raise FileExistsError(
                errno.EEXIST,
                f"stage {path.name} in {shown(path.parent)}: this attempt has staged the output before; "
                "discard it or dispatch a new attempt",
            ) from error
        except OSError as error:
            raise disk_error(error, doing=f"stage {path.name} in {shown(path.parent)}") from error

    def write(self, data: bytes) -> int:
        """Take all of it; the disk gets it WRITE_BYTES at a time. Raises OSError: the first one, for ever."""
        if self._silent:
            return len(data)
        if self._failure is not None:
            raise self._failure
        self._waiting += data
        self.size += len(data)
        if len(self._waiting) >= WRITE_BYTES:
            self._write_waiting()
        return len(data)

    def _write_waiting(self) -> None:
        data, self._waiting = self._waiting, bytearray()
        try:
            self._write_all(data)
        except OSError as error:
            self._failure = disk_error(error, doing=f"write {self._path.name} in {shown(self._path.parent)}")
            raise self._failure from error
        self._hash.update(data)

    def _write_all(self, data: bytearray) -> None:
        view = memoryview(data)
        while view:  # at most len(data) rounds: each writes a byte or raises
            written = self._file.write(view)
            if not written:
                raise OSError(errno.EIO, "the file took no bytes")
            view = view[written:]

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Do nothing: what waits is written when the file is synced."""

    def sync_and_close(self) -> None:
        """Make the bytes durable. Raises OSError; the file is closed either way."""
        with self._file:
            if self._failure is not None:
                raise self._failure
            self._write_waiting()
            try:
                os.fsync(self._file.fileno())
                held = os.fstat(self._file.fileno()).st_size
            except OSError as error:
                raise disk_error(error, doing=f"sync {self._path.name} in {shown(self._path.parent)}") from error
        if held != self.size:
            raise OSError(
                errno.EIO,
                f"sync {self._path.name} in {shown(self._path.parent)}: it holds {held} bytes of {self.size} written; "
                "find out what else writes there",
            )

    def silence(self) -> None:
        """Close the file for good and drop what comes after."""
        self._silent = True
        self._file.close()

    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}{'' if field.nullable else ' not null'}" for field in schema)
