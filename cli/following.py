"""Owns how a terminal hands a run over and follows it to its end; the same, whoever carries it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cli.errors import CliError
from cli.messages import HaltRun, ReadReport, Refusal, Reply, ReportPart, RunSeen, RunTaken, StartRun, WatchRun, ask
from cli.report import RunReport
from executors.errors import PeerGoneError

if TYPE_CHECKING:
    from cli.front import Front
    from cli.progress import Talk

INTERRUPTED = "the run was interrupted"


class LeavingError(Exception):
    """The sentinel that was found takes nothing more: another one will, in a moment."""


def carry_out(front: Front, wanted: StartRun, talk: Talk) -> RunReport:
    """Have a run carried out and tell how it goes; return its report. A signal halts it.

    Raises CliError for a run without a report, LeavingError if it was not begun.
    """
    asked = ask(wanted)
    try:
        taken = front.ask(asked)
        if isinstance(taken, Refusal) and taken.code == "leaving":
            raise LeavingError
        assert isinstance(_not_refused(taken), RunTaken), taken
        return _follow(front, asked.id, talk)
    except PeerGoneError as error:
        raise CliError(
            "sentinel_gone",
            "follow the run: the sentinel has gone; what was committed stays, what was open waits for the next one",
            "casparian status; then run the same command again to go on",
        ) from error


def _follow(front: Front, ticket: str, talk: Talk) -> RunReport:
    """Ask how the run goes until it has ended: each question waits a moment at the other end."""
    seen = RunSeen(version=-1, scanned=None, planned=None, worked=None, notes=(), failed=None, report_bytes=None)
    notes = 0
    halted = False
    while True:
        if front.stopping.asked and not halted:
            halted = True
            talk.note("interrupted: stopping the guests; press Ctrl-C again to leave at once")
            front.ask(ask(HaltRun(ticket=ticket, reason=INTERRUPTED)))
        before, seen = seen, _seen(front, ticket, seen.version, notes)
        _tell(talk, before, seen)
        notes += len(seen.notes)
        if seen.failed is not None:
            failed = seen.failed
            raise CliError(failed.code, failed.message, failed.next_step, exit_code=failed.exit_code)
        if seen.report_bytes is not None:
            report = _report(front, ticket, seen.report_bytes)
            if halted and not report.interrupted:
                talk.note("the run had come to its end before it could be interrupted")
            return report


def _seen(front: Front, ticket: str, version: int, notes: int) -> RunSeen:
    reply = _not_refused(front.ask(ask(WatchRun(ticket=ticket, version=version, notes=notes))))
    assert isinstance(reply, RunSeen), reply
    return reply


def _tell(talk: Talk, before: RunSeen, seen: RunSeen) -> None:
    """Tell what is new, in the order in which it came about."""
    if seen.scanned is not None and seen.scanned != before.scanned:
        talk.scanning(seen.scanned.files, seen.scanned.bytes)
    if (planned := seen.planned) is not None and before.planned is None:
        talk.planned(found=planned.found, reused=planned.reused, to_run=planned.to_run, refused=planned.refused)
    for sentence in seen.notes:
        talk.note(sentence)
    if seen.worked is not None:
        worked = seen.worked
        talk.working(done=worked.done, total=worked.total, rows=worked.rows, seconds_left=worked.seconds_left)


def _report(front: Front, ticket: str, size: int) -> RunReport:
    parts: list[bytes] = []
    while (offset := sum(map(len, parts))) < size:
        reply = _not_refused(front.ask(ask(ReadReport(ticket=ticket, offset=offset))))
        assert isinstance(reply, ReportPart), reply
        parts.append(reply.data)
    return msgspec.json.decode(b"".join(parts), type=RunReport)


def _not_refused(reply: Reply) -> Reply:
    if isinstance(reply, Refusal):
        raise CliError(reply.code, reply.message, reply.next_step)
    return reply
