"""The FIX parser against messages written out here, one for each rule, and against any that can be made up."""

from __future__ import annotations

import ast
import gzip
import hashlib
import re
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from executors.parser_catalog import load_parser
from tests.parsers.fix.reading import FOLDER, MESSAGES, ROOT, SOH, Read, message, order, parser, read, sealed


def sent(*bodies: str, **options: str) -> bytes:
    return b"".join(message(body, **options) + b"\n" for body in bodies)


# --- what the host reads before it runs anything ---------------------------------------------------------------------


def test_the_host_can_read_what_the_parser_declares() -> None:
    package = load_parser(FOLDER)
    assert package.settings == parser.DEFAULTS
    assert [schema.output for schema in package.outputs] == list(parser.outputs)


def test_the_parser_needs_only_the_standard_library_and_pyarrow() -> None:
    tree = ast.parse((FOLDER / "parser.py").read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    own = {"array", "bisect", "gzip", "hashlib", "re", "zlib", "collections", "datetime", "functools", "itertools"}
    own |= {"operator", "pathlib", "typing"}
    assert {name.split(".")[0] for name in names} == own | {"zoneinfo", "pyarrow"}
    assert tomllib.loads((FOLDER / "casparian.toml").read_text())["packages"] == ["tzdata"]


def test_what_the_host_is_to_read_is_handed_over_as_text(tmp_path: Path) -> None:
    done = read(sent(order()), tmp_path)
    ((_, batch),) = done.batches
    declared: Any = parser.outputs["fix_order_lifecycle"]["columns"]
    assert batch.schema.names == [column["name"] for column in declared] + ["__cf_row_id"]
    as_text = {column["name"] for column in declared if "format" in column or isinstance(column["type"], dict)}
    assert {"price", "msg_seq_num", "sending_time"} <= as_text
    assert all(batch.schema.field(name).type == pa.string() for name in as_text)


def test_what_was_found_out_stands_behind_the_fields_in_each_table_of_messages() -> None:
    for output in MESSAGES:
        names = parser._SCHEMAS[output].names
        fields = [name for name in names if name != "lifecycle_event"][: -parser.FOUND_COLUMNS]
        assert fields == parser._COLUMN_NAMES[output]
        assert names[-parser.FOUND_COLUMNS] == "body_length_ok"


def test_each_required_column_is_declared_so() -> None:
    for output in MESSAGES:
        columns: Any = parser.outputs[output]["columns"]
        required = {column["name"] for column in columns if not column["nullable"]}
        assert {"msg_type", "sender_comp_id", "target_comp_id", "msg_seq_num", "sending_time"} <= required


def test_the_page_names_every_note_and_every_reason() -> None:
    source = (FOLDER / "parser.py").read_text()
    words = set(re.findall(r'notes\.(?:append|extend)\(f?"([a-z_0-9]+)', source))
    words |= set(re.findall(r'self\._(?:lost|error)\([^"\n]*"([a-z_]+)"', source)) | {"gzip_damaged"}
    assert {"checksum_mismatch", "no_msg_type", "prefix_cut", "repeated_tag"} <= words
    page = (ROOT / "docs" / "FIX.md").read_text()
    assert {word for word in words if f"`{word}" not in page} == set()


# --- where a row comes from ------------------------------------------------------------------------------------------


def test_a_row_says_which_bytes_it_was_made_of(tmp_path: Path) -> None:
    data = b"junk\n" + b"in : " + message(order(1)) + message(order(2)) + b"\r\n" + message(order(3))
    done = read(data, tmp_path)
    assert [row["line_number"] for row in done.messages] == [2, 2, 3]
    assert [row["message_index"] for row in done.messages] == [0, 1, 0]
    for row in done.messages:
        raw = row["raw_message"].encode()
        assert data[row["byte_offset"] :].startswith(raw)
        line = data.split(b"\n")[row["line_number"] - 1].removesuffix(b"\r")
        assert row["raw_line_hash"] == hashlib.sha256(line).hexdigest()
        assert row["__cf_row_id"] == row["line_number"]


def test_each_message_is_one_row_of_one_table(tmp_path: Path) -> None:
    types = ["D", "8", "F", "G", "9", "H", "A", "0", "1", "2", "3", "4", "5", "j", "W", "AE", "n", "U1"]
    done = read(sent(*(order().replace("35=D", f"35={kind}") for kind in types)), tmp_path)
    assert [row["msg_type"] for row in done.rows("fix_order_lifecycle")] == types[:6]
    assert [row["msg_type"] for row in done.rows("fix_session_events")] == types[6:14]
    assert [row["msg_type"] for row in done.rows("fix_other_messages")] == types[14:]


@pytest.mark.parametrize("around", [("", ""), ("2026-01-20 in: ", ""), ('{"msg":"', '"}'), ("I", " tail")])
def test_text_around_a_message_is_kept(tmp_path: Path, around: tuple[str, str]) -> None:
    line = around[0].encode() + message(order(), delimiter="|") + around[1].encode()
    row = read(line + b"\n", tmp_path).only
    assert (row["prefix"] or "", row["suffix"] or "") == around
    assert row["checksum_ok"] is row["body_length_ok"] is True


# --- fields ----------------------------------------------------------------------------------------------------------


def test_values_are_kept_as_they_were_sent(tmp_path: Path) -> None:
    row = read(sent(order(7, "|6=-1.50|58=a=b=c|15=")), tmp_path).only
    assert row["msg_seq_num"] == "7"
    assert row["price"] == "101.25"
    assert row["avg_px"] == "-1.50"
    assert row["text"] == "a=b=c"
    assert row["currency"] == ""
    assert row["notes"] == "empty_value:15"


def test_an_empty_number_is_none_and_noted(tmp_path: Path) -> None:
    row = read(sent(order().replace("44=101.25", "44=")), tmp_path).only
    assert row["price"] is None
    assert row["notes"] == "empty_value:44"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("20260120-14:30:00", "20260120-14:30:00Z"),
        ("20260120-14:30:00.123", "20260120-14:30:00.123Z"),
        ("20260120-14:30:00.123456", "20260120-14:30:00.123456Z"),
        ("20260120-14:30:00.123456999", "20260120-14:30:00.123456Z"),
        ("20260120-14:30:00+01:00", "20260120-14:30:00+01:00Z"),  # no time of the protocol: the host refuses it
        ("20260120-14:30:00Z", "20260120-14:30:00Z"),
        ("yesterday", "yesterday"),
    ],
)
def test_times_are_utc_to_the_microsecond_and_stand_beside_what_was_sent(tmp_path: Path, text: str, told: str) -> None:
    row = read(sent(order().replace("20260120-14:30:00.123", text)), tmp_path).only
    assert row["sending_time"] == told
    assert row["sending_time_text"] == text


@pytest.mark.parametrize("delimiter", [SOH, "|", "^A", "#", " ", ";", " | ", "<SOH>", "\\u0001", "\\x01"])
def test_any_delimiter_is_found_from_the_message_itself(tmp_path: Path, delimiter: str) -> None:
    row = read(message(order(), delimiter=delimiter) + b"\n", tmp_path).only
    assert row["delimiter"] == ("SOH" if delimiter == SOH else delimiter)
    assert row["cl_ord_id"] == "C1"
    assert row["price"] == "101.25"
    assert row["body_length_ok"] is row["checksum_ok"] is True
    assert row["notes"] is None


def test_each_message_has_its_own_delimiter(tmp_path: Path) -> None:
    data = message(order(1), delimiter="|") + b" " + message(order(2), delimiter="^A") + b"\n" + message(order(3))
    assert [row["delimiter"] for row in read(data, tmp_path).messages] == ["|", "^A", "SOH"]


def test_a_text_that_quotes_a_message_does_not_split_it(tmp_path: Path) -> None:
    body = order().replace("|", SOH) + SOH + "58=see 8=FIX.4.2|9=5|35=0|10=001|"
    for cut in (False, True):
        whole = sealed(body)[: -7 if cut else None]
        row = read(whole + b"\n", tmp_path).only
        assert row["text"] == "see 8=FIX.4.2|9=5|35=0|10=001|"
        assert row["checksum_ok"] is (None if cut else True)


def test_a_delimiter_in_a_printed_text_continues_the_text(tmp_path: Path) -> None:
    body = order().replace("|", SOH) + SOH + "58=one|two 8=FIX" + SOH + "15=EUR"
    row = read(sealed(body).replace(b"\x01", b"|") + b"\n", tmp_path).only
    assert row["text"] == "one|two 8=FIX"
    assert row["currency"] == "EUR"
    assert row["notes"] == "continued_value:58"
    assert row["body_length_ok"] is True


def test_a_message_that_is_torn_by_another_is_not_the_other(tmp_path: Path) -> None:
    data = message(order(1))[:60] + message(order(2)) + b"\n"
    first, second = read(data, tmp_path).messages
    assert first["notes"] == "checksum_absent; last_delimiter_absent"
    assert second["cl_ord_id"] == "C2"
    assert second["checksum_ok"] is True


@pytest.mark.parametrize(
    "held", ["a\x01b=c", "\x0110=000\x01", "\x018=FIX.4.4\x019=5\x0135=0\x0110=000\x01", "<x>\n</x>\n"]
)
@pytest.mark.parametrize("tags", [(95, 96), (212, 213), (354, 355)])
def test_data_may_hold_anything(tmp_path: Path, held: str, tags: tuple[int, int]) -> None:
    body = order().replace("|", SOH) + f"{SOH}{tags[0]}={len(held)}{SOH}{tags[1]}={held}{SOH}58=behind"
    done = read(sealed(body) + b"\n" + message(order(2)) + b"\n", tmp_path, tags="true")
    first, second = done.messages
    assert first["text"] == "behind"
    assert first["checksum_ok"] is first["body_length_ok"] is True
    assert first["notes"] == ("joined_lines" if "\n" in held else None)
    assert second["line_number"] == 2 + held.count("\n")
    assert [each["value"] for each in done.rows("fix_tags") if each["tag"] == str(tags[1])] == [held]


def test_a_length_of_data_that_is_not_its_own_is_noted_and_not_believed(tmp_path: Path) -> None:
    row = read(sent(order(1, "|95=500|96=abc|58=behind")), tmp_path).only
    assert row["text"] == "behind"
    assert row["notes"] == "data_length_mismatch:95"


def test_a_field_without_a_number_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    row = read(sent(order().replace("49=BUYER", "4garbled9=BUYER")), tmp_path).only
    assert row["sender_comp_id"] is None
    assert row["cl_ord_id"] == "C1"
    assert row["notes"] == "malformed_fields:1"
    assert row["checksum_ok"] is True


def test_two_signs_in_one_field_and_none_in_another_do_not_shift_the_values(tmp_path: Path) -> None:
    row = read(sent(order(1, "|58=1=2|15|48=X")), tmp_path).only
    assert (row["text"], row["currency"], row["security_id"]) == ("1=2", None, "X")
    assert row["notes"] == "malformed_fields:1"


def test_bytes_that_are_not_utf_8_are_kept_as_latin_1(tmp_path: Path) -> None:
    whole = message(order(1, "|58=Zürich")).replace("ü".encode(), b"\xfc\xfd")
    row = read(whole, tmp_path).only
    assert row["text"].encode("latin-1") == b"Z\xfc\xfdrich"
    assert row["raw_message"].encode("latin-1") == whole
    assert "encoding_latin1" in row["notes"]


def test_utf_8_is_text(tmp_path: Path) -> None:
    row = read("Zürich ".encode() + message(order(1, "|58=Zürich")), tmp_path).only
    assert (row["prefix"], row["text"], row["notes"]) == ("Zürich ", "Zürich", None)
    assert row["checksum_ok"] is row["body_length_ok"] is True


# --- checks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [1, 300, 5000])
def test_body_length_and_checksum_are_tried(tmp_path: Path, extra: int) -> None:
    right = message(order(1, "|58=" + "x" * extra))
    assert read(right, tmp_path).only["notes"] is None
    changed = right.replace(b"44=101.25", b"44=101.26")
    row = read(changed, tmp_path).only
    assert (row["checksum_ok"], row["body_length_ok"]) == (False, True)
    assert row["notes"] == f"checksum_mismatch:computed={(int(right[-4:-1]) + 1) % 256:03}"
    longer = right.replace(b"44=101.25", b"44=1001.25")
    row = read(longer, tmp_path).only
    assert (row["checksum_ok"], row["body_length_ok"]) == (False, False)
    assert f"body_length_mismatch:counted={int(row['body_length']) + 1}" in row["notes"]


def test_a_checksum_over_the_printed_delimiter_is_named(tmp_path: Path) -> None:
    printed = message(order(), delimiter="|")
    printed = printed[:-4] + b"%03d|" % (sum(printed[:-7]) & 0xFF)
    row = read(printed, tmp_path).only
    assert row["checksum_ok"] is False
    assert row["notes"] == "checksum_ok_over_printed_delimiter"


def test_what_cannot_be_checked_is_null(tmp_path: Path) -> None:
    whole = message(order())
    cut = read(whole[:-7], tmp_path).only
    assert (cut["checksum_ok"], cut["body_length_ok"], cut["notes"]) == (None, None, "checksum_absent")
    bare = read(b"8=FIX.4.2\x0135=0\x0134=1\x0149=A\x0156=B\x0152=20260120-14:30:00\x0110=7\x01", tmp_path).only
    assert bare["body_length_ok"] is None
    assert "body_length_absent" in bare["notes"]
    assert "checksum_not_3_digits" in bare["notes"]


def test_a_message_without_its_last_delimiter_is_whole(tmp_path: Path) -> None:
    row = read(message(order())[:-1], tmp_path).only
    assert (row["checksum_ok"], row["body_length_ok"], row["notes"]) == (True, True, "last_delimiter_absent")


# --- groups ----------------------------------------------------------------------------------------------------------


def cells(done: Read) -> list[tuple[str, str, str]]:
    return [(row["entry_path"], row["tag"], row["value"]) for row in done.rows("fix_groups")]


def test_a_group_has_its_own_table_and_leaves_the_columns_alone(tmp_path: Path) -> None:
    done = read(sent(order(1, "|453=2|448=A|447=D|452=1|448=B|447=D|452=3|58=end")), tmp_path)
    expected = [("453[0]", "448", "A"), ("453[0]", "447", "D"), ("453[0]", "452", "1")]
    expected += [("453[1]", "448", "B"), ("453[1]", "447", "D"), ("453[1]", "452", "3")]
    assert cells(done) == expected
    assert (done.only["text"], done.only["notes"]) == ("end", None)
    first = done.rows("fix_groups")[0]
    assert (first["group_tag"], first["entries_declared"], first["entry_index"]) == ("453", "2", 0)
    assert (first["position"], first["parent_group_tag"]) == (15, None)


def test_a_tag_of_the_message_that_is_also_a_member_is_told_apart(tmp_path: Path) -> None:
    # A trade report has sides: 54 and 37 are members there, 55 belongs to the report.
    body = order(1, "|552=2|54=1|37=O1|54=2|37=O2").replace("35=D", "35=AE").replace("|54=1|38", "|38", 1)
    done = read(sent(body), tmp_path)
    assert done.only["side"] is None
    assert done.only["symbol"] == "MSFT"
    assert cells(done) == [("552[0]", "54", "1"), ("552[0]", "37", "O1"), ("552[1]", "54", "2"), ("552[1]", "37", "O2")]


def test_groups_in_groups_know_their_parents(tmp_path: Path) -> None:
    body = order(1, "|453=2|448=A|452=1|802=2|523=x|803=1|523=y|803=2|448=B|452=3|15=EUR")
    done = read(sent(body), tmp_path)
    inner = [row for row in done.rows("fix_groups") if row["group_tag"] == "802"]
    assert [row["entry_path"] for row in inner] == ["453[0].802[0]"] * 2 + ["453[0].802[1]"] * 2
    assert {(row["parent_group_tag"], row["parent_entry_index"]) for row in inner} == {("453", 0)}
    assert cells(done)[-1] == ("453[1]", "452", "3")
    assert done.only["currency"] == "EUR"


@pytest.mark.parametrize(
    ("told", "note"),
    [("3", "group_count:453=3,found=2"), ("1", "group_count:453=1,found=2"), ("x", "group_count:453=x,found=2")],
)
def test_a_count_that_is_wrong_is_noted_and_every_entry_kept(tmp_path: Path, told: str, note: str) -> None:
    done = read(sent(order(1, f"|453={told}|448=A|452=1|448=B|452=3")), tmp_path)
    assert [path for path, _, _ in cells(done)] == ["453[0]"] * 2 + ["453[1]"] * 2
    assert done.only["notes"] == note


def test_a_group_without_entries_is_noted_unless_none_were_announced(tmp_path: Path) -> None:
    assert read(sent(order(1, "|453=2|58=x")), tmp_path).only["notes"] == "group_count:453=2,found=0"
    assert read(sent(order(1, "|453=0|58=x")), tmp_path).only["notes"] is None


def test_a_tag_that_no_dictionary_knows_stays_in_its_entry(tmp_path: Path) -> None:
    done = read(sent(order(1, "|453=2|448=A|9001=x|452=1|448=B|452=3|9002=y")), tmp_path)
    assert ("453[0]", "9001", "x") in cells(done)
    assert "9002" not in {tag for _, tag, _ in cells(done)}  # behind the last entry nothing says that it is a member
    assert done.only["notes"] is None


def test_a_repeated_tag_loses_no_value(tmp_path: Path) -> None:
    done = read(sent(order(1, "|40=1|40=3")), tmp_path)
    assert done.only["ord_type"] == "2"
    assert done.only["notes"] == "repeated_tag:40"
    rows = done.rows("fix_groups")
    assert [(row["group_tag"], row["entry_index"], row["tag"], row["value"]) for row in rows] == [
        (None, 1, "40", "1"),
        (None, 2, "40", "3"),
    ]


def test_the_same_tags_with_other_counts_and_types_are_not_mistaken(tmp_path: Path) -> None:
    more = "|453=2|448=A|452=1|448=B|452=3"
    bodies = [order(1, more), order(2, more.replace("453=2", "453=1")), order(3, more).replace("35=D", "35=0")]
    rows = read(sent(*bodies), tmp_path).messages
    assert [row["notes"] for row in rows] == [None, "group_count:453=1,found=2", None]
    assert [row["msg_type"] for row in rows] == ["D", "D", "0"]


# --- what happened to an order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "event"),
    [
        ("150=0|39=0", "ack"),
        ("150=1|39=1", "partial_fill"),
        ("150=2|39=2", "fill"),
        ("150=3|39=3", "done_for_day"),
        ("150=4|39=4", "cancel"),
        ("150=5|39=5", "replace"),
        ("150=6|39=6", "pending_cancel"),
        ("150=8|39=8", "reject"),
        ("150=0|39=8", "reject"),
        ("150=A|39=A", "pending_new"),
        ("150=C|39=C", "expired"),
        ("150=E|39=E", "pending_replace"),
        ("150=D|39=0", "restated"),
        ("150=F|39=1|151=50", "partial_fill"),
        ("150=F|39=2|151=0", "fill"),
        ("150=F|39=6|151=0.00", "fill"),
        ("150=F|39=6|151=0.5", "partial_fill"),
        ("150=F|39=6", "trade"),
        ("150=G|39=2", "trade_correct"),
        ("150=H|39=0", "trade_cancel"),
        ("150=I|39=8", "order_status"),
        ("20=1|150=2|39=2", "trade_cancel"),
        ("20=0|150=2|39=2", "fill"),
        ("39=2", "fill"),
        ("150=?|39=2", "exec_report"),
        ("37=O1", "exec_report"),
    ],
)
def test_an_execution_says_what_happened(tmp_path: Path, fields: str, event: str) -> None:
    body = order().replace("35=D", "35=8") + "|" + fields
    assert read(sent(body), tmp_path).only["lifecycle_event"] == event


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("D", "new_order"),
        ("F", "cancel_request"),
        ("G", "replace_request"),
        ("9", "cancel_reject"),
        ("H", "status_request"),
    ],
)
def test_a_request_is_called_by_its_type(tmp_path: Path, kind: str, event: str) -> None:
    assert read(sent(order().replace("35=D", f"35={kind}")), tmp_path).only["lifecycle_event"] == event


# --- what is no message ----------------------------------------------------------------------------------------------


def test_lines_that_hold_no_message_are_skipped_with_a_reason_and_kept(tmp_path: Path) -> None:
    done = read(b"# 8=FIX starts a message\n\n  \r\n" + sent(order()) + b"=" * 600, tmp_path)
    assert done.errors == ["no_message", "no_message"]
    assert done.statements[1]["skips"] == [
        {"count": 2, "reason": "blank line"},
        {"count": 2, "reason": "no message in the line"},
    ]
    assert (done.statements[1]["found"], done.statements[1]["accepted"]) == (5, 1)
    previews = [row["raw_line_preview"] for row in done.rows("fix_parse_errors")]
    assert previews == ["# 8=FIX starts a message", "=" * 500]


@pytest.mark.parametrize(
    ("garbled", "reason"),
    [
        (b"8=FIX.4.49=12035=D49=A", "no_delimiter"),
        (b"8=FIX.4.4\x019=12\x0149=A\x01", "no_msg_type"),
        (b"8=FIX.4.4|9=1", "no_msg_type"),
        (b"8=FIX.4.4\x0135=\x0149=A\x0110=000\x01", "no_msg_type"),
        (b"8=FIX.4.4", "no_delimiter"),
    ],
)
def test_what_begins_like_a_message_and_is_none_is_unreadable_in_its_place(
    tmp_path: Path, garbled: bytes, reason: str
) -> None:
    done = read(b"junk: " + garbled + b"\n" + sent(order()), tmp_path)
    assert done.errors == [reason]
    (row,) = done.rows("fix_parse_errors")
    assert (row["byte_offset"], row["length"], row["line_number"]) == (6, len(garbled), 1)
    messages, lines = done.statements
    assert (messages["found"], messages["unreadable"]) == (2, 1)
    assert [(each["offset"], each["length"]) for each in messages["ranges"]] == [(6, len(garbled))]
    assert (lines["accepted"], lines["unreadable"]) == (1, 1)


def test_a_garbled_message_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    done = read(b"8=FIX.4.49=1 " + message(order()) + b"\n", tmp_path)
    assert done.only["cl_ord_id"] == "C1"
    assert done.errors == ["no_delimiter"]
    assert done.statements[1]["accepted"] == 1


def test_a_log_without_bytes_holds_nothing(tmp_path: Path) -> None:
    done = read(b"", tmp_path)
    assert (done.batches, done.statements[0]["found"], done.statements[1]["found"]) == ([], 0, 0)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_ends_of_lines_make_no_difference(tmp_path: Path, end: bytes) -> None:
    rows = read(end.join(message(order(number)) for number in range(1, 50)), tmp_path).messages
    assert [row["msg_seq_num"] for row in rows] == [str(number) for number in range(1, 50)]
    assert {row["notes"] for row in rows} == {None}
    assert {row["message_index"] for row in rows} == (set(range(49)) if end == b"" else {0})


def test_a_packed_log_gives_what_the_log_gives(tmp_path: Path) -> None:
    data = sent(*(order(number) for number in range(1, 200)))
    assert read(gzip.compress(data), tmp_path).messages == read(data, tmp_path).messages


def test_a_packed_log_that_is_cut_gives_its_beginning_and_says_where_it_ends(tmp_path: Path) -> None:
    data = sent(*(order(number) for number in range(1, 5000)))
    packed = gzip.compress(data)
    done = read(packed[: len(packed) // 2], tmp_path)
    assert 100 < len(done.messages) < 4999
    assert "gzip_damaged" in done.errors
    (*_, last) = done.statements[0]["ranges"]
    assert "cannot be read further" in last["reason"]
    assert 0 < last["offset"] < len(data)


def test_a_body_of_many_messages_without_a_newline_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "READ_BYTES", 1000)
    monkeypatch.setattr(parser, "LINE_BYTES_MAX", 5000)
    data = b"".join(message(order(number)) for number in range(1, 200))
    done = read(data + b"\n" + sent(order(200)), tmp_path)
    assert [row["msg_seq_num"] for row in done.messages] == [str(number) for number in range(1, 201)]
    assert [row["message_index"] for row in done.messages] == [*range(199), 0]
    assert [row["line_number"] for row in done.messages] == [1] * 199 + [2]
    assert {row["checksum_ok"] for row in done.messages} == {True}
    assert done.notes() == {"line_piece": 199}
    assert done.statements[1]["found"] == done.statements[1]["accepted"] == 2


def test_a_line_that_is_too_long_is_named_and_what_follows_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "READ_BYTES", 1000)
    monkeypatch.setattr(parser, "LINE_BYTES_MAX", 5000)
    done = read(b"x" * 5500 + b"\n" + sent(order()), tmp_path)
    assert done.only["line_number"] == 2
    assert set(done.errors) == {"line_too_long"}
    assert sum(each["length"] for each in done.statements[0]["ranges"]) == 5500
    assert (done.statements[0]["unreadable"], done.statements[1]["unreadable"]) == (0, 1)


def test_a_message_that_is_too_long_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "MESSAGE_BYTES_MAX", 1000)
    done = read(sent(order(1, "|58=" + "x" * 1000), order(2), order(3, "|58=" + "y" * 500 + "|453=0")), tmp_path)
    assert [row["msg_seq_num"] for row in done.messages] == ["2", "3"]
    assert done.errors == ["message_too_long"]


def test_a_long_text_around_a_message_is_cut_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "TEXT_AROUND_BYTES_MAX", 10)
    done = read(b"0123456789abc " + message(order()) + b"0123456789abc", tmp_path)
    row = done.only
    assert (row["prefix"], row["suffix"]) == ("456789abc ", "0123456789")
    assert row["notes"] == "prefix_cut:4; suffix_cut:3"
    assert done.errors == ["prefix_cut", "suffix_cut"]
    assert [each["raw_line_preview"] for each in done.rows("fix_parse_errors")] == ["0123", "abc"]


def test_a_log_of_garbled_messages_is_counted_in_full_and_named_in_part(tmp_path: Path) -> None:
    done = read(b"8=FIX.4.4 " * 3_000, tmp_path)
    messages, lines = done.statements
    assert messages["unreadable"] == messages["ranges_total"] == lines["ranges_total"] == 3_000
    assert len(messages["ranges"]) == parser.RANGES_MAX
    assert len(done.errors) == 3_000


def test_a_message_with_more_to_say_than_fits_says_how_much_more(tmp_path: Path) -> None:
    row = read(sent(order(1, "".join(f"|{tag}=x|{tag}=y" for tag in range(7000, 7060)))), tmp_path).only
    assert row["notes"].count("repeated_tag") == parser.NOTES_MAX
    assert row["notes"].endswith("; more_notes:10")


@pytest.mark.parametrize(
    ("piece", "count"),
    [
        ("58=a|b|b|b|", 60_000),
        ("453=2|448=A|", 50_000),
        ("95=9|96=a|", 60_000),
        ("9001=x|", 80_000),
        ("|", 500_000),
        ("=", 500_000),
    ],
)
def test_a_message_made_to_take_long_takes_no_longer_than_its_size(tmp_path: Path, piece: str, count: int) -> None:
    begin = time.process_time()
    done = read(b"8=FIX.4.4|9=5|35=D|" + piece.encode() * count + b"\n" + sent(order()), tmp_path)
    assert len(done.messages) == 2
    assert time.process_time() - begin < 20  # one second where nothing else runs; squares of these take minutes


def test_lines_that_announce_more_than_they_hold_are_read_in_time(tmp_path: Path) -> None:
    line = b"8=FIX.4.4\x019=900000\x0135=0\x01\n"
    begin = time.process_time()
    done = read(line * 5_000, tmp_path)
    assert len(done.messages) == 5_000
    assert time.process_time() - begin < 30


def test_batches_of_messages_read_one_by_one_are_bounded(tmp_path: Path) -> None:
    done = read(sent(*(order(number) for number in range(5_000)), delimiter="^A"), tmp_path)
    assert len(done.messages) == 5_000
    assert max(batch.num_rows for _, batch in done.batches) <= parser.BATCH_ROWS


def test_batches_of_plain_lines_are_bounded_by_the_bytes_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "READ_BYTES", 10_000)
    monkeypatch.setattr(parser, "BLOCK_BYTES", 100_000)
    lines = [message(order(number)) + b"\n" for number in range(5_000)]
    done = read(b"".join(lines), tmp_path)
    assert len(done.messages) == 5_000
    assert max(batch.num_rows for _, batch in done.batches) <= 110_000 / min(map(len, lines))


def test_plain_lines_are_not_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    one_by_one = parser._Log._line

    def noted(log: Any, line: Any) -> None:
        taken.append(line.number)
        one_by_one(log, line)

    monkeypatch.setattr(parser._Log, "_line", noted)
    lines = [message(order(number), delimiter="|") + b"\r\n" for number in range(2_000)]
    lines[7] = b"2026 | in | " + lines[7]
    lines[8] = lines[8].replace(b"55=", b"55=M=")
    lines[1_000] = b"nothing\n"
    done = read(b"".join(lines), tmp_path)
    assert taken == [9, 1_001]
    assert [row["line_number"] for row in done.messages] == [*range(1, 1_001), *range(1_002, 2_001)]
    assert done.messages[7]["prefix"] == "2026 | in | "


def test_more_shapes_than_are_remembered_are_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "SHAPES_MAX", 3)
    monkeypatch.setattr(parser, "SHAPE_LAYOUTS_MAX", 2)
    bodies = [order(number, f"|{5000 + number % 7}=x|453={number % 5}|448=A|452=1") for number in range(100)]
    done = read(sent(*bodies), tmp_path)
    assert [row["msg_seq_num"] for row in done.messages] == [str(number) for number in range(100)]
    assert len(done.rows("fix_groups")) == 200


# --- settings --------------------------------------------------------------------------------------------------------


def test_tags_are_written_when_they_are_asked_for(tmp_path: Path) -> None:
    data = sent(order(1, "|5001=mine"))
    assert read(data, tmp_path).rows("fix_tags") == []
    rows = read(data, tmp_path, tags="true").rows("fix_tags")
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    assert (
        "|".join(f"{row['tag']}={row['value']}" for row in rows).replace("|", SOH) + SOH
        == message(order(1, "|5001=mine")).decode()
    )
    some = read(data, tmp_path, tags="11,5001").rows("fix_tags")
    assert [(row["tag"], row["value"]) for row in some] == [("11", "C1"), ("5001", "mine")]


NOON: Final = datetime(2026, 1, 20, 12, 0, 0, 250000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("prefix", "text", "instant"),
    [
        ("2026-01-20 13:00:00,250 INFO ", "2026-01-20 13:00:00,250", NOON),
        ("20260120-13:00:00.250 : ", "20260120-13:00:00.250", NOON),
        ("[2026-01-20T12:00:00.250Z] ", "2026-01-20T12:00:00.250Z", NOON),
        ("2026-01-20T07:00:00.250-05:00 ", "2026-01-20T07:00:00.250-05:00", NOON),
        ("13:00:00 in ", "13:00:00", None),
        ("Jan  2 09:30:00 host: ", "Jan  2 09:30:00", None),
        ("host: ", None, None),
    ],
)
def test_the_time_of_a_prefix_is_an_instant_where_a_zone_is_set(
    tmp_path: Path, prefix: str, text: str | None, instant: datetime | None
) -> None:
    data = prefix.encode() + message(order())
    plain = read(data, tmp_path).only
    assert (plain["prefix_time_text"], plain["prefix_time"]) == (text, None)
    zoned = read(data, tmp_path, log_prefix_tz="Europe/Berlin").only
    assert (zoned["prefix_time_text"], zoned["prefix_time"]) == (text, instant)
    assert zoned["sending_time"] == plain["sending_time"]


@pytest.mark.parametrize(
    ("time", "note"),
    [
        ("2026-10-25 02:30:00", "prefix_time_ambiguous"),
        ("2026-03-29 02:30:00", "prefix_time_impossible"),
        ("2026-13-01 02:30:00", "prefix_time_impossible"),
    ],
)
def test_a_time_that_is_no_instant_is_noted(tmp_path: Path, time: str, note: str) -> None:
    row = read(time.encode() + b" " + message(order()), tmp_path, log_prefix_tz="Europe/Berlin").only
    assert (row["prefix_time_text"], row["prefix_time"], row["notes"]) == (time, None, note)


@pytest.mark.parametrize(
    "settings", [{"tags": "yes"}, {"tags": "11,x"}, {"log_prefix_tz": "Mars/Base"}, {"FIX_TZ": "UTC"}]
)
def test_a_setting_without_sense_is_refused(tmp_path: Path, settings: dict[str, str]) -> None:
    with pytest.raises(parser.PermanentError) as refused:
        read(sent(order()), tmp_path, **settings)
    assert refused.value.kind == "bad_setting"
    assert refused.value.hint
