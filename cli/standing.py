"""Owns what the verb `status` tells. Scripts ask for it often: so it loads nothing that it does not need, and where its
words are plain not even the library of the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from cli.home import Home
from cli.reading import ask, nothing_here
from cli.render import count, out, out_json, printable

if TYPE_CHECKING:
    from cli.messages import QueueStats, StatusSeen
    from eventlog.lock import LockHolder


def plain_words(words: Sequence[str]) -> tuple[str | None, bool] | None:
    """Read the words behind `status`: the home's name and whether JSON is wanted; None for any that are not plain."""
    home, as_json = None, False
    rest = list(words)
    while rest:
        match rest.pop(0):
            case "--json":
                as_json = True
            case "--home" if home is None and rest and rest[0] and not rest[0].startswith("-"):
                home = rest.pop(0)
            case _:
                return None
    return home, as_json


def show_status(place: Home, *, as_json: bool) -> None:
    """Tell how the sentinel and the queue of a home stand. Raises CliError where nothing was run yet."""
    seen = _running(place)
    silent = _silent(place) if seen is None else None
    queue = seen.queue if seen is not None else _recorded(place)
    if as_json:
        out_json({"sentinel": seen, "silent_pid": silent.pid if silent is not None else None, "queue": queue})
        return
    if silent is not None:
        out(f"process {silent.pid} ({printable(silent.purpose)}) holds the log of {place.root} and does not answer")
        out(f"  it is starting or leaving; or it was stopped: kill -CONT {silent.pid}")
    else:
        _show_sentinel(place, seen)
    out(
        f"jobs: {queue.queued:,} queued, {queue.running:,} running, {queue.promoting:,} being published, "
        f"{queue.completed:,} completed, {queue.failed:,} failed, {queue.aborted:,} cancelled; {queue.total:,} in all"
    )
    if seen is None and silent is None and (cut := queue.running + queue.promoting):
        out(say_cut_off(cut))
    for step in _next_steps(seen, queue, is_held=silent is not None):
        out(f"next: {place.hint(step)}")


def _running(place: Home) -> StatusSeen | None:
    from cli.asking import ask_running, refusal
    from cli.messages import GetStatus, Refusal, StatusSeen, ask
    from executors.errors import PeerGoneError

    try:
        reply = ask_running(place, ask(GetStatus()))
    except PeerGoneError:  # it left between the two: the log says how it left things
        return None
    if isinstance(reply, Refusal):
        raise refusal(reply)
    return reply if isinstance(reply, StatusSeen) else None


def _silent(place: Home) -> LockHolder | None:
    """Return who holds the log although it does not answer: a look of a moment, right after one that was in vain."""
    from eventlog.lock import holder_now

    return holder_now(place.log)


def _recorded(place: Home) -> QueueStats:
    """Return how the jobs stand by what is recorded, while nobody works on them. Raises CliError without a log."""
    from cli.messages import QueueStats
    from projections import queries

    if not (place.log / "GENESIS.json").exists():
        raise nothing_here(place)
    stood = ask(place, queries.job_counts)
    return QueueStats(
        queued=stood.get("queued", 0),
        running=sum(stood.get(word, 0) for word in ("dispatched", "running", "aborting")),
        promoting=stood.get("promoting", 0),
        completed=stood.get("completed", 0),
        failed=stood.get("failed", 0),
        aborted=stood.get("aborted", 0),
        total=sum(stood.values()),
    )


def _show_sentinel(place: Home, seen: StatusSeen | None) -> None:
    if seen is None:
        out(f"no sentinel is running for {place.root}")
        return
    kind = "sentinel" if seen.lasting else "another terminal's command is the sentinel"
    out(f"{kind}: {printable(seen.purpose)}, process {seen.pid}, version {seen.version}, since {seen.started_at}")
    out(f"log: {seen.log_id}, epoch {seen.epoch}, {seen.seq:,} records")
    out(f"executors: {seen.executors} here, at most {seen.workers} are started")
    if seen.metrics_url:
        out(f"metrics: {seen.metrics_url}")
    for run in seen.runs:
        out(f"going on: {printable(run)}")
    for uri, why in seen.unreachable.items():
        out(f"nothing can be published in {printable(uri)}: {printable(why)}")
    if seen.oldest_queued_at is not None:
        out(f"waiting longest: since {seen.oldest_queued_at}")


AT_WORK: Final = frozenset({"dispatched", "running", "promoting", "aborting"})  # what the state of a job is called


def cut_off_among(place: Home, states: Iterable[str]) -> int:
    """Return how many of these jobs the last sentinel left in the middle: recorded as at work, and nobody works."""
    from eventlog.lock import is_locked

    at_work = sum(state in AT_WORK for state in states)
    return at_work if at_work and not is_locked(place.log) else 0


def say_cut_off(jobs: int) -> str:
    """Return what is to be said of jobs that the last sentinel left in the middle."""
    stand, them = ("stands", "it") if jobs == 1 else ("stand", "them")
    how = f"{stand} as running or being published"
    return f"{count(jobs, 'job')} {how}, but nobody works: the next sentinel or run takes {them} up"


def _next_steps(seen: StatusSeen | None, queue: QueueStats, *, is_held: bool) -> list[str]:
    steps = []
    if queue.failed:
        steps.append("casparian jobs --status failed")
    if seen is None:
        steps.append("casparian status" if is_held else "casparian start")
    elif seen.lasting:
        steps.append("casparian stop")
    return steps
