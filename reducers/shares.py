"""Owns which commits publish together: those of one lease whose rows lie in the same artifacts.

Such an artifact is published, withdrawn and abandoned once, and so for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from eventlog.events import OutputsCommitted

Bundle = tuple[OutputsCommitted, ...]


def bundles(commits: Iterable[OutputsCommitted]) -> list[Bundle]:
    """Return the commits as those that share an artifact, directly or by way of others; in their order."""
    place: dict[str, int] = {}  # the number of the bundle in which an artifact is, by its staged name
    found: dict[int, list[OutputsCommitted]] = {}
    for number, commit in enumerate(commits):
        names = _staged(commit)
        first, *further = sorted({place[name] for name in names if name in place} or {number})
        bundle = found.setdefault(first, [])
        bundle.append(commit)
        place |= dict.fromkeys(names, first)
        for other in further:  # which this commit joins to the first
            joined = found.pop(other)
            bundle += joined
            place |= {name: first for each in joined for name in _staged(each)}
    return [tuple(found[number]) for number in sorted(found)]


def bundle_with(commit: OutputsCommitted, others: Iterable[OutputsCommitted]) -> Bundle:
    """Return all commits that share an artifact with this one, itself among them."""
    of_lease = [other for other in others if other.lease == commit.lease]
    return next(bundle for bundle in bundles(of_lease) if commit in bundle)


def _staged(commit: OutputsCommitted) -> list[str]:
    return [output.staged for output in commit.outputs]
