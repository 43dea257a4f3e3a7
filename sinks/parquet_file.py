"""Owns Parquet files in a folder: staged hidden, published under their final name by a link, never overwritten.

Sketch of one artifact: its bytes are written once and hashed while they pass; two fsyncs to stage (file, folder), two
to publish (folder after the link, folder after the staged name is gone). Nothing is read again unless asked for.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, cast

import blake3
import msgspec
from msgspec import Struct

from eventlog.ids import Digest, LogId, PathText, final_name, stage_name
from eventlog.schema import RESERVED_PREFIXES
from sinks.errors import StageClosedError, StageSchemaError, disk_error, disk_sentence
from sinks.sink import (
    AlreadyPromoted,
    ArtifactIdentity,
    Conflict,
    Missing,
    Promoted,
    PromoteResult,
    StagedArtifact,
    StageWriter,
    Unavailable,
)
from sinks.uri import final_name_refusal, require_name, shown, staged_name_refusal, target_folder

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

EXTENSION: Final = "parquet"
ROW_GROUP_ROWS_MAX: Final = 122_880  # what DuckDB scans with one thread
BUFFER_BYTES_MAX: Final = 64 * 1024 * 1024  # a row group is written earlier once it has gathered so many
# A batch of one row costs far more than its bytes: about this much for every column (buffers are padded to 64 bytes).
COLUMN_OVERHEAD_BYTES: Final = 1024
ZSTD_LEVEL: Final = 1
READ_BYTES: Final = 1024 * 1024
WRITE_BYTES: Final = 1024 * 1024  # gathered before they are hashed and written: pyarrow gives a page at a time
LONG_VALUE_BYTES: Final = 256  # of a value, on the average of its column
SAMPLE_ROWS: Final = 2_048  # the first of an artifact, by which texts are told that hardly repeat
PROBE_TRIES_MAX: Final = 10

_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO in the way must not hang us
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MODE: Final = 0o644  # less what the umask takes away
_CANNOT_LINK: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_PROBE: Final = re.compile(r"\.probe-[0-9a-f]{16}\.(stage|done)", re.ASCII)
MARK_NAME: Final = ".casparian"
MARK_BYTES_MAX: Final = 1024 * 1024  # of its claims, some thousand; what lies behind is not read
_MARK: Final = b"casparian writes tables into this folder; without this file it takes the disk for not mounted\n"
_RENAME_NOREPLACE: Final = 1  # linux/fs.h


class ParquetSink:
    """A folder of Parquet files, one per job and output; see `sinks.sink.Sink` for what each method promises."""

    def __init__(self, uri: str) -> None:
        """Take a canonical URI; nothing is touched. Raises SinkUriError."""
        self._uri = uri
        self._folder = target_folder(uri)

    @property
    def uri(self) -> str:
        return self._uri

    def check(self) -> str | None:
        """Create the folder durably, and stage and publish a probe in it; the reason if that cannot be done."""
        try:
            _make_folder(self._folder)
            with _opened(self._folder) as folder:
                _probe(folder)
        except OSError as error:
            return disk_sentence(error, doing=f"prepare the folder {shown(self._folder)}")
        return None

    def is_marked(self) -> bool:
        """Say whether the folder holds MARK_NAME. Raises OSError if it cannot be looked at."""
        try:
            with _opened(self._folder) as folder:
                return _exists(folder, MARK_NAME)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise disk_error(error, doing=f"look at the folder {shown(self._folder)}") from error

    def mark(self) -> None:
        """Create MARK_NAME, durably. Raises OSError."""
        try:
            with _opened(self._folder) as folder:
                _mark(folder)
        except OSError as error:
            raise disk_error(error, doing=f"mark the folder {shown(self._folder)}") from error

    def claimed_by(self, log_id: LogId) -> PathText | None:
        """Return what the last line of the mark for this log says. Raises OSError."""
        try:
            with _opened(self._folder) as folder:
                return _claims(folder).get(log_id)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_error(error, doing=f"look at the mark of {shown(self._folder)}") from error

    def claim(self, log_id: LogId, home: PathText) -> None:
        """Add a line to the mark, in one write: homes of several logs may claim the folder at once. Raises OSError."""
        try:
            with _opened_marked(self._folder) as folder:
                _add_claim(folder, _Claim(log=log_id, home=home))
        except OSError as error:
            raise disk_error(error, doing=f"claim the folder {shown(self._folder)}") from error

    def open_stage(self, identity: ArtifactIdentity, schema: pa.Schema) -> StageWriter:
        """Create the staged file. Raises OSError; FileExistsError if this attempt has staged the output before."""
        return _ParquetStage(self._folder, identity, schema)

    def promote(self, artifact: StagedArtifact, *, verify_staged: bool) -> PromoteResult:
        """Link the staged file to its final name. Whatever the disk refuses is Unavailable."""
        refusal = staged_name_refusal(artifact.staged) or final_name_refusal(artifact.final)
        if refusal is not None:
            return Conflict(refusal)
        try:
            with _opened_marked(self._folder) as folder:
                return _promote(folder, artifact, verify_staged=verify_staged)
        except OSError as error:
            return Unavailable(disk_sentence(error, doing=f"publish {artifact.final} in {shown(self._folder)}"))

    def withdraw(self, artifact: StagedArtifact) -> None:
        """Remove what a promotion made, durably, unless it holds other bytes. Raises OSError.

        A folder that is gone, or has lost its mark, is an error: its disk may come back with the artifact on it. Names
        that `promote` refuses as a Conflict are passed over, because nothing was ever published under them.
        """
        try:
            with _opened_marked(self._folder) as folder:
                _withdraw(folder, artifact)
        except OSError as error:
            raise disk_error(error, doing=f"withdraw {artifact.final} from {shown(self._folder)}") from error

    def discard(self, staged: str) -> None:
        """Remove a staged file. Raises OSError if it cannot be, ArtifactNameError for what is no staged name."""
        require_name(staged_name_refusal(staged), doing=f"discard from {shown(self._folder)}")
        try:
            # Nothing lies in a folder that is not there.
            with suppress(FileNotFoundError, NotADirectoryError):
                (self._folder / staged).unlink()
        except OSError as error:
            raise disk_error(error, doing=f"discard {staged} from {shown(self._folder)}") from error

    def staged_names(self, log_id: LogId) -> list[str]:
        """Return the staged files of this log, sorted, whether finished or not. Raises OSError if unreadable."""
        ours = re.compile(rf"\.{re.escape(log_id[:8])}-\d+-\d+-[a-z][a-z0-9_]*\.stage", re.ASCII)
        try:
            names = os.listdir(self._folder)  # noqa: PTH208  names, not paths: iterdir would build a Path for each
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise disk_error(error, doing=f"list the folder {shown(self._folder)}") from error
        return sorted(name for name in names if ours.fullmatch(name))

    def locate(self, final: str) -> str:
        """Return the path of a published file. Raises ArtifactNameError for what is no final name."""
        refusal = final_name_refusal(final)
        if refusal is not None:
            require_name(refusal, doing=f"locate in {shown(self._folder)}")
        return f"{self._folder}/{final}"


# --- stage ----------------------------------------------------------------------------------------------------------


class _ParquetStage:
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
            with _opened(self._folder) as folder:
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
            self._file = open(os.open(path, _CREATE, _MODE), "wb", buffering=0)  # noqa: PTH123, SIM115  kept open
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


# --- promote: all names are relative to an open folder, so that a folder moved meanwhile cannot split the steps -----


def _promote(folder: int, artifact: StagedArtifact, *, verify_staged: bool) -> PromoteResult:
    if _exists(folder, artifact.final):
        return _settle(folder, artifact)
    if not _exists(folder, artifact.staged):
        return Missing(f"neither {artifact.staged} nor {artifact.final} exists")
    difference = _difference(folder, artifact.staged, artifact, read=verify_staged)
    if difference is not None:
        return Conflict(f"{artifact.staged} {difference}")
    try:
        _publish(folder, artifact.staged, artifact.final)
    except FileExistsError:
        return _settle(folder, artifact)
    return Promoted()


def _settle(folder: int, artifact: StagedArtifact) -> AlreadyPromoted | Conflict:
    """Answer for a final name that exists; finish what a crash between link and unlink left."""
    difference = _difference(folder, artifact.final, artifact, read=True)
    if difference is not None:
        return Conflict(f"{artifact.final} {difference}")
    _remove(folder, artifact.staged)
    os.fsync(folder)  # also when nothing was removed: the crash may have come before the link was durable
    return AlreadyPromoted()


def _withdraw(folder: int, artifact: StagedArtifact) -> None:
    final, staged = artifact.final, artifact.staged
    reachable = final_name_refusal(final) is None and _exists(folder, final)
    if reachable and _difference(folder, final, artifact, read=True) is None:
        _remove(folder, final)
    if staged_name_refusal(staged) is None:
        _remove(folder, staged)
    os.fsync(folder)  # also when nothing was removed: an earlier call may have ended before this line


def _publish(folder: int, staged: str, final: str) -> None:
    """Move a file to a name that is free, durably. Raises FileExistsError if it is not, OSError."""
    try:
        os.link(staged, final, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        _rename_no_replace(folder, staged, final)
    os.fsync(folder)
    _remove(folder, staged)
    os.fsync(folder)


def _rename_no_replace(folder: int, staged: str, final: str) -> None:
    """Call renameat2, which the standard library lacks. Raises OSError: ENOSYS or EINVAL where it is not known."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if renameat2(folder, os.fsencode(staged), folder, os.fsencode(final), _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _difference(folder: int, name: str, artifact: StagedArtifact, *, read: bool) -> str | None:
    """Return how a file differs from what was reported, None if it does not; its bytes are looked at if `read`."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_size != artifact.bytes:
        return f"has {status.st_size} bytes, {artifact.bytes} were reported"
    if not read:
        return None
    found = _digest(folder, name, size=status.st_size)
    return None if found == artifact.digest else f"has the digest {found}, {artifact.digest} was reported"


def _digest(folder: int, name: str, *, size: int) -> Digest:
    """Return the BLAKE3 of the first `size` bytes."""
    hasher = blake3.blake3()
    left = size
    with open(os.open(name, _READ, dir_fd=folder), "rb", buffering=0) as file:  # noqa: PTH123  relative to a folder
        while left > 0 and (chunk := file.read(min(left, READ_BYTES))):
            hasher.update(chunk)
            left -= len(chunk)
    return Digest(hasher.hexdigest())


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


# --- the folder -----------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    folder = os.open(path, _FOLDER)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _opened_marked(path: Path) -> Iterator[int]:
    """Open the folder if it is the one that was marked. Raises OSError: an unmounted disk leaves an empty folder."""
    with _opened(path) as folder:
        if not _exists(folder, MARK_NAME):
            raise OSError(errno.ENOENT, f"it does not hold {MARK_NAME}, the mark of a folder that is in use")
        yield folder


def _mark(folder: int) -> None:
    with suppress(FileExistsError):
        made = os.open(MARK_NAME, _CREATE, _MODE, dir_fd=folder)
        with open(made, "wb", buffering=0) as file:  # noqa: PTH123  relative to a folder
            file.write(_MARK)
            os.fsync(file.fileno())
    os.fsync(folder)


class _Claim(Struct, frozen=True):
    """One line of the mark behind its first: which home of a log uses the folder."""

    log: LogId
    home: PathText


def _claims(folder: int) -> dict[LogId, PathText]:
    """Return who has claimed the folder, by log; of a log the last line counts, and one that was torn is none."""
    with open(os.open(MARK_NAME, _READ, dir_fd=folder), "rb", buffering=0) as file:  # noqa: PTH123
        lines = (file.read(MARK_BYTES_MAX) or b"").split(b"\n")
    found: dict[LogId, PathText] = {}
    for line in lines[1:]:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            said = msgspec.json.decode(line, type=_Claim)
            found[said.log] = said.home
    return found


def _add_claim(folder: int, claim: _Claim) -> None:
    appending = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(MARK_NAME, appending, dir_fd=folder), "wb", buffering=0) as file:  # noqa: PTH123
        file.write(b"\n" + msgspec.json.encode(claim) + b"\n")  # a line that was torn before stays alone
        os.fsync(file.fileno())


def _make_folder(path: Path) -> None:
    """Create the folder and its parents, each durable in its own parent before the next."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):  # made by somebody else meanwhile, or a file: opening it as a folder tells
            folder.mkdir()
        with _opened(folder.parent) as parent:
            os.fsync(parent)


def _probe(folder: int) -> None:
    """Prove that files can be written, synced and published here, and leave nothing behind. Raises OSError.

    The names are hidden, and never those of a staged artifact. A probe is locked as long as its process lives, so that
    what a killed process left is known by its free lock, and removed.
    """
    _sweep_probes(folder)
    for _ in range(PROBE_TRIES_MAX):
        if _probed(folder, secrets.token_hex(8)):
            return
    raise OSError(errno.EBUSY, f"{PROBE_TRIES_MAX} probes were removed by somebody else before they were locked")


def _probed(folder: int, token: str) -> bool:
    """Probe once; False if another process swept the probe in the moment between its creation and its lock."""
    staged, final = f".probe-{token}.stage", f".probe-{token}.done"
    try:
        with open(os.open(staged, _CREATE, _MODE, dir_fd=folder), "wb", buffering=0) as file:  # noqa: PTH123
            with suppress(OSError):  # where nothing can be locked, nothing is swept either
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _exists(folder, staged):
                return False
            file.write(b"probe")
            os.fsync(file.fileno())
            _publish(folder, staged, final)
    finally:
        _remove(folder, staged)
        _remove(folder, final)
    return True


def _sweep_probes(folder: int) -> None:
    """Remove the probes of processes that were killed; those that cannot be are hidden and in nobody's way.

    Whatever is free is removed, empty or not: its process may have been killed before it locked it. One that lives and
    was just about to lock it finds that its name is gone, and makes another.
    """
    for name in filter(_PROBE.fullmatch, os.listdir(folder)):
        with suppress(OSError), open(os.open(name, _READ, dir_fd=folder), "rb", buffering=0) as file:  # noqa: PTH123
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder, name)
