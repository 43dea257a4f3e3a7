"""The verb `replay`: make the read model anew from the log, or check that it says what the log says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_OK, EXIT_VERIFICATION, CliError
from cli.home import Home, find_home, newest_witness
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here
from cli.render import count, out, out_json, printable, table, talk

if TYPE_CHECKING:
    from projections.checking import Comparison, Difference
    from projections.readmodel import Rebuilt


def replay(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing: compare the read model with the log, row by row.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the read model anew from the log; with --check, compare the two and change nothing.

    Example: `casparian replay --check`

    Exit codes: 0 done, or the same; 1 nothing could be compared; 5 the read model says what the log does not.
    """
    from eventlog.errors import LogMissingError

    place = find_home(home)
    try:
        if check:
            _check(place, as_json=as_json)
        else:
            _rebuild(place, as_json=as_json)
    except LogMissingError as error:
        raise nothing_here(place) from error


def _rebuild(place: Home, *, as_json: bool) -> None:
    from casparian import __version__
    from cli import clock
    from eventlog.log import Log
    from eventlog.recovery import require_genesis
    from projections.readmodel import rebuild

    require_genesis(place.log)  # a log is not begun in order to replay it
    log = Log.open(
        place.log,
        clock=clock.now,
        new_log_id=clock.new_log_id,
        version=__version__,
        purpose="replay",
        witness_of=lambda log_id: newest_witness(place, log_id),
    )
    try:
        rebuilt = rebuild(place.root, log.log_id, log.replay())
    finally:
        log.close()
    _show_rebuilt(rebuilt, as_json=as_json)


def _show_rebuilt(rebuilt: Rebuilt, *, as_json: bool) -> None:
    events = rebuilt.checkpoint.seq
    speed = round(events / rebuilt.seconds)
    if as_json:
        out_json({
            "events": events, "seconds": round(rebuilt.seconds, 3), "events_per_second": speed, "rows": rebuilt.rows,
        })  # fmt: skip
        return
    out(f"replayed {count(events, 'event')} in {rebuilt.seconds:.1f} s: {speed:,} events/s")
    out()
    for line in table(("table", "rows"), [(name, f"{rows:,}") for name, rows in rebuilt.rows.items()], right=(1,)):
        out(line)


def _check(place: Home, *, as_json: bool) -> None:
    from eventlog.lock import is_locked
    from projections.checking import compare
    from projections.errors import ReadModelDoubtError

    try:
        compared = compare(place.root, place.log)
    except ReadModelDoubtError as error:
        if is_locked(place.log):
            reason, next_step = "a writer is at work and has the read model", "wait until it ends, then check again"
            raise CliError("read_model_in_use", f"check the read model: {reason}", next_step) from error
        raise CliError("read_model_unusable", str(error), place.hint("casparian replay")) from error
    if as_json:
        out_json(compared)
    else:
        _show_comparison(compared, place)
    raise typer.Exit(EXIT_OK if compared.verdict == "same" else EXIT_VERIFICATION)


def _show_comparison(compared: Comparison, place: Home) -> None:
    out(f"verdict: {compared.verdict}")
    out(f"compared with the log up to record {compared.seq}")
    out()
    for line in table(("table", "BLAKE3 over all rows, from the log"), list(compared.digests.items())):
        out(line)
    for each in compared.differences:
        out()
        for line in _told(each):
            out(line)
    if compared.differences:
        talk(f"next:  {place.hint('casparian replay')}")


def _told(each: Difference) -> list[str]:
    key = ", ".join(f"{column} {value}" for column, value in each.key.items())
    lines = [f"different: {each.table}, {printable(key)}"]
    if each.in_file is None:
        return [*lines, "  the read model lacks this row, or has it less often than the log"]
    if each.in_log is None:
        return [*lines, "  the log knows no such row, or has it less often than the read model"]
    return lines + [
        f"  {column}: read model {printable(repr(each.in_file[column]))}, log {printable(repr(each.in_log[column]))}"
        for column in each.in_file
    ]
