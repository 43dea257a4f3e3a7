"""The verbs of the sentinel that lasts: `sentinel`, `start`, `stop`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_VERIFICATION, CliError
from cli.home import Home, find_home, prepare_home
from cli.options import HomeOption, JsonOption, ReasonOption
from cli.render import count, out, out_json, talk

if TYPE_CHECKING:
    from cli.messages import Pong

WORKERS_MAX = 64
TICK_SECONDS = 0.2
OPEN_SECONDS_MAX = 600.0  # a big log is walked after a crash
TELL_SECONDS = 5.0  # between two words about a start that takes long
LEAVE_SECONDS_MAX = 90.0  # half a minute for what runs, and the closing of the log
LOG_BYTES_MAX = 4 * 1024 * 1024  # of the sentinel's own log, before a start puts it aside
LOG_TAIL_BYTES = 2000
NEXT_STEP = "next:"  # how the last line of an error begins
NO_REASON = "no reason given"
ABSENT = "no sentinel is running"
# -P: a folder named like one of our packages in the working directory must not shadow it.
COMMAND = (sys.executable, "-P", "-m", "casparian")

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, max=WORKERS_MAX, help="Executors that it starts as they are needed. Default: the cores."
    ),
]

MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", min=1, max=65535, metavar="PORT", help="Tell metrics at http://127.0.0.1:PORT/metrics."
    ),
]


def sentinel(workers: WorkersOption = None, metrics_port: MetricsPortOption = None, home: HomeOption = None) -> None:
    """Hold the log of a home and work on what is open, in the foreground, until told to stop.

    Example: `casparian sentinel --workers 4`

    Ctrl-C or `casparian stop` ends it in order: what runs is given back and what waits stays for the next start. A
    second Ctrl-C kills what runs at once; nothing that was acknowledged is lost. With --workers 0 only executors work
    that others have started: `casparian executor`.

    Exit codes: 0 it was stopped, 1 the home is in use or cannot be used, 5 the log is not what it was, 70 the log
    could not be written.
    """
    from cli.metrics_port import metrics_port as take_port
    from cli.report import Recovery
    from cli.sentinel import Sentinel
    from cli.stopping import Stopping
    from projections.metrics import prometheus_text

    place = find_home(home)
    prepare_home(place)
    authority = Sentinel(place, purpose="sentinel", workers=_cores() if workers is None else workers, lasting=True)
    # The port comes first: who cannot have it is told so before a sentinel is there.
    with take_port(metrics_port) as port, Stopping(leave=authority.leave_at_once) as stopping, authority as serving:
        for sentence in serving.recovery.for_all().sentences():
            talk(sentence)
        serving.recovery = Recovery()  # told: it is no news of the runs that come
        talk(f"sentinel {os.getpid()} holds {place.root}, epoch {serving.log.epoch}; {place.hint('casparian stop')}")
        if port is not None:
            port.serve(lambda: prometheus_text(serving.readings()))
            serving.metrics_url = port.url
            talk(f"metrics: {port.url}")
        serving.serve(lambda: stopping.asked)
        waiting = serving.give_back(serving.stop_reason)
        talk(f"{serving.stop_reason}; {count(waiting, 'job')} waiting for the next start")


def start(
    workers: WorkersOption = None,
    metrics_port: MetricsPortOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a sentinel of this home in the background; runs are handed over to it from then on.

    Example: `casparian start --workers 4`

    It goes on when the terminal is closed. What it has to say is in tmp/sentinel.log of the home.

    Exit codes: 0 it runs (or ran already), 1 it could not be started, 5 the log is not what it was.
    """
    place = find_home(home)
    prepare_home(place)
    running = _answering(place, doing="start a sentinel")
    already = running is not None
    if running is None:
        running = _started(place, _cores() if workers is None else workers, metrics_port)
    elif metrics_port is not None:
        talk("it was running already: --metrics-port is heeded by a start only; casparian stop, then start again")
    if not running.lasting:
        why = f"start a sentinel: another terminal is one for its own command ({running.purpose}, pid {running.pid})"
        raise CliError("home_in_use", why, "wait until it is done, then try again")
    log = place.scratch / "sentinel.log"
    if as_json:
        out_json({"pid": running.pid, "already": already, "log": str(log), "home": str(place.root)})
        return
    out(f"sentinel {running.pid} {'was running already' if already else 'runs'}; what it says: {log}")
    if metrics_port is not None and not already:
        out(f"metrics: http://127.0.0.1:{metrics_port}/metrics")
    for step in ("casparian status", "casparian run evtx ./case", "casparian stop"):
        out(f"next: {place.hint(step)}")


def stop(reason: ReasonOption = NO_REASON, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop the sentinel of this home in order: what runs is given back, what waits stays for the next start.

    Example: `casparian stop`

    One that is just starting is waited for.

    Exit codes: 0 it has ended (or none was running), 1 it does not answer or did not end in time, 4 it is another
    terminal's command.
    """
    from cli.asking import ask_running, refusal
    from cli.messages import Refusal, Stop, ask
    from executors.errors import PeerGoneError

    place = find_home(home)
    running = _answering(place, doing="stop the sentinel")
    if running is None:
        out_json({"pid": None, "stopped": False}) if as_json else out(ABSENT)
        return
    try:
        reply = ask_running(place, ask(Stop(reason=reason)))
    except PeerGoneError:  # it was quicker to leave than to answer
        reply = None
    if isinstance(reply, Refusal):
        raise refusal(reply)
    _await_leaving(place, running.pid)
    if as_json:
        out_json({"pid": running.pid, "stopped": True})
        return
    out(f"sentinel {running.pid} has ended; the log is closed")
    out(f"next: {place.hint('casparian start')}")


def _ping(place: Home) -> Pong | None:
    """Return who holds the home's log and answers; None if nobody does."""
    from cli.asking import ask_running
    from cli.messages import Ping, Pong, ask
    from executors.errors import PeerGoneError

    try:
        reply = ask_running(place, ask(Ping()))
    except PeerGoneError:  # it left between the two
        return None
    return reply if isinstance(reply, Pong) else None


def _answering(place: Home, *, doing: str) -> Pong | None:
    """Return who holds the home's log, as soon as it answers; None if nobody does (any more).

    Raises CliError for one that stays silent: to say that none is running would be a lie, and a start would be refused.
    """
    from cli.front import HOLDER_SECONDS_MAX
    from eventlog.lock import holder_now

    deadline = time.monotonic() + HOLDER_SECONDS_MAX
    while (running := _ping(place)) is None and (holder := holder_now(place.log)) is not None:
        if time.monotonic() > deadline:
            why = f"{doing} of {place.root}: process {holder.pid} ({holder.purpose}) holds its log and does not answer"
            next_step = f"wait until it ends; if it was stopped: kill -CONT {holder.pid}; then try again"
            raise CliError("sentinel_silent", why, next_step)
        time.sleep(TICK_SECONDS)
    return running


def _started(place: Home, workers: int, metrics_port: int | None) -> Pong:
    """Start the process and wait until it can be asked. Raises CliError with its own words if it ends before."""
    log = _sentinel_log(place)
    words = ["sentinel", "--home", os.fsdecode(place.root), "--workers", str(workers)]
    words += [] if metrics_port is None else ["--metrics-port", str(metrics_port)]
    with log.open("ab") as said:
        begin = said.tell()
        child = subprocess.Popen(
            [*COMMAND, *words],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            cwd="/",  # whatever folder we are in must be free to be removed or unmounted
        )
    began = told = time.monotonic()
    while (running := _ping(place)) is None or not _is_it(running, child):
        now = time.monotonic()
        if child.poll() is not None:
            # Whoever was quicker to take the log cannot be asked at once.
            if running := _answering(place, doing="start a sentinel"):
                return running
            raise _not_started(place, log, begin, child)
        if now - began > OPEN_SECONDS_MAX:
            raise _not_started(place, log, begin, child)
        if now - told > TELL_SECONDS:
            told = now
            talk(f"the sentinel is opening the log ({now - began:.0f} s)")
        time.sleep(TICK_SECONDS / 4)
    child.returncode = 0  # it is nobody's child from now on: it outlives us
    return running


def _is_it(running: Pong, child: subprocess.Popen[bytes]) -> bool:
    """Say whether this is who holds the home now: our child, or whoever was quicker."""
    return not running.lasting or running.pid == child.pid or child.poll() is not None


def _not_started(place: Home, log: Path, begin: int, child: subprocess.Popen[bytes]) -> CliError:
    with log.open("rb") as said:
        said.seek(begin)
        words = said.read()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
    ending = f"it ended with exit code {child.returncode}" if child.returncode is not None else "it does not answer"
    words, _, next_step = words.partition(f"\n{NEXT_STEP}")
    said_last = "; ".join(" ".join(line.split()) for line in words.splitlines()).removeprefix("error: ")
    why = f"start a sentinel: {ending}: {said_last or 'it said nothing'}"
    next_step = " ".join(next_step.split()) or f"look at {log}, or run `{place.hint('casparian sentinel')}` to see it"
    if child.returncode == EXIT_VERIFICATION:
        return CliError("not_started", why, next_step, exit_code=EXIT_VERIFICATION)
    return CliError("not_started", why, next_step)


def _sentinel_log(place: Home) -> Path:
    """Return where a sentinel in the background speaks; a long one of earlier starts is put aside."""
    place.scratch.mkdir(mode=0o700, exist_ok=True)
    log = place.scratch / "sentinel.log"
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
    return log


def _await_leaving(place: Home, pid: int) -> None:
    from executors.processes import is_alive

    deadline = time.monotonic() + LEAVE_SECONDS_MAX
    told = time.monotonic()
    while is_alive(pid):
        now = time.monotonic()
        if now > deadline:
            why = f"stop the sentinel {pid} of {place.root}: it has not ended after {LEAVE_SECONDS_MAX:.0f} s"
            raise CliError("not_stopped", why, f"look at {place.scratch / 'sentinel.log'}; kill {pid} loses nothing")
        if now - told > TELL_SECONDS:
            told = now
            talk("waiting for what runs to be given back")
        time.sleep(TICK_SECONDS / 4)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
