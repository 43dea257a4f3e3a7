"""Owns times: those of the protocol, and those that a log writes before its messages."""

import re
from datetime import UTC, datetime, tzinfo
from typing import Final

PREFIX_TIME: Final = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[T ](?P<clock>\d\d:\d\d:\d\d(?:[.,]\d{1,9})?)(?: ?(?P<zone>Z|[+-]\d\d:?\d\d))?(?![\d:])"
    r"|(?P<day>\d{8})-(?P<hour>\d\d:\d\d:\d\d(?:[.,]\d{1,9})?)(?![\d:])"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    r"|\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
)


def utc(text: str | None) -> str | None:
    """Return a time of the protocol, which is UTC, with its zone; what is finer than a microsecond is cut."""
    if not text:
        return text
    if len(text) > 24 and text[18:].isdecimal():
        text = text[:24]
    return text + "Z" if text[-1].isdecimal() else text


def prefix_time(prefix: str, zone: tzinfo | None, notes: list[str]) -> tuple[str | None, datetime | None]:
    """Return the time that stands before a message: as it stands there, and as an instant if a zone is set."""
    found = PREFIX_TIME.search(prefix)
    if found is None:
        return None, None
    date, clock = found["date"] or found["day"], found["clock"] or found["hour"]
    if zone is None or date is None:
        return found[0], None
    fraction = clock[8:].strip(".,")[:6].ljust(6, "0")
    try:
        told = datetime.fromisoformat(f"{date}T{clock[:8]}.{fraction}{found['zone'] or ''}")
        return found[0], told if told.tzinfo else _instant(told, zone, notes)
    except (ValueError, OverflowError):
        notes.append("prefix_time_impossible")
        return found[0], None


def _instant(told: datetime, zone: tzinfo, notes: list[str]) -> datetime | None:
    """Return the instant of a local time; none if the clock showed it twice or never."""
    early, late = told.replace(tzinfo=zone), told.replace(tzinfo=zone, fold=1)
    if early.utcoffset() == late.utcoffset():
        return early.astimezone(UTC)
    notes.append("prefix_time_ambiguous" if early.astimezone(UTC) < late.astimezone(UTC) else "prefix_time_impossible")
    return None
