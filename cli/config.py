"""Owns the file <home>/config.toml: what may stand in it, and its errors in words."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct

from cli.errors import EXIT_USAGE, CliError
from cli.home import Home
from cli.limits import DAYS_MAX, JOBS_PER_LEASE_MAX

if TYPE_CHECKING:
    from commands.policy_words import PolicyWords
    from executors.parser_catalog import ParserPackage

CONFIG_BYTES_MAX: Final = 1024 * 1024


class QuarantineConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[quarantine]: what a home says of rejected rows; null where it says nothing. A command line says it over."""

    allow: bool | None = None
    pct_max: Annotated[float, Meta(ge=0, le=100)] | None = None
    count_max: Annotated[int, Meta(ge=0)] | None = None
    retention_days: Annotated[int, Meta(ge=0, le=DAYS_MAX)] | None = None  # before `quarantine purge` may delete


class RunConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[run]: what a home says of its runs; null where it says nothing. A command line says it over."""

    jobs_per_lease: Annotated[int, Meta(ge=1, le=JOBS_PER_LEASE_MAX)] | None = None


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    quarantine: QuarantineConfig = QuarantineConfig()
    run: RunConfig = RunConfig()


def read_config(home: Home) -> Config:
    """Return what the home's config.toml says; the defaults without one. Raises CliError for one that says nonsense."""
    path = home.root / "config.toml"
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise _bad(home, f"{error.strerror}") from error
    if len(data) > CONFIG_BYTES_MAX:
        raise _bad(home, f"it has more than {CONFIG_BYTES_MAX:,} bytes")
    try:
        return msgspec.convert(tomllib.loads(data.decode()), Config)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise _bad(home, str(error)) from error


def quarantine_words(home: Home) -> PolicyWords:
    """Return what the home's config.toml says of rejected rows, as one place of the cascade. Raises CliError."""
    from commands.policy_words import PolicyWords
    from commands.quarantine import ppm_of

    said = read_config(home).quarantine
    return PolicyWords(place="config.toml", allow=said.allow, ppm_max=ppm_of(said.pct_max), count_max=said.count_max)


def parser_words(package: ParserPackage) -> PolicyWords:
    """Return what a parser says of its rejected rows, as one place of the cascade."""
    from commands.policy_words import PolicyWords
    from commands.quarantine import ppm_of

    said = package.quarantine
    return PolicyWords(
        place=f"parser {package.name}", allow=said.allow, ppm_max=ppm_of(said.pct_max), count_max=said.count_max
    )


def _bad(home: Home, why: str) -> CliError:
    example = "correct the file; for example: [quarantine] allow = true, pct_max = 5.0, retention_days = 90"
    return CliError("bad_config", f"read {home.root / 'config.toml'}: {why}", example, exit_code=EXIT_USAGE)
