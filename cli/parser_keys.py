"""The verbs of keys that sign parsers: `parser keygen`, `parser sign`, `parser keys`; and what trusting one takes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.errors import EXIT_REFUSED, EXIT_USAGE, EXIT_VERIFICATION, CliError
from cli.home import Home, find_home
from cli.options import HomeOption, JsonOption
from cli.render import out, out_json, printable, table

if TYPE_CHECKING:
    from eventlog.note import VerifyingKey
    from projections.rows import TrustedKeyRow

SEED_BYTES: Final = 32
KEY_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,62}")  # it is a file's name too


def keygen(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is: letters, digits, dot, dash, _.")],
    folder: Annotated[str, typer.Option("--dir", metavar="FOLDER", help="Where it goes. Default: here.")] = ".",
    as_json: JsonOption = False,
) -> None:
    """Make a key that signs parsers: NAME.key, to keep for yourself, and NAME.pub, to give away.

    Example: `casparian parser keygen ada-lab --dir /media/stick`

    Exit codes: 0 it is made, 1 there is a file of this name, 2 it cannot be called so.
    """
    from eventlog.keyfiles import write_key_files
    from eventlog.note import SigningKey

    if not KEY_NAME.fullmatch(name):
        why = f"make a key named {printable(name)}: use letters, digits, dot, dash and _, 63 in all"
        raise CliError("usage", why, "casparian parser keygen ada-lab", exit_code=EXIT_USAGE)
    private, public = (Path.cwd() / folder / f"{name}{suffix}" for suffix in (".key", ".pub"))
    key = SigningKey(name, os.urandom(SEED_BYTES))
    write_key_files(key, private=private, public=public)
    if as_json:
        files = {"private_key_file": str(private), "public_key_file": str(public)}
        out_json({"public_key": key.verifying.text, "fingerprint": key.verifying.fingerprint, **files})
        return
    out(f"public key: {key.verifying.text}")
    out(f"fingerprint: sha256 {key.verifying.fingerprint}")
    out(f"private key in {printable(str(private))}, public key in {printable(str(public))}")


def sign(
    parser: Annotated[str, typer.Argument(metavar="PATH", help="The parser's file or folder.")],
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="The private key's file.")],
    as_json: JsonOption = False,
) -> None:
    """Sign a parser as it is now, so that it runs wherever your key is trusted; a changed byte needs a new signature.

    Example: `casparian parser sign ./access_log.py --key ada-lab.key`

    Exit codes: 0 it is signed, 1 it is no parser, or that is no private key, 5 the key's file is not in its form.
    """
    from cli.own_parser import read_own
    from cli.parser_signature import key_word, sign
    from eventlog.errors import BadNoteError
    from eventlog.keyfiles import read_signing_key

    own = read_own(parser)
    file = Path.cwd() / key
    if not file.exists():
        why = f"sign {printable(parser)}: there is no key file {printable(key)}"
        raise CliError("key_file", why, "casparian parser keygen NAME")
    try:
        signing = read_signing_key(file)
    except BadNoteError as error:
        why = f"sign {printable(parser)}: {printable(key)} is no private key"
        next_step = "name the .key file that casparian parser keygen wrote, not the .pub file"
        raise CliError("key_file", why, next_step, exit_code=EXIT_VERIFICATION) from error
    signature = sign(own.package, own.path, signing)
    if as_json:
        told = {"parser": own.package.name, "version": own.package.version, "signature_file": str(signature)}
        out_json({**told, "public_key": signing.verifying.text})
        return
    out(f"{own.package.name} {own.package.version} is signed by {key_word(signing.verifying)}")
    out(f"  signature  {printable(str(signature))}")


def keys(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the keys whose signature lets a parser run here: whose they are, who trusts them since when, and why.

    Example: `casparian parser keys`
    """
    from eventlog.note import parse_verifying_key

    rows = trusted_key_rows(find_home(home))
    if as_json:
        out_json({"keys": [_report(row) for row in rows]})
        return
    if not rows:
        out("no key is trusted here; every parser of your own is trusted by itself")
        return
    from cli.parser_signature import key_word

    lines = [(key_word(parse_verifying_key(row.key)), row.trusted_by, str(row.trusted_at), row.reason) for row in rows]
    for line in table(("key", "trusted by", "since", "why"), lines):
        out(line)


def _report(row: TrustedKeyRow) -> dict[str, str]:
    from cli.parser_signature import key_word
    from eventlog.note import parse_verifying_key

    key = parse_verifying_key(row.key)
    return {
        "key": key_word(key),
        "public_key": row.key,
        "fingerprint": key.fingerprint,
        "trusted_by": row.trusted_by,
        "trusted_at": row.trusted_at,
        "reason": row.reason,
    }


def trusted_key_rows(home: Home) -> list[TrustedKeyRow]:
    """Return the keys that are trusted in this home, the newest last. A new home has none."""
    from cli.parser_report import has_log
    from cli.reading import reading
    from projections import queries

    if not has_log(home):
        return []
    with reading(home) as reader:
        return queries.trusted_keys(reader.connection)


def named_key(home: Home, word: str) -> VerifyingKey:
    """Return the public key that a word names: its file, its text, or the name that `parser keys` shows.

    Raises CliError.
    """
    from cli.parser_signature import key_word
    from eventlog.errors import BadNoteError
    from eventlog.keyfiles import read_verifying_key
    from eventlog.note import parse_verifying_key

    known = [parse_verifying_key(row.key) for row in trusted_key_rows(home)]
    found = next((key for key in known if key_word(key) == word), None)
    try:
        return found or read_verifying_key(Path.cwd() / word) or parse_verifying_key(word)
    except BadNoteError as error:
        why = f"find the key {printable(word)}: it is no public key, no file of one, and no name that parser keys shows"
        raise CliError("key_file", why, "name the .pub file that casparian parser keygen wrote") from error


def require_signed(word: str, key: VerifyingKey) -> None:
    """Return if the parser at this path is signed by the key. Raises CliError, before anybody trusts the key for it."""
    from cli.own_parser import read_own
    from cli.parser_signature import key_word, read_signature, signature_path, signer, signer_words

    own = read_own(word)
    note = read_signature(own.package, own.path)
    if note is not None and signer(note, [key], own.path) is not None:
        return
    said = "has no signature" if note is None else f"is signed by {signer_words(note)}, not by {key_word(key)}"
    raise CliError(
        "not_signed",
        f"trust the key of {printable(word)}: it {said}; looked at {printable(str(signature_path(own.path)))}",
        "ask its author for the signature and the public key that belong together",
        exit_code=EXIT_REFUSED,
    )
