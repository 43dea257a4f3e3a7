"""Interleaves two sides round by round, so that a noisy machine is noisy for both, and tells their ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from msgspec import Struct


class Ratio(Struct, frozen=True, kw_only=True):
    """Paired ratios of one comparison. `bar` is what they should reach: at least it, or at most if `lower`."""

    name: str
    ours_seconds: float
    theirs_seconds: float
    ratios: tuple[float, ...]
    bar: float
    lower: bool = False

    def line(self) -> str:
        """Return one line: the median ratio with its range, both sides' medians, the bar and whether it is met."""
        median = statistics.median(self.ratios)
        met = median <= self.bar if self.lower else median >= self.bar
        sign = "<=" if self.lower else ">="
        verdict = "met" if met else "MISSED"
        return (
            f"{self.name:<44} {median:7.3f} ({min(self.ratios):.3f}..{max(self.ratios):.3f})  bar {sign} {self.bar}"
            f"  {verdict:<6}  ours {self.ours_seconds * 1e3:.2f} ms, theirs {self.theirs_seconds * 1e3:.2f} ms"
        )


class Difference(Struct, frozen=True, kw_only=True):
    """What ours costs beyond theirs, paired, in seconds. `bar` is how much it may be at most."""

    name: str
    ours_seconds: float
    theirs_seconds: float
    seconds: tuple[float, ...]
    bar: float

    def line(self) -> str:
        """Return one line: the median difference with its range, the ratio, both medians, the bar and its verdict."""
        median = statistics.median(self.seconds)
        verdict = "met" if median <= self.bar else "MISSED"
        return (
            f"{self.name:<44} {median:+7.3f} s ({min(self.seconds):.3f}..{max(self.seconds):.3f})  bar <= {self.bar} s"
            f"  {verdict:<6}  ours {self.ours_seconds * 1e3:.2f} ms, theirs {self.theirs_seconds * 1e3:.2f} ms, "
            f"ratio {self.ours_seconds / self.theirs_seconds:.1f}"
        )


class Each(Struct, frozen=True, kw_only=True):
    """What one of many costs a core, in seconds, over some rounds. `bar` is how much it may be at most."""

    name: str
    seconds: tuple[float, ...]
    bar: float

    def line(self) -> str:
        """Return one line: the median with its range, the bar and its verdict."""
        median = statistics.median(self.seconds)
        verdict = "met" if median <= self.bar else "MISSED"
        return (
            f"{self.name:<44} {median * 1e3:7.2f} ms ({min(self.seconds) * 1e3:.2f}..{max(self.seconds) * 1e3:.2f})"
            f"  bar <= {self.bar * 1e3:g} ms  {verdict}"
        )


class Size(Struct, frozen=True, kw_only=True):
    """How many bytes ours takes where theirs takes `theirs_bytes`. `bar` is what their ratio may be at most."""

    name: str
    ours_bytes: int
    theirs_bytes: int
    bar: float

    def line(self) -> str:
        """Return one line: the ratio, the bar and its verdict, both sizes."""
        ratio = self.ours_bytes / self.theirs_bytes
        verdict = "met" if ratio <= self.bar else "MISSED"
        return (
            f"{self.name:<44} {ratio:7.3f}  bar <= {self.bar}  {verdict:<6}  "
            f"ours {self.ours_bytes:,} bytes, theirs {self.theirs_bytes:,} bytes"
        )


class Absent(Struct, frozen=True, kw_only=True):
    """A comparison that was not made."""

    name: str

    def line(self) -> str:
        return f"{self.name:<44} not installed"


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def speed_ratio(
    name: str, *, ours: Callable[[], object], theirs: Callable[[], object], rounds: int, bar: float
) -> Ratio:
    """Return how fast ours is, as a fraction of theirs: 1 is as fast, above is faster."""
    return ratio_of(name, [(timed(ours), timed(theirs)) for _ in range(rounds)], bar=bar)


def ratio_of(name: str, times: Sequence[tuple[float, float]], *, bar: float) -> Ratio:
    """Return how fast ours is, as a fraction of theirs, from the seconds of both in each round."""
    return Ratio(
        name=name,
        ours_seconds=statistics.median(own for own, _ in times),
        theirs_seconds=statistics.median(other for _, other in times),
        ratios=tuple(other / own for own, other in times),
        bar=bar,
    )


def cost_ratio(
    name: str, *, ours: Callable[[], object], theirs: Callable[[], object], rounds: int, bar: float
) -> Ratio:
    """Return how long ours takes, as a multiple of theirs: the less the better."""
    times = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    return Ratio(
        name=name,
        ours_seconds=statistics.median(own for own, _ in times),
        theirs_seconds=statistics.median(other for _, other in times),
        ratios=tuple(own / other for own, other in times),
        bar=bar,
        lower=True,
    )


def cost_difference(
    name: str, *, ours: Callable[[], object], theirs: Callable[[], object], rounds: int, bar: float
) -> Difference:
    """Return how much longer ours takes, in seconds: the less the better."""
    times = [(timed(ours), timed(theirs)) for _ in range(rounds)]
    return Difference(
        name=name,
        ours_seconds=statistics.median(own for own, _ in times),
        theirs_seconds=statistics.median(other for _, other in times),
        seconds=tuple(own - other for own, other in times),
        bar=bar,
    )
