"""Owns a day of FIX logs of any size, made from a seed: its sessions, their shares and kinds.

Forty sessions of one broker, the first the loudest (Zipf); a session has one version, one precision of its times and
one form of its lines. Its log is rotated by size and by day. One line is in memory at a time, and the truth has one
entry a file, so a day may be as large as the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from cli.demo.fix_log import MESSAGE_BYTES, Limit, SessionLog
from cli.demo.fix_session import Session
from cli.demo.fix_truth import FileTruth, Form, Truth

SESSIONS: Final = 40
MESSAGES_MIN: Final = SESSIONS * 50  # fewer are no day
BYTES_MIN: Final = MESSAGES_MIN * MESSAGE_BYTES

Kind = TypeVar("Kind")

FORMS: Final[Mapping[Form, float]] = {
    "soh": 0.60,
    "time_prefix": 0.20,
    "direction_prefix": 0.10,
    "pipe": 0.05,
    "body": 0.03,  # all messages in one line without an end
    "gzip": 0.02,
}
VERSIONS: Final = {"FIX.4.4": 0.6, "FIX.4.2": 0.3, "FIXT.1.1": 0.1}
FRACTION_DIGITS: Final = {3: 0.70, 6: 0.25, 9: 0.05}


class DayError(ValueError):
    """The day cannot be made as asked; the sentence says why and what to do."""


def generate(
    folder: Path,
    *,
    seed: int,
    messages_total: int | None = None,
    bytes_total: int | None = None,
    dirtiness: float = 1.0,
) -> Truth:
    """Fill a new or empty folder with logs and return the truth.

    Either `messages_total` or `bytes_total` (of text, before gzip) is given, and kept but for a few lines a session.
    `dirtiness` multiplies the shares of the dirt: 0 makes a clean day. The same arguments make the same bytes.
    Raises DayError for a folder that is not empty, or too small a day; OSError.
    """
    if (messages_total is None) == (bytes_total is None):
        raise DayError("make a day of FIX logs: say either how many messages or how many bytes")
    if messages_total is not None and messages_total < MESSAGES_MIN:
        raise DayError(f"make a day of {messages_total:,} messages: it has {MESSAGES_MIN:,} at least; ask for more")
    if bytes_total is not None and bytes_total < BYTES_MIN:
        raise DayError(f"make {bytes_total:,} bytes of FIX logs: a day has {BYTES_MIN:,} at least; ask for more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DayError(f"make FIX logs in {folder}: it is there and not an empty folder; name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    truths: list[FileTruth] = []
    for share, session, form in _sessions(seed, messages_total or (bytes_total or 0) // MESSAGE_BYTES):
        limit = Limit(
            messages=share * messages_total if messages_total else None,
            bytes=share * bytes_total if bytes_total else None,
        )
        truths.extend(SessionLog(folder, session, form, limit, dirtiness).write())
    return Truth(seed=seed, files=tuple(truths))


def _sessions(seed: int, messages_expected: int) -> Iterator[tuple[float, Session, Form]]:
    """Yield the sessions, the loudest first, with their shares of the day and the forms of their lines."""
    weights = [1 / number for number in range(1, SESSIONS + 1)]
    shares = [weight / sum(weights) for weight in weights]
    versions, digits = _dealt(VERSIONS, shares), _dealt(FRACTION_DIGITS, shares)
    for index, (share, form) in enumerate(zip(shares, _dealt(FORMS, shares), strict=True)):
        yield (
            share,
            Session(
                number=index + 1,
                begin=versions[index],
                fraction_digits=digits[index],
                with_data=form != "pipe",  # SOH inside data cannot be told from the others once all are printed
                messages_expected=max(1, round(share * messages_expected)),
                seed=f"{seed}/{index}",
            ),
            form,
        )


def _dealt(wanted: Mapping[Kind, float], shares: Sequence[float]) -> list[Kind]:
    """Return a kind for each share, so that the kinds come near to the sums that are wanted of them."""
    lacking = dict(wanted)
    dealt: list[Kind] = []
    for share in shares:
        kind = max(lacking, key=lacking.__getitem__)
        lacking[kind] -= share
        dealt.append(kind)
    return dealt
