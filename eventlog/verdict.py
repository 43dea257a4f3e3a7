"""Owns what can be said of a log: the verdicts, what to do for each, and the finding that explains one."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

Verdict = Literal["OK", "TORN", "CORRUPT", "REGRESSED", "UNKNOWN-TYPE"]

WHAT_TO_DO: Final[dict[Verdict, str]] = {
    "OK": "Nothing.",
    "TORN": "Nothing: the next start sets these bytes aside under quarantine/ and says so in the log.",
    "CORRUPT": "Keep the folder as it is, run `casparian log verify`, then `casparian log repair --from COPY`. "
    "Where no copy helps: `casparian log fork`.",
    "REGRESSED": "Do not go on from here: records that were acknowledged are gone. Where a copy of the log has them, "
    "keep log/ and readmodel/ of the home elsewhere and put the copy in the place of log/; where none has: "
    "`casparian log fork`.",
    "UNKNOWN-TYPE": "Open the log with the Casparian version that wrote it, or a newer one.",
}


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is wrong, where, and what can still be proven. `seq` is the first record that is in doubt."""

    segment: str
    offset: int
    seq: int
    check: str
    expected: str
    actual: str
    provable: str
    what_to_do: str


class Judgement(Struct, frozen=True, kw_only=True):
    """The verdict over the end of the chain; `clean`: the last writer left in order and nothing has moved since."""

    verdict: Verdict
    clean: bool = False
    finding: Finding | None = None
