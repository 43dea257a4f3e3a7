"""Whoever wants to query what a sentinel knows gets a copy of it: whole, of now, and gone when it is not needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from cli import lending
from cli.home import Home
from cli.lending import COPIES_MAX
from cli.messages import LendReadModel, ReadModelLent, Refusal, RevokeParser, ask
from cli.reading import reading
from cli.sentinel import Sentinel
from projections.reader import Reader, open_reader
from projections.rows import TABLES
from tests.acceptance.terminal import eventually
from tests.support import planned_run


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Sentinel]:
    with Sentinel(Home(tmp_path / "home"), purpose="test") as started:
        for command in planned_run(1, 2):
            assert started.handler.call(command, actor="test").refused is None
        yield started


def rows(reader: Reader) -> dict[str, list[dict[str, Any]]]:
    ask_for = "SELECT * FROM {} ORDER BY ALL"
    return {
        table.name: reader.connection.sql(ask_for.format(table.name)).to_arrow_table().to_pylist() for table in TABLES
    }


def read_up_to(home: Home) -> int:
    with open_reader(home.root, home.log) as reader:
        return reader.seq


def lend(sentinel: Sentinel) -> ReadModelLent:
    reply = sentinel.control.answer(ask(LendReadModel()))
    assert isinstance(reply, ReadModelLent), reply
    return reply


def refuse_one_more(sentinel: Sentinel, number: int) -> None:
    """Have something recorded."""
    sentinel.control.answer(ask(RevokeParser(parser=f"nobody{number}", reason="no")))


def copies(sentinel: Sentinel) -> list[str]:
    return sorted(path.name for path in sentinel.home.scratch.glob("lent-*"))


def test_a_reader_beside_a_sentinel_sees_what_a_fold_of_the_log_shows(
    sentinel: Sentinel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "casparian.reading"), reading(sentinel.home) as reader:
        assert (reader.source, reader.seq) == ("lent copy", sentinel.log.head.seq)
        seen = rows(reader)
    assert f"a copy of what it knows, up to record {sentinel.log.head.seq}" in caplog.text
    assert len(seen["cf_jobs"]) == 2
    home = sentinel.home
    eventually(lambda: read_up_to(home) == sentinel.log.head.seq, what="the log to say that all of it is durable")
    with open_reader(home.root, home.log) as fold:
        assert (fold.source, rows(fold)) == ("private fold", seen)


def test_what_was_recorded_a_moment_ago_is_in_the_copy(sentinel: Sentinel) -> None:
    for number in range(3):
        refuse_one_more(sentinel, number)
        assert lend(sentinel).seq == sentinel.log.head.seq


def test_a_copy_is_made_only_where_something_was_recorded_since_and_few_are_kept(sentinel: Sentinel) -> None:
    first = lend(sentinel)
    assert lend(sentinel) == first
    for number in range(4):
        refuse_one_more(sentinel, number)
        lend(sentinel)
        assert len(copies(sentinel)) == min(COPIES_MAX, number + 2)
    assert not Path(first.path).exists()
    assert (sentinel.home.scratch / copies(sentinel)[0]).stat().st_mode & 0o777 == 0o700


def test_a_copy_that_is_open_may_be_removed(sentinel: Sentinel) -> None:
    with reading(sentinel.home) as reader:
        before = rows(reader)
        sentinel.lender.clear()
        assert copies(sentinel) == []
        assert rows(reader) == before


def test_a_copy_that_is_gone_or_damaged_is_done_without(sentinel: Sentinel) -> None:
    home = sentinel.home
    lent = Path(lend(sentinel).path)
    data = bytearray(lent.read_bytes())
    data[len(data) // 2] ^= 1
    lent.write_bytes(data)
    for _ in range(2):
        with open_reader(home.root, home.log, lent=lent) as reader:
            assert reader.source == "private fold"
        lent.unlink(missing_ok=True)


def test_where_no_copy_can_be_made_the_log_is_read_and_the_sentinel_goes_on(
    sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_connection: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise duckdb.IOException("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(lending, "copy_read_model", full)
        refused = sentinel.control.answer(ask(LendReadModel()))
        assert isinstance(refused, Refusal)
        assert "No space left" in refused.message
        with reading(sentinel.home) as reader:
            assert reader.source == "private fold"
    with reading(sentinel.home) as reader:
        assert reader.source == "lent copy"


def test_nothing_is_left_of_copies_after_an_end_or_a_crash(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with Sentinel(home, purpose="test") as sentinel:
        lend(sentinel)
    assert copies(sentinel) == []
    (home.scratch / "lent-7").mkdir()
    (home.scratch / "lent-7" / "readmodel.duckdb").write_text("of a crash")
    with Sentinel(home, purpose="test") as sentinel:
        assert copies(sentinel) == []
