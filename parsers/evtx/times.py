"""Owns times: those that are written as text, and those of the record headers."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_TIME: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FILETIME_EPOCH_US: Final = 11_644_473_600_000_000  # microseconds from 1601 to 1970
FILETIME_MAX: Final = (253_402_300_799_999_999 + FILETIME_EPOCH_US) * 10 + 9  # the end of the year 9999


def moment(text: str | None) -> datetime | None:
    """Return the moment, digits past the microseconds cut. Without a zone it is UTC, as the format defines it."""
    if text is None:
        return None
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    fraction = (parts[7] or "").ljust(6, "0")[:6]
    zone = parts[8] or "Z"
    year, month, day, hour, minute, second = (int(part) for part in parts.groups()[:6])
    seconds = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    if zone != "Z":
        sign = -1 if zone[0] == "+" else 1
        seconds += sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    return seconds + timedelta(microseconds=int(fraction))


def moment_text(filetime: int) -> str:
    if filetime > FILETIME_MAX:
        return f"FILETIME {filetime}"
    return (_EPOCH + timedelta(microseconds=filetime // 10 - FILETIME_EPOCH_US)).isoformat()
