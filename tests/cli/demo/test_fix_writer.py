"""FIX messages: what is right checks out in another reader, what is off does not, a cut leaves what it says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.demo.fix_writer import Cut, Draft, choose_cut, encode, fields, replaced
from tests.cli.demo.fix_tokens import message_of

values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x01\n"), min_size=1, max_size=20)
drafts = st.builds(
    Draft,
    begin=st.sampled_from(["FIX.4.2", "FIX.4.4", "FIXT.1.1"]),
    msg_type=st.sampled_from(["D", "8", "AE", "0"]),
    sender=values,
    target=values,
    seq=st.integers(1, 10**9),
    sending_time=st.just("20260120-09:30:00.000"),
    body=st.lists(st.tuples(st.sampled_from([1, 11, 44, 58, 60]), values), max_size=8).map(lambda each: fields(*each)),
)


def cuts(draft: Draft, *, within_body: bool) -> list[tuple[bytes, Cut]]:
    message = encode(draft)
    found = [choose_cut(message, random.Random(seed), within_body=within_body) for seed in range(20)]
    return [(message[: cut.at], cut) for cut in found]


@given(drafts)
def test_a_message_is_right_in_the_eyes_of_another_reader(draft: Draft) -> None:
    read = message_of(encode(draft))
    assert (read.checksum_ok, read.body_length_ok, read.ends_with_delimiter) == (True, True, True)
    assert [read.value(tag) for tag in ("35", "49", "56", "34")] == [
        draft.msg_type,
        draft.sender,
        draft.target,
        str(draft.seq),
    ]
    assert fields(*((int(tag), value) for tag, value in read.fields[7:-1])) == draft.body


@given(drafts, st.integers(1, 255))
def test_what_is_off_is_wrong_and_nothing_else_is(draft: Draft, off: int) -> None:
    wrong_sum = message_of(encode(draft, checksum_off=off))
    assert (wrong_sum.checksum_ok, wrong_sum.body_length_ok) == (False, True)
    wrong_length = message_of(encode(draft, body_length_off=off))
    assert (wrong_length.checksum_ok, wrong_length.body_length_ok) == (True, False)


@given(drafts, st.booleans())
def test_a_cut_leaves_what_it_says(draft: Draft, within_body: bool) -> None:
    for left, cut in cuts(draft, within_body=within_body):
        assert 0 < cut.at < len(encode(draft))
        assert b"\x0110=" not in left
        assert (b"\x0135=" in left) == (cut.kind != "unreadable")
        assert (b"\x0152=20260120-09:30:00.000\x01" in left) == (cut.kind == "body")
        assert cut.kind != "body" or within_body


@given(drafts)
def test_a_cut_never_halves_a_typed_value(draft: Draft) -> None:
    for left, cut in cuts(draft, within_body=True):
        last = left.rpartition(b"\x01")[2]
        tag, equals, _ = last.partition(b"=")
        assert cut.kind != "body" or not equals or tag in (b"1", b"11", b"58")


def test_all_kinds_of_cut_come_up() -> None:
    body = fields((11, "A"), (44, "1.5"), (58, "some words"))
    draft = Draft(
        begin="FIX.4.4", msg_type="D", sender="A", target="B", seq=1, sending_time="20260120-09:30:00.000", body=body
    )
    assert {cut.kind for _, cut in cuts(draft, within_body=True)} == {"unreadable", "header", "body"}


@pytest.mark.parametrize(
    ("tag", "left"),
    [
        (11, fields((11, "new"), (44, "1.5"), (144, "x"), (44, "2"))),
        (44, fields((11, "a"), (44, "new"), (144, "x"), (44, "2"))),
        (144, fields((11, "a"), (44, "1.5"), (144, "new"), (44, "2"))),
        (4, None),
    ],
)
def test_the_first_value_of_a_tag_is_replaced_and_no_other(tag: int, left: str | None) -> None:
    assert replaced(fields((11, "a"), (44, "1.5"), (144, "x"), (44, "2")), tag, "new") == left
