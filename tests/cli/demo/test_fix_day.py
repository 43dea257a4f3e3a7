"""The made-up day: the same seed, the same bytes; a truth that a naive reader finds too; bounded memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from cli.demo.fix_day import BYTES_MIN, FORMS, MESSAGES_MIN, DayError, generate
from cli.demo.fix_log import DIRT
from cli.demo.fix_log_file import QUARANTINED
from cli.demo.fix_session import OPEN_ORDERS_MAX, Session
from cli.demo.fix_truth import FileTruth, Tally, Truth, output_of
from tests.cli.demo.fix_tokens import Line, Message, breaks_a_type, group_entries, lines_of, text_of

FAIR_MESSAGES = 20_000
Day = tuple[Path, Truth]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    return folder, generate(folder, seed=1, messages_total=FAIR_MESSAGES)


@pytest.fixture(scope="module")
def clean_day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("clean")
    return folder, generate(folder, seed=2, messages_total=10_000, dirtiness=0)


def digest(folder: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        hasher.update(path.name.encode() + path.read_bytes())
    return hasher.hexdigest()


def messages_of(day: Day) -> list[Message]:
    folder, truth = day
    return [message for file in truth.files for line in lines_of(folder / file.path) for message in line.messages]


def counted(messages: list[Message]) -> Tally:
    checksums = Counter(message.checksum_ok for message in messages)
    lengths = Counter(message.body_length_ok for message in messages)
    return Tally(
        messages=dict(sorted(Counter(message.value("35") for message in messages).items())),
        checksum_ok=checksums[True],
        checksum_bad=checksums[False],
        checksum_absent=checksums[None],
        body_length_ok=lengths[True],
        body_length_bad=lengths[False],
        body_length_absent=lengths[None],
    )


def assert_holds(file: FileTruth, lines: list[Line]) -> None:
    messages = [message for line in lines for message in line.messages]
    assert file.lines == len(lines)
    assert file.made == counted(messages)
    assert file.quarantined == counted([message for message in messages if breaks_a_type(message)])
    assert file.unreadable == sum(line.unreadable for line in lines)
    assert file.foreign_lines == sum(not line.messages and not line.unreadable for line in lines)
    entries = sum(map(group_entries, messages), Counter[str]())
    assert file.group_entries == dict(entries)


def test_same_seed_makes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    made = {name: generate(tmp_path / name, seed=3, messages_total=4000) for name in "ab"}
    other = generate(tmp_path / "c", seed=4, messages_total=4000)
    assert made["a"] == made["b"] != other
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_a_naive_reader_finds_what_the_truth_says_of_each_file(day: Day) -> None:
    folder, truth = day
    assert {file.path for file in truth.files} == {path.name for path in folder.iterdir()}
    for file in truth.files:
        assert file.bytes == (folder / file.path).stat().st_size > 0
        assert_holds(file, list(lines_of(folder / file.path)))


def test_every_form_and_every_dirt_comes_up_in_a_fair_day(day: Day) -> None:
    _, truth = day
    assert set(truth.dirt) == set(DIRT)
    assert {file.form for file in truth.files} == set(FORMS)
    assert sum(file.unreadable for file in truth.files) > 0
    assert sum(file.foreign_lines for file in truth.files) > truth.dirt["foreign_line"]  # the rests of what was cut
    assert {output_of(each) for file in truth.files for each in file.quarantined.messages} >= {
        "fix_order_lifecycle",
        "fix_other_messages",
    }


def test_a_naive_reader_finds_each_dirt_as_often_as_it_was_made(day: Day) -> None:
    folder, truth = day
    lines = [list(lines_of(folder / file.path)) for file in truth.files]
    messages = messages_of(day)
    whole = [message for message in messages if message.checksum_ok is not None]
    found = {
        "wrong_checksum": sum(message.checksum_ok is False for message in messages),
        "wrong_body_length": sum(message.body_length_ok is False for message in messages),
        "empty_value": sum(any(not value for _, value in message.fields) for message in whole),
        "custom_tag": sum(any(int(tag) > 5000 for tag, _ in message.fields) for message in whole),
        "resent": sum(message.value("43") == "Y" for message in messages),
        "data_field": sum(message.count("96") for message in messages),
        "negative_price": sum(
            any(tag in ("44", "31", "6") and value.startswith("-") for tag, value in message.fields)
            for message in whole
        ),
        "no_last_soh": sum(not message.ends_with_delimiter for message in whole),
        "two_on_a_line": sum(
            len(line.messages) == 2
            for file, each in zip(truth.files, lines, strict=True)
            for line in each
            if file.form != "body"
        ),
        "duplicated_line": sum(
            before.text == line.text and bool(line.messages) for each in lines for before, line in pairwise(each)
        ),
    }
    for dirt, times in found.items():
        assert times == truth.dirt[dirt], dirt
    broken = sum(message.checksum_ok is not None and breaks_a_type(message) for message in messages)
    assert broken == sum(truth.dirt[dirt] for dirt in QUARANTINED)


def test_what_is_right_is_right(clean_day: Day) -> None:
    messages = messages_of(clean_day)
    assert len(messages) == clean_day[1].messages >= 10_000
    assert all(message.checksum_ok and message.body_length_ok for message in messages)
    assert not any(breaks_a_type(message) for message in messages)


def test_numbers_are_gapless_per_session_direction_and_day(clean_day: Day) -> None:
    numbers: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for message in messages_of(clean_day):
        if message.value("43") != "Y":
            side = (message.value("49"), message.value("56"), message.value("52")[:8])
            numbers[side].append(int(message.value("34")))
    assert len(numbers) == 40 * 2 * 2
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def test_a_message_that_is_sent_again_says_when_it_was_sent_first(clean_day: Day) -> None:
    first: dict[tuple[str, ...], Message] = {}
    again = 0
    for message in messages_of(clean_day):
        key = tuple(message.value(tag) for tag in ("49", "56", "34"))
        if message.value("43") == "Y":
            again += 1
            original = first[*key, message.value("122")]
            assert original.value("35") == message.value("35")
            assert message.value("52") >= message.value("122")
        else:
            first[*key, message.value("52")] = message
    assert again > 0


def test_quantities_of_orders_add_up(clean_day: Day) -> None:
    filled: Counter[str] = Counter()
    value: dict[str, Decimal] = defaultdict(Decimal)
    for message in messages_of(clean_day):
        if message.value("35") != "8" or message.value("43") == "Y":
            continue
        order = message.value("37")
        if message.value("32"):
            filled[order] += int(message.value("32"))
            value[order] += int(message.value("32")) * Decimal(message.value("31"))
        quantity, left, done = (int(message.value(tag)) for tag in ("38", "151", "14"))
        assert done == filled[order]
        assert left == (0 if message.value("39") in "248C" else quantity - done)
        assert abs(Decimal(message.value("6")) * (done or 1) - value[order]) <= Decimal("0.000001") * (done or 1)
    assert len(filled) > 500


def test_orders_of_the_next_day_use_ids_again(clean_day: Day) -> None:
    first_day: set[str] = set()
    again = 0
    for message in messages_of(clean_day):
        if message.value("52").startswith("20260120"):
            first_day.add(message.value("11"))
        else:
            again += message.value("35") == "D" and message.value("11") in first_day
    assert again == clean_day[1].dirt["reused_cl_ord_id"] > 0


def test_mix_of_types_and_forms_is_the_one_of_the_assumed_day(day: Day) -> None:
    _, truth = day
    types: Counter[str] = Counter()
    forms: Counter[str] = Counter()
    for file in truth.files:
        types.update(file.made.messages)
        forms[file.form] += file.made.total
    shares = {name: types[name] / truth.messages for name in types}
    for name, share in {"8": 0.58, "D": 0.17, "F": 0.07, "G": 0.05, "9": 0.015}.items():
        assert shares[name] == pytest.approx(share, rel=0.25), name
    assert shares["X"] + shares["W"] == pytest.approx(0.08, rel=0.25)
    for form, share in FORMS.items():
        assert forms[form] / truth.messages == pytest.approx(share, abs=0.01), form


def test_size_is_the_one_asked_for(tmp_path: Path) -> None:
    truth = generate(tmp_path / "bytes", seed=5, bytes_total=2_000_000)
    text = sum(len(text_of(tmp_path / "bytes" / file.path)) for file in truth.files)
    assert 2_000_000 <= text < 2_000_000 * 1.02
    assert 5000 <= generate(tmp_path / "messages", seed=5, messages_total=5000).messages < 5000 * 1.02


def test_messages_come_one_at_a_time_and_open_orders_are_bounded() -> None:
    session = Session(
        number=1, begin="FIX.4.4", fraction_digits=3, with_data=True, messages_expected=10**9, seed="1"
    )  # fmt: skip
    messages = session.messages()
    assert iter(messages) is messages
    open_orders: Counter[str] = Counter()
    for _ in range(5000):
        said = next(messages)
        if said.draft.msg_type == "D":
            open_orders["begun"] += 1
    assert len(session._open) <= OPEN_ORDERS_MAX < open_orders["begun"]


def test_memory_does_not_grow_with_the_day(tmp_path: Path) -> None:
    generate(tmp_path / "warm", seed=6, messages_total=MESSAGES_MIN)
    peaks: list[int] = []
    for messages in (2000, 8000):
        tracemalloc.start()
        try:
            generate(tmp_path / str(messages), seed=6, messages_total=messages)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5


def test_truth_is_saved_as_a_line_a_file(tmp_path: Path) -> None:
    truth = generate(tmp_path / "logs", seed=7, bytes_total=BYTES_MIN)
    truth.save(tmp_path / "truth.ndjson")
    assert len((tmp_path / "truth.ndjson").read_text().splitlines()) == len(truth.files) >= 40


def test_what_cannot_be_made_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DayError, match="say either how many messages or how many bytes"):
        generate(tmp_path / "logs", seed=1)
    with pytest.raises(DayError, match="it has 2,000 at least"):
        generate(tmp_path / "logs", seed=1, messages_total=MESSAGES_MIN - 1)
    with pytest.raises(DayError, match="a day has 480,000 at least"):
        generate(tmp_path / "logs", seed=1, bytes_total=BYTES_MIN - 1)
    (tmp_path / "evidence.txt").write_text("mine")
    with pytest.raises(DayError, match="not an empty folder"):
        generate(tmp_path, seed=1, messages_total=MESSAGES_MIN)
