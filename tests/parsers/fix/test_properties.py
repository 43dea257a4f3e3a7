"""What holds for any FIX log: what is written is what is read, no byte is lost, and nothing ends the parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.parsers.fix.reading import SOH, message, order, parser, read, sealed

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TAGS = st.integers(1, 9999).filter(lambda tag: tag not in {8, 9, 10, 35} and str(tag) not in parser._DATA_OF)
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
    for name, tag in parser._TAGS.items():
        places = [at for at, (each, _) in enumerate(told, 1) if each == tag and at not in groups]
        if name in row and name not in parser._TIMES:
            value = told[places[0] - 1][1] if places else None
            assert row[name] == (None if tag in parser._TYPED_TAGS and value == "" else value)


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
        patch.setattr(parser, "READ_BYTES", read_bytes)
        parts = read(data, tmp_path)
    assert parts.messages == whole.messages
    assert parts.statements == whole.statements


@MANY
@given(more=st.lists(st.sampled_from(["|58=x", "|453=1|448=A", "|40=3", "|5001=y", "|44=", "|58=ü"]), max_size=5))
def test_the_short_way_of_plain_lines_gives_what_the_long_way_gives(tmp_path: Path, more: list[str]) -> None:
    data = b"14:30:00 " + message(order(1, "".join(more))) + b"\n" + message(order(2)) + b"\r\n"
    with pytest.MonkeyPatch.context() as patch:
        short = read(data, tmp_path)
        patch.setattr(parser._Log, "_plain_line", lambda *_: False)
        long = read(data, tmp_path)
    assert short.batches == long.batches
    assert short.statements == long.statements
