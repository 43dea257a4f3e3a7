"""The FIX parser against public logs, whose truth was counted by byte arithmetic and with simplefix."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import pytest

from tests.parsers.fix.reading import REAL_DATA, Read, read_both_ways

TRUTH: Final = REAL_DATA / "fix.truth.ndjson"
# Where the truth speaks of something else: two lines whose SOH were lost are no messages there and unreadable ones
# here; and simplefix refuses the two messages of each script that hold a field without a number, but they have a type.
WITHOUT_DELIMITER: Final = "soh_delimiter.fix"
GARBLED: Final = ("2d_GarbledMessage.def", "3c_GarbledMessage.def")

pytestmark = pytest.mark.skipif(not TRUTH.is_file(), reason=f"no public FIX logs at {REAL_DATA}")


def truths() -> list[dict[str, Any]]:
    return [json.loads(line) for line in TRUTH.read_text().splitlines()] if TRUTH.is_file() else []


def counted(done: Read) -> dict[str, Any]:
    """Count what the truth counts."""
    rows = done.messages
    messages, lines = done.statements
    notes = done.notes()
    on_line = Counter(row["line_number"] for row in rows)
    return {
        "lines": lines["found"],
        "lines_without_message": lines["skipped"] + lines["unreadable"],
        "lines_with_several_messages": sum(count > 1 for count in on_line.values()),
        "messages": messages["found"],
        "without_last_delimiter": notes["last_delimiter_absent"],
        "with_text_after_message": sum(row["suffix"] is not None for row in rows),
        "with_empty_value": sum("empty_value" in (row["notes"] or "") for row in rows),
        "checksum_ok": sum(row["checksum_ok"] is True for row in rows),
        "checksum_bad": sum(row["checksum_ok"] is False for row in rows),
        "checksum_bad_but_ok_over_the_printed_delimiter": notes["checksum_ok_over_printed_delimiter"],
        "checksum_absent": notes["checksum_absent"],
        "checksum_not_3_digits": notes["checksum_not_3_digits"],
        "body_length_ok": sum(row["body_length_ok"] is True for row in rows),
        "body_length_bad": sum(row["body_length_ok"] is False for row in rows),
        "body_length_absent": notes["body_length_absent"],
        "msg_types": dict(Counter(row["msg_type"] for row in rows)),
        "begin_strings": dict(Counter(row["begin_string"] for row in rows)),
    }


@pytest.mark.parametrize("truth", truths(), ids=lambda truth: truth["file"])
def test_every_public_log_gives_what_its_truth_says(truth: dict[str, Any]) -> None:
    done = Read(REAL_DATA / truth["file"])
    done.check_balance()
    mine = counted(done)
    expected = {name: truth[name] for name in mine}
    if truth["file"].endswith(WITHOUT_DELIMITER):
        expected["messages"] = 2
        assert done.errors == ["no_delimiter"] * 2
        assert done.statements[0]["unreadable"] == 2
    if truth["file"].endswith(GARBLED):
        assert sum(mine["msg_types"].values()) == truth["messages"] == truth["simplefix_messages"] + 2
        assert done.notes()["malformed_fields"] == truth["simplefix_no_message"] == 2
        for name in ("msg_types", "begin_strings"):
            assert all(mine[name][key] >= count for key, count in truth[name].items())
            del mine[name], expected[name]
    assert mine == expected


@pytest.mark.parametrize("truth", truths(), ids=lambda truth: truth["file"])
def test_every_public_log_gives_the_same_with_its_plain_lines_read_together_or_one_by_one(
    truth: dict[str, Any],
) -> None:
    together, alone = read_both_ways(REAL_DATA / truth["file"], tags="true", log_prefix_tz="Europe/Berlin")
    assert together.tables == alone.tables
    assert together.statements == alone.statements


def test_the_times_of_the_public_logs_are_kept_as_they_were_sent() -> None:
    for truth in truths():
        times = [row["sending_time_text"] for row in Read(REAL_DATA / truth["file"]).messages]
        times = [time for time in times if time and time != "<TIME>"]
        if truth["min_sending_time"] is not None:
            assert (min(times), max(times)) == (truth["min_sending_time"], truth["max_sending_time"])


def test_the_groups_of_messages_of_all_types_have_the_entries_that_their_counters_say() -> None:
    # A generator that works from the dictionary of FIX 4.4 made one message of each type, with nested groups.
    done = Read(REAL_DATA / "fix" / "jspurefix" / "fix.txt")
    assert done.notes() == {"checksum_ok_over_printed_delimiter": 50}
    rows = done.rows("fix_groups")
    assert max(row["entry_path"].count(".") for row in rows) == 3
    places = {(row["byte_offset"], row["entry_path"].rpartition("[")[0]): 0 for row in rows}
    for row in rows:
        place = (row["byte_offset"], row["entry_path"].rpartition("[")[0])
        places[place] = max(places[place], row["entry_index"] + 1)
        assert row["group_tag"] == place[1].rpartition(".")[2]
    declared = {
        (row["byte_offset"], row["entry_path"].rpartition("[")[0]): int(row["entries_declared"]) for row in rows
    }
    assert places == declared
    assert len(places) > 500


def test_the_demo_order_has_its_four_steps() -> None:
    done = Read(REAL_DATA / "fix" / "casparian" / "fix_demo.fix")
    rows = [row for row in done.rows("fix_order_lifecycle") if row["cl_ord_id"] == "CLORD1"]
    rows.sort(key=lambda row: int(row["msg_seq_num"]))
    assert {row["lifecycle_event"] for row in rows} == {"new_order", "ack", "partial_fill", "fill"}
    assert len(rows) == 4
