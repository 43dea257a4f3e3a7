"""Runs as the guest parent: loads one parser once, then forks a guest for each job that the host asks for.

Started by path (`python -s -P -u forker.py FD HOST_PID SHIM PRELOAD MEMORY_BYTES_MAX CODE_FD PARSER_FILE`), with the
standard library, pyarrow and the parser only: nng aborts a process that forks, so nothing of ours is imported here. It
starts no thread and has one guest at a time. The parser is what CODE_FD holds; the file of that name is not opened.

Over its socket (one message each way, JSON): once `{"ready": true}` or `{"unshared": why}`, after which it leaves; then
`{"fork": FOLDER, "memory_bytes_max": N}` with two descriptors (the job's socket, the pipe for what is printed) is
answered by `{"pid": N}` or `{"errno": N}`, and `{"end": PID}` by `{"code": N}` when the guest and all that it started
are gone. It keeps a dead guest unreaped until it is told to end it, so that no number the host uses has gone to another
process. When its socket closes, it ends its guest and leaves.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from functools import partial
from types import ModuleType
from typing import Any, Final, NoReturn

LIBC: Final = ctypes.CDLL(None)  # once: a guest pays for each page that it writes to
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER: Final = 36
MESSAGE_BYTES_MAX: Final = 16 * 1024
SWEEPS_MAX: Final = 10_000  # processes that one guest may have left behind
PASSED: Final = 2  # descriptors that come with a wish for a fork
FORK_FAILED_EXIT: Final = 70
LOADER: Final = os.path.join(os.path.dirname(__file__), "loader.py")  # noqa: PTH118, PTH120
REHEARSALS: Final = 20  # after as many calls the interpreter has settled on how it runs our code

Run = Callable[[int], int]  # a guest's work on the descriptor of its socket; returns its exit code


class NotSharedError(Exception):
    """The parser's module cannot be loaded once for all jobs; the sentence says why."""


def main(arguments: list[str]) -> int:
    """Serve until the host's end of the socket closes."""
    number, host, shim_file, preload, memory_bytes_max, given, parser_file = arguments
    control = socket.socket(fileno=int(number))
    os.set_inheritable(control.fileno(), False)
    # While the parser's own code runs here, nothing but SIGKILL is sure to end it.
    die_with(int(host), signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    shim, loader = load(shim_file, "guest_shim"), load(LOADER, "guest_loader")
    sys.meta_path.insert(0, loader.HostPackagesHidden())
    rehearse(shim)
    shim.send_logs(None)  # the parser configures no logging of its own
    load_parser = partial(loader.load_parser, loader.read_code(int(given), parser_file))
    try:
        parser = preloaded(load_parser, memory_bytes_max=int(memory_bytes_max)) if preload == "1" else None
    # Whatever it is, the parser gets another chance in each guest, where its failure is told in full.
    except BaseException as error:  # noqa: BLE001
        control.sendall(message({"unshared": f"{type(error).__name__}: {error}"[:1000]}))
        return 1
    say_nothing()
    # From here on only our own code runs, and takes its time to end what a guest left: a signal does no more than the
    # end of the socket does, which comes along with the host's and must not be interrupted. The host's end continues
    # this process, should a guest have stopped it: no other signal but SIGKILL would be heard then.
    signal.signal(signal.SIGTERM, lambda _number, _frame: control.shutdown(socket.SHUT_RD))
    die_with(int(host), signal.SIGCONT)
    gc.collect()
    gc.freeze()
    control.sendall(message({"ready": True}))
    return serve(control, partial(shim.main, parser=parser, load=load_parser))


def load(file: str, name: str) -> Any:
    """Load what runs in the guests. By its file: no folder of ours is on the path, or parsers could import from it."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rehearse(shim: Any) -> None:
    """Do a job without rows a few times: what is made at its first use, or settles with use, is then every guest's.

    A guest would make it anew each time, and pay for a copy of each page that it writes to. No rows, because Arrow's
    allocator then reserves a gigabyte, which would count against the memory of every guest.
    """
    parser = ModuleType("rehearsal")
    parser.parse = _no_rows  # type: ignore[attr-defined]
    orders = message({"path_hex": "2f", "settings": {}, "outputs": ["rows"]})
    for _round in range(REHEARSALS):
        ours, theirs = socket.socketpair()
        with ours:
            ours.sendall(len(orders).to_bytes(4, "big") + orders)
            code = shim.main(theirs.detach(), parser, lambda: parser)
        assert code == 0, "a job without rows does not fail"


def _no_rows(_path: str, _settings: dict[str, str]) -> Generator[tuple[str, Any], None, dict[str, Any]]:
    yield from ()
    return {"unit": "records", "output": "rows", "found": 0}


def preloaded(load_parser: Callable[[], ModuleType], *, memory_bytes_max: int) -> ModuleType:
    """Load the parser. Raises NotSharedError if its module starts what a fork does not carry over or would share."""
    before = descriptors()
    limit_memory(memory_bytes_max, for_good=False)  # the guests get their own limit, which may be a higher one
    parser = load_parser()
    if len(tasks()) > 1:
        raise NotSharedError("loading it starts threads, which a fork leaves behind")
    if descriptors() != before:
        raise NotSharedError("loading it opens files, whose position all jobs would share")
    if any(children()):
        raise NotSharedError("loading it starts processes")
    return parser


def serve(control: socket.socket, run: Run) -> int:
    """Fork and end guests as told. One at a time: the host asks for the next when the last has ended."""
    guest = 0
    try:
        while True:
            data, passed, _flags, _address = socket.recv_fds(control, MESSAGE_BYTES_MAX, PASSED)
            if not data:
                return 0
            wish = json.loads(data)
            if "fork" in wish:
                guest, answer = fork_guest(control, run, wish, passed)
            else:
                answer = {"code": end_guest(wish["end"])}
                guest = 0
            control.sendall(message(answer))
    finally:
        if guest:
            end_guest(guest)


def fork_guest(control: socket.socket, run: Run, wish: dict[str, Any], passed: list[int]) -> tuple[int, dict[str, Any]]:
    """Fork; returns in this process only."""
    me = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        pid, answer = 0, {"errno": error.errno}
    else:
        if pid == 0:
            run_guest(control, run, wish, passed, parent=me)
        answer = {"pid": pid}
    for descriptor in passed:
        os.close(descriptor)
    return pid, answer


def run_guest(control: socket.socket, run: Run, wish: dict[str, Any], passed: list[int], *, parent: int) -> NoReturn:
    """Be the guest. Leaves without the parent's exit handlers: what the job had to say is sent by then."""
    code = FORK_FAILED_EXIT
    try:
        die_with(parent, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        control.close()
        connection, printed = passed
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.close(printed)
        settle_in(wish["fork"])
        limit_memory(wish["memory_bytes_max"], for_good=True)
        code = run(connection)
    except BaseException:  # noqa: BLE001 - of ours, before the job began: its trace belongs to the job's log
        traceback.print_exc()
    finally:
        os._exit(code)


def limit_memory(bytes_max: int, *, for_good: bool) -> None:
    """Bound what this process may write to, within the bound that it was itself started with.

    RLIMIT_DATA, not RLIMIT_AS: the latter counts address space, of which loaded libraries and the allocator's reserves
    take 180 MB and more without using it. Arrow's allocator feels the limit at about half of it with large buffers,
    because it aligns them within twice their size.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = bytes_max if hard == resource.RLIM_INFINITY else min(bytes_max, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit if for_good else hard))


def settle_in(folder: str) -> None:
    """Make the job's folder the place to work in, and forget what the parent knew of its own."""
    os.chdir(folder)
    os.environ.pop("JE_ARROW_MALLOC_CONF", None)
    os.environ.update({"TMPDIR": folder, "HOME": folder})
    if (tempfile := sys.modules.get("tempfile")) is not None:
        tempfile.tempdir = None  # type: ignore[attr-defined]  # it remembers the parent's


def end_guest(guest: int) -> int:
    """Kill a guest and all that it started and reap them; the guest's exit code, negative for a signal.

    As the subreaper of its guest this process inherits every process that the guest leaves, even one with a session of
    its own. Their numbers are safe to use: nobody but this process reaps them.
    """
    os.kill(guest, signal.SIGKILL)
    _pid, status = os.waitpid(guest, 0)
    try:
        for _sweep in range(SWEEPS_MAX):
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                for pid in children():
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(-1, 0)
    except ChildProcessError:
        return os.waitstatus_to_exitcode(status)
    os._exit(1)  # they multiply faster than they can be killed; the host sees that this process is gone


def children() -> Iterator[int]:
    """Yield the processes whose parent this is. The short list in /proc/self/task is not in every kernel."""
    me = str(os.getpid())
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as facts:  # noqa: PTH123
                    parent = facts.read().rpartition(")")[2].split()[1]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == me:
                yield int(name)


def tasks() -> list[str]:
    return os.listdir("/proc/self/task")  # noqa: PTH208


def descriptors() -> set[str]:
    """Return what is open; a descriptor that closes while it is listed, the listing's own, is in every answer."""
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


def die_with(parent: int, number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent's starting thread ends; leave now if it has."""
    LIBC.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def say_nothing() -> None:
    """Let go of the pipe that told the host of a failing start."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def message(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


if __name__ == "__main__":
    assert threading.active_count() == 1
    sys.exit(main(sys.argv[1:]))
