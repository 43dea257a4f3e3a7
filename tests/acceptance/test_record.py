"""From a row back to its bytes: cut out of the source, and the row made from them again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance


@pytest.fixture
def source(terminal: Terminal, tmp_path: Path) -> Path:
    """A log whose run is done."""
    path = write_log(tmp_path / "logs" / "one.evtx", records=5)
    assert terminal.run_evtx(path).code == 0
    return path


def test_a_row_leads_to_its_bytes_and_is_made_from_them_again(terminal: Terminal, source: Path) -> None:
    ((offset, length),) = terminal.sql("select record_offset, record_length from evtx_events where _cf_row_seq = 3")
    done = terminal.casparian("record", "evtx_events", "1:3", "--json")
    assert done.code == 0, done.err
    told = done.json
    assert (told["offset"], told["length"], told["path"]) == (offset, length, str(source))
    assert bytes.fromhex(told["bytes_hex"]) == source.read_bytes()[offset : offset + length]
    assert told["columns"]["event_record_id"] == 4
    assert (told["source_unchanged"], told["differences"]) == (True, [])
    shown = terminal.casparian("record", "evtx_events", "1:3").out
    assert f"{offset:08x}  2a 2a 00 00" in shown
    assert "all equal" in shown


@pytest.mark.slow
def test_every_row_of_every_table_is_made_again_equal(terminal: Terminal, source: Path) -> None:
    for table in ("evtx_events", "evtx_eventdata_kv", "evtx_files"):
        for (row,) in terminal.sql(f"select _cf_row_seq from {table} limit 2"):
            done = terminal.casparian("record", table, f"1:{row}", "--json")
            assert (done.code, done.json["differences"]) == (0, []), table


def test_a_source_that_has_changed_is_told_and_the_row_is_not_made_again(terminal: Terminal, source: Path) -> None:
    data = bytearray(source.read_bytes())
    data[-1] ^= 1
    source.write_bytes(data)
    done = terminal.casparian("record", "evtx_events", "1:3")
    assert done.code == 5
    assert "HAS OTHER BYTES NOW" in done.out
    source.unlink()
    done = terminal.casparian("record", "evtx_events", "1:3")
    assert done.code == 5
    assert "is not there any more" in done.out


@pytest.mark.slow
def test_a_published_file_with_other_bytes_proves_nothing(terminal: Terminal, source: Path) -> None:
    ((file,),) = terminal.sql("select file from cf_materializations where output_name = 'evtx_events'")
    whole = (terminal.out / file).read_bytes()
    table = pq.read_table(terminal.out / file)
    at = table.schema.get_field_index("event_id")
    pq.write_table(
        table.set_column(at, table.schema.field(at), pa.array([1] * table.num_rows, pa.int64())), terminal.out / file
    )
    forged = (terminal.out / file).read_bytes()
    for damaged in (forged, whole[:300], b""):
        (terminal.out / file).write_bytes(damaged)
        for verb in (["record"], ["explain", "row"]):
            done = terminal.casparian(*verb, "evtx_events", "1:0", "--json")
            assert (done.code, done.json["error"]["code"]) == (5, "output_damaged")
    (terminal.out / file).unlink()
    assert terminal.casparian("record", "evtx_events", "1:0", "--json").json["error"]["code"] == "output_lost"


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("evtx_events", "1:99"), 1, "not_found"),
        (("evtx_events", "9:0"), 1, "not_found"),
        (("nowhere", "1:0"), 1, "not_found"),
        (("evtx_userdata_kv", "1:0"), 1, "not_found"),
        (("evtx_events", "one"), 2, "usage"),
    ],
)
def test_a_row_that_is_not_there_is_said_with_a_next_step(
    terminal: Terminal, source: Path, words: tuple[str, str], code: int, error: str
) -> None:
    for verb in (["record"], ["explain", "row"]):
        done = terminal.casparian(*verb, *words, "--json")
        assert (done.code, done.json["error"]["code"]) == (code, error)
        assert done.json["error"]["next_step"]


def test_the_explanation_of_a_row_ends_with_the_command_that_shows_its_bytes(terminal: Terminal, source: Path) -> None:
    shown = terminal.casparian("explain", "row", "evtx_events", "1:2").out
    assert shown.splitlines()[-1] == "next: casparian record evtx_events 1:2"
    assert str(source) in shown.splitlines()[0]
    told = terminal.casparian("explain", "row", "evtx_events", "1:2", "--json").json
    assert {line["type"] for line in told["lines"]} >= {"StartRun", "FilesSeen", "JobQueued", "MaterializationRecorded"}
