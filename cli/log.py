"""`casparian log verify` and `log show`. Neither changes a byte, neither needs the lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, EXIT_VERIFICATION, CliError
from cli.home import find_home, read_model_witness
from cli.log_checkpoint import read_expected
from cli.log_keys import verifying_key
from cli.options import HomeOption, JsonOption
from cli.plain import PlainCommand, PlainGroup
from cli.reading import nothing_here, require_folder
from cli.render import count, out, out_json, place_text, printable, talk

if TYPE_CHECKING:
    from cli.told import ToldRecord
    from eventlog.frames import LogRecord
    from eventlog.verify import Verification

app = typer.Typer(cls=PlainGroup, no_args_is_help=True, help="Look into the log. Example: `casparian log verify`")

SHOWN_CHARACTERS_MAX = 160


@app.callback()
def main() -> None:
    """Group the verbs that speak of the log."""


@app.command("verify", cls=PlainCommand)
def verify(
    expect: Annotated[
        Path | None, typer.Option("--expect", metavar="CHECKPOINT", help="A signed head that the log must agree with.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="VKEY", help="The public key, or its file. Default: the home's.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="DIR", help="A log that is in no home, as `log backup` makes it.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every byte of the log: exit code 0 if it is whole, 5 if not.

    With --log: of a copy, by the key that lies in it, if no other is named. Example: `casparian log verify`
    """
    from eventlog.chain import segment_path
    from eventlog.errors import LogMissingError
    from eventlog.keyfiles import PUBLIC_NAME, read_verifying_key
    from eventlog.recovery import require_genesis
    from eventlog.verify import verify as verify_log

    if log is not None and home is not None:
        raise CliError("usage", "verify a log: both --home and --log name one", "leave one out", exit_code=EXIT_USAGE)
    place = find_home(home)
    require_folder(place)
    folder = place.log if log is None else Path.cwd() / log
    if (folder / "SLICE.json").exists() and not segment_path(folder, first=1).exists():
        raise CliError(
            "slice",
            f"verify {folder}: it is a part of a log, as `casparian log export` makes it, and no log",
            f"python {folder / 'verify.py'} {folder}",
        )
    try:
        in_copy = log is not None and key is None
        public = read_verifying_key(folder / PUBLIC_NAME) if in_copy else verifying_key(place, key)
        expected = [] if expect is None else [read_expected(expect, public, require_genesis(folder)[0])]
        verification = verify_log(
            folder,
            witness_of=lambda log_id: read_model_witness(place, log_id) if log is None else None,
            expected=expected,
            key=public,
        )
    except LogMissingError as error:
        if log is not None:
            raise CliError("no_log", error.message, "name a folder that `casparian log backup` has made") from error
        raise nothing_here(place) from error
    if as_json:
        out_json(verification)
    else:
        _show(verification)
        if log is not None:
            talk("to restore it: copy this folder to log/ of an empty home, and never go on with both")
    raise typer.Exit(0 if verification.verdict == "OK" else EXIT_VERIFICATION)


def _show(verification: Verification) -> None:
    out(f"verdict: {verification.verdict}")
    if verification.findings:
        out(f"what to do: {printable(_advice(verification))}")
    commands = verification.head_seq - verification.events - verification.skipped
    records = f"{count(verification.events, 'event')} and {count(commands, 'command')}"
    out(f"log {verification.log_id}: {records} in {count(verification.commits, 'commit')}")
    for life in verification.ancestors:
        out(f"lineage: up to record {life.seq} it was log {life.log_id}, and was forked there")
    if verification.skipped:
        out(f"passed over: {count(verification.skipped, 'record')} that a newer version wrote as safe to pass over")
    out(f"head: seq {verification.head_seq}, sha256 {verification.head_hash}")
    state = (
        "a writer is at work"
        if verification.writer_active
        else "closed cleanly"
        if verification.clean_close
        else "not closed cleanly"
    )
    if verification.signed:
        rest = f"{verification.signed + 1} to {verification.head_seq} are chained only"
        tail = rest if verification.signed < verification.head_seq else "which is all"
        out(f"coverage: records 1 to {verification.signed} are under a signed head, {tail}")
    if verification.unchecked:
        out(f"signatures up to record {verification.unchecked} were not checked: name the public key, --key VKEY")
    if verification.sealed:
        out(f"sealed: records 1 to {verification.sealed}")
    out(f"state: {state}; known durable up to seq {verification.durable}")
    if not verification.clean_close and not verification.writer_active and verification.log_id:
        head, seen = verification.head_seq, verification.witnessed
        out(f"witnessed up to seq {seen}: nothing here proves that there was no more behind seq {head}")
    for finding in verification.findings:
        place = f" {place_text(finding.offset)}, record {finding.seq} and what follows" if finding.seq else ""
        out(f"finding: {finding.check} in {finding.segment}{place}")
        out(f"  expected {printable(finding.expected)}, found {printable(finding.actual)}")
        out(f"  still provable: {printable(finding.provable)}")


def _advice(verification: Verification) -> str:
    """Return the one thing to do: that of the heaviest finding, because the lighter ones may follow from it."""
    from eventlog.verdict import WHAT_TO_DO

    return WHAT_TO_DO[verification.verdict].replace("run `casparian log verify`, then", "then")


@app.command("show", cls=PlainCommand)
def show(
    first: Annotated[int, typer.Option("--from", min=1, help="The first position to show.")] = 1,
    last: Annotated[int | None, typer.Option("--to", min=1, help="The last position to show.")] = None,
    tail: Annotated[int | None, typer.Option("--tail", min=1, help="Only the last so many records.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the records of the log in order: position, time, who, what; with --json one object a line.

    Example: `casparian log show --tail 20`
    """
    from eventlog.errors import LogMissingError
    from eventlog.reader import durable_head, read_frames

    if last is not None and last < first:
        raise CliError("usage", f"show the log from {first} to {last}: it ends before it begins", exit_code=EXIT_USAGE)
    place = find_home(home)
    require_folder(place)
    try:
        if tail is not None:
            head = durable_head(place.log)
            first = max(first, (head.seq if head else 0) - tail + 1)
        for frame in read_frames(place.log, from_seq=first):
            for record in frame.records:
                if record.seq < first:
                    continue
                if last is not None and record.seq > last:
                    return
                print_record(record, ts=frame.ts, actor=frame.actor, as_json=as_json)
    except LogMissingError as error:
        raise nothing_here(place) from error


def print_record(record: LogRecord | ToldRecord, *, ts: str, actor: str, as_json: bool) -> None:
    """Print one record as a line, or as one JSON object."""
    import msgspec

    if as_json:
        out_json({"seq": record.seq, "type": record.type, "ts": ts, "actor": actor, "data": record.data})
        return
    data = printable(msgspec.json.encode(record.data).decode())
    if len(data) > SHOWN_CHARACTERS_MAX:
        data = data[: SHOWN_CHARACTERS_MAX - 1] + "…"
    out(f"{record.seq:>7}  {ts}  {actor:<12}  {record.type}  {data}")
