"""Owns what one place says of a policy on rejected rows; commands/quarantine.py makes one policy of several."""

from __future__ import annotations

from msgspec import Struct


class PolicyWords(Struct, frozen=True, kw_only=True):
    """What one place says of a policy; None where it says nothing. `place` is what it is called."""

    place: str
    allow: bool | None = None
    ppm_max: int | None = None
    count_max: int | None = None
