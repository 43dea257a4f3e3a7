"""The FIX case: a trade is four rows, a break is found by its order, what was no price is kept as it was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.fix_case import build_case
from tests.acceptance.terminal import Terminal

pytestmark = pytest.mark.acceptance


@pytest.fixture
def case(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A terminal whose home holds the case."""
    build_case(tmp_path / "case")
    done = terminal.casparian("run", "fix", tmp_path / "case", "--allow-quarantine", "--json")
    assert done.code == 3, done.err
    return terminal


def rows(terminal: Terminal, sql: str) -> list[list[Any]]:
    found: list[list[Any]] = terminal.casparian("sql", sql, "--json").json["rows"]
    return found


def test_a_trade_is_found_by_its_order_and_a_break_by_what_does_not_add_up(case: Terminal) -> None:
    trade = "select lifecycle_event from fix_order_lifecycle where cl_ord_id = 'CLORD1' order by msg_seq_num"
    assert rows(case, trade) == [["new_order"], ["ack"], ["partial_fill"], ["fill"]]
    broken = "select cl_ord_id from fix_order_lifecycle group by all having sum(last_qty) <> max(cum_qty)"
    assert rows(case, broken) == [["CLORD7"]]
    timeline = (
        "select lifecycle_event from fix_order_lifecycle where 'CLORD7' in (cl_ord_id, orig_cl_ord_id) "
        "order by sending_time"
    )
    assert [event for (event,) in rows(case, timeline)] == [
        "new_order", "ack", "partial_fill", "partial_fill", "cancel_request", "cancel_reject",
    ]  # fmt: skip
    kept = "select cl_ord_id, last_qty, last_px from fix_order_lifecycle_quarantine"
    assert rows(case, kept) == [["CLORD7", "100", "1O.25"]]
    sheets = {Path(each["path"]).parent.name: each for each in case.casparian("balance", "--json").json["files"]}
    assert {name: (sheet["quarantined"], sheet["unreadable"]) for name, sheet in sheets.items()} == {
        "alpha": (0, 1), "beta": (1, 0), "gamma": (0, 0),
    }  # fmt: skip


def test_the_tags_of_every_message_are_had_by_their_numbers(terminal: Terminal, tmp_path: Path) -> None:
    body = "35=0|49=A|56=B|34=1|52=20260122-10:00:00|"
    head = f"8=FIX.4.4|9={len(body)}|"
    checksum = sum((head + body).replace("|", "\x01").encode()) % 256
    (tmp_path / "one.fix").write_text(f"{head}{body}10={checksum:03}|\n")
    done = terminal.casparian("run", "fix", str(tmp_path / "one.fix"), "--set", "tags=49,56", "--json")
    assert done.code == 0, done.err
    assert terminal.sql("select tag, value from fix_tags order by position") == [["49", "A"], ["56", "B"]]
