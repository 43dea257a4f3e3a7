"""Owns the contract of a sink as tests: every implementation, the double included, passes all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import blake3
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eventlog.ids import Digest, PathText, final_name, stage_name
from sinks.errors import ArtifactNameError, StageClosedError, StageSchemaError
from sinks.folder import MARK_NAME
from sinks.memory import MemorySink
from sinks.parquet_file import ParquetSink
from sinks.sink import AlreadyPromoted, Conflict, Missing, Promoted, Sink, StagedArtifact
from tests.sinks.artifacts import LOG_ID, OTHER_LOG_ID, SCHEMA, identity, rows, stage


class Bench(Protocol):
    """A sink on the bench, and the hands of somebody who tampers with it behind its back."""

    sink: Sink
    extension: str

    def staged(self, name: str) -> bytes: ...
    def published(self, name: str) -> bytes | None: ...
    def put_staged(self, name: str, data: bytes) -> None: ...
    def put_published(self, name: str, data: bytes) -> None: ...
    def table(self, name: str) -> pa.Table: ...


class ParquetBench:
    extension = "parquet"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sink: Sink = ParquetSink(f"parquet://{folder}")

    def staged(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def published(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    def put_staged(self, name: str, data: bytes) -> None:
        (self.folder / name).unlink(missing_ok=True)  # a new inode, or a linked final name would change with it
        (self.folder / name).write_bytes(data)

    def put_published(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)

    def table(self, name: str) -> pa.Table:
        return pq.read_table(self.folder / name)


class MemoryBench:
    extension = "arrow"

    def __init__(self) -> None:
        self.memory = MemorySink()
        self.sink: Sink = self.memory

    def staged(self, name: str) -> bytes:
        return self.memory.staged[name]

    def published(self, name: str) -> bytes | None:
        return self.memory.published.get(name)

    def put_staged(self, name: str, data: bytes) -> None:
        self.memory.staged[name] = data

    def put_published(self, name: str, data: bytes) -> None:
        self.memory.published[name] = data

    def table(self, name: str) -> pa.Table:
        return self.memory.table(name)


@pytest.fixture(params=["parquet", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    made: Bench = ParquetBench(tmp_path / "out") if request.param == "parquet" else MemoryBench()
    assert made.sink.check() is None
    made.sink.mark()
    return made


def test_a_target_is_marked_once_and_stays_marked(bench: Bench) -> None:
    assert bench.sink.is_marked()
    bench.sink.mark()
    assert bench.sink.is_marked()


def test_a_target_says_which_home_claimed_it_last_for_each_log(bench: Bench) -> None:
    homes = [PathText("/home/ada/case"), PathText("/mnt/a b\\xff\nc"), PathText("/home/ada/case")]
    assert bench.sink.claimed_by(LOG_ID) is None
    for home in homes:
        bench.sink.claim(LOG_ID, home)
        assert bench.sink.claimed_by(LOG_ID) == home
    assert bench.sink.claimed_by(OTHER_LOG_ID) is None
    bench.sink.claim(OTHER_LOG_ID, PathText("/other"))
    assert (bench.sink.claimed_by(LOG_ID), bench.sink.claimed_by(OTHER_LOG_ID)) == (homes[-1], "/other")
    assert bench.sink.is_marked()


def test_staged_artifact_is_named_by_log_job_attempt_and_output(bench: Bench) -> None:
    artifact = stage(bench.sink)
    who = identity()
    assert artifact.output == "events"
    assert artifact.staged == stage_name(LOG_ID, who.job, who.attempt, who.output)
    assert artifact.final == final_name(LOG_ID, who.job, who.attempt, who.output, bench.extension)
    assert artifact.schema_hash == who.schema_hash


def test_rows_bytes_and_digest_are_those_of_the_staged_bytes(bench: Bench) -> None:
    artifact = stage(bench.sink, count=1000)
    data = bench.staged(artifact.staged)
    assert artifact.rows == 1000
    assert artifact.bytes == len(data) > 0
    assert artifact.digest == blake3.blake3(data).hexdigest()


def test_writer_counts_rows_while_it_writes(bench: Bench) -> None:
    writer = bench.sink.open_stage(identity(), SCHEMA)
    writer.write(rows(2))
    writer.write(rows(0))
    writer.write(rows(3, first=2))
    assert writer.rows == 5
    assert writer.finish().rows == 5


def test_staged_artifact_is_not_published(bench: Bench) -> None:
    artifact = stage(bench.sink)
    assert bench.published(artifact.final) is None
    assert bench.sink.staged_names(LOG_ID) == [artifact.staged]


@pytest.mark.parametrize("verify_staged", [False, True])
def test_promote_publishes_the_staged_bytes_once(bench: Bench, verify_staged: bool) -> None:
    artifact = stage(bench.sink)
    data = bench.staged(artifact.staged)
    assert bench.sink.promote(artifact, verify_staged=verify_staged) == Promoted()
    assert bench.published(artifact.final) == data
    assert bench.sink.staged_names(LOG_ID) == []
    assert bench.table(artifact.final).to_pylist() == rows(3).to_pylist()


@pytest.mark.parametrize("verify_staged", [False, True])
def test_promote_again_answers_already_promoted(bench: Bench, verify_staged: bool) -> None:
    artifact = stage(bench.sink)
    bench.sink.promote(artifact, verify_staged=False)
    published = bench.published(artifact.final)
    for _ in range(2):
        assert bench.sink.promote(artifact, verify_staged=verify_staged) == AlreadyPromoted()
    assert bench.published(artifact.final) == published


def test_promote_after_a_crash_between_the_two_names_removes_the_staged_one(bench: Bench) -> None:
    artifact = stage(bench.sink)
    data = bench.staged(artifact.staged)
    bench.put_published(artifact.final, data)
    assert bench.sink.promote(artifact, verify_staged=True) == AlreadyPromoted()
    assert bench.sink.staged_names(LOG_ID) == []
    assert bench.published(artifact.final) == data


@pytest.mark.parametrize("same_size", [True, False])
def test_promote_never_overwrites_other_bytes(bench: Bench, same_size: bool) -> None:
    artifact = stage(bench.sink)
    data = bench.staged(artifact.staged)
    others = bytes(len(data)) if same_size else b"the bytes of somebody else"
    bench.put_published(artifact.final, others)
    answer = bench.sink.promote(artifact, verify_staged=False)
    assert isinstance(answer, Conflict)
    assert artifact.final in answer.why
    assert bench.published(artifact.final) == others
    assert bench.staged(artifact.staged) == data


def test_promote_of_nothing_is_missing(bench: Bench) -> None:
    artifact = stage(bench.sink)
    bench.sink.discard(artifact.staged)
    answer = bench.sink.promote(artifact, verify_staged=True)
    assert isinstance(answer, Missing)
    assert artifact.staged in answer.what
    assert artifact.final in answer.what
    assert bench.published(artifact.final) is None


def test_verifying_promote_refuses_a_flipped_bit_of_the_staged_bytes(bench: Bench) -> None:
    artifact = stage(bench.sink)
    data = bytearray(bench.staged(artifact.staged))
    data[len(data) // 2] ^= 1
    bench.put_staged(artifact.staged, bytes(data))
    answer = bench.sink.promote(artifact, verify_staged=True)
    assert isinstance(answer, Conflict)
    assert artifact.digest in answer.why
    assert bench.published(artifact.final) is None
    assert bench.staged(artifact.staged) == bytes(data)


@pytest.mark.parametrize("verify_staged", [False, True])
@pytest.mark.parametrize("change", [-1, 1])
def test_promote_refuses_staged_bytes_of_another_size(bench: Bench, verify_staged: bool, change: int) -> None:
    artifact = stage(bench.sink)
    data = bench.staged(artifact.staged)
    bench.put_staged(artifact.staged, data[:change] if change < 0 else data + b"!")
    answer = bench.sink.promote(artifact, verify_staged=verify_staged)
    assert isinstance(answer, Conflict)
    assert str(artifact.bytes) in answer.why
    assert bench.published(artifact.final) is None


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("staged", "../.elsewhere.stage"),
        ("staged", "events_0123456789abcdef.parquet"),
        ("staged", ""),
        ("final", "../elsewhere.parquet"),
        ("final", ".hidden.parquet"),
        ("final", ".."),
        ("final", "nul\0.parquet"),
    ],
)
def test_promote_refuses_names_that_leave_the_folder_or_are_of_the_wrong_kind(
    bench: Bench, field: str, name: str
) -> None:
    artifact = stage(bench.sink)
    forged: StagedArtifact = msgspec.structs.replace(artifact, **{field: name})
    answer = bench.sink.promote(forged, verify_staged=True)
    assert isinstance(answer, Conflict)
    assert repr(name) in answer.why
    assert bench.sink.staged_names(LOG_ID) == [artifact.staged]
    assert bench.sink.promote(artifact, verify_staged=True) == Promoted()


def test_promote_with_a_forged_digest_of_a_published_artifact_is_a_conflict(bench: Bench) -> None:
    artifact = stage(bench.sink)
    bench.sink.promote(artifact, verify_staged=True)
    forged = msgspec.structs.replace(artifact, digest=Digest("0" * 64))
    assert isinstance(bench.sink.promote(forged, verify_staged=False), Conflict)
    assert bench.sink.promote(artifact, verify_staged=False) == AlreadyPromoted()


@pytest.mark.parametrize("promoted", [True, False])
def test_withdraw_undoes_a_promotion_and_is_idempotent(bench: Bench, promoted: bool) -> None:
    kept, artifact = stage(bench.sink, identity(job=8)), stage(bench.sink)
    bench.sink.promote(kept, verify_staged=False)
    if promoted:
        bench.sink.promote(artifact, verify_staged=False)
    for _ in range(2):
        bench.sink.withdraw(artifact)
        assert bench.published(artifact.final) is None
        assert bench.sink.staged_names(LOG_ID) == []
    assert isinstance(bench.sink.promote(artifact, verify_staged=True), Missing)
    assert bench.published(kept.final) is not None


def test_withdraw_after_a_crash_between_the_two_names_removes_both(bench: Bench) -> None:
    artifact = stage(bench.sink)
    bench.put_published(artifact.final, bench.staged(artifact.staged))
    bench.sink.withdraw(artifact)
    assert bench.published(artifact.final) is None
    assert bench.sink.staged_names(LOG_ID) == []


@pytest.mark.parametrize("same_size", [True, False])
def test_withdraw_leaves_other_bytes_under_the_final_name(bench: Bench, same_size: bool) -> None:
    artifact = stage(bench.sink)
    others = bytes(artifact.bytes) if same_size else b"the bytes of somebody else"
    bench.put_published(artifact.final, others)
    bench.sink.withdraw(artifact)
    assert bench.published(artifact.final) == others
    assert bench.sink.staged_names(LOG_ID) == []


def test_withdraw_passes_over_names_that_promote_refuses(bench: Bench) -> None:
    artifact = stage(bench.sink)
    bench.sink.promote(artifact, verify_staged=False)
    forged = msgspec.structs.replace(artifact, staged=artifact.final, final="../elsewhere.parquet")
    assert isinstance(bench.sink.promote(forged, verify_staged=False), Conflict)
    bench.sink.withdraw(forged)
    assert bench.sink.promote(artifact, verify_staged=False) == AlreadyPromoted()


def test_discard_is_idempotent_and_leaves_what_is_published(bench: Bench) -> None:
    kept, dropped = stage(bench.sink), stage(bench.sink, identity(job=8))
    bench.sink.promote(kept, verify_staged=False)
    for _ in range(2):
        bench.sink.discard(dropped.staged)
        bench.sink.discard(kept.staged)
    assert bench.sink.staged_names(LOG_ID) == []
    assert bench.published(kept.final) is not None


@pytest.mark.parametrize(
    "name", ["events_0123456789abcdef.parquet", "../.01234567-7-1-events.stage", "", ".stage/../x"]
)
def test_discard_refuses_what_is_not_a_staged_name(bench: Bench, name: str) -> None:
    with pytest.raises(ArtifactNameError, match="nothing was touched"):
        bench.sink.discard(name)


def test_locate_refuses_what_is_not_a_final_name(bench: Bench) -> None:
    with pytest.raises(ArtifactNameError, match="nothing was touched"):
        bench.sink.locate("../events_0123456789abcdef.parquet")


def test_locate_is_under_the_uri(bench: Bench) -> None:
    located = bench.sink.locate("events_0123456789abcdef.parquet")
    assert located.removeprefix("parquet://").startswith(bench.sink.uri.removeprefix("parquet://").rstrip("/"))
    assert located.endswith("/events_0123456789abcdef.parquet")


def test_staged_names_are_sorted_and_only_those_of_this_log(bench: Bench) -> None:
    mine = [stage(bench.sink, identity(job=job)).staged for job in (9, 7, 8)]
    stranger = msgspec.structs.replace(identity(), log_id=OTHER_LOG_ID)
    theirs = stage(bench.sink, stranger).staged
    assert bench.sink.staged_names(LOG_ID) == sorted(mine)
    assert bench.sink.staged_names(OTHER_LOG_ID) == [theirs]


def test_staged_names_hold_what_a_crash_left_half_written(bench: Bench) -> None:
    writer = bench.sink.open_stage(identity(), SCHEMA)
    writer.write(rows(1))
    [name] = bench.sink.staged_names(LOG_ID)
    assert name == stage_name(LOG_ID, identity().job, 1, identity().output)
    writer.abandon()
    assert bench.sink.staged_names(LOG_ID) == []


def test_abandon_is_idempotent_before_and_after_finish(bench: Bench) -> None:
    writer = bench.sink.open_stage(identity(), SCHEMA)
    writer.write(rows(3))
    artifact = writer.finish()
    for _ in range(2):
        writer.abandon()
    assert bench.sink.staged_names(LOG_ID) == []
    assert isinstance(bench.sink.promote(artifact, verify_staged=True), Missing)


def test_abandon_after_promote_leaves_the_published_artifact(bench: Bench) -> None:
    writer = bench.sink.open_stage(identity(), SCHEMA)
    artifact = writer.finish()
    bench.sink.promote(artifact, verify_staged=True)
    writer.abandon()
    assert bench.sink.promote(artifact, verify_staged=True) == AlreadyPromoted()


def test_the_same_attempt_cannot_stage_an_output_twice(bench: Bench) -> None:
    artifact = stage(bench.sink)
    data = bench.staged(artifact.staged)
    with pytest.raises(FileExistsError, match="this attempt has staged the output before"):
        bench.sink.open_stage(identity(), SCHEMA)
    assert bench.staged(artifact.staged) == data


def test_two_attempts_and_two_outputs_have_names_of_their_own(bench: Bench) -> None:
    made = [
        stage(bench.sink, identity(attempt=attempt, output=output))
        for attempt in (1, 2)
        for output in ("events", "annotations")
    ]
    assert len({artifact.staged for artifact in made}) == len({artifact.final for artifact in made}) == 4


def test_an_output_name_cannot_lead_out_of_the_folder(bench: Bench) -> None:
    with pytest.raises(ArtifactNameError):
        bench.sink.open_stage(identity(output="x/../../y"), SCHEMA)


def test_writer_refuses_work_after_finish(bench: Bench) -> None:
    writer = bench.sink.open_stage(identity(), SCHEMA)
    writer.finish()
    with pytest.raises(StageClosedError, match="it is finished"):
        writer.write(rows(1))
    with pytest.raises(StageClosedError, match="it is finished"):
        writer.finish()


def test_writer_refuses_work_after_abandon(bench: Bench) -> None:
    writer = bench.sink.open_stage(identity(), SCHEMA)
    writer.abandon()
    with pytest.raises(StageClosedError, match="it is abandoned"):
        writer.write(rows(1))


def test_writer_refuses_a_batch_of_another_schema(bench: Bench) -> None:
    writer = bench.sink.open_stage(identity(), SCHEMA)
    with pytest.raises(StageSchemaError, match="cast"):
        writer.write(pa.RecordBatch.from_pydict({"id": [1], "name": [2]}))
    writer.write(rows(1))
    assert writer.finish().rows == 1


def test_an_artifact_without_rows_is_still_a_table(bench: Bench) -> None:
    artifact = bench.sink.open_stage(identity(), SCHEMA).finish()
    assert artifact.rows == 0
    assert bench.sink.promote(artifact, verify_staged=True) == Promoted()
    assert bench.table(artifact.final).schema.equals(SCHEMA)


def test_metadata_names_log_job_attempt_output_schema_and_further_facts(bench: Bench) -> None:
    forged = rows(1).replace_schema_metadata({"casparian.job": "666", "pandas": "no"})
    writer = bench.sink.open_stage(identity(attempt=2), forged.schema)
    writer.write(forged)
    artifact = writer.finish()
    bench.sink.promote(artifact, verify_staged=True)
    assert bench.table(artifact.final).schema.metadata == {
        b"casparian.log_id": LOG_ID.encode(),
        b"casparian.job": b"7",
        b"casparian.attempt": b"2",
        b"casparian.output": b"events",
        b"casparian.schema_hash": b"5c" * 32,
        b"casparian.parser": b"evtx",
        b"casparian.source_hash": b"ab" * 32,
    }


def test_a_further_fact_cannot_replace_the_identity(bench: Bench) -> None:
    for name in ("job", "casparian.job"):
        with pytest.raises(ValueError, match="job is the artifact's own"):
            bench.sink.open_stage(identity(metadata={name: "666"}), SCHEMA)
    assert bench.sink.staged_names(LOG_ID) == []


def test_check_is_repeatable_and_leaves_nothing_behind(bench: Bench, tmp_path: Path) -> None:
    artifact = stage(bench.sink)
    assert bench.sink.check() is None
    assert bench.sink.check() is None
    assert bench.sink.staged_names(LOG_ID) == [artifact.staged]
    if isinstance(bench, ParquetBench):
        assert {path.name for path in bench.folder.iterdir()} == {artifact.staged, MARK_NAME}
