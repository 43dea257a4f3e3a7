"""`casparian log checkpoint`: sign where the log stands; and reading a checkpoint that the log must agree with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.home import Home, find_home, refuse_own_folder
from cli.log_keys import signing_key
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here, require_folder
from cli.render import count, out, out_json, printable, talk

if TYPE_CHECKING:
    from eventlog.checkpoint import Checkpoint, Expected
    from eventlog.note import VerifyingKey
    from eventlog.sealed import Genesis


def checkpoint(
    target: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it to this file, else to stdout.")
    ] = None,
    signing: Annotated[
        Path | None, typer.Option("--signing-key", metavar="FILE", help="The private key, if not the home's.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign where the log stands now, to carry off the machine: `log verify --expect` holds the log against it later.

    Example: `casparian log checkpoint --out /media/stick/head.note`
    """
    from eventlog.errors import LogMissingError
    from eventlog.files import write_durably
    from eventlog.signing import sign_head

    place = find_home(home)
    require_folder(place)
    if target is not None:
        _refuse_written_over(place, Path.cwd() / target)
    try:
        signed, note = sign_head(place.log, signing_key(place, signing))
    except LogMissingError as error:
        raise nothing_here(place) from error
    if target is not None:
        write_durably(Path.cwd() / target, note)
    _show(signed, note.decode(), target, as_json=as_json)


def _refuse_written_over(place: Home, path: Path) -> None:
    """Raise CliError unless the file may be made, or holds an earlier checkpoint: a key or a segment is none."""
    from eventlog.checkpoint import ORIGIN_PREFIX

    refuse_own_folder(place, path, what="write the checkpoint to")
    if not path.is_file():
        return
    with path.open("rb") as file:
        known = file.read(len(ORIGIN_PREFIX)) == ORIGIN_PREFIX.encode()
    if not known:
        raise CliError("file_exists", f"write the checkpoint to {path}: it holds something else", "name another file")


def _show(signed: Checkpoint, note: str, target: Path | None, *, as_json: bool) -> None:
    if as_json:
        head = {"size": signed.size, "root": signed.root.hex(), "commit": signed.commit, "hash": signed.hash}
        out_json({"log_id": signed.log_id, **head, "note": note})
        return
    if target is None:
        out(note.removesuffix("\n"))
    said = f"signed: {count(signed.size, 'record')} of log {signed.log_id}, root {signed.root.hex()}"
    talk(said if target is None else f"{said}, in {printable(str(target))}")


def read_expected(path: Path, key: VerifyingKey | None, genesis: Genesis) -> Expected:
    """Return a checkpoint that the log must agree with. Raises CliError, BadNoteError, BadSignatureError."""
    from eventlog.checkpoint import Expected, read_checkpoint, refuse_earlier_life, require_log
    from eventlog.files import read_small

    if key is None:
        raise CliError(
            "usage",
            f"check the signature of {path}: the home has no public key and none was named",
            "name it: --key VKEY, as `casparian log keygen` printed it",
            exit_code=EXIT_USAGE,
        )
    note = read_small(path)
    # Before the signature is looked at: it is by another key, and that is not what is wrong.
    refuse_earlier_life(read_checkpoint(note, None), genesis.ancestors)
    found = require_log(read_checkpoint(note, key), genesis.log_id)
    return Expected(name=str(path), checkpoint=found)
