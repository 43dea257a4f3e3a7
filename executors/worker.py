"""Owns the executor process: its options, its signals, and when it must leave. What it works at is its loop's.

`python -m executors.worker --connect ADDRESS --executor ID`, started with a pipe as its standard input: when that ends,
the executor kills its guest and leaves. So it does on SIGTERM, when told to, and when the sentinel cannot be reached.
When the thread that started it ends, the kernel kills it, because a stopped executor hears none of these. SIGINT is
ignored: a person's Ctrl-C is for the sentinel to decide about.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import socket
import sys
import tempfile
import threading
from functools import lru_cache
from typing import Final

from casparian import __version__, leave
from eventlog.ids import ExecutorId
from executors.executor_loop import Worker
from executors.heard import Heard
from executors.link import LINK_ERRORS
from executors.processes import die_with_parent
from executors.protocol import Identify

SINKS_MAX: Final = 16  # that are kept open
DIAL_SECONDS: Final = 0.5  # of one try to reach the sentinel, which is repeated: a wish to leave is heard in between
LEAVE_SECONDS_MAX: Final = 15.0  # for the main thread to clean up, before the process is ended


def make_worker(executor: ExecutorId, address: str, *, heard: Heard | None = None) -> Worker:
    """Return a worker of one slot for this process, which asks the sentinel at an address.

    `heard` is what the process was told before of logs, and takes in what this worker is told.
    """
    from executors.nng_transport import NngClient
    from sinks.uri import open_sink

    identity = Identify(executor=executor, pid=os.getpid(), host=socket.gethostname(), version=__version__, capacity=1)
    # A sink is its canonical URI, parsed: the jobs of a run name the same one again and again.
    sinks = lru_cache(SINKS_MAX)(open_sink)
    return Worker(
        identity=identity,
        client_factory=lambda: NngClient(address, dial_timeout_seconds=DIAL_SECONDS),
        sink_factory=sinks,
        heard=heard,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run an executor as this process. Returns 0 when it left as told, 1 with a sentence on stderr otherwise."""
    options = _options(arguments)
    die_with_parent()  # one that ended before has closed the pipe
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    take_scratch()
    worker = make_worker(ExecutorId(options.executor), options.connect)
    finished = _watch(worker)
    try:
        worker.run()
    except LINK_ERRORS as error:
        print(f"executor {options.executor}: {error}", file=sys.stderr)
        return 1
    finally:
        finished.set()
    return 0


def take_scratch() -> None:
    """Take TMPDIR for the temporary folder unseen: else the library tries it out with a file, which a kill leaves."""
    tempfile.tempdir = os.environ.get("TMPDIR")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m executors.worker", description="Run one executor.")
    parser.add_argument("--connect", required=True, metavar="ADDRESS", help="where the sentinel listens")
    parser.add_argument("--executor", required=True, metavar="ID", help="the name under which it works")
    return parser.parse_args(arguments)


def _watch(worker: Worker) -> threading.Event:
    """Have a thread wait for the parent's end and for SIGTERM; set the returned event when `run` has ended.

    Python runs signal handlers on the main thread, which may be waiting inside nng: the wake-up descriptor is written
    at once and from any state.
    """
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    finished = threading.Event()
    threading.Thread(
        target=_leave_when_told, args=(worker, wake_read, finished), name="parent watch", daemon=True
    ).start()
    return finished


def _leave_when_told(worker: Worker, wake: int, finished: threading.Event) -> None:
    worker.leave(_reason_to_leave(wake))
    if not finished.wait(LEAVE_SECONDS_MAX):
        # The kernel kills the guest along with us; what is staged is hidden, and swept later.
        os._exit(1)


def _reason_to_leave(wake: int) -> str:
    """Wait until the parent's pipe ends or SIGTERM comes. Without a bound: it lasts as long as the process."""
    stdin = 0
    poll = select.poll()
    poll.register(stdin, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _event in poll.poll()}
        if wake in ready and signal.SIGTERM in os.read(wake, 4096):
            return "told to leave by SIGTERM"
        if stdin in ready and not _has_input(stdin):
            return "the parent has ended"


def _has_input(descriptor: int) -> bool:
    """Read away what a parent may write; False at its end."""
    try:
        return bool(os.read(descriptor, 4096))
    except OSError:
        return False


if __name__ == "__main__":
    leave(main())
