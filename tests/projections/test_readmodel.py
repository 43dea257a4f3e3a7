"""Tests that a read model's file is used exactly when it can be trusted, and that readers never need it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import duckdb
import pytest

from eventlog.errors import LogMissingError
from eventlog.frames import Frame, FrameDraft
from eventlog.ids import LogId
from projections import probe, queries, readmodel, witness
from projections.errors import ReadModelUnavailableError
from projections.projector import table_digests
from projections.reader import open_reader
from projections.readmodel import is_on_chain, open_writer, rebuild, replay_into_duckdb
from projections.rows import CheckpointRow
from projections.voucher import VOUCHER_NAME
from projections.witness import peek_checkpoint, readmodel_path
from tests.projections import histories as h
from tests.projections.logs import LOG_ID, open_log, write_log


def build(home: Path) -> None:
    """Write the read model of a home's log and close it."""
    log = open_log(home)
    writer = open_writer(home, log.log_id)
    writer.projector.apply_all(log.replay())
    writer.close()
    log.close()


def files_below(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


# --- the writer -----------------------------------------------------------------------------------------------------


def test_a_new_read_model_starts_before_the_first_event(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, LOG_ID)
    assert (writer.projector.checkpoint.seq, writer.doubt) == (0, "its file was missing")
    writer.close()


def test_a_read_model_is_continued_where_it_stands(tmp_path: Path) -> None:
    write_log(tmp_path, [h.deployed()], [h.run_started()])
    build(tmp_path)
    writer = open_writer(tmp_path, LOG_ID)
    assert writer.projector.checkpoint.seq == 4  # two openings and two events
    writer.close()


def test_deleted_and_rebuilt_it_has_the_same_digests(tmp_path: Path) -> None:
    write_log(tmp_path, [h.deployed(), h.joined()], [h.run_started(), *h.whole_job(1)], [*h.whole_job(2, version="2")])
    log = open_log(tmp_path)
    writer = open_writer(tmp_path, log.log_id)
    for frame in log.replay():
        writer.projector.apply([frame])
    before = table_digests(writer.projector.connection)
    writer.close()
    readmodel_path(tmp_path).unlink()
    writer = open_writer(tmp_path, log.log_id)
    assert writer.projector.checkpoint.seq == 0
    writer.projector.apply_all(log.replay())
    assert table_digests(writer.projector.connection) == before
    writer.close()
    log.close()


def test_42_the_read_model_of_another_log_is_rebuilt(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    writer = open_writer(tmp_path, LogId("f" * 32))
    assert (writer.projector.checkpoint.seq, queries.runs(writer.projector.connection)) == (0, [])
    assert writer.doubt == f"it was of another log, {LOG_ID}"
    writer.close()


def test_a_read_model_of_other_definitions_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    monkeypatch.setattr(readmodel, "schema_digest", lambda: "another")
    writer = open_writer(tmp_path, LOG_ID)
    assert (writer.projector.checkpoint.seq, writer.doubt) == (0, "it was made by another version")
    writer.close()


@pytest.mark.parametrize("damage", [b"", b"not a database", b"\0" * 5000])
def test_a_file_that_is_no_database_is_rebuilt(tmp_path: Path, damage: bytes) -> None:
    readmodel_path(tmp_path).parent.mkdir()
    readmodel_path(tmp_path).write_bytes(damage)
    writer = open_writer(tmp_path, LOG_ID)
    assert writer.projector.checkpoint.seq == 0
    writer.close()


def test_a_file_cut_in_half_is_rebuilt(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    path = readmodel_path(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    writer = open_writer(tmp_path, LOG_ID)
    assert writer.projector.checkpoint.seq == 0
    writer.close()


def vouched_and_probed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that grows with each file that a child is asked about."""
    asked: list[Path] = []
    really = probe.probed_checkpoint

    def noted(database: Path, *, thorough: bool) -> CheckpointRow | None:
        asked.append(database)
        return really(database, thorough=thorough)

    monkeypatch.setattr(readmodel, "probed_checkpoint", noted)
    monkeypatch.setattr(witness, "probed_checkpoint", noted)
    return asked


def test_a_file_that_was_closed_in_order_is_opened_without_asking_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    asked = vouched_and_probed(monkeypatch)
    seen = peek_checkpoint(tmp_path)
    writer = open_writer(tmp_path, LOG_ID)
    assert (asked, writer.doubt, seen) == ([], "", writer.projector.checkpoint)
    assert not (tmp_path / "readmodel" / VOUCHER_NAME).exists()
    writer.close()


def test_a_changed_byte_is_seen_even_where_the_time_of_the_file_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    path = readmodel_path(tmp_path)
    before = path.stat()
    flip(path, before.st_size - 1)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    asked = vouched_and_probed(monkeypatch)
    open_writer(tmp_path, LOG_ID).close()
    assert asked == [path]


def test_a_damaged_voucher_vouches_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    voucher = tmp_path / "readmodel" / VOUCHER_NAME
    whole = voucher.read_bytes()
    asked = vouched_and_probed(monkeypatch)
    for damaged in (b"", whole[:-10], whole.replace(b'"seq":', b'"seq":1', 1), b"{}\n\n"):
        voucher.write_bytes(damaged)
        assert peek_checkpoint(tmp_path) is not None
    assert len(asked) == 4


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_anywhere_end_in_a_right_read_model_and_never_in_a_crash(tmp_path: Path, seed: int) -> None:
    write_log(tmp_path, [h.deployed(), h.joined()], [h.run_started(), *h.whole_job(1)], [*h.whole_job(2, version="2")])
    build(tmp_path)
    path = readmodel_path(tmp_path)
    with duckdb.connect(str(path), read_only=True) as connection:
        right = table_digests(connection)
    random = Random(seed)
    for _ in range(1 + seed % 4):
        # Half of the flips hit the headers and the first blocks, where DuckDB believes what it reads.
        flip(path, random.randrange(path.stat().st_size if seed % 2 else 16384))
    code = "import sys; from tests.projections.test_readmodel import *; reopen(Path(sys.argv[1]))"
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False)
    assert child.returncode == 0, child.stderr
    with duckdb.connect(str(path), read_only=True) as connection:
        digests = table_digests(connection)
    assert {**digests, "cf_checkpoint": ""} == {**right, "cf_checkpoint": ""}
    assert checkpoint_seq(path) > 0


def reopen(home: Path) -> None:
    """Bring a home's read model up to its log, as a start does."""
    log = open_log(home)
    writer = open_writer(home, log.log_id)
    writer.projector.apply_all(log.replay(writer.projector.checkpoint.seq + 1))
    writer.close()
    log.close()


def checkpoint_seq(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as connection:
        return int(connection.execute("SELECT seq FROM cf_checkpoint").fetchall()[0][0])


def test_41_a_file_that_kills_whoever_opens_it_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    (tmp_path / "readmodel" / VOUCHER_NAME).unlink()
    monkeypatch.setattr(probe, "_PROGRAM", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert peek_checkpoint(tmp_path) is None
    writer = open_writer(tmp_path, LOG_ID)
    assert (writer.projector.checkpoint.seq, writer.doubt) == (0, "its file was damaged")
    writer.close()


def test_a_file_that_hangs_whoever_opens_it_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    (tmp_path / "readmodel" / VOUCHER_NAME).unlink()
    monkeypatch.setattr(probe, "_PROGRAM", "import time; time.sleep(60)")
    monkeypatch.setattr(probe, "PROBE_SECONDS_MAX", 0.2)
    writer = open_writer(tmp_path, LOG_ID)
    assert writer.doubt == "its file was damaged"
    writer.close()


# --- rebuilding as a whole ------------------------------------------------------------------------------------------


def test_a_rebuilt_file_says_the_same_and_is_vouched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, [h.deployed(), h.joined()], [h.run_started(), *h.whole_job(1)])
    build(tmp_path)
    with duckdb.connect(str(readmodel_path(tmp_path)), read_only=True) as connection:
        before = table_digests(connection)
    log = open_log(tmp_path)
    rebuilt = rebuild(tmp_path, LOG_ID, log.replay(1))
    log.close()
    assert (rebuilt.rows["cf_jobs"], rebuilt.rows["cf_job_events"]) == (1, 6)
    with duckdb.connect(str(readmodel_path(tmp_path)), read_only=True) as connection:
        after = table_digests(connection)
    assert {**after, "cf_checkpoint": ""} == {**before, "cf_checkpoint": ""}
    asked = vouched_and_probed(monkeypatch)
    assert (peek_checkpoint(tmp_path), asked) == (rebuilt.checkpoint, [])


def test_rebuilding_that_fails_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    before = files_below(tmp_path / "readmodel")

    def broken() -> Iterator[Frame]:
        yield from h.frames_of([[h.opened()]])
        raise LogMissingError("gone", next_step="")

    with pytest.raises(LogMissingError):
        rebuild(tmp_path, LOG_ID, broken())
    after = files_below(tmp_path / "readmodel")
    assert {path: seen for path, seen in after.items() if ".building" not in path.name} == before
    open_writer(tmp_path, LOG_ID).close()
    assert not list((tmp_path / "readmodel").glob("*.building*"))


def test_the_durable_log_is_replayed_into_any_file(tmp_path: Path) -> None:
    write_log(tmp_path, [h.deployed()], [h.run_started(), *h.whole_job(1)])
    assert replay_into_duckdb(tmp_path / "log", tmp_path / "x.duckdb") == 9
    assert checkpoint_seq(tmp_path / "x.duckdb") == 9


_KILLED = """
import os, sys
from pathlib import Path
from projections.readmodel import open_writer
from tests.projections import histories as h
from tests.projections.logs import LOG_ID
writer = open_writer(Path(sys.argv[1]), LOG_ID)
writer.projector.apply(h.frames_of([[h.opened()], [h.run_started()]]))
os.kill(os.getpid(), 9)
"""


def leave_unclosed(home: Path) -> Path:
    """Kill a writer after a commit and return its write-ahead log."""
    child = subprocess.run([sys.executable, "-c", _KILLED, str(home)], check=False, capture_output=True)
    assert child.returncode == -9, child.stderr
    wal = readmodel_path(home).with_name("casparian_flow.duckdb.wal")
    assert wal.exists()
    return wal


def test_a_file_that_was_not_closed_is_probed_and_continued(tmp_path: Path) -> None:
    leave_unclosed(tmp_path)
    writer = open_writer(tmp_path, LOG_ID)
    assert writer.projector.checkpoint.seq == 2
    writer.close()


def test_a_file_whose_probe_dies_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_unclosed(tmp_path)
    monkeypatch.setattr(probe, "_PROGRAM", "import os; os.abort()")
    writer = open_writer(tmp_path, LOG_ID)
    assert (writer.projector.checkpoint.seq, writer.doubt) == (0, "its file was damaged")
    writer.close()


def test_41_a_damaged_write_ahead_log_ends_in_a_usable_read_model(tmp_path: Path) -> None:
    wal = leave_unclosed(tmp_path)
    wal.write_bytes(os.urandom(wal.stat().st_size))
    writer = open_writer(tmp_path, LOG_ID)
    writer.projector.apply(h.frames_of([[h.opened()], [h.run_started()]])[int(writer.projector.checkpoint.seq) :])
    assert len(queries.runs(writer.projector.connection)) == 1
    writer.close()


_HOLDS = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("held", flush=True)
sys.stdin.read()
"""


def test_readers_of_the_file_do_not_stop_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    monkeypatch.setattr(readmodel, "READERS_SECONDS_MAX", 0.1)
    command = [sys.executable, "-c", _HOLDS, str(readmodel_path(tmp_path))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"held\n"
        writer = open_writer(tmp_path, LOG_ID)
        assert writer.projector.checkpoint.seq == 0
        writer.close()
        reader.kill()


def test_a_home_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "readmodel").write_text("in the way")
    with pytest.raises(ReadModelUnavailableError, match=r"open the read model .* check that the folder can be written"):
        open_writer(tmp_path, LOG_ID)


def test_a_home_whose_name_is_not_utf8_has_no_file_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReadModelUnavailableError, match="its name is not UTF-8"):
        open_writer(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")), LOG_ID)


def test_42_a_checkpoint_is_on_the_chain_of_its_log_only(tmp_path: Path) -> None:
    frames = h.frames_of([[h.opened()], [h.run_started(), h.run_planned()], [h.joined()], []])
    writer = open_writer(tmp_path, LOG_ID)
    assert is_on_chain(writer.projector.checkpoint, [])
    writer.projector.apply(frames[:2])
    assert is_on_chain(writer.projector.checkpoint, frames[1:])
    assert not is_on_chain(writer.projector.checkpoint, [])
    assert not is_on_chain(writer.projector.checkpoint, h.frames_of([[h.opened(), h.run_started(), h.run_planned()]]))
    writer.close()


# --- readers --------------------------------------------------------------------------------------------------------


def test_a_reader_uses_the_file_when_it_is_at_the_head_of_the_log(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    before = files_below(tmp_path)
    with open_reader(tmp_path, tmp_path / "log") as reader:
        assert (reader.source, reader.seq) == ("read model", 3)
        assert [run.run_id for run in queries.runs(reader.connection)] == [1]
    assert files_below(tmp_path) == before


def test_several_readers_use_the_file_at_once(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    with open_reader(tmp_path, tmp_path / "log") as reader:
        other = subprocess.run(
            [sys.executable, "-c", _READS, str(tmp_path)], check=True, capture_output=True, text=True
        )
        assert (reader.source, other.stdout) == ("read model", "read model\n")


_READS = """
import sys
from pathlib import Path
from projections.reader import open_reader
home = Path(sys.argv[1])
print(open_reader(home, home / "log").source)
"""


def test_a_reader_folds_for_itself_when_there_is_no_file(tmp_path: Path) -> None:
    write_log(tmp_path, [h.deployed()], [h.run_started(), *h.whole_job(1)])
    before = files_below(tmp_path)
    with open_reader(tmp_path, tmp_path / "log") as reader:
        assert (reader.source, reader.seq) == ("private fold", 9)
        assert queries.job_counts(reader.connection) == {"completed": 1}
    assert files_below(tmp_path) == before


def test_a_reader_folds_for_itself_when_the_file_is_behind(tmp_path: Path) -> None:
    build(tmp_path)
    write_log(tmp_path, [h.run_started()])
    with open_reader(tmp_path, tmp_path / "log") as reader:
        assert reader.source == "private fold"
        assert len(queries.runs(reader.connection)) == 1


def test_a_reader_folds_for_itself_while_a_writer_has_the_file(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    log = open_log(tmp_path)
    writer = open_writer(tmp_path, log.log_id)
    writer.projector.apply_all(log.replay())
    writer.projector.apply(log.commit([FrameDraft(events=(h.joined(),), actor="test")]))
    log.mark()
    child = subprocess.run([sys.executable, "-c", _READS, str(tmp_path)], check=True, capture_output=True, text=True)
    assert child.stdout == "private fold\n"
    writer.close()
    log.close()


def test_a_reader_does_not_touch_a_file_that_was_not_closed(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    leave_unclosed(tmp_path)
    before = files_below(tmp_path)
    with open_reader(tmp_path, tmp_path / "log") as reader:
        assert reader.source == "private fold"
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("damage", [b"", b"not a database"])
def test_a_reader_folds_for_itself_when_the_file_is_no_database(tmp_path: Path, damage: bytes) -> None:
    write_log(tmp_path, [h.run_started()])
    readmodel_path(tmp_path).parent.mkdir()
    readmodel_path(tmp_path).write_bytes(damage)
    with open_reader(tmp_path, tmp_path / "log") as reader:
        assert reader.source == "private fold"


def test_a_reader_in_a_folder_that_is_not_utf8_folds_for_itself(tmp_path: Path) -> None:
    home = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    write_log(home, [h.run_started()])
    readmodel_path(home).parent.mkdir()
    readmodel_path(home).write_bytes(b"something")
    with open_reader(home, home / "log") as reader:
        assert reader.source == "private fold"


def test_file_and_private_fold_say_the_same(tmp_path: Path) -> None:
    write_log(tmp_path, [h.deployed(), h.joined()], [h.run_started(), *h.whole_job(1)], [h.run_finished()])
    build(tmp_path)
    with open_reader(tmp_path, tmp_path / "log") as reader:
        assert reader.source == "read model"
        from_file = table_digests(reader.connection)
    readmodel_path(tmp_path).unlink()
    with open_reader(tmp_path, tmp_path / "log") as reader:
        assert reader.source == "private fold"
        assert table_digests(reader.connection) == from_file


def test_without_a_log_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(LogMissingError):
        open_reader(tmp_path, tmp_path / "log")


def test_a_reader_cannot_write_the_file(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    with open_reader(tmp_path, tmp_path / "log") as reader, pytest.raises(duckdb.InvalidInputException):
        reader.connection.execute("DELETE FROM cf_runs")


def test_closing_a_reader_twice_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, [h.run_started()])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "log"))
    reader = open_reader(tmp_path, tmp_path / "log")
    reader.close()
    reader.close()
    assert not list((tmp_path / "log").glob("casparian-*"))
