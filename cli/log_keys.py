"""`casparian log keygen`, and where the verbs of the log find the case's keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CliError
from cli.home import Home, find_home
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here, require_folder
from cli.render import out, out_json, printable

if TYPE_CHECKING:
    from eventlog.ids import LogId
    from eventlog.note import SigningKey, VerifyingKey

SEED_BYTES = 32


def keygen(
    target: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the private key goes, if not into the home.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the case's key, which signs heads of its log; prints the public key to carry off, never the private one.

    Example: `casparian log keygen --out /media/stick/case.key`
    """
    from eventlog.checkpoint import origin
    from eventlog.errors import LogMissingError
    from eventlog.keyfiles import write_key_files
    from eventlog.note import SigningKey
    from eventlog.recovery import require_genesis

    place = find_home(home)
    require_folder(place)
    try:
        genesis, _ = require_genesis(place.log)
    except LogMissingError as error:
        raise nothing_here(place) from error
    _require_own_place(place, genesis.log_id)
    key = SigningKey(origin(genesis.log_id), os.urandom(SEED_BYTES))
    private = place.private_key if target is None else Path.cwd() / target
    write_key_files(key, private=private, public=place.public_key)
    _show(key.verifying, private, place.public_key, as_json=as_json)


def _require_own_place(place: Home, log_id: LogId) -> None:
    """Raise CliError where the home's key is of another log, which this one was forked from: each has its own."""
    from eventlog.checkpoint import origin

    held = verifying_key(place, None)
    if held is not None and not place.public_key.exists():
        raise CliError(
            "key_file",
            f"make a key: this log has one, {held.name}, whose public half a backup brought to {place.log}",
            "sign with its private key: --signing-key FILE; a second key for one log proves less than one",
        )
    if held is not None and held.name != origin(log_id):
        raise CliError(
            "key_file",
            f"make a key: {place.public_key} is of {held.name}, and this is {origin(log_id)}",
            "move both its files away first and keep them, what they signed needs them; then make this log's key",
        )


def _show(key: VerifyingKey, private: Path, public: Path, *, as_json: bool) -> None:
    if as_json:
        files = {"private_key_file": str(private), "public_key_file": str(public)}
        out_json({"public_key": key.text, "fingerprint": key.fingerprint, **files})
        return
    out(f"public key: {key.text}")
    out(f"fingerprint: sha256 {key.fingerprint}")
    out(f"private key in {printable(str(private))}, public key in {printable(str(public))}")
    out("Write the fingerprint down away from this machine: a key that lies beside its log proves nothing alone.")


def signing_key(place: Home, named: Path | None) -> SigningKey:
    """Return the private key that was named, else the home's."""
    from eventlog.keyfiles import read_signing_key

    if named is None and not place.private_key.exists() and verifying_key(place, None) is not None:
        raise CliError(
            "key_file",
            f"read the private key: {place.private_key} is not there, and the public one says that the case has a key",
            "name the private key's file: --signing-key FILE",
        )
    return read_signing_key(place.private_key if named is None else Path.cwd() / named)


def verifying_key(place: Home, named: str | None) -> VerifyingKey | None:
    """Return the public key that was named, as text or by its file; else the home's, None if it has none.

    A home that was restored from a backup has it where the backup brought it: in its log.
    """
    from eventlog.keyfiles import PUBLIC_NAME, read_verifying_key
    from eventlog.note import parse_verifying_key

    if named is None:
        return read_verifying_key(place.public_key) or read_verifying_key(place.log / PUBLIC_NAME)
    return read_verifying_key(Path.cwd() / named) or parse_verifying_key(named)
