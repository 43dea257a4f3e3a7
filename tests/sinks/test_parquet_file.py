"""What a folder of Parquet files promises beyond the contract: exact types, durability, refusals of the disk.

The tests may run as root, who is refused little: the disk's refusals come from files in the way, from a limit on file
sizes in a child process, and from a link call that says no.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import math
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import FileIO
from pathlib import Path

import blake3
import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventlog.column_types import DecimalType, duckdb_type
from eventlog.ids import Digest, LogId, PathText
from eventlog.schema import LINEAGE_COLUMNS, Column
from sinks import parquet_stage, publishing
from sinks.arrow_schema import arrow_schema
from sinks.errors import StageClosedError
from sinks.folder import MARK_NAME
from sinks.parquet_file import ParquetSink
from sinks.sink import AlreadyPromoted, Conflict, Missing, Promoted, StagedArtifact, Unavailable
from sinks.uri import open_sink, parse_sink_uri, target_folder
from tests.sinks.artifacts import LOG_ID, OTHER_LOG_ID, SCHEMA, identity, rows, stage

ROOT = Path(__file__).parents[2]
EVERY_TYPE = (
    Column(name="flag", type="boolean"),
    Column(name="number", type="int64"),
    Column(name="ratio", type="float64"),
    Column(name="text", type="string"),
    Column(name="raw", type="binary"),
    Column(name="moment", type="timestamp_utc"),
    Column(name="day", type="date"),
    Column(name="hour", type="time"),
    Column(name="local", type="timestamp"),
    Column(name="price", type=DecimalType(precision=38, scale=10)),
    Column(name="always", type="int64", nullable=False),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "case 2024" / "out"


@pytest.fixture
def sink(folder: Path) -> ParquetSink:
    made = ParquetSink(f"parquet://{folder}")
    assert made.check() is None
    made.mark()
    return made


def listed(folder: Path) -> list[Path]:
    """Return what lies in a target's folder besides its mark, by name."""
    return sorted(path for path in folder.iterdir() if path.name != MARK_NAME)


def publish(sink: ParquetSink, batches: list[pa.RecordBatch], schema: pa.Schema, *, job: int = 7) -> Path:
    writer = sink.open_stage(identity(job=job), schema)
    for batch in batches:
        writer.write(batch)
    artifact = writer.finish()
    assert sink.promote(artifact, verify_staged=True) == Promoted()
    return Path(sink.locate(artifact.final))


def every_type(count: int = 2) -> pa.RecordBatch:
    values: dict[str, list[object]] = {
        "flag": [True, None],
        "number": [-(2**63), 2**63 - 1],
        "ratio": [math.inf, None],
        "text": ["Ünïcödé \U0001f4a5\0", None],
        "raw": [b"\x00\xff", b""],
        "moment": [datetime(2026, 1, 22, 10, 11, 12, 123456, tzinfo=UTC), None],
        "day": [date(2026, 1, 22), None],
        "hour": [time(10, 11, 12, 123456), None],
        "local": [datetime(2026, 1, 22, 10, 11, 12, 123456), None],
        "price": [Decimal("9999999999999999999999999999.0000000001"), Decimal("-0.5")],
        "always": [0, 1],
    }
    cycled = {name: [column[row % 2] for row in range(count)] for name, column in values.items()}
    return pa.RecordBatch.from_pydict(cycled, schema=arrow_schema(EVERY_TYPE))


# --- what a reader finds --------------------------------------------------------------------------------------------


def test_pyarrow_reads_the_declared_types_and_nullability(sink: ParquetSink) -> None:
    batch = every_type()
    table = pq.read_table(publish(sink, [batch], batch.schema))
    assert table.schema.equals(arrow_schema(EVERY_TYPE))
    assert table.to_pylist() == batch.to_pylist()


def test_duckdb_reads_the_declared_types(sink: ParquetSink) -> None:
    columns = (*EVERY_TYPE, *LINEAGE_COLUMNS)
    path = publish(sink, [], arrow_schema(columns))
    with duckdb.connect() as connection:
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    names = [duckdb_type(column.type).replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE") for column in columns]
    assert [(row[0], row[1]) for row in described] == [
        (column.name, name) for column, name in zip(columns, names, strict=True)
    ]


def test_duckdb_reads_the_values(sink: ParquetSink) -> None:
    batch = every_type()
    path = publish(sink, [batch], batch.schema)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(
            "SELECT flag, number, ratio, text, raw, epoch_us(moment), day, hour, price, always FROM read_parquet(?)",
            [str(path)],
        ).fetchall()
    moment_us = int(datetime(2026, 1, 22, 10, 11, 12, tzinfo=UTC).timestamp()) * 1_000_000 + 123456
    days = (date(2026, 1, 22), time(10, 11, 12, 123456), Decimal("9999999999999999999999999999.0000000001"))
    assert found == [
        (True, -(2**63), math.inf, "Ünïcödé \U0001f4a5\0", b"\x00\xff", moment_us, *days, 0),
        (None, 2**63 - 1, None, None, b"", None, None, None, Decimal("-0.5"), 1),
    ]


def test_duckdb_reads_the_metadata(sink: ParquetSink) -> None:
    path = publish(sink, [rows(1)], SCHEMA)
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT decode(key), decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) LIKE 'casparian.%'",
            [str(path)],
        ).fetchall()
    assert dict(found) == {
        "casparian.log_id": LOG_ID,
        "casparian.job": "7",
        "casparian.attempt": "1",
        "casparian.output": "events",
        "casparian.schema_hash": "5c" * 32,
        "casparian.parser": "evtx",
        "casparian.source_hash": "ab" * 32,
    }


def test_duckdb_globs_see_published_artifacts_only(sink: ParquetSink, folder: Path) -> None:
    published = publish(sink, [rows(2)], SCHEMA, job=1)
    stage(sink, identity(job=2))
    sink.open_stage(identity(job=3), SCHEMA).abandon()
    with duckdb.connect() as connection:
        found = connection.execute("SELECT file FROM glob(?)", [f"{folder}/*.parquet"]).fetchall()
        hidden = connection.execute("SELECT file FROM glob(?)", [f"{folder}/.*.parquet"]).fetchall()
    assert [Path(name) for (name,) in found] == [published]
    assert hidden == []


def test_row_groups_have_bounded_rows(sink: ParquetSink) -> None:
    metadata = pq.ParquetFile(publish(sink, [rows(300_000)], SCHEMA)).metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [122_880, 122_880, 54_240]


def test_columns_are_stored_by_their_type_and_length(sink: ParquetSink) -> None:
    long = pa.array([f"{number} " * 200 for number in range(3)])
    batch = pa.RecordBatch.from_pydict(
        {"id": [1, 2, 3], "name": ["a", "a", "b"], "text": long, "_cf_job_id": ["7", "7", "7"]}
    )
    path = publish(sink, [batch], batch.schema)
    group = pq.ParquetFile(path).metadata.row_group(0)
    found = {}
    for index in range(group.num_columns):
        column = group.column(index)
        encoding = {"DELTA_BINARY_PACKED", "RLE_DICTIONARY"} & set(column.encodings)
        found[column.path_in_schema] = (column.compression, encoding, column.is_stats_set)
    assert found == {
        "id": ("UNCOMPRESSED", {"DELTA_BINARY_PACKED"}, True),
        "name": ("ZSTD", {"RLE_DICTIONARY"}, True),
        "text": ("ZSTD", set(), False),
        "_cf_job_id": ("UNCOMPRESSED", {"RLE_DICTIONARY"}, True),
    }
    assert pq.read_table(path).to_pylist() == batch.to_pylist()
    with duckdb.connect() as connection:
        assert connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall() == [
            tuple(row.values()) for row in batch.to_pylist()
        ]


def test_texts_that_hardly_repeat_are_stored_without_a_dictionary(sink: ParquetSink) -> None:
    count = parquet_stage.SAMPLE_ROWS
    columns = {
        "id": range(count),
        "order": [f"C{number}" for number in range(count)],
        "side": ["1", "2"] * (count // 2),
    }
    batch = pa.RecordBatch.from_pydict({name: list(values) for name, values in columns.items()})
    group = pq.ParquetFile(publish(sink, [batch], batch.schema)).metadata.row_group(0)
    coded = {column.path_in_schema: "RLE_DICTIONARY" in column.encodings for column in map(group.column, range(3))}
    assert coded == {"id": False, "order": False, "side": True}


def test_small_batches_are_gathered_and_leave_no_trace_in_the_bytes(sink: ParquetSink) -> None:
    whole = rows(130_000)
    cuts = [whole.slice(offset, 999) for offset in range(0, 130_000, 999)]
    made = []
    for batches in ([whole], cuts):
        writer = sink.open_stage(identity(), SCHEMA)
        for batch in batches:
            writer.write(batch)
        made.append(writer.finish())
        writer.abandon()
    assert made[0] == made[1]


def test_a_row_group_is_bounded_in_bytes_too(sink: ParquetSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_stage, "BUFFER_BYTES_MAX", 100_000)
    batches = [rows(10, first=first, name="x" * 5000) for first in range(0, 100, 10)]
    metadata = pq.ParquetFile(publish(sink, batches, SCHEMA)).metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [20] * 5


def test_many_tiny_batches_are_charged_for_more_than_their_bytes(
    sink: ParquetSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_stage, "BUFFER_BYTES_MAX", 100 * 2 * parquet_stage.COLUMN_OVERHEAD_BYTES)
    metadata = pq.ParquetFile(publish(sink, [rows(1, first=row) for row in range(200)], SCHEMA)).metadata
    assert metadata.row_group(0).num_rows <= 100


def column_values(column: Column) -> st.SearchStrategy[object]:
    match column.type:
        case "boolean":
            values: st.SearchStrategy[object] = st.booleans()
        case "int64" | "timestamp_utc" | "timestamp":
            values = st.integers(-(2**63), 2**63 - 1)
        case "date":
            values = st.dates()
        case "time":
            values = st.times()
        case DecimalType():
            values = st.decimals(-(10**27), 10**27, places=10)
        case "float64":
            values = st.floats()
        case "string":
            values = st.text(max_size=20)
        case "binary":
            values = st.binary(max_size=20)
    return values | st.none() if column.nullable else values


def one_batch(row_values: list[tuple[object, ...]]) -> pa.RecordBatch:
    schema = arrow_schema(EVERY_TYPE)
    arrays = [
        pa.array(
            [row[index] for row in row_values], type=pa.int64() if pa.types.is_timestamp(field.type) else field.type
        )
        for index, field in enumerate(schema)
    ]
    return pa.RecordBatch.from_arrays(
        [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema
    )


def exact(table: pa.Table | pa.RecordBatch) -> list[tuple[object, ...]]:
    """Return rows in which equal means the same: NaN is itself, -0.0 is not 0.0, an instant is its microseconds."""

    def bits(value: object) -> object:
        return struct.pack("<d", value) if isinstance(value, float) else value

    columns = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in table.columns
    ]
    return [tuple(bits(value) for value in row) for row in zip(*columns, strict=True)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(*map(column_values, EVERY_TYPE)), min_size=1, max_size=8), max_size=5))
def test_what_is_written_is_read_back_exactly(sink: ParquetSink, batches: list[list[tuple[object, ...]]]) -> None:
    made = [one_batch(values) for values in batches]
    writer = sink.open_stage(identity(), arrow_schema(EVERY_TYPE))
    try:
        for batch in made:
            writer.write(batch)
        artifact = writer.finish()
        data = (target_folder(sink.uri) / artifact.staged).read_bytes()
        table = pq.read_table(pa.BufferReader(data))
    finally:
        writer.abandon()
    assert table.schema.equals(arrow_schema(EVERY_TYPE))
    assert exact(table) == [row for batch in made for row in exact(batch)]
    assert (artifact.rows, artifact.bytes) == (table.num_rows, len(data))
    assert artifact.digest == blake3.blake3(data).hexdigest()


# --- stage ----------------------------------------------------------------------------------------------------------


def test_staged_files_are_readable_by_others_as_the_umask_allows(sink: ParquetSink, folder: Path) -> None:
    before = os.umask(0o027)
    try:
        staged = stage(sink).staged
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / staged).stat().st_mode) == 0o640


def test_stage_does_not_follow_a_link_in_the_way(sink: ParquetSink, folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    staged = stage(sink).staged
    sink.discard(staged)
    (folder / staged).symlink_to(victim)
    with pytest.raises(FileExistsError):
        sink.open_stage(identity(), SCHEMA)
    assert not victim.exists()


def test_stage_in_a_folder_that_is_gone_says_what_to_do(sink: ParquetSink, folder: Path) -> None:
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=r"stage \.01234567-7-1-events\.stage in .*mount its disk again"):
        sink.open_stage(identity(), SCHEMA)
    assert sink.staged_names(LOG_ID) == []


def test_a_type_that_parquet_lacks_leaves_no_file(sink: ParquetSink) -> None:
    writer = sink.open_stage(identity(), pa.schema([("span", pa.month_day_nano_interval())]))
    with pytest.raises(NotImplementedError):
        writer.finish()
    writer.abandon()
    assert sink.staged_names(LOG_ID) == []


def test_a_null_where_none_may_be_breaks_the_stage(sink: ParquetSink) -> None:
    writer = sink.open_stage(identity(), SCHEMA)
    broken = pa.RecordBatch.from_arrays([pa.array([1, None], pa.int64()), pa.array(["a", "b"])], schema=SCHEMA)
    writer.write(broken)
    with pytest.raises(ValueError, match="'id' is declared non-nullable"):
        writer.finish()
    with pytest.raises(StageClosedError, match="an earlier write failed"):
        writer.finish()
    writer.abandon()
    assert sink.staged_names(LOG_ID) == []


def test_finish_notices_bytes_that_somebody_else_added(sink: ParquetSink, folder: Path) -> None:
    writer = sink.open_stage(identity(), SCHEMA)
    [staged] = sink.staged_names(LOG_ID)
    with (folder / staged).open("ab") as file:
        file.write(b"x" * 100_000)
    with pytest.raises(OSError, match="find out what else writes there"):
        writer.finish()
    writer.abandon()


def test_finish_syncs_the_file_before_its_folder(sink: ParquetSink, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def spy(fd: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        real(fd)

    monkeypatch.setattr(os, "fsync", spy)
    artifact = stage(sink)
    assert synced == ["file", "folder"]
    sink.promote(artifact, verify_staged=False)
    assert synced == ["file", "folder", "folder", "folder"]


def test_a_failed_sync_is_told_and_never_tried_again(sink: ParquetSink, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = sink.open_stage(identity(), SCHEMA)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse(errno.EIO))
        with pytest.raises(OSError, match="check the disk") as raised:
            writer.finish()
    assert raised.value.errno == errno.EIO
    with pytest.raises(StageClosedError, match="an earlier write failed"):
        writer.finish()
    writer.abandon()
    assert sink.staged_names(LOG_ID) == []


def refuse(code: int) -> Callable[..., None]:
    def call(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


FULL_DISK = """
import errno, os, resource, sys
from pathlib import Path
from tests.sinks.artifacts import LOG_ID, SCHEMA, identity, rows
from sinks.errors import StageClosedError
from sinks.parquet_file import ParquetSink

limit = int(sys.argv[2])
sink = ParquetSink("parquet://" + sys.argv[1])
assert sink.check() is None
writer = sink.open_stage(identity(), SCHEMA)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    for first in range(0, 300_000, 10_000):
        writer.write(rows(10_000, first=first))
    writer.finish()
except OSError as error:
    assert error.errno == errno.EFBIG, error
    print(error.strerror)
else:
    sys.exit("the limit was not met")
[staged] = sink.staged_names(LOG_ID)
assert (Path(sys.argv[1]) / staged).stat().st_size <= limit
try:
    writer.finish()
except StageClosedError as error:
    print(error)
else:
    sys.exit("a broken artifact was finished")
writer.abandon()
assert sink.staged_names(LOG_ID) == [] and os.listdir(sys.argv[1]) == []
"""


def child(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("limit", [1_000, 100_000])  # within the first page, and some pages later
def test_a_full_disk_is_told_breaks_the_stage_and_leaves_nothing(folder: Path, limit: int) -> None:
    ran = child(FULL_DISK, str(folder), str(limit))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"write .01234567-7-1-events.stage in {folder}: File too large; raise the limit")
    assert "an earlier write failed" in ran.stdout


FULL_FROM_THE_START = """
import os, resource, sys
from tests.sinks.artifacts import SCHEMA, identity
from sinks.parquet_file import ParquetSink

sink = ParquetSink("parquet://" + sys.argv[1])
assert sink.check() is None
resource.setrlimit(resource.RLIMIT_FSIZE, (2, 2))
writer = sink.open_stage(identity(), SCHEMA)
try:
    writer.finish()
except OSError as error:
    print(error.strerror)
writer.abandon()
assert os.listdir(sys.argv[1]) == []
"""


def test_a_disk_too_full_for_the_first_bytes_is_told_and_leaves_nothing(folder: Path) -> None:
    ran = child(FULL_FROM_THE_START, str(folder))
    assert ran.returncode == 0, ran.stderr
    assert "raise the limit on file sizes" in ran.stdout


# --- promote --------------------------------------------------------------------------------------------------------


def test_published_file_is_the_staged_inode(sink: ParquetSink, folder: Path) -> None:
    artifact = stage(sink)
    inode = (folder / artifact.staged).stat().st_ino
    sink.promote(artifact, verify_staged=False)
    status = (folder / artifact.final).stat()
    assert (status.st_ino, status.st_nlink) == (inode, 1)


CRASH = """
import os, sys
import msgspec
from sinks.parquet_file import ParquetSink
from sinks.sink import StagedArtifact

step, after = sys.argv[3], int(sys.argv[4])
real, calls = getattr(os, step), 0

def dying(*arguments, **options):
    global calls
    calls += 1
    if calls == after:
        os._exit(9)
    return real(*arguments, **options)

setattr(os, step, dying)
sink = ParquetSink("parquet://" + sys.argv[1])
sink.promote(msgspec.json.decode(sys.argv[2], type=StagedArtifact), verify_staged=True)
"""


@pytest.mark.parametrize(
    ("step", "call", "answer"),
    [
        ("link", 1, Promoted()),
        ("fsync", 1, AlreadyPromoted()),  # linked, not durable
        ("unlink", 1, AlreadyPromoted()),  # durable under both names
        ("fsync", 2, AlreadyPromoted()),  # the staged name is gone
    ],
)
def test_a_process_killed_at_any_step_of_promote_is_finished_by_the_next(
    sink: ParquetSink, folder: Path, step: str, call: int, answer: Promoted | AlreadyPromoted
) -> None:
    artifact = stage(sink)
    data = (folder / artifact.staged).read_bytes()
    ran = child(CRASH, str(folder), msgspec.json.encode(artifact).decode(), step, str(call))
    assert ran.returncode == 9, ran.stderr
    assert sink.promote(artifact, verify_staged=True) == answer
    assert [path.name for path in listed(folder)] == [artifact.final]
    assert (folder / artifact.final).read_bytes() == data
    assert sink.promote(artifact, verify_staged=True) == AlreadyPromoted()


def test_promote_needs_no_pyarrow(sink: ParquetSink, folder: Path) -> None:
    artifact = stage(sink)
    script = CRASH + "\nassert 'pyarrow' not in sys.modules\n"
    ran = child(script, str(folder), msgspec.json.encode(artifact).decode(), "link", "0")
    assert ran.returncode == 0, ran.stderr
    assert (folder / artifact.final).exists()


def test_already_promoted_is_answered_after_a_sync_of_the_folder(
    sink: ParquetSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = stage(sink)
    sink.promote(artifact, verify_staged=False)
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    answer = sink.promote(artifact, verify_staged=False)
    assert isinstance(answer, Unavailable)


def tamper_link(path: Path) -> None:
    path.symlink_to("elsewhere")


def tamper_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's path is at most 107 bytes
        try:
            listener.bind(path.name)
        finally:
            os.chdir(before)


@pytest.mark.parametrize("tamper", [tamper_link, tamper_socket, Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("which", ["staged", "final"])
def test_what_is_not_a_regular_file_is_a_conflict(
    sink: ParquetSink, folder: Path, tamper: Callable[[Path], None], which: str
) -> None:
    artifact = stage(sink)
    name: str = getattr(artifact, which)
    (folder / name).unlink(missing_ok=True)
    tamper(folder / name)
    answer = sink.promote(artifact, verify_staged=True)
    assert answer == Conflict(f"{name} is not a regular file")
    assert not (folder / name).is_file()


def test_promote_in_a_folder_that_is_gone_is_unavailable_and_works_when_it_is_back(
    sink: ParquetSink, folder: Path
) -> None:
    artifact = stage(sink)
    away = folder.with_name("unmounted")
    folder.rename(away)
    answer = sink.promote(artifact, verify_staged=False)
    assert isinstance(answer, Unavailable)
    assert "mount its disk again" in answer.why
    away.rename(folder)
    assert sink.promote(artifact, verify_staged=False) == Promoted()


def test_promote_where_a_file_took_the_place_of_the_folder_is_unavailable(sink: ParquetSink, folder: Path) -> None:
    artifact = stage(sink)
    folder.rename(folder.with_name("away"))
    folder.write_text("in the way")
    answer = sink.promote(artifact, verify_staged=False)
    assert isinstance(answer, Unavailable)
    assert "a file is where a folder should be" in answer.why
    assert sink.staged_names(LOG_ID) == []
    sink.discard(artifact.staged)


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.ESTALE])
def test_what_the_disk_refuses_is_unavailable_in_one_sentence(
    sink: ParquetSink, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    artifact = stage(sink)
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse(code))
        answer = sink.promote(artifact, verify_staged=False)
    assert isinstance(answer, Unavailable)
    assert answer.why.startswith(f"publish {artifact.final} in {folder}: {os.strerror(code)}; ")
    assert "\n" not in answer.why
    assert sink.promote(artifact, verify_staged=False) == Promoted()


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS])
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse(request.param))
        yield


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_promote_renames(sink: ParquetSink, folder: Path) -> None:
    artifact = stage(sink)
    data = (folder / artifact.staged).read_bytes()
    assert sink.check() is None
    assert sink.promote(artifact, verify_staged=True) == Promoted()
    assert {path.name: path.read_bytes() for path in listed(folder)} == {artifact.final: data}
    assert sink.promote(artifact, verify_staged=True) == AlreadyPromoted()


@pytest.mark.usefixtures("no_links")
def test_the_rename_never_overwrites(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".a.stage").write_bytes(b"mine")
    (folder / "a").write_bytes(b"theirs")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            publishing.publish(descriptor, ".a.stage", "a")
    finally:
        os.close(descriptor)
    assert (folder / "a").read_bytes() == b"theirs"
    assert (folder / ".a.stage").read_bytes() == b"mine"


@pytest.mark.usefixtures("no_links")
def test_without_links_and_without_renameat2_the_target_is_refused(
    sink: ParquetSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = stage(sink)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_arguments, **_options: object())
    answer = sink.promote(artifact, verify_staged=False)
    assert isinstance(answer, Unavailable)
    assert "choose a folder on another one" in answer.why
    refusal = sink.check()
    assert refusal is not None
    assert "choose a folder on another one" in refusal
    assert sink.staged_names(LOG_ID) == [artifact.staged]


def test_a_final_name_that_appears_during_promote_is_settled(
    sink: ParquetSink, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = stage(sink)
    real = os.link

    def overtaken(source: str, target: str, **options: int) -> None:
        real(source, target, src_dir_fd=options["src_dir_fd"], dst_dir_fd=options["dst_dir_fd"])
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", overtaken)
    assert sink.promote(artifact, verify_staged=False) == AlreadyPromoted()
    assert [path.name for path in listed(folder)] == [artifact.final]


def test_missing_names_both_files(sink: ParquetSink) -> None:
    artifact = stage(sink)
    sink.discard(artifact.staged)
    assert sink.promote(artifact, verify_staged=False) == Missing(
        f"neither {artifact.staged} nor {artifact.final} exists"
    )


def test_withdraw_is_durable(sink: ParquetSink, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = stage(sink)
    sink.promote(artifact, verify_staged=False)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse(errno.EIO))
        for _ in range(2):  # the second finds nothing to remove and still cannot say that it is gone
            with pytest.raises(OSError, match=f"withdraw {artifact.final} from .*check the disk"):
                sink.withdraw(artifact)
    sink.withdraw(artifact)
    assert sink.promote(artifact, verify_staged=False) == Missing(
        f"neither {artifact.staged} nor {artifact.final} exists"
    )


def test_withdraw_from_a_folder_that_is_gone_is_not_done(sink: ParquetSink, folder: Path) -> None:
    artifact = stage(sink)
    sink.promote(artifact, verify_staged=False)
    away = folder.with_name("unmounted")
    folder.rename(away)
    with pytest.raises(FileNotFoundError, match="mount its disk again"):
        sink.withdraw(artifact)
    assert (away / artifact.final).exists()


def test_withdraw_never_reaches_out_of_the_folder(sink: ParquetSink, folder: Path) -> None:
    artifact = stage(sink)
    twin = folder.parent / "twin.parquet"
    twin.write_bytes((folder / artifact.staged).read_bytes())
    sink.withdraw(msgspec.structs.replace(artifact, final="../twin.parquet"))
    assert twin.exists()


@pytest.mark.parametrize("tamper", [tamper_link, tamper_socket, Path.mkdir, os.mkfifo])
def test_withdraw_leaves_what_is_not_a_regular_file(
    sink: ParquetSink, folder: Path, tamper: Callable[[Path], None]
) -> None:
    artifact = stage(sink)
    tamper(folder / artifact.final)
    sink.withdraw(artifact)
    assert [path.name for path in listed(folder)] == [artifact.final]


# --- the folder -----------------------------------------------------------------------------------------------------


def test_check_creates_the_folder_and_its_parents_durably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, int]] = []
    real = os.fsync

    def spy(fd: int) -> None:
        synced.append((os.fstat(fd).st_dev, os.fstat(fd).st_ino))
        real(fd)

    monkeypatch.setattr(os, "fsync", spy)
    made = tmp_path / "a" / "b" / "c"
    assert ParquetSink(f"parquet://{made}").check() is None
    parents = [made.parent.parent.parent, made.parent.parent, made.parent]
    assert synced[:3] == [(path.stat().st_dev, path.stat().st_ino) for path in parents]
    assert list(made.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_check_refuses_a_file_where_a_folder_should_be(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("in the way")
    refusal = ParquetSink(parse_sink_uri(f"parquet://file/{below}", base=tmp_path).uri).check()
    assert refusal is not None
    assert refusal.startswith(f"prepare the folder {tmp_path}/file")
    assert "a file is where a folder should be: move it or choose another folder" in refusal
    assert (tmp_path / "file").read_text() == "in the way"


def test_check_refuses_a_folder_of_the_kernel_that_takes_no_files() -> None:
    refusal = ParquetSink("parquet:///proc/self/out").check()
    assert refusal is not None
    assert refusal.startswith("prepare the folder /proc/self/out: ")


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_check_refuses_a_folder_that_cannot_be_synced_or_linked_in_and_cleans_up(
    sink: ParquetSink, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(os, step, refuse(errno.ENOSPC))
    refusal = sink.check()
    assert refusal is not None
    assert "free space on that disk" in refusal
    assert listed(folder) == []


def test_a_probe_that_a_killed_process_left_is_removed_by_the_next_check(sink: ParquetSink, folder: Path) -> None:
    (folder / ".probe-0123456789abcdef.stage").write_bytes(b"probe")
    (folder / ".probe-0123456789abcdef.done").write_bytes(b"probe")
    assert sink.check() is None
    assert listed(folder) == []


def test_a_probe_of_a_process_that_was_killed_before_it_locked_it_is_removed_by_the_next_check(
    sink: ParquetSink, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at_its_lock(sink, monkeypatch)
    assert [path.name for path in listed(folder) if path.stat().st_size == 0] != [], "an empty probe is left"
    assert sink.check() is None
    assert listed(folder) == []


def killed_at_its_lock(sink: ParquetSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check in a child that ends without any cleanup where it would lock its probe."""
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda *_: os._exit(9))
        child = os.fork()
        if child == 0:
            sink.check()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_check_whose_probe_is_swept_before_it_is_locked_makes_another(
    sink: ParquetSink, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others_left = [2]
    real = fcntl.flock

    def lock(file: FileIO, operation: int) -> None:
        if others_left[0]:
            others_left[0] -= 1
            next(folder.glob(".probe-*.stage")).unlink()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    assert sink.check() is None
    assert others_left == [0]
    assert listed(folder) == []


def test_a_folder_in_which_every_probe_is_taken_away_is_refused(
    sink: ParquetSink, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: next(folder.glob(".probe-*.stage")).unlink())
    assert "removed by somebody else" in str(sink.check())


def test_the_probe_of_a_living_process_and_what_is_no_probe_stay(sink: ParquetSink, folder: Path) -> None:
    living, stranger = folder / ".probe-0123456789abcdef.stage", folder / ".probe-0123.stage"
    stranger.write_bytes(b"mine")
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b"probe")
        file.flush()
        assert sink.check() is None
        assert listed(folder) == [stranger, living]


def test_staged_names_ignore_strangers(sink: ParquetSink, folder: Path) -> None:
    staged = stage(sink).staged
    for name in (
        "notes.txt",
        ".01234567-7-1-events.stage~",
        ".01234567-x-1-events.stage",
        ".probe-0123.stage",
        "e.stage",
    ):
        (folder / name).touch()
    (folder / os.fsdecode(b".01234567-7-1-\xff.stage")).touch()
    assert sink.staged_names(LOG_ID) == [staged]


def test_staged_names_treat_the_log_id_as_text_not_as_a_pattern(sink: ParquetSink) -> None:
    stage(sink)
    assert sink.staged_names(LogId("........")) == []


def test_staged_names_of_a_folder_that_does_not_exist_are_none(tmp_path: Path) -> None:
    assert ParquetSink(f"parquet://{tmp_path}/nowhere").staged_names(LOG_ID) == []


def test_discard_in_a_folder_that_does_not_exist_is_done(tmp_path: Path) -> None:
    ParquetSink(f"parquet://{tmp_path}/nowhere").discard(".01234567-7-1-events.stage")
    assert list(tmp_path.iterdir()) == []


def test_discard_of_what_cannot_be_removed_says_so(sink: ParquetSink, folder: Path) -> None:
    (folder / ".01234567-7-1-events.stage").mkdir()
    with pytest.raises(OSError, match=r"discard \.01234567-7-1-events\.stage from "):
        sink.discard(".01234567-7-1-events.stage")


@pytest.mark.parametrize("name", [b"caf\xe9", "Ermittlung ü #1 100%".encode(), b"what?", b"back\\slash", b"new\nline"])
def test_any_folder_name_works_from_stage_to_promote(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    uri = parse_sink_uri("parquet://./out", base=folder).uri
    uri.encode()
    sink = open_sink(uri)
    assert sink.uri == uri
    assert sink.check() is None
    sink.mark()
    artifact = stage(sink)
    assert sink.promote(artifact, verify_staged=True) == Promoted()
    assert Path(sink.locate(artifact.final)) == folder / "out" / artifact.final
    assert (folder / "out" / artifact.final).is_file()


def test_a_claim_that_was_torn_hides_no_other(sink: ParquetSink, folder: Path) -> None:
    mark = folder / MARK_NAME
    first = mark.read_bytes()
    sink.claim(LOG_ID, PathText("/one"))
    whole = mark.read_bytes()
    assert whole.startswith(first)
    for end in range(len(first), len(whole)):
        mark.write_bytes(whole[:end])
        sink.claim(OTHER_LOG_ID, PathText("/two"))
        assert sink.claimed_by(OTHER_LOG_ID) == "/two"
        assert sink.claimed_by(LOG_ID) in (None, "/one")
    assert sink.is_marked()


def test_a_damaged_line_of_the_mark_hides_no_other(sink: ParquetSink, folder: Path) -> None:
    sink.claim(LOG_ID, PathText("/one"))
    with (folder / MARK_NAME).open("ab") as mark:
        mark.write(b'{"log":"\xff\xfe","home":"/x"}\n\xff\n[]\n')
    assert sink.claimed_by(LOG_ID) == "/one"
    sink.claim(OTHER_LOG_ID, PathText("/two"))
    assert sink.claimed_by(OTHER_LOG_ID) == "/two"


def test_a_folder_without_its_mark_is_nobodys_and_cannot_be_claimed(sink: ParquetSink, folder: Path) -> None:
    (folder / MARK_NAME).unlink()
    assert sink.claimed_by(LOG_ID) is None
    with pytest.raises(OSError, match=r"does not hold \.casparian"):
        sink.claim(LOG_ID, PathText("/one"))
    folder.rmdir()
    assert sink.claimed_by(LOG_ID) is None


def test_nothing_is_concluded_about_an_empty_folder_without_its_mark(sink: ParquetSink, folder: Path) -> None:
    """Where a disk is not mounted, its mount point is an empty folder that answers."""
    artifact = stage(sink)
    away = folder.rename(folder.with_name("mounted"))
    assert sink.is_marked() is False
    folder.mkdir()
    answer = sink.promote(artifact, verify_staged=True)
    assert isinstance(answer, Unavailable)
    assert "does not hold .casparian" in answer.why
    assert "mount its disk" in answer.why
    with pytest.raises(OSError, match=r"does not hold \.casparian"):
        sink.withdraw(artifact)
    folder.rmdir()
    away.rename(folder)
    assert sink.promote(artifact, verify_staged=True) == Promoted()


def test_sentences_about_a_folder_that_is_not_utf8_can_be_written_down(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    sink = open_sink(parse_sink_uri("parquet://.", base=folder).uri)
    nothing = StagedArtifact(
        output=identity().output,
        staged=".01234567-7-1-events.stage",
        final="events_0123456789abcdef.parquet",
        digest=Digest("0" * 64),
        bytes=0,
        rows=0,
        schema_hash=identity().schema_hash,
    )
    answer = sink.promote(nothing, verify_staged=False)
    assert isinstance(answer, Unavailable)
    assert "caf\\xe9" in answer.why
    assert msgspec.json.decode(msgspec.json.encode(answer.why)) == answer.why
