"""Owns the repeating groups of a message: which of its fields are entries of which group."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from . import limits
from .group_dictionary import GROUPS
from .text import short

GroupRow: TypeAlias = tuple[int, tuple[Any, ...]]  # position of a value, and what is to be said of it


class _Group:
    """A group being read. Its entries begin with the tag that stands behind the counter."""

    __slots__ = ("counter", "declared", "entry", "first", "members", "parent", "path", "seen", "told")

    def __init__(self, counter: str, told: str, first: str, members: frozenset[str], parent: "_Group | None") -> None:
        self.entry = -1
        self.path = ""
        self.counter = counter
        self.told = told
        self.declared = int(told) if told.isdecimal() and len(told) < 10 else 0
        self.first = first
        self.members = members
        self.parent: tuple[str | None, int | None, str] = (None, None, "")
        if parent is not None:
            self.parent = (parent.counter, parent.entry, parent.path)
        self.seen: set[str] = set()

    def take(self, tag: str, position: int) -> tuple[Any, ...]:
        """Return what is to be said of a member, which may begin the next entry."""
        outer, entry, path = self.parent
        if tag == self.first:
            self.entry += 1
            self.seen = set()
            self.path = f"{path}.{self.counter}[{self.entry}]" if path else f"{self.counter}[{self.entry}]"
        self.seen.add(tag)
        return self.counter, self.told, self.entry, tag, position + 1, outer, entry, self.path


def unfold(
    tags: Sequence[str], told: Mapping[int, str], kind: str, notes: list[str]
) -> tuple[dict[str, int], list[GroupRow]]:
    """Return where the tags of the message itself stand, and the places of its groups and of repeated tags.

    `told` are the values of the counters by their position.
    """
    body: dict[str, int] = {}
    rows: list[GroupRow] = []
    repeats: Counter[str] = Counter()
    last = {tag: position for position, tag in enumerate(tags)}
    stack: list[_Group] = []
    for position, tag in enumerate(tags):
        if stack:
            _leave(stack, tag, position, last, notes)
        if stack:
            rows.append((position, stack[-1].take(tag, position)))
        elif tag not in body:
            body[tag] = position
        else:
            repeats[tag] += 1
            rows.append((position, (None, None, repeats[tag], tag, position + 1, None, None, None)))
        if position in told:
            following = tags[position + 1] if position + 1 < len(tags) else ""
            _enter(stack, tag, told[position], kind, following, notes)
    _close(stack, 0, notes)
    notes.extend(f"repeated_tag:{tag}" for tag in repeats)
    return body, rows


def _leave(stack: list[_Group], tag: str, position: int, last: Mapping[str, int], notes: list[str]) -> None:
    """Leave the groups that a tag does not belong to.

    It belongs to a group that has it as a member and not yet in this entry. A tag that no group knows belongs to one
    that has entries to come.
    """
    for depth in range(len(stack) - 1, -1, -1):
        group = stack[depth]
        if tag == group.first or (tag in group.members and tag not in group.seen):
            return _close(stack, depth + 1, notes)
    for depth in range(len(stack) - 1, -1, -1):
        group = stack[depth]
        if group.entry + 1 < group.declared and last[group.first] > position:
            return _close(stack, depth + 1, notes)
    return _close(stack, 0, notes)


def _enter(stack: list[_Group], tag: str, told: str, kind: str, following: str, notes: list[str]) -> None:
    """Begin a group if an entry follows its counter."""
    by_type = GROUPS[tag]
    members = by_type.get(kind) or by_type[""]
    if following in members and len(stack) < limits.GROUP_DEPTH_MAX:
        stack.append(_Group(tag, told, following, members, stack[-1] if stack else None))
    elif told.strip("0"):
        notes.append(f"group_count:{tag}={short(told)},found=0")


def _close(stack: list[_Group], depth: int, notes: list[str]) -> None:
    for group in stack[depth:]:
        if str(group.entry + 1) != group.told:
            notes.append(f"group_count:{group.counter}={short(group.told)},found={group.entry + 1}")
    del stack[depth:]
