"""Tells of the targets of a sentinel that lasts: which cannot be reached, once each, and which can again."""

from __future__ import annotations

from collections.abc import Mapping


class TargetWatch:
    """Knows what was told. For one thread."""

    def __init__(self) -> None:
        self._told: frozenset[str] = frozenset()

    def look(self, unreachable: Mapping[str, str]) -> list[str]:
        """Return sentences about what has changed since the last look; `unreachable` says of each target why."""
        now = dict(unreachable)  # the promoter goes on meanwhile
        lost = [
            f"{uri} cannot be used: {why}; what is committed there is published when it is back"
            for uri, why in sorted(now.items())
            if uri not in self._told
        ]
        back = [f"{uri} can be used again" for uri in sorted(self._told - now.keys())]
        self._told = frozenset(now)
        return [*lost, *back]
