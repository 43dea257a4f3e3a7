"""What may leave the house: every field says it, and a tape shows no more than that."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields

from eventlog.records import RECORD_TYPES
from eventlog.redact import (
    ByPart,
    Hashed,
    Omitted,
    Public,
    Redactor,
    UndeclaredFieldError,
    restore,
    rules,
)
from tests.projections.histories import one_of_each

SALT = b"s" * 32


def shapes(shape: type[Struct]) -> Iterator[type[Struct]]:
    yield shape
    for each in rules(shape):
        if each.part is not None:
            yield from shapes(each.part)


@pytest.mark.parametrize("shape", RECORD_TYPES.values(), ids=RECORD_TYPES.keys())
def test_every_field_of_every_record_says_what_a_tape_shows_of_it(shape: type[Struct]) -> None:
    for each in shapes(shape):
        assert [rule.name for rule in rules(each)] == list(each.__struct_fields__)


# What an examiner would never show to a stranger, by the words in its name; no declaration may make it public.
NEVER_PUBLIC = {
    "path", "reason", "why", "hint", "host", "log_tail", "settings", "inputs", "sink_uri", "file", "final", "staged",
    "source_hash", "sha256", "digest", "plan_digest", "inputs_digest", "removed_sha256", "file_uid", "table_name",
    "lease", "boot_id", "kept_as", "target_key", "materialization_key", "commit_key", "config_hash", "env_hash",
    "mtime_ns", "components",
}  # fmt: skip


def test_what_speaks_of_a_case_is_never_public() -> None:
    every = {each for shape in RECORD_TYPES.values() for each in shapes(shape)}
    declared = {(shape.__name__, rule.name): rule.rule for shape in every for rule in rules(shape)}
    assert {name for _shape, name in declared} >= NEVER_PUBLIC  # the list names fields that exist
    assert {key for key, rule in declared.items() if rule == "public" and key[1] in NEVER_PUBLIC} == set()


def test_no_text_of_a_command_is_public() -> None:
    """A command says what a person typed: the name of a case stands where a parser's was meant."""
    for name in ("StartRun", "CancelJob"):
        hints = typing.get_type_hints(RECORD_TYPES[name])
        public = [each.name for each in rules(RECORD_TYPES[name]) if each.rule == "public" and each.name != "now"]
        assert all(_plain(hints[field]) is int for field in public)


def _plain(hint: Any) -> Any:
    return hint.__supertype__ if isinstance(hint, typing.NewType) else hint


class Undeclared(Struct):
    said: Public[int]
    forgotten: str


class TwiceDeclared(Struct):
    said: Annotated[Public[str], msgspec.Meta(extra={"tape": "hashed"})]


class HashedNumber(Struct):
    said: Hashed[int]


class HiddenPart(Struct):
    said: Public[tuple[Undeclared, ...]]


class PartOfNothing(Struct):
    said: ByPart[str]


@pytest.mark.parametrize("shape", [Undeclared, TwiceDeclared, HashedNumber, HiddenPart, PartOfNothing])
def test_a_field_that_does_not_say_it_properly_is_refused_by_name(shape: type[Struct]) -> None:
    with pytest.raises(UndeclaredFieldError, match=shape.__name__):
        rules(shape)


def test_a_nested_shape_without_a_declaration_is_refused_too() -> None:
    class Outer(Struct):
        inside: ByPart[Undeclared]

    Outer.__annotations__ = {"inside": ByPart[Undeclared]}  # a local class: its annotations are no names of the module
    with pytest.raises(UndeclaredFieldError, match="forgotten"):
        list(shapes(Outer))


def test_the_codec_does_not_see_the_declarations() -> None:
    """A shape with the declarations taken away writes the same bytes and reads them back."""
    for record in one_of_each():
        shape = type(record)
        hints = typing.get_type_hints(shape)
        defaults = {each.name: each.default for each in fields(shape) if not each.required}
        parts = [(name, hints[name], *([defaults[name]] if name in defaults else [])) for name in hints]
        omit = shape.__struct_config__.omit_defaults
        bare = msgspec.defstruct(shape.__name__, parts, kw_only=True, omit_defaults=omit)
        line = msgspec.json.encode(record)
        assert msgspec.json.encode(msgspec.json.decode(line, type=bare)) == line
        assert msgspec.json.decode(line, type=shape) == record


@given(st.text())
def test_a_hash_depends_on_the_text_and_the_salt_alone(text: str) -> None:
    redactor = Redactor(SALT)
    assert redactor.hash(text) == Redactor(SALT).hash(text)
    if text:
        assert len(redactor.hash(text)) == 16
        assert redactor.hash(text) != Redactor(b"t" * 32).hash(text)
    else:
        assert redactor.hash(text) == ""


def test_half_a_surrogate_pair_is_hashed_and_no_error() -> None:
    assert len(Redactor(SALT).hash("\udcff")) == 16


@pytest.mark.parametrize("text", ["/case/a", "C:\\case", "two words", "käse", "a" * 65, "line\n", "a;b", "a@b", "{x}"])
def test_a_public_text_that_is_no_plain_word_is_hashed(text: str) -> None:
    assert Redactor(SALT).word(text) == Redactor(SALT).hash(text)


@pytest.mark.parametrize("text", ["", "evtx", "0.1.0", "f" * 64, "2026-01-22T10:11:12.123456Z", "executor-1-ab12"])
def test_a_public_word_is_shown(text: str) -> None:
    assert Redactor(SALT).word(text) == text


def test_what_is_shown_reads_back_as_a_record_with_hashes_and_neutral_values() -> None:
    redactor = Redactor(SALT)
    for record in one_of_each():
        shown = msgspec.json.decode(msgspec.json.encode(redactor.fields(record)))
        again = restore(type(record), shown)
        assert type(again) is type(record)
        for rule in rules(type(record)):
            value, before = getattr(again, rule.name), getattr(record, rule.name)
            if rule.rule == "omitted":
                assert value == rule.neutral
                assert rule.name not in shown
            elif rule.rule == "hashed" and isinstance(before, str):
                assert value == redactor.hash(before)


def test_same_values_stay_linked_and_different_ones_apart() -> None:
    shown = [Redactor(SALT).fields(record) for record in one_of_each()]
    text = msgspec.json.encode(shown).decode()
    assert text.count(Redactor(SALT).hash("/case/a.evtx")) == 3  # FilesSeen, JobQueued, RetryJobs
    assert Redactor(SALT).hash("/case/b.evtx") in text


def test_omitting_gives_every_kind_its_neutral_value() -> None:
    class Kinds(Struct):
        text: Omitted[str]
        number: Omitted[int]
        many: Omitted[tuple[str, ...]]
        named: Omitted[dict[str, str]]

    Kinds.__annotations__ = {
        "text": Omitted[str],
        "number": Omitted[int],
        "many": Omitted[tuple[str, ...]],
        "named": Omitted[dict[str, str]],
    }
    assert [rule.neutral for rule in rules(Kinds)] == ["", 0, (), {}]
