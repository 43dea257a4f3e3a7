"""`casparian log tail`: the newest records, and with -f those that come, never one that may still be lost."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cli.home import find_home
from cli.log import print_record
from cli.options import HomeOption, JsonOption
from cli.reading import nothing_here, require_folder

LOOK_SECONDS = 0.25
TAIL_RECORDS = 10


def tail(
    number: Annotated[int, typer.Option("-n", "--number", min=0, help="How many of the newest records first.")] = (
        TAIL_RECORDS
    ),
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the newest records; with -f wait for more. Shown is only what is known to be on the disk.

    Example: `casparian log tail -f`
    """
    from eventlog.errors import LogMissingError
    from eventlog.reader import durable_head
    from eventlog.reader import follow as follow_log

    place = find_home(home)
    require_folder(place)

    def wait() -> bool:
        if follow:
            time.sleep(LOOK_SECONDS)
        return follow

    try:
        head = durable_head(place.log)
        first = max(1, (head.seq if head else 0) - number + 1)
        for frame in follow_log(place.log, after=first - 1, wait=wait):
            for record in frame.records:
                if record.seq >= first:
                    print_record(record, ts=frame.ts, actor=frame.actor, as_json=as_json)
    except LogMissingError as error:
        raise nothing_here(place) from error
