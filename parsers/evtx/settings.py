"""Owns what a run may set: the settings with their defaults, and the refusal of any other."""

from collections.abc import Set
from typing import Final

from msgspec import Struct

from .errors import PermanentError

ALL_TABLES: Final = "all"

DEFAULTS: Final = {
    "raw_xml": "false",
    "recover": "false",
    "tables": ALL_TABLES,
}  # the same as [settings] in casparian.toml


class Options(Struct, frozen=True, kw_only=True):
    raw_xml: bool
    recover: bool
    tables: frozenset[str]

    @classmethod
    def read(cls, given: dict[str, str], outputs: Set[str]) -> "Options":
        """Return the settings with their defaults; `outputs` are all tables that there are, in their order.

        Raises PermanentError for a setting that is not declared.
        """
        texts = DEFAULTS | given
        for name, text in texts.items():
            if name not in DEFAULTS or (name != "tables" and text not in ("true", "false")):
                known = ", ".join(f"{each}=true|false" for each in DEFAULTS if each != "tables")
                raise _bad_setting(name, text, f"Use {known}, tables={ALL_TABLES}.")
        told = texts["tables"]
        tables = frozenset(outputs if told == ALL_TABLES else told.split(","))
        if not {"evtx_events"} <= tables <= outputs:  # its rows are what the account of a log is held against
            raise _bad_setting(
                "tables", told, f"Use evtx_events and, with commas between, some of {', '.join(outputs)}."
            )
        return cls(raw_xml=texts["raw_xml"] == "true", recover=texts["recover"] == "true", tables=tables)


def _bad_setting(name: str, text: str, hint: str) -> PermanentError:
    return PermanentError(f"the setting {name}={text!r} is not one of the parser's", kind="bad_setting", hint=hint)
