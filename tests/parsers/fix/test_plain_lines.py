"""Plain lines, which are read a block at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parsers.fix import limits
from parsers.fix.log import Log
from tests.parsers.fix.reading import message, order, read


def test_batches_of_plain_lines_are_bounded_by_the_bytes_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READ_BYTES", 10_000)
    monkeypatch.setattr(limits, "BLOCK_BYTES", 100_000)
    lines = [message(order(number)) + b"\n" for number in range(5_000)]
    done = read(b"".join(lines), tmp_path)
    assert len(done.messages) == 5_000
    assert max(batch.num_rows for _, batch in done.batches) <= 110_000 / min(map(len, lines))


def test_plain_lines_are_not_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    one_by_one = Log._line

    def noted(log: Any, line: Any) -> None:
        taken.append(line.number)
        one_by_one(log, line)

    monkeypatch.setattr(Log, "_line", noted)
    lines = [message(order(number), delimiter="|") + b"\r\n" for number in range(2_000)]
    lines[7] = b"2026 | in | " + lines[7]
    lines[8] = lines[8].replace(b"55=", b"55=M=")
    lines[1_000] = b"nothing\n"
    done = read(b"".join(lines), tmp_path)
    assert taken == [9, 1_001]
    assert [row["line_number"] for row in done.messages] == [*range(1, 1_001), *range(1_002, 2_001)]
    assert done.messages[7]["prefix"] == "2026 | in | "
