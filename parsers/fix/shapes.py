"""Owns what messages with the same tags have in common, which is found out once."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from . import limits
from .dictionary import DATA_OF, OTHER, TABLE_OF, TAG, TYPED_TAGS
from .group_dictionary import GROUPS
from .groups import unfold
from .tables import FOUND_COLUMNS

ColumnTags: TypeAlias = Mapping[str, Sequence[str]]  # of each table of messages, in the order of its columns


class Layout:
    """Where everything stands in messages with the same tags in the same order, of one type, with the same counts."""

    __slots__ = ("groups", "notes", "output", "places", "row", "sum_at", "typed")

    def __init__(self, tags: tuple[str, ...], told: Mapping[int, str], kind: str, columns: ColumnTags) -> None:
        notes: list[str] = []
        body, self.groups = unfold(tags, told, kind, notes)
        self.notes = tuple(notes)
        self.output = TABLE_OF.get(kind, OTHER)
        nothing = len(tags)  # the place behind the values, which holds None; behind it stands what was found out
        self.places = tuple(map(body.get, columns[self.output]))  # of the fields of each column, None without
        fields = (nothing if place is None else place for place in self.places)
        self.row = itemgetter(*fields, *range(nothing + 1, nothing + 1 + FOUND_COLUMNS))
        self.sum_at = body.get("10", nothing)
        self.typed = tuple(position for tag, position in body.items() if tag in TYPED_TAGS)


class Shape:
    """What can be said of a row of tags whatever their values are."""

    __slots__ = ("counters", "kind_at", "layouts", "plain", "tags")

    def __init__(self, tags: tuple[str, ...]) -> None:
        self.tags = tags
        self.kind_at = tags.index("35") if "35" in tags else -1
        self.counters = tuple(position for position, tag in enumerate(tags) if tag in GROUPS)
        self.plain = self.kind_at > 0 and DATA_OF.keys().isdisjoint(tags) and all(map(TAG.fullmatch, tags))
        self.layouts: dict[Any, Layout] = {}


class Shapes:
    """The shapes and layouts that were met: a log repeats a few. Both are bounded; when full, all are forgotten."""

    def __init__(self, columns: ColumnTags) -> None:
        self._columns = columns
        self.known: dict[tuple[str, ...], Shape] = {}

    def shape(self, tags: tuple[str, ...]) -> Shape:
        shape = self.known.get(tags)
        if shape is None:
            shape = Shape(tags)
            if len(tags) <= limits.SHAPE_TAGS_MAX and sum(map(len, tags)) <= limits.SHAPE_CHARACTERS_MAX:
                if len(self.known) >= limits.SHAPES_MAX:
                    self.known.clear()
                self.known[tags] = shape
        return shape

    def layout(self, shape: Shape, kind: str, values: Sequence[str] | Mapping[int, str]) -> Layout:
        counters = shape.counters
        key: Any = (kind, *[values[position] for position in counters]) if counters else kind
        layout = shape.layouts.get(key)
        if layout is None:
            layout = Layout(shape.tags, {position: values[position] for position in counters}, kind, self._columns)
            if len(kind) + sum(len(values[position]) for position in counters) <= limits.LAYOUT_CHARACTERS_MAX:
                if len(shape.layouts) >= limits.SHAPE_LAYOUTS_MAX:
                    shape.layouts.clear()
                shape.layouts[key] = layout
        return layout
