"""Owns the names under which records stand in the log, and the way from each version that was released to the newest.

The first version of a record has its class name as tag, the next ones `Name.2`, `Name.3`; which one is newest follows
from the upcasters, one for each step. So a step that is taken out or out of order is a tag that leads nowhere, and is
refused when the registry is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Change = Callable[[dict[str, Any]], dict[str, Any]]  # data of one version to data of the next

VERSIONS_MAX: Final = 1000  # of one record


class Registry:
    """Which tags this version reads: `tags` holds the newest of each name, `older` those that are upcast."""

    def __init__(self, names: Iterable[str], *, upcasters: Mapping[str, Change]) -> None:
        """Raise ValueError for an upcaster that no chain from a first version leads to."""
        self._changes: dict[str, list[Change]] = {name: _chain(name, upcasters) for name in names}
        self.tags: dict[str, str] = {name: tag_of(name, 1 + len(chain)) for name, chain in self._changes.items()}
        self.older: dict[str, tuple[str, int]] = {
            tag_of(name, version): (name, version)
            for name, chain in self._changes.items()
            for version in range(1, len(chain) + 1)
        }
        self.readable = frozenset(self.tags.values()) | frozenset(self.older)
        stray = sorted(set(upcasters) - set(self.older))
        if stray:
            raise ValueError(f"upcasters that no chain from a first version leads to: {', '.join(stray)}")

    def upcast(self, tag: str, data: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the newest tag and the data in its shape, for a tag among `older`."""
        name, version = self.older[tag]
        for change in self._changes[name][version - 1 :]:
            data = change(data)
        return self.tags[name], data


def tag_of(name: str, version: int) -> str:
    """Return the tag of one version of a record; versions count from 1."""
    return name if version == 1 else f"{name}.{version}"


def _chain(name: str, upcasters: Mapping[str, Change]) -> list[Change]:
    chain: list[Change] = []
    while (change := upcasters.get(tag_of(name, len(chain) + 1))) is not None:
        chain.append(change)
        if len(chain) > VERSIONS_MAX:
            raise ValueError(f"{name} has more than {VERSIONS_MAX} versions")
    return chain
