"""Owns the way of a person's own parser into a run: named by its file, read, trusted, kept, deployed.

Unsigned code is refused by default. On a terminal a run asks once and has the answer recorded; elsewhere a command of
its own says it before, `casparian parser trust`. What is trusted is one artifact: any changed byte is another one.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from cli.errors import EXIT_REFUSED, EXIT_USAGE, CliError
from cli.messages import AdmitParser, Ask, Refusal, Told, TrustParser, ask
from cli.render import printable, talk
from eventlog.events import TrustedHow
from eventlog.ids import path_text
from executors.parser_catalog import MANIFEST, ParserPackage, as_dev, builtin_parsers, load_parser
from executors.parser_literals import ParserManifestError

if TYPE_CHECKING:
    from cli.front import Front

YES = ("y", "yes")


class OwnParser(Struct, frozen=True, kw_only=True):
    """A parser that a person named by its file or folder, as it is there now. `word` is how it was typed."""

    word: str
    path: Path
    package: ParserPackage
    dev: bool = False


def is_path(word: str) -> bool:
    """Say whether a word on the command line names a file or folder, and not a built-in parser."""
    return os.sep in word or word.endswith(".py")


def read_own(word: str, *, dev: bool = False) -> OwnParser:
    """Read the parser that is named by a path. Raises CliError, which says what is wrong with it; runs none of it."""
    path = Path(os.path.normpath(Path.cwd() / word))
    try:
        package = load_parser(path)
    except ParserManifestError as error:
        raise CliError(
            "bad_parser", str(error), "docs/PARSERS.md says what a parser is; casparian parser new NAME"
        ) from error
    return OwnParser(word=word, path=path, package=as_dev(package) if dev else package, dev=dev)


def read_own_at(path: Path, *, dev: bool) -> OwnParser:
    """Read the parser at an absolute path. Raises CliError."""
    return read_own(str(path), dev=dev)


def named_own(word: str, inputs: Sequence[str], *, dev: bool) -> OwnParser | None:
    """Return the parser that a run of these inputs names by its path, None for a name. Raises CliError."""
    if is_path(word):
        _refuse_swapped(word, inputs)
        return read_own(word, dev=dev)
    _refuse_bare_name(word, dev=dev)
    if dev:
        why = f"run {word} under development: only a parser that is named by its file can be"
        raise CliError("usage", why, "casparian run --dev ./my_parser.py FILE", exit_code=EXIT_USAGE)
    return None


def _refuse_swapped(word: str, inputs: Sequence[str]) -> None:
    """Raise CliError for a parser's name where the files belong, and files or a folder of them in its place."""
    swapped = next((name for name in inputs if name in builtin_parsers() and not Path(name).exists()), None)
    if swapped is None or word.endswith(".py") or (Path(word) / MANIFEST).exists():
        return
    others = [word, *(name for name in inputs if name != swapped)]
    why = f"run {word}: the parser comes first, then what it reads"
    raise CliError("usage", why, f"casparian run {swapped} {shlex.join(others)}", exit_code=EXIT_USAGE)


def _refuse_bare_name(word: str, *, dev: bool) -> None:
    """Raise CliError for the name of a parser that lies in this folder and is not built in: its file names it."""
    file = Path.cwd() / f"{word}.py"
    if not file.is_file() or word in builtin_parsers():
        return
    why = f"run {word}: it is no built-in parser; {file.name} is in this folder, and your own are named by their file"
    next_step = f"casparian run {'--dev ' if dev else ''}{shlex.quote(str(file))} FILE"
    raise CliError("parser_needs_path", why, next_step, exit_code=EXIT_USAGE)


def admit(front: Front, own: OwnParser) -> None:
    """Have the parser trusted, kept and deployed, so that a run of its name can start. Raises CliError if refused."""
    if own.dev:
        _trust(front, own, how="dev", reason="run --dev")
    refused = _adopt(front, own)
    if refused is not None and refused.code == "untrusted_parser":
        _admit_untrusted(front, own)
        refused = _adopt(front, own)
    if refused is not None:
        step = refused.next_step.replace("FILE", shlex.quote(own.word))
        raise CliError(refused.code, f"run {own.word}: {refused.message}", step, exit_code=EXIT_REFUSED)


def _adopt(front: Front, own: OwnParser) -> Refusal | None:
    path = path_text(os.fsencode(own.path))
    reply = front.ask(ask(AdmitParser(path=path, artifact_hash=own.package.artifact_hash, dev=own.dev)))
    return reply if isinstance(reply, Refusal) else None


def _admit_untrusted(front: Front, own: OwnParser) -> None:
    """Have the parser trusted by its signature, else by the person at the terminal. Raises CliError."""
    from cli.parser_signature import key_word, read_signature, signer, signer_words
    from eventlog.note import parse_verifying_key

    note = read_signature(own.package, own.path)
    key = None if note is None else signer(note, map(parse_verifying_key, _trusted_keys(front)), own.path)
    if key is not None:
        _trust(front, own, how="signed", reason=f"signed by {key_word(key)}", key=key.text)
        talk(f"{own.package.name} {own.package.version} runs by the signature of {printable(key_word(key))}")
        return
    _ask(own, signed_by="" if note is None else signer_words(note))
    _trust(front, own, how="asked", reason="asked by a run on a terminal, and answered yes")


def _trusted_keys(front: Front) -> list[str]:
    from projections import queries
    from projections.questions import read_answer

    told = front.ask(ask(Ask(question=queries.trusted_keys.__name__, arguments={})))
    return [row.key for row in read_answer(queries.trusted_keys, told.data)] if isinstance(told, Told) else []


def _trust(front: Front, own: OwnParser, *, how: TrustedHow, reason: str, key: str = "") -> None:
    package = own.package
    command = TrustParser(
        parser=package.name,
        version=package.version,
        artifact_hash=package.artifact_hash,
        how=how,
        reason=reason,
        key=key,
    )
    reply = front.ask(ask(command))
    if isinstance(reply, Refusal):
        step = reply.next_step.replace("FILE", shlex.quote(own.word), 1)
        raise CliError(reply.code, f"run {own.word}: {reply.message}", step, exit_code=EXIT_REFUSED)


def _ask(own: OwnParser, *, signed_by: str) -> None:
    """Return if the person at the terminal answers yes. Raises CliError for another answer, and without a terminal.

    `signed_by` names the keys that have signed it and that nobody trusts here, "" where it is not signed.
    """
    package = own.package
    what = f"the code of {printable(own.word)} ({package.name} {package.version}, artifact {package.artifact_hash})"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        why = f"run {what}: {_nobody(signed_by)}, and there is no terminal to ask on"
        raise _refusal(own, why, signed_by=signed_by)
    if signed_by:
        talk(f"It is signed by {signed_by}, a key that nobody trusts in this home.")
    talk(f"It runs with all your rights. What it is: {printable(str(own.path))}")
    sys.stderr.write(f"Run {what}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in YES:
        raise _refusal(own, f"run {what}: the answer was not yes", signed_by=signed_by)


def _nobody(signed_by: str) -> str:
    if signed_by:
        return f"it is signed by {signed_by}, a key that nobody trusts in this home"
    return "nobody has said in this home that it may"


def _refusal(own: OwnParser, why: str, *, signed_by: str) -> CliError:
    key = " --key PUBLIC_KEY_FILE" if signed_by else ""
    step = f'casparian parser trust {shlex.quote(own.word)}{key} --reason "..."'
    return CliError("untrusted_parser", why, step, exit_code=EXIT_REFUSED)
