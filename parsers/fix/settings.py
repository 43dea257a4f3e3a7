"""Owns what a run may set: the settings with their defaults, and the refusal of any other."""

from datetime import UTC, tzinfo
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .dictionary import TAG

DEFAULTS: Final = {
    "log_prefix_tz": "",
    "tags": "none",
}  # the same as [settings] in casparian.toml

NO_TAGS: Final[frozenset[str]] = frozenset()


class PermanentError(Exception):
    """Trying again would not help. `kind` is a word for programs, `hint` says what a person can do."""

    def __init__(self, reason: str, *, kind: str, hint: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint


class Options(NamedTuple):
    prefix_zone: tzinfo | None
    tags: frozenset[str] | None  # to be written to fix_tags; None for all of them

    @classmethod
    def read(cls, given: dict[str, str]) -> "Options":
        """Return the settings with their defaults. Raises PermanentError for one that cannot be."""
        texts = DEFAULTS | given
        for name in texts:
            if name not in DEFAULTS:
                raise _bad_setting(name, texts[name], f"Use {' or '.join(DEFAULTS)}.")
        return cls(prefix_zone=_zone(texts["log_prefix_tz"]), tags=_tags_wanted(texts["tags"]))


def _zone(name: str) -> tzinfo | None:
    if name in ("", "UTC"):
        return UTC if name else None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _bad_setting("log_prefix_tz", name, "Use a name of the IANA database, such as Europe/Berlin.") from error


def _tags_wanted(told: str) -> frozenset[str] | None:
    if told in ("true", "none", "false"):
        return None if told == "true" else frozenset()
    tags = told.split(",")
    if not all(TAG.fullmatch(tag) for tag in tags):
        raise _bad_setting("tags", told, "Use none, true, or numbers of tags with commas between: tags=11,37,5001.")
    return frozenset(tags)


def _bad_setting(name: str, text: str, hint: str) -> PermanentError:
    return PermanentError(f"the setting {name}={text!r} is not one of the parser's", kind="bad_setting", hint=hint)
