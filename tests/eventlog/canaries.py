"""Owns records in which every field holds a text that is found nowhere else, and what may be seen of it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from eventlog.redact import rules
from fixtures.samples import Sampler


class Canary(Struct, frozen=True):
    """A text (or number) planted in one field, and the field's declaration."""

    field: str
    text: str
    rule: str


class Planter(Sampler):
    """Makes one record of any shape, planting canaries. `form` makes a text of a number."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.canaries: list[Canary] = []
        self._form = form
        self._rules: dict[str, str] = {}

    def record(self, shape: type[Struct], *, only_required: bool = False) -> Any:
        self._rules |= {f"{shape.__name__}.{each.name}": each.rule for each in rules(shape)}
        return super().record(shape, only_required=only_required)

    def leaf(self, kind: type, field: str) -> Any:
        number = 7_319_000_000_000 + len(self.canaries)
        self.canaries.append(Canary(field, str(number), self._rules[field]))
        return number if kind is int else self._form.format(number)
