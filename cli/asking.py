"""Gives a person's command to whoever holds the home's log; where nobody does, this process holds it for a moment."""

from __future__ import annotations

import time
from contextlib import suppress

from cli.errors import EXIT_ERROR, EXIT_REFUSED, CliError
from cli.front import HOLDER_SECONDS_MAX, RETRY_SECONDS, front_of
from cli.home import Home
from cli.messages import (
    Accepted,
    Asked,
    GetJob,
    JobSeen,
    JobsRetried,
    KeyTold,
    ParserTold,
    Refusal,
    Reply,
    Request,
    RetryAll,
    RetryJob,
    ask,
)
from cli.reaching import reach
from cli.reading import nothing_here, reading
from eventlog.ids import JobId
from executors.errors import PeerGoneError
from projections.rows import JobWord

POLL_SECONDS = 0.05
ENDED: frozenset[JobWord] = frozenset({"completed", "failed", "aborted"})


def give(home: Home, request: Request, *, purpose: str, withhold: JobId | None = None) -> Accepted:
    """Return how a command about a job was taken, durably. Raises CliError for a refusal and if nobody can take it."""
    if not (home.log / "GENESIS.json").exists():
        raise nothing_here(home)
    reply = _give(home, request, purpose, withhold)
    assert isinstance(reply, Accepted), reply
    return reply


def give_of_parser(home: Home, request: Request, *, purpose: str, made_anew: bool = True) -> ParserTold:
    """Return how a command about a parser was taken, durably; `made_anew`: in a new home too. Raises as `give` does."""
    if not made_anew and not (home.log / "GENESIS.json").exists():
        raise nothing_here(home)
    reply = _give(home, request, purpose, None)
    assert isinstance(reply, ParserTold), reply
    return reply


def give_of_key(home: Home, request: Request, *, purpose: str) -> KeyTold:
    """Return how a command about a key was taken, durably, in a new home too. Raises as `give` does."""
    reply = _give(home, request, purpose, None)
    assert isinstance(reply, KeyTold), reply
    return reply


def give_retry(home: Home, request: RetryJob | RetryAll, *, purpose: str) -> tuple[JobsRetried, bool]:
    """Return what is made again, durably, and whether somebody is at work who makes it. Raises as `give` does."""
    if not (home.log / "GENESIS.json").exists():
        raise nothing_here(home)
    reply, running = _carried_out(home, request, purpose, None)
    assert isinstance(reply, JobsRetried), reply
    return reply, running


def _give(home: Home, request: Request, purpose: str, withhold: JobId | None) -> Reply:
    return _carried_out(home, request, purpose, withhold)[0]


def _carried_out(home: Home, request: Request, purpose: str, withhold: JobId | None) -> tuple[Reply, bool]:
    """Have the command carried out by whoever holds the log, or by ourselves; say whether it was somebody else.

    Raises CliError for a refusal.

    The id stays the same however often the command has to be sent, so that it is carried out once.
    """
    from cli.sentinel import Sentinel

    asked = ask(request)
    deadline = time.monotonic() + HOLDER_SECONDS_MAX
    while True:
        try:
            with front_of(home, lambda: Sentinel(home, purpose=purpose, withhold=withhold)) as front:
                return _not_refused(front.ask(asked)), front.is_remote
        except PeerGoneError:
            if time.monotonic() > deadline:
                raise
        time.sleep(RETRY_SECONDS)


def ask_running(home: Home, asked: Asked) -> Reply | None:
    """Return the answer of the sentinel that runs, None if none can be asked. Raises PeerGoneError if it left."""
    client = reach(home)
    if client is None:
        return None
    with client:
        return client.ask(asked)


def await_end(home: Home, job: JobId, *, seconds: float) -> JobSeen:
    """Return how the job stands when it has ended, or after `seconds`: from the sentinel, or from the log it left."""
    deadline = time.monotonic() + seconds
    while True:
        seen = _look(home, job)
        if seen.state in ENDED or time.monotonic() >= deadline:
            return seen
        time.sleep(POLL_SECONDS)


def _look(home: Home, job: JobId) -> JobSeen:
    seen: Reply | None = None
    with suppress(PeerGoneError):  # it has left: what the job came to is in the log
        seen = ask_running(home, ask(GetJob(job=job)))
    if seen is None:
        from cli.routes import job_seen

        with reading(home) as reader:
            seen = job_seen(reader.connection, job)
    if isinstance(seen, Refusal):
        raise refusal(seen)
    assert isinstance(seen, JobSeen), seen
    return seen


def _not_refused(reply: Reply) -> Reply:
    if isinstance(reply, Refusal):
        raise refusal(reply)
    return reply


def refusal(reply: Refusal) -> CliError:
    """Return a refusal in the one error shape."""
    code = EXIT_ERROR if reply.code in ("not_found", "failed") else EXIT_REFUSED
    return CliError(reply.code, reply.message, reply.next_step, exit_code=code)
