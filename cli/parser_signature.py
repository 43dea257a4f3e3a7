"""Owns the signature of a parser: a signed note beside it (eventlog/note.py), over its name, version and source.

    casparian parser
    name lines
    version 0.1
    code <BLAKE3 over the names and digests of its files, in hexadecimal>

    — ada-lab <base64>

Not over the artifact hash: that also names the Python and the packages of one machine, and a signature has to hold on
the next. What of them a parser runs with stands in the artifact that is trusted by the signature, in the log. Whose
key is trusted is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cli.errors import EXIT_REFUSED, CliError
from cli.render import printable
from reducers.parser import code_of

if TYPE_CHECKING:  # who runs what is trusted already does not wait for the note's grammar
    from eventlog.note import Note, SigningKey, VerifyingKey
    from executors.parser_catalog import ParserPackage

FIRST_LINE: Final = "casparian parser"  # no other note of ours begins so: a checkpoint's signature signs no parser
FOLDER_SIGNATURE: Final = "casparian.sig"
FILE_SUFFIX: Final = ".sig"


def signature_path(parser: Path) -> Path:
    """Return where the signature of a parser lies: in its folder, or beside its file."""
    return parser / FOLDER_SIGNATURE if parser.is_dir() else parser.with_name(parser.name + FILE_SUFFIX)


def signed_text(package: ParserPackage) -> str:
    """Return what a signature of this parser is over."""
    code = code_of(package.components)
    return f"{FIRST_LINE}\nname {package.name}\nversion {package.version}\ncode {code}\n"


def sign(package: ParserPackage, parser: Path, key: SigningKey) -> Path:
    """Sign a parser as it is now; its earlier signature makes room. Raises CliError for another file in its place."""
    from eventlog.files import read_small, write_durably

    path = signature_path(parser)
    if path.exists() and not read_small(path).startswith(FIRST_LINE.encode() + b"\n"):
        why = f"sign {printable(str(parser))}: {printable(str(path))} is there and is no signature of a parser"
        raise CliError("exists", why, "move that file away first")
    write_durably(path, key.sign(signed_text(package)))
    return path


def read_signature(package: ParserPackage, parser: Path) -> Note | None:
    """Return the signature of this very source, None where none lies there. Whose it is has not been checked.

    Raises CliError for one that is not in the form of a note, or is over another source, name or version.
    """
    from eventlog.errors import BadNoteError
    from eventlog.files import read_small
    from eventlog.note import parse_note

    path = signature_path(parser)
    if not path.exists():
        return None
    try:
        note = parse_note(read_small(path))
    except BadNoteError as error:
        raise _bad(path, str(error.message)) from error
    if note.text != signed_text(package):
        raise _bad(path, f"it is not over {package.name} {package.version} as it is now: {_differences(note, package)}")
    return note


def signer(note: Note, keys: Iterable[VerifyingKey], parser: Path) -> VerifyingKey | None:
    """Return the first of the keys that has signed the note, None if none did. Raises CliError for a forged one."""
    from eventlog.errors import BadSignatureError
    from eventlog.note import verify_note

    names = {(each.name, each.key_id) for each in note.signatures}
    for key in keys:
        if (key.name, key.key_id) in names:
            try:
                verify_note(note, key)
            except BadSignatureError as error:
                why = f"it says that {key_word(key)} made it, and that is not so"
                raise _bad(signature_path(parser), why) from error
            return key
    return None


def key_word(key: VerifyingKey) -> str:
    """Return the short name of a key: its name and the start of its identity."""
    return f"{key.name}+{key.key_id.hex()}"


def signer_words(note: Note) -> str:
    """Return who a note says has signed it."""
    return printable(", ".join(f"{each.name}+{each.key_id.hex()}" for each in note.signatures))


def _differences(note: Note, package: ParserPackage) -> str:
    signed = dict(line.split(" ", 1) for line in note.text.splitlines() if " " in line)
    now = dict(line.split(" ", 1) for line in signed_text(package).splitlines())
    if signed.get("casparian") != now["casparian"]:
        return "it is a note of another kind"
    names = [name for name in ("name", "version", "code") if signed.get(name) != now[name]]
    return "; ".join(
        "its source is another" if name == "code" else f"it says {name} {printable(str(signed.get(name)))}"
        for name in names
    ) or "it says more than that"  # fmt: skip


def _bad(path: Path, why: str) -> CliError:
    return CliError(
        "bad_signature",
        f"check the signature {printable(str(path))}: {why}",
        "have the parser signed again (casparian parser sign), or remove that file and look at the code yourself",
        exit_code=EXIT_REFUSED,
    )
