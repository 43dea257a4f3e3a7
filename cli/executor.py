"""The verbs of executors: `executor`, which is one, and `executors ls|drain|rm`."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from cli import clock
from cli.errors import CliError
from cli.home import Home, find_home
from cli.options import HomeOption, JsonOption, ReasonOption
from cli.plain import PlainCommand, PlainGroup
from cli.render import out, out_json, printable, table, talk
from cli.stopping import ASKING

if TYPE_CHECKING:
    from cli.messages import Reply, Request
    from executors.executor_loop import Worker

RECONNECT_SECONDS = 60.0  # how long a sentinel may be away before its executor gives up
RECONNECT_SECONDS_MAX = 86400.0
RETRY_SECONDS = 1.0
NO_REASON = "no reason given"

app = typer.Typer(cls=PlainGroup, no_args_is_help=True, help="Executors that work for the sentinel of a home.")

ExecutorArgument = Annotated[
    str,
    typer.Argument(
        metavar="EXECUTOR", help="Its name, as `casparian executors ls` lists it; executor-1 for the only one."
    ),
]


def executor(
    connect: Annotated[
        str | None,
        typer.Option("--connect", metavar="ADDRESS", help="Where the sentinel listens. Default: that of the home."),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", min=0, max=RECONNECT_SECONDS_MAX, metavar="SECONDS", help="How long a sentinel may be away."
        ),
    ] = RECONNECT_SECONDS,
    home: HomeOption = None,
) -> None:
    """Be an executor of one slot for a sentinel on this machine, until told to leave.

    Example: `casparian executor --home ./case-home`

    It comes back by itself to a sentinel that is started again. Ctrl-C ends it: the job that it is on is given back.

    Exit codes: 0 it left as told, 1 there was no sentinel for so long, or the sentinel does not want it.
    """
    from executors.addresses import socket_address

    place = find_home(home)
    address = connect or socket_address(place.root)
    if not address.startswith("ipc:///"):
        why = f"connect to {address}: executors on other machines are not supported yet"
        raise CliError("bad_address", why, "name a socket of this machine: --connect ipc:///path, or --home")
    start = "casparian start" if connect else place.hint("casparian start")
    talk(f"executor: looking for the sentinel at {printable(address)}; where none is running: {start}")
    _Visiting(address, wait, start=start).work()


@contextmanager
def _told_by_signals(leave: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have signals ask us to leave. Behind that they are ignored: to end one that ends already changes no exit code.

    Handlers of ours would be taken away while Python winds up, and one that left as told would seem killed.
    """
    heeded = [number for number in ASKING if signal.getsignal(number) is not signal.SIG_IGN]  # as under nohup
    for number in heeded:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN)


class _Visiting:
    """Works for whoever is the sentinel at an address; each time under a new name, because old leases are dead."""

    def __init__(self, address: str, wait_seconds: float, *, start: str) -> None:
        from executors.heard import Heard

        self._address = address
        self._socket = Path(address.removeprefix("ipc://"))
        self._start = start  # the command that starts a sentinel there
        self._wait_seconds = wait_seconds
        self._told = threading.Event()
        self._worker: Worker | None = None
        self._heard = Heard()

    def work(self) -> None:
        """Return when told to leave. Raises CliError if no sentinel was there for too long, or refuses us."""
        with _told_by_signals(self._leave):
            self._work()

    def _work(self) -> None:
        served_at = time.monotonic()
        while not self._told.is_set():
            if self._visit():
                served_at = time.monotonic()
            if time.monotonic() - served_at > self._wait_seconds:
                why = f"work for the sentinel at {self._address}: nobody was there for {self._wait_seconds:g} s"
                raise CliError("no_sentinel", why, self._start)
            self._told.wait(RETRY_SECONDS)

    def _visit(self) -> bool:
        """Work until told to leave or until the sentinel is gone; whether there was one."""
        from executors.errors import ExecutorRefusedError, ServerGoneError, TransportError
        from executors.protocol import ProtocolError
        from executors.worker import make_worker

        if not self._socket.is_socket():  # to dial it would be to wait for longer than we were told to
            return False
        worker = self._worker = make_worker(clock.new_executor(0), self._address, heard=self._heard)
        try:
            reason = worker.run()
        except (ServerGoneError, TransportError) as error:
            if worker.was_welcome:
                talk(f"the sentinel has gone: {error}")
            return worker.was_welcome
        except (ExecutorRefusedError, ProtocolError) as error:
            if isinstance(error, ExecutorRefusedError) and error.code == "stopping":
                talk(printable(str(error)))
                return worker.was_welcome
            is_one_too_many = isinstance(error, ExecutorRefusedError) and error.code == "unknown_executor"
            step = "casparian executors ls" if is_one_too_many else "use the same version of casparian on both sides"
            raise CliError("executor_refused", str(error), step) from error
        talk(f"left: {printable(reason)}")
        if not worker.wanted_again:
            self._told.set()
        return True

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self._told.set()
        if self._worker is not None:
            threading.Thread(target=self._worker.leave, args=("it was told to leave by a signal",), daemon=True).start()


@app.callback()
def main() -> None:
    """Group the verbs that speak of executors."""


@app.command("ls", cls=PlainCommand)
def ls(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the executors that work here now, and what each is on.

    Example: `casparian executors ls`
    """
    from cli.asking import ask_running
    from cli.messages import ExecutorsSeen, ListExecutors, ask

    place = find_home(home)
    reply = ask_running(place, ask(ListExecutors()))
    seen = reply.executors if isinstance(reply, ExecutorsSeen) else ()
    if as_json:
        out_json({"sentinel": reply is not None, "executors": seen})
        return
    if reply is None:
        out(f"no sentinel is running for {place.root}, so nobody works there")
        return
    rows = [
        (
            each.executor,
            each.pid,
            each.host,
            "draining" if each.draining else "busy" if each.jobs else "idle",
            "the sentinel's" if each.ours else "started by hand",
            " ".join(map(str, each.jobs)),
            each.joined_at,
        )
        for each in seen
    ]
    for line in table(("executor", "pid", "host", "state", "whose", "jobs", "since"), rows, right=(1,)):
        out(line)
    if not seen:
        out("no executors: they are started when there is work")


@app.command("drain", cls=PlainCommand)
def drain(
    name: ExecutorArgument, reason: ReasonOption = NO_REASON, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Give an executor nothing more; it leaves when what it has is done.

    Example: `casparian executors drain executor-1-0a1b2c3d`

    Exit codes: 0 it is draining, 1 there is no such executor, or no sentinel.
    """
    from cli.messages import DrainExecutor

    place = find_home(home)
    name = _full_name(place, name)
    _ask(place, DrainExecutor(executor=name, reason=reason))
    _tell(f"{name} gets nothing more and leaves when it is done", name, as_json=as_json)


@app.command("rm", cls=PlainCommand)
def rm(
    name: ExecutorArgument, reason: ReasonOption = NO_REASON, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Part with an executor now: its jobs wait again, uncharged, and nothing that it says counts any more.

    Example: `casparian executors rm executor-1-0a1b2c3d --reason "its host is gone"`

    Exit codes: 0 it is gone, 1 there is no such executor, or no sentinel.
    """
    from cli.messages import RemoveExecutor

    place = find_home(home)
    name = _full_name(place, name)
    _ask(place, RemoveExecutor(executor=name, reason=reason))
    _tell(f"{name} is gone; what it was on waits again", name, as_json=as_json)


def _full_name(place: Home, begun: str) -> str:
    """Return the only name that has one part more than what was typed; what was typed where there is not just one.

    Raises CliError as `_ask` does.
    """
    from cli.messages import ExecutorsSeen, ListExecutors

    reply = _ask(place, ListExecutors())
    assert isinstance(reply, ExecutorsSeen), reply
    going_on = [each.executor for each in reply.executors if each.executor.rpartition("-")[0] == begun]
    return going_on[0] if len(going_on) == 1 else begun


def _ask(place: Home, request: Request) -> Reply:
    """Ask the sentinel that runs: executors live with it. Raises CliError without one, and for a refusal."""
    from cli.asking import ask_running, refusal
    from cli.messages import Refusal, ask

    reply = ask_running(place, ask(request))
    if reply is None:
        why = f"speak of executors of {place.root}: no sentinel is running there, so there are none"
        raise CliError("no_sentinel", why, "casparian start")
    if isinstance(reply, Refusal):
        raise refusal(reply)
    return reply


def _tell(sentence: str, name: str, *, as_json: bool) -> None:
    if as_json:
        out_json({"executor": name, "done": sentence})
        return
    out(sentence)
