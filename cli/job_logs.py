"""`casparian job logs`: the life of one job in sentences, as it goes on with -f, and the last words of its guest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CliError
from cli.home import Home, find_home
from cli.job import JobArgument, show_last_words
from cli.options import HomeOption, JsonOption
from cli.reading import ask, nothing_here
from cli.render import out, out_json, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reducers.explain import Fact

LOOK_SECONDS = 0.25


def logs(
    job_id: JobArgument,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job has ended, or Ctrl-C.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell the life of a job, an event a line, and the last words of its guest if it failed; with -f to its end.

    Told is only what is known to be on the disk. With --json each event is one JSON value on a line of its own.

    Example: `casparian job logs 17 -f`

    Exit codes: 0 it was told, 1 there is no such job.
    """
    from eventlog.events import JobFailed

    place = find_home(home)

    def wait() -> bool:
        if follow:
            time.sleep(LOOK_SECONDS)
        return follow

    for fact in _life(place, job_id, wait):
        _print(fact, as_json=as_json)
        if isinstance(fact.record, JobFailed) and not as_json:
            show_last_words(fact.record.log_tail)


def _life(place: Home, job_id: int, wait: Callable[[], bool]) -> Iterator[Fact]:
    """Yield the events of a job, in order, until it has ended. Raises CliError if there is no such one."""
    from eventlog.errors import LogMissingError
    from eventlog.events import JobAborted, JobCompleted, JobFailed
    from eventlog.ids import JobId
    from eventlog.reader import follow
    from projections import queries
    from reducers.explain import facts_of

    detail = ask(place, queries.job, job_id=job_id)
    if detail is None:
        raise CliError("not_found", f"tell of job {job_id}: there is no such job in this home", "casparian jobs")
    try:
        for fact in facts_of(follow(place.log, after=detail.job.queued_seq - 1, wait=wait)):
            if getattr(fact.record, "job", None) == JobId(job_id):
                yield fact
                if isinstance(fact.record, JobCompleted | JobFailed | JobAborted):
                    return
    except LogMissingError as error:
        raise nothing_here(place) from error


def _print(fact: Fact, *, as_json: bool) -> None:
    from reducers.say import say

    kind = type(fact.record).__name__
    if as_json:
        out_json(
            {
                "seq": fact.seq,
                "ts": fact.ts,
                "actor": fact.actor,
                "type": kind,
                "says": say(fact.record),
                "data": fact.record,
            }
        )
    else:
        out(f"{fact.seq:>8}  {fact.ts}  {printable(say(fact.record))}")
