"""Owns records in which every field holds a text that is found nowhere else, and what may be seen of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NewType, get_args, get_origin, get_type_hints

from msgspec import Struct

from eventlog.redact import rules


class Canary(Struct, frozen=True):
    """A text (or number) planted in one field, and the field's declaration."""

    field: str
    text: str
    rule: str


class Planter:
    """Makes one record of any shape, planting canaries. `spelled` makes a text of a number and a field."""

    def __init__(self, form: str) -> None:
        self.canaries: list[Canary] = []
        self._form = form

    def record(self, shape: type[Struct]) -> Any:
        hints = get_type_hints(shape, include_extras=True)
        declared = {each.name: each.rule for each in rules(shape)}
        values = {name: self._value(hint, f"{shape.__name__}.{name}", declared[name]) for name, hint in hints.items()}
        return shape(**values)

    def _value(self, hint: Any, field: str, rule: str) -> Any:
        origin = get_origin(hint)
        if origin is Annotated:
            return self._value(get_args(hint)[0], field, rule)
        if isinstance(hint, NewType):
            return self._value(hint.__supertype__, field, rule)
        if origin is Literal:
            return get_args(hint)[0]
        if origin is tuple:
            return (self._value(get_args(hint)[0], field, rule), self._value(get_args(hint)[0], field, rule))
        if origin is dict:
            return {self._value(str, field, rule): self._value(str, field, rule)}
        if origin is not None:  # a union: the part that is not None
            return self._value(next(each for each in get_args(hint) if each is not type(None)), field, rule)
        if hint is bool:
            return True
        if issubclass(hint, Struct):
            return self.record(hint)
        return self._leaf(hint, field, rule)

    def _leaf(self, kind: type, field: str, rule: str) -> Any:
        number = 7_319_000_000_000 + len(self.canaries)
        value: Any = number if kind is int else self._form.format(number)
        self.canaries.append(Canary(field, str(number), rule))
        return value
