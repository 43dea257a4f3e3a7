"""The executor processes of one sentinel: started, counted, replaced, ended. What they say is cli/dispatching.py's."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from cli import clock
from cli.dispatching import ACTOR, LEASE_SECONDS, Dispatcher
from commands.executor import LoseExecutor
from commands.handle import Handler
from eventlog.errors import LogError, LogFullError
from eventlog.ids import ExecutorId
from executors.processes import descendants
from executors.transport import Server

logger = logging.getLogger("casparian.fleet")

SWEEP_SECONDS = 0.5
TOLD_TIMES_MAX = 7200  # an hour of a full disk
LEAVE_SECONDS = 5.0  # how long executors get to leave before they are killed
LOSSES_MAX = 20  # in LOSSES_SECONDS: a machine that ends every executor must not be fought for ever
LOSSES_SECONDS = 600.0
# -P: a folder named like one of our packages in the working directory must not shadow it.
WORKER = (sys.executable, "-P", "-m", "executors.worker")


class Fleet:
    """Executor processes, spawned on this machine and reached over one server."""

    def __init__(
        self,
        server: Server,
        handler: Handler,
        dispatcher: Dispatcher,
        *,
        scratch: Path,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._worker = command
        self._scratch = scratch
        self._server = server
        self._handler = handler
        self._dispatcher = dispatcher
        self._children: dict[ExecutorId, subprocess.Popen[bytes]] = {}
        self._waiters: list[threading.Thread] = []
        self._number = 0
        self._losses: deque[float] = deque(maxlen=LOSSES_MAX)  # when executors ended by themselves
        self._last_ending = ""
        self._dismissed: set[ExecutorId] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_loop, name="fleet-sweeper", daemon=True)

    def start(self) -> None:
        """Listen and watch; a second time changes nothing. Raises TransportError if the address is taken."""
        if not self._sweeper.is_alive():
            self._server.serve(self._dispatcher.receive)
            self._sweeper.start()

    def grow(self, workers: int) -> None:
        """Bring the number of executor processes to `workers`. They end with the calling thread."""
        while len(self._children) < workers and not self._stopping.is_set() and not self.exhausted:
            self._spawn()

    @property
    def size(self) -> int:
        """How many executor processes are alive."""
        return len(self._children)

    @property
    def exhausted(self) -> str:
        """Return why no more executors are started: too many have ended by themselves; "" while there is hope."""
        with self._lock:
            recent = len(self._losses) == LOSSES_MAX and time.monotonic() - self._losses[0] < LOSSES_SECONDS
            return self._last_ending if recent else ""

    def stop(self) -> None:
        """Tell every executor to leave, wait LEAVE_SECONDS, kill the rest, close the server."""
        self._stopping.set()
        self._dispatcher.send_home("the sentinel is leaving")
        deadline = time.monotonic() + LEAVE_SECONDS
        for child in list(self._children.values()):
            if child.stdin:
                child.stdin.close()  # the parent's pipe: its end tells the executor to leave, whatever it is doing
        for child in list(self._children.values()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.0, deadline - time.monotonic()))
            if child.poll() is None:
                child.kill()
        for waiter in self._waiters:
            waiter.join(timeout=LEAVE_SECONDS)
        if self._sweeper.is_alive():
            self._sweeper.join(timeout=LEAVE_SECONDS)
        self._server.close()
        self._dispatcher.close()

    def kill_now(self) -> None:
        """Kill every executor and the whole process group of every guest, and wait for nothing. From any thread."""
        self._stopping.set()
        executors = [child.pid for child in list(self._children.values()) if child.returncode is None]
        below = descendants(executors)  # guest parents, guests and what they started, also if they are stopped
        for pid in (*executors, *below):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def abort_running(self, reason: str) -> None:
        """Have every guest killed; its executor answers with an explicit receipt."""
        self._stopping.set()
        self._dispatcher.send_home(reason)

    def dismiss(self, executor: ExecutorId, reason: str) -> None:
        """Part with an executor now, killing it if it is a child of ours: its jobs wait again, uncharged."""
        self._dismissed.add(executor)
        self._dispatcher.remove(executor)
        lost = LoseExecutor(executor=executor, reason=reason, charged=False, now=clock.now())
        self._handler.call(lost, actor=ACTOR)
        if (child := self._children.get(executor)) is not None:
            child.kill()

    def is_ours(self, executor: ExecutorId) -> bool:
        """Say whether it is a child of ours, and not one that somebody else has started."""
        return executor in self._children

    def _spawn(self) -> None:
        self._number += 1
        executor = clock.new_executor(self._number)
        command = [*self._worker, "--connect", self._server.address, "--executor", executor]
        # Guests keep their scratch folders where they can be found and removed after a kill: in the home.
        environment = {**os.environ, "TMPDIR": str(self._scratch)}
        self._dispatcher.expect(executor)
        child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment)
        self._children[executor] = child
        waiter = threading.Thread(target=self._wait, args=(executor, child), name=f"wait-{executor}", daemon=True)
        self._waiters.append(waiter)
        waiter.start()

    def _wait(self, executor: ExecutorId, child: subprocess.Popen[bytes]) -> None:
        """Wait for the process to end, tell the log, and put another in its place while there is work."""
        code = child.wait()
        if child.stdin:
            child.stdin.close()
        self._children.pop(executor, None)
        self._dispatcher.forget(executor)
        reason = _ending(code)
        self._tell_loss(executor, reason)
        told = code == 0 or executor in self._dismissed
        if not told and not self._stopping.is_set():  # `hire` puts another in its place while there is work
            with self._lock:
                self._losses.append(time.monotonic())
                self._last_ending = f"{len(self._losses)} executors ended by themselves, the last one {reason}"
            logger.warning("%s %s", executor, reason)

    def _tell_loss(self, executor: ExecutorId, reason: str) -> None:
        """Tell the log that an executor is gone, again while its disk is full: else its job is leased for ever."""
        charged = not self._stopping.is_set()
        for _ in range(TOLD_TIMES_MAX):
            lost = LoseExecutor(executor=executor, reason=reason, charged=charged, now=clock.now())
            try:
                self._handler.call(lost, actor=ACTOR)
                return
            except LogFullError:
                if self._stopping.wait(SWEEP_SECONDS):
                    return  # the next epoch finds the lease and gives the job back
            except LogError:
                return  # nothing may be written to it any more; whoever serves tells of that

    def _sweep_loop(self) -> None:
        while not self._stopping.wait(SWEEP_SECONDS):
            for executor in self._dispatcher.ended_strangers():
                logger.warning("%s has ended without a word", executor)
                self._handler.submit(_gone(executor, "its process has ended"), actor=ACTOR)
            for executor in self._dispatcher.sweep():
                logger.warning("%s was not heard for %d s and is given up", executor, LEASE_SECONDS)
                if (child := self._children.get(executor)) is not None:
                    child.kill()
                else:  # said again by the next sweep, should the log have no room now
                    self._handler.submit(_gone(executor, f"not heard for {LEASE_SECONDS:g} s"), actor=ACTOR)


def _gone(executor: ExecutorId, reason: str) -> LoseExecutor:
    return LoseExecutor(executor=executor, reason=reason, charged=True, now=clock.now())


def _ending(code: int) -> str:
    if code < 0:
        return f"killed by signal {-code}"
    return "left" if code == 0 else f"ended with exit code {code}"
