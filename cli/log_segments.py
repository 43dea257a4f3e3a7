"""`casparian log stats` and `log seal`: what the log takes on the disk, and closing what is written so far."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_VERIFICATION
from cli.home import find_home, newest_witness
from cli.log_keys import signing_key
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here, require_folder
from cli.render import count, out, out_json, printable, size, table, talk

if TYPE_CHECKING:
    from eventlog.stats import LogStats, SegmentStats

TYPES_SHOWN_MAX = 20


def stats(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say what the log holds and takes on the disk: segments, sizes, rates, records by type; exit code 5 if damaged.

    Example: `casparian log stats`
    """
    from eventlog.errors import LogMissingError
    from eventlog.stats import measure

    place = find_home(home)
    require_folder(place)
    try:
        measured = measure(place.log)
    except LogMissingError as error:
        raise nothing_here(place) from error
    if as_json:
        out_json({"log_id": measured.log_id, "segments": measured.segments, "types": measured.types})
    else:
        _show(measured)
    if any(each.problem for each in measured.segments):
        talk("next: casparian log verify")
        raise typer.Exit(EXIT_VERIFICATION)


def _show(measured: LogStats) -> None:
    segments = measured.segments
    records, commits = sum(measured.types.values()), sum(each.commits for each in segments)
    raw, stored = sum(each.raw_bytes for each in segments), sum(each.stored_bytes for each in segments)
    out(f"log {measured.log_id}: {count(records, 'record')} in {count(commits, 'commit')}, {_rate(measured, records)}")
    share = f", stored in {size(stored)} ({stored / raw:.2f})" if stored < raw else ""
    out(f"{count(len(segments), 'segment')}, {size(raw)}{share}; {raw / max(records, 1):.0f} bytes a record")
    rows = [
        [each.name, _range(each), str(each.commits), size(each.raw_bytes), size(each.stored_bytes),
         _state(sealed=each.sealed, signed=each.signed), printable(each.problem)]
        for each in segments
    ]  # fmt: skip
    headings = ["segment", "records", "commits", "raw", "stored", "state", "problem"]
    for line in table(headings, rows, right=(2, 3, 4)):
        out(line)
    types = list(measured.types.items())
    for line in table(["type", "records"], types[:TYPES_SHOWN_MAX], right=(1,)):
        out(line)
    if len(types) > TYPES_SHOWN_MAX:
        out(f"… and {count(len(types) - TYPES_SHOWN_MAX, 'type')} more: `casparian log stats --json`")


def _range(segment: SegmentStats) -> str:
    return f"{segment.first} to {segment.last}" if segment.last >= segment.first else f"none yet, from {segment.first}"


def _state(*, sealed: bool, signed: bool) -> str:
    return "sealed, signed" if signed else "sealed" if sealed else "raw"


def _rate(measured: LogStats, records: int) -> str:
    times = sorted(each for segment in measured.segments for each in (segment.ts_first, segment.ts_last) if each)
    if not times:
        return "nothing written yet"
    seconds = (datetime.fromisoformat(times[-1]) - datetime.fromisoformat(times[0])).total_seconds()
    pace = f", {records / seconds:.1f} a second" if seconds >= 1 else ""
    return f"from {times[0]} to {times[-1]}{pace}"


def seal(
    signing: Annotated[
        Path | None, typer.Option("--signing-key", metavar="FILE", help="The private key, if not the home's.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on in a new segment and seal all before it: compressed, proven, signed if the case has a key.

    Full segments are sealed by themselves; this is for handing a case over. Example: `casparian log seal`
    """
    from casparian import __version__
    from cli import clock
    from cli.sealer import seal_full
    from eventlog.log import Log

    place = find_home(home)
    require_folder(place)
    if not (place.log / "GENESIS.json").exists():
        raise nothing_here(place)
    key = None if signing is None and not place.private_key.exists() else signing_key(place, signing)
    log = Log.open(
        place.log, clock=clock.now, new_log_id=clock.new_log_id, version=__version__, purpose="seal the log",
        witness_of=lambda log_id: newest_witness(place, log_id),
    )  # fmt: skip
    try:
        log.rotate()
        sealed = seal_full(log, key, leave=lambda: False)
    finally:
        log.close()
    if as_json:
        out_json({"sealed": sealed, "signed": key is not None})
        return
    signed = "signed with the case's key" if key is not None else "not signed: the home holds no private key"
    out(f"sealed: {count(sealed, 'segment')}, {signed}")
