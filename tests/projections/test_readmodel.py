"""Tests that a read model's file is used exactly when it can be trusted, and that readers never need it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from eventlog.errors import LogMissingError
from eventlog.frames import FrameDraft
from eventlog.ids import LogId
from projections import queries, readmodel
from projections.errors import ReadModelUnavailableError
from projections.projector import table_digests
from projections.readmodel import checkpoint, discard, is_on_chain, open_reader, open_writer, readmodel_path
from tests.projections import histories as h
from tests.projections.logs import LOG_ID, open_log, write_log


def build(home: Path) -> None:
    """Write the read model of a home's log and close it."""
    log = open_log(home)
    projector = open_writer(home, log.log_id)
    projector.apply_all(log.replay())
    projector.connection.close()
    log.close()


def files_below(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


# --- the writer -----------------------------------------------------------------------------------------------------


def test_a_new_read_model_starts_before_the_first_event(tmp_path: Path) -> None:
    projector = open_writer(tmp_path, LOG_ID)
    assert checkpoint(projector) == (0, "")
    projector.connection.close()


def test_a_read_model_is_continued_where_it_stands(tmp_path: Path) -> None:
    write_log(tmp_path, [h.deployed()], [h.run_started()])
    build(tmp_path)
    projector = open_writer(tmp_path, LOG_ID)
    assert projector.checkpoint.seq == 4  # two openings and two events
    projector.connection.close()


def test_deleted_and_rebuilt_it_has_the_same_digests(tmp_path: Path) -> None:
    write_log(tmp_path, [h.deployed(), h.joined()], [h.run_started(), *h.whole_job(1)], [*h.whole_job(2, version="2")])
    log = open_log(tmp_path)
    projector = open_writer(tmp_path, log.log_id)
    for frame in log.replay():
        projector.apply([frame])
    before = table_digests(projector.connection)
    projector = discard(projector, tmp_path, log.log_id)
    assert projector.checkpoint.seq == 0
    projector.apply_all(log.replay())
    assert table_digests(projector.connection) == before
    projector.connection.close()
    log.close()


def test_the_read_model_of_another_log_is_rebuilt(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    projector = open_writer(tmp_path, LogId("f" * 32))
    assert (projector.checkpoint.seq, queries.runs(projector.connection)) == (0, [])
    projector.connection.close()


def test_a_read_model_of_other_definitions_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    monkeypatch.setattr(readmodel, "schema_digest", lambda: "another")
    projector = open_writer(tmp_path, LOG_ID)
    assert projector.checkpoint.seq == 0
    projector.connection.close()


@pytest.mark.parametrize("damage", [b"", b"not a database", b"\0" * 5000])
def test_a_file_that_is_no_database_is_rebuilt(tmp_path: Path, damage: bytes) -> None:
    readmodel_path(tmp_path).parent.mkdir()
    readmodel_path(tmp_path).write_bytes(damage)
    projector = open_writer(tmp_path, LOG_ID)
    assert projector.checkpoint.seq == 0
    projector.connection.close()


def test_a_file_cut_in_half_is_rebuilt(tmp_path: Path) -> None:
    write_log(tmp_path, [h.run_started()])
    build(tmp_path)
    path = readmodel_path(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    projector = open_writer(tmp_path, LOG_ID)
    assert projector.checkpoint.seq == 0
    projector.connection.close()


_KILLED = """
import os, sys
from pathlib import Path
from projections.readmodel import open_writer
from tests.projections import histories as h
from tests.projections.logs import LOG_ID
projector = open_writer(Path(sys.argv[1]), LOG_ID)
projector.apply(h.frames_of([[h.opened()], [h.run_started()]]))
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
    projector = open_writer(tmp_path, LOG_ID)
    assert projector.checkpoint.seq == 2
    projector.connection.close()


def test_a_file_whose_probe_dies_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_unclosed(tmp_path)
    monkeypatch.setattr(readmodel, "_PROBE", "import os; os.abort()")
    projector = open_writer(tmp_path, LOG_ID)
    assert projector.checkpoint.seq == 0
    projector.connection.close()


def test_a_damaged_write_ahead_log_ends_in_a_usable_read_model(tmp_path: Path) -> None:
    wal = leave_unclosed(tmp_path)
    wal.write_bytes(os.urandom(wal.stat().st_size))
    projector = open_writer(tmp_path, LOG_ID)
    projector.apply(h.frames_of([[h.opened()], [h.run_started()]])[int(projector.checkpoint.seq) :])
    assert len(queries.runs(projector.connection)) == 1
    projector.connection.close()


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
        projector = open_writer(tmp_path, LOG_ID)
        assert projector.checkpoint.seq == 0
        projector.connection.close()
        reader.kill()


def test_a_home_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "readmodel").write_text("in the way")
    with pytest.raises(ReadModelUnavailableError, match=r"open the read model .* check that the folder can be written"):
        open_writer(tmp_path, LOG_ID)


def test_a_home_whose_name_is_not_utf8_has_no_file_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReadModelUnavailableError, match="its name is not UTF-8"):
        open_writer(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")), LOG_ID)


def test_a_checkpoint_is_on_the_chain_of_its_log_only(tmp_path: Path) -> None:
    frames = h.frames_of([[h.opened()], [h.run_started(), h.run_planned()], [h.joined()], []])
    projector = open_writer(tmp_path, LOG_ID)
    assert is_on_chain(projector.checkpoint, [])
    projector.apply(frames[:2])
    assert is_on_chain(projector.checkpoint, frames[1:])
    assert not is_on_chain(projector.checkpoint, [])
    assert not is_on_chain(projector.checkpoint, h.frames_of([[h.opened(), h.run_started(), h.run_planned()]]))
    projector.connection.close()


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
from projections.readmodel import open_reader
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
    projector = open_writer(tmp_path, log.log_id)
    projector.apply_all(log.replay())
    projector.apply(log.commit([FrameDraft(events=(h.joined(),), actor="test")]))
    log.mark()
    child = subprocess.run([sys.executable, "-c", _READS, str(tmp_path)], check=True, capture_output=True, text=True)
    assert child.stdout == "private fold\n"
    projector.connection.close()
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
