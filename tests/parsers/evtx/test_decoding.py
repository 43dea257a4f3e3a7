"""The decoder, matched to the walk."""

from __future__ import annotations

from pathlib import Path

import pytest

from parsers.evtx import decoding
from tests.parsers.evtx.reading import (
    read,
    whole_log,
)


@pytest.mark.parametrize("record", [0, 1, 10**9])
def test_decoder_without_progress_is_left_and_every_record_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: int
) -> None:
    class Stuck:
        def __init__(self, *_: object) -> None:
            self.asked = 0

        def records_json(self) -> Stuck:
            return self

        def __iter__(self) -> Stuck:
            return self

        def __next__(self) -> object:
            self.asked += 1
            assert self.asked < 2_000
            raise RuntimeError(f"Failed to parse record number {record}: no")

    monkeypatch.setattr(decoding, "PyEvtxParser", Stuck)
    result = read(whole_log()[0], tmp_path)
    assert (result.statement["found"], result.statement["unreadable"], result.rows()) == (900, 900, [])
    assert len(result.ranges) == 900
