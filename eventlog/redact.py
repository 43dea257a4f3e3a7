"""Owns what may leave the house: each field of each record says, where it is defined, what a tape shows of it.

    job: Public[JobId]               as it is
    path: Hashed[PathText]           BLAKE3(salt + text), 16 hex digits: in one tape the same text has the same hash
    log_tail: Omitted[str]           not at all
    files: ByPart[tuple[SeenFile, ...]]    a Struct inside, whose own fields say it

Public text must moreover be a plain word: a path or a sentence that finds its way into a public field is hashed too.
An empty text stays empty, because what is absent (an output without rows has no file) is part of the story.
The declarations are annotations only: the codec of the log does not see them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

import blake3
import msgspec
from msgspec import Meta, Struct

T = TypeVar("T")
S = TypeVar("S", bound=Struct)

Public = Annotated[T, Meta(extra={"tape": "public"})]
Hashed = Annotated[T, Meta(extra={"tape": "hashed"})]
Omitted = Annotated[T, Meta(extra={"tape": "omitted"})]
ByPart = Annotated[T, Meta(extra={"tape": "by part"})]

Rule = Literal["public", "hashed", "omitted", "by part"]

SALT_BYTES: Final = 32
HASH_CHARACTERS: Final = 16
_WORD: Final = re.compile(r"[A-Za-z0-9_.:+-]{0,64}", re.ASCII)  # names, versions, codes, hashes, instants
_NEUTRAL: Final[dict[Any, Any]] = {str: "", int: 0, bool: False, tuple: (), dict: {}}


class UndeclaredFieldError(TypeError):
    """A field of a record does not say what a tape may show of it, or says what cannot be."""


class FieldRule(Struct, frozen=True, kw_only=True):
    """What a tape shows of one field; `part` is the Struct inside, `neutral` stands for what was omitted."""

    name: str
    rule: Rule
    part: type[Struct] | None
    neutral: Any


class Redactor:
    """Redacts by one salt, which must be random, belongs to one export, and is never written anywhere."""

    def __init__(self, salt: bytes) -> None:
        assert len(salt) == SALT_BYTES
        self._salt = salt

    def hash(self, text: str) -> str:
        """Return what stands for a text."""
        if not text:
            return ""
        return blake3.blake3(self._salt + text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARACTERS]

    def word(self, text: str) -> str:
        """Return a public text if it is a plain word, else its hash."""
        return text if _WORD.fullmatch(text) else self.hash(text)

    def fields(self, record: Struct) -> dict[str, Any]:
        """Return what may be shown of a record, as plain values. Raises UndeclaredFieldError."""
        shown: dict[str, Any] = {}
        for each in rules(type(record)):
            value = getattr(record, each.name)
            match each.rule:
                case "public":
                    shown[each.name] = _each_text(value, self.word)
                case "hashed":
                    shown[each.name] = _each_text(value, self.hash)
                case "by part":
                    shown[each.name] = self._parts(value)
                case "omitted":
                    pass
        return shown

    def _parts(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return [self.fields(each) for each in value]
        return None if value is None else self.fields(value)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return the value with every text in it changed, the names in a dictionary too: people choose those as well."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Struct):
        return _each_text(msgspec.to_builtins(value), change)
    if isinstance(value, tuple | list):
        return [_each_text(each, change) for each in value]
    if isinstance(value, dict):
        return {change(name): _each_text(each, change) for name, each in value.items()}
    return value


def restore(shape: type[S], shown: dict[str, Any]) -> S:
    """Return the record behind what a tape shows of it: hashes in place of texts, neutral values for what was omitted.

    Raises msgspec.ValidationError where it is not of that shape.
    """
    return msgspec.convert(_filled(shape, shown), shape)


def _filled(shape: type[Struct], shown: Any) -> Any:
    if not isinstance(shown, dict):
        return shown  # refused by the conversion, which says where
    filled = dict(shown)
    for each in rules(shape):
        if each.rule == "omitted":
            filled.setdefault(each.name, each.neutral)
        elif each.part is not None and each.name in filled:
            value = filled[each.name]
            part = each.part
            many = isinstance(value, list)
            filled[each.name] = [_filled(part, one) for one in value] if many else _filled(part, value)
    return filled


# --- the declarations -----------------------------------------------------------------------------------------------


@functools.cache
def rules(shape: type[Struct]) -> tuple[FieldRule, ...]:
    """Return the declaration of every field of a shape. Raises UndeclaredFieldError naming the first that has none."""
    hints = get_type_hints(shape, include_extras=True)
    return tuple(_field_rule(shape, name, hints[name]) for name in shape.__struct_fields__)


def _field_rule(shape: type[Struct], name: str, hint: Any) -> FieldRule:
    said = [extra["tape"] for extra in map(_extra, getattr(hint, "__metadata__", ())) if "tape" in extra]
    if len(said) != 1:
        raise UndeclaredFieldError(
            f"{shape.__name__}.{name} must say once what a tape shows of it: Public, Hashed, Omitted or ByPart"
        )
    leaves = list(_leaves(hint))
    parts = [leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, Struct)]
    texts_only = all(leaf in (str, type(None)) for leaf in leaves)
    if (said[0] == "by part") != (len(parts) == 1) or (said[0] == "hashed" and not texts_only):
        raise UndeclaredFieldError(
            f"{shape.__name__}.{name} cannot be {said[0]}: ByPart is for one Struct inside, Hashed for texts"
        )
    neutral = _neutral(shape, name, get_origin(get_args(hint)[0]) or leaves[0]) if said[0] == "omitted" else None
    part = parts[0] if said[0] == "by part" else None  # what is public is shown whole, with the Structs inside
    return FieldRule(name=name, rule=said[0], part=part, neutral=neutral)


def _neutral(shape: type[Struct], name: str, kind: Any) -> Any:
    if kind not in _NEUTRAL:
        raise UndeclaredFieldError(f"{shape.__name__}.{name} cannot be omitted: nothing neutral can stand for it")
    return _NEUTRAL[kind]


def _extra(meta: Any) -> dict[str, Any]:
    return (meta.extra or {}) if isinstance(meta, Meta) else {}


def _leaves(hint: Any) -> Iterator[Any]:
    """Yield the plain types that a type is made of."""
    if isinstance(hint, NewType):
        yield from _leaves(hint.__supertype__)
    elif get_origin(hint) is Annotated:
        yield from _leaves(get_args(hint)[0])
    elif get_origin(hint) is Literal:
        yield Literal
    elif get_origin(hint) in (Union, UnionType, tuple, dict):
        for each in get_args(hint):
            if each is not Ellipsis:
                yield from _leaves(each)
    else:
        yield hint
