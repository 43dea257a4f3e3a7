"""What holds for any FIX log: what is written is what is read, no byte is lost, and nothing ends the parser."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsers.fix import dictionary, limits
from tests.parsers.fix.reading import SOH, Read, message, order, read, read_both_ways, sealed

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TAGS = st.integers(1, 9999).filter(lambda tag: tag not in {8, 9, 10, 35} and str(tag) not in dictionary.DATA_OF)
VALUES = st.text(st.characters(exclude_characters=[SOH, "\n", "\r"], exclude_categories=["Cs"]), max_size=20)
FIELDS = st.lists(st.tuples(TAGS, VALUES), max_size=30)
KINDS = st.sampled_from(["D", "8", "F", "0", "A", "W", "AE", "X", "zz"])
WORDS = (
    *(
        b"8=FIX.4.4\x01",
        b"8=FIX",
        b"9=5\x01",
        b"35=D\x01",
        b"10=000\x01",
        b"95=3\x01",
        b"96=",
        b"453=2\x01",
        b"448=A\x01",
    ),
    *(b"8=FIX.4.2|9=12|35=8|", b"\x01", b"|", b"=", b"\n", b"\r\n", b" ", b"x", b"\xff", b"\x1f\x8b", message(order())),
)
PIECES = st.sampled_from(WORDS)


@MANY
@given(kind=KINDS, fields=FIELDS)
def test_what_was_sent_is_what_is_read(tmp_path: Path, kind: str, fields: list[tuple[int, str]]) -> None:
    sent = [("35", kind), *((str(tag), value) for tag, value in fields)]
    whole = sealed(SOH.join(f"{tag}={value}" for tag, value in sent))
    done = read(whole + b"\n", tmp_path, tags="true")
    row = done.only
    told = [(each["tag"], each["value"]) for each in done.rows("fix_tags")]
    assert told[2:-1] == sent
    assert row["checksum_ok"] is row["body_length_ok"] is True
    assert row["raw_message"].encode() == whole
    groups = {each["position"] for each in done.rows("fix_groups")}
    for name, tag in dictionary.TAGS.items():
        places = [at for at, (each, _) in enumerate(told, 1) if each == tag and at not in groups]
        if name in row and name not in dictionary.TIMES:
            value = told[places[0] - 1][1] if places else None
            assert row[name] == (None if tag in dictionary.TYPED_TAGS and value == "" else value)


@MANY
@given(pieces=st.lists(PIECES | st.binary(max_size=12), max_size=40), tags=st.sampled_from(["true", "false"]))
def test_any_bytes_balance_and_every_message_is_where_it_says(tmp_path: Path, pieces: list[bytes], tags: str) -> None:
    data = b"".join(pieces)
    if data.startswith(b"\x1f\x8b"):
        data = b"." + data
    done = read(data, tmp_path, tags=tags)
    for row in done.messages:
        encoding = "latin-1" if "encoding_latin1" in (row["notes"] or "") else "utf-8"
        assert data[row["byte_offset"] :].startswith(row["raw_message"].encode(encoding))
    assert done.statements[1]["found"] == len(data.split(b"\n")) - data.endswith(b"\n") - (not data)


@MANY
@given(data=st.binary(max_size=200))
def test_any_packed_bytes_balance(tmp_path: Path, data: bytes) -> None:
    read(b"\x1f\x8b" + data, tmp_path)


@MANY
@given(numbers=st.lists(st.integers(0, 3), min_size=1, max_size=30), read_bytes=st.integers(1, 300))
def test_the_size_of_reads_makes_no_difference(tmp_path: Path, numbers: list[int], read_bytes: int) -> None:
    kinds = [message(order(1)) + b"\n", message(order(2)), b"junk\r\n", message(order(3, "|95=3|96=a\nb")) + b"\n"]
    data = b"".join(kinds[number] for number in numbers)
    with pytest.MonkeyPatch.context() as patch:
        whole = read(data, tmp_path)
        patch.setattr(limits, "READ_BYTES", read_bytes)
        parts = read(data, tmp_path)
    assert parts.messages == whole.messages
    assert parts.statements == whole.statements


# What lines are made of that are plain, nearly plain, or far from it.
MORE = st.sampled_from(
    [
        *("|58=x", "|58=ü", "|58=a=b", "|58=8=FIX.4.4", "|44=", "|40=3", "|5001=y|5001=z", "|007=3", "|x=1", "|0=1"),
        *("|453=2|448=A|447=D|452=1|448=B", "|453=1|448=A", "|453=0", "|10=123", "|95=3|96=a\nb", "|58=q\rz"),
        *("|122=20260120-14:30:00.123456789123", "|60=20260120-14:30:00Z", "|60=x", "|60=20260120-14:30:00"),
    ]
)
ORDERS = st.builds(lambda number, more: order(number, "".join(more)), st.integers(1, 3), st.lists(MORE, max_size=2))
EXECUTIONS = st.builds(
    lambda execution, status, more: order().replace("35=D", "35=8") + f"|150={execution}|39={status}{more}",
    st.sampled_from("0F8G"),
    st.sampled_from("028"),
    st.sampled_from(["|151=0", "|151=3", "|151=x", "", "|20=1"]),
)
OTHERS = st.sampled_from(
    ["35=0|49=A|56=B|34=1|52=20260120-14:30:00", "49=A|35=D|56=B", "35=X|268=2|279=0|269=0|279=1", "35=|49=A", "49=A"]
)
PREFIXES = st.sampled_from(
    [
        *(b"", b"14:30:00 ", b"20260120-14:30:00.123 : ", b"2026-10-25 02:30:00 ", b"2026-03-29 02:30:00,5 x "),
        *(b"a=b ", b"x|y|", b"\x01 ", "ü ".encode(), b"8=FIX.4.4 ", b"8=FIX ", b"1", b"\r", b"p" * 20),
    ]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"", b" tail\n", b"\r\r\n", b"\n\n", b"\n  \n", b"\njunk\n"])
DAMAGE = st.none() | st.tuples(st.floats(0, 1), st.sampled_from([b"", b"\x01", b"=", b"\n", b"1", b"|", b"\xff"]))


def damaged(whole: bytes, damage: tuple[float, bytes] | None) -> bytes:
    if damage is None:
        return whole
    at = int(damage[0] * len(whole))
    return whole[:at] + damage[1] + whole[at + 1 :]


LINES = st.builds(
    lambda body, delimiter, damage, before, behind: (
        before + damaged(message(body, delimiter=delimiter), damage) + behind
    ),
    ORDERS | ORDERS | EXECUTIONS | OTHERS,
    st.sampled_from([SOH] * 6 + ["|", ";", " ", "^A"]),
    st.none() | st.none() | DAMAGE,
    st.just(b"") | PREFIXES,
    ENDS,
)
BOUNDS = st.fixed_dictionaries(
    {
        "READ_BYTES": st.sampled_from([7, 300, 1024 * 1024]),
        "BLOCK_BYTES": st.sampled_from([1, 500, 1024 * 1024]),
        "BATCH_ROWS": st.sampled_from([1, 3, 2_000]),
        "TEXT_AROUND_BYTES_MAX": st.sampled_from([10, 64 * 1024]),
        "MESSAGE_BYTES_MAX": st.sampled_from([150, 4 * 1024 * 1024]),
    }
)


@settings(MANY, max_examples=150)
@given(
    pieces=st.lists(LINES | LINES | PIECES | st.binary(max_size=12), max_size=25),
    tags=st.sampled_from(["false", "true", "11,448"]),
    zone=st.sampled_from(["", "Europe/Berlin"]),
    bounds=BOUNDS,
)
def test_plain_lines_read_together_give_what_they_give_one_by_one(
    tmp_path: Path, pieces: list[bytes], tags: str, zone: str, bounds: dict[str, int]
) -> None:
    log = tmp_path / "day.fix"
    log.write_bytes(b"".join(pieces))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bounds.items():
            patch.setattr(limits, name, value)
        check_both_ways(log, tags=tags, log_prefix_tz=zone)


def check_both_ways(log: Path, **settings: str) -> Read:
    """Hold what a log gives with its plain lines read together to what it gives line by line."""
    together, alone = read_both_ways(log, **settings)
    assert together.tables == alone.tables
    assert together.statements == alone.statements
    return together


def test_a_message_that_goes_on_in_lines_that_look_plain_takes_them(tmp_path: Path) -> None:
    inside = message(order(2)).decode() + "\n" + message(order(3)).decode() + "\n"
    length = len(inside.encode())
    whole = sealed(order(1).replace("|", SOH) + f"{SOH}95={length}{SOH}96={inside}") + b"\n"
    log = tmp_path / "day.fix"
    for after in (0, 1, 1000):
        log.write_bytes(message(order(9)) + b"\n" + whole + (message(order(4)) + b"\n") * after)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "BLOCK_BYTES", 300)
            patch.setattr(limits, "READ_BYTES", 200)
            done = check_both_ways(log)
        assert [row["msg_seq_num"] for row in done.messages] == ["9", "1", *["4"] * after]


def test_a_message_that_is_cut_and_ends_with_the_plain_line_behind_it_takes_that(tmp_path: Path) -> None:
    behind = message(order(2))
    body = order(1).replace("|", SOH).encode()
    length = len(body) + 1 + behind.index(b"\x0110=") + 1
    log = tmp_path / "day.fix"
    log.write_bytes(b"8=FIX.4.4\x019=%d\x01" % length + body + b"\n" + behind + b"\n" + message(order(3)) + b"\n")
    done = check_both_ways(log)
    assert [row["msg_seq_num"] for row in done.messages] == ["1", "3"]
    assert "joined_lines" in done.notes()


def test_a_wrong_body_length_under_a_right_check_sum_is_noted_in_a_line_that_is_plain_otherwise(tmp_path: Path) -> None:
    sent = message(order(1))[:-7].replace(b"\x019=", b"\x019=0", 1)
    less = message(order(1, "|58=x"))[:-7].replace(b"\x0158=x", b"", 1)
    log = tmp_path / "day.fix"
    log.write_bytes(b"".join(cut + b"10=%03d\x01\n" % (sum(cut) & 0xFF) for cut in (sent, less)))
    done = check_both_ways(log)
    assert [row["checksum_ok"] for row in done.messages] == [True, True]
    assert [row["body_length_ok"] for row in done.messages] == [True, False]


def test_a_wrong_check_sum_is_noted_in_a_line_that_is_plain_otherwise(tmp_path: Path) -> None:
    log = tmp_path / "day.fix"
    log.write_bytes(message(order(1)) + b"\n" + message(order(2)).replace(b"38=500", b"38=501") + b"\n")
    assert [row["checksum_ok"] for row in check_both_ways(log).messages] == [True, False]


def test_what_happened_to_an_order_is_the_same_word_in_plain_lines(tmp_path: Path) -> None:
    states = product(
        ["", "|20=0", "|20=1"], ["", "|150=0", "|150=F", "|150=G", "|150=?"], "0128", ["", "0", "0.00", "3", "x"]
    )
    bodies = [
        order(number).replace("35=D", "35=8") + f"{transaction}{execution}|39={status}" + (leaves and f"|151={leaves}")
        for number, (transaction, execution, status, leaves) in enumerate(states)
    ]
    log = tmp_path / "day.fix"
    log.write_bytes(b"".join(message(body) + b"\n" for body in bodies))
    words = {row["lifecycle_event"] for row in check_both_ways(log).messages}
    assert words == {"ack", "exec_report", "fill", "partial_fill", "reject", "trade", "trade_cancel", "trade_correct"}


def test_notes_on_a_plain_line_and_on_the_time_before_it_stand_together(tmp_path: Path) -> None:
    log = tmp_path / "day.fix"
    log.write_bytes(b"2026-10-25 02:30:00 " + message(order(1, "|40=3")) + b"\n" + message(order(2)) + b"\n")
    done = check_both_ways(log, log_prefix_tz="Europe/Berlin")
    assert [row["notes"] for row in done.messages] == ["repeated_tag:40; prefix_time_ambiguous", None]
