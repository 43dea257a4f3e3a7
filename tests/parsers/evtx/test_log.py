"""One log being read: the bounds of its batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.demo.evtx_writer import (
    CHUNK_BYTES,
)
from parsers.evtx import limits, parser
from tests.parsers.evtx.reading import (
    read,
    whole_log,
)


def test_batches_are_bounded_in_rows_and_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH_ROWS", 10)
    monkeypatch.setattr(limits, "BATCH_TEXT_MAX", 20_000)
    result = read(whole_log()[0], tmp_path)
    batches = [batch for name, batch in result.batches if name == "evtx_events"]
    assert len(batches) > 5
    assert sum(batch.num_rows for batch in batches) == 900
    assert max(sum(len(row["raw_event_json"]) for row in batch.to_pylist()) for batch in batches) <= 20_000


def test_a_full_batch_stays_under_ten_thousand_rows() -> None:
    records_in_a_chunk_max = (CHUNK_BYTES - 512) // 28
    assert limits.BATCH_ROWS + records_in_a_chunk_max <= 10_000


def test_source_hash_of_the_host_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "log.evtx"
    path.write_bytes(whole_log()[0])
    batches = list(parser.parse(str(path), {}, source_hash="ab" * 32))
    assert {value for _, batch in batches for value in batch.column("file_ref").to_pylist()} == {"ab" * 8}
