"""Owns the guest parents of one executor: a warm process per parser that forks a guest for each job (forker.py).

A guest is the child of its guest parent, which ends it when told and only then reaps it. This process is the subreaper
of both: when a guest parent dies, its guest is killed by the kernel and becomes a child of this process. Either way
somebody of ours holds a dead guest until it is ended here, so that its number is never another process's.
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from executors.guest.code import ParserCode, sealed_code
from executors.guest.errors import GuestStartError, ParentGoneError, ParserChangedError
from executors.guest.guest_log import GuestLog, plain_text
from executors.guest.limits import (
    FORK_SECONDS_MAX,
    KILL_SECONDS_MAX,
    MEMORY_BYTES_MAX,
    PARENT_LEAVE_SECONDS_MAX,
    PARENT_READY_SECONDS_MAX,
    PARENTS_MAX,
)
from executors.processes import descendants, is_stopped, parent_of

logger = logging.getLogger("casparian.guest")

FORKER: Final = Path(__file__).with_name("forker.py")
SHIM: Final = Path(__file__).with_name("shim.py")
FOLDER_PREFIX: Final = "casparian-guest-"  # of parents and jobs alike; the sentinel clears what a killed executor left

# All that a guest sees of an environment, besides TMPDIR and HOME, which are its private folder. No credentials, no
# locale or time zone of this machine; the hash seed is fixed so that the order of a parser's sets repeats.
GUEST_ENVIRONMENT: Final = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}

# Arrow's second allocator would start a thread as soon as it is loaded, and a process with threads is not forked.
PARENT_ENVIRONMENT: Final = {**GUEST_ENVIRONMENT, "JE_ARROW_MALLOC_CONF": "background_thread:false"}

# What `-I` means, without its refusal to read PYTHONHASHSEED: no folder of the script (-P), no user site (-s); there
# are no other PYTHON* variables to ignore. Unbuffered (-u), or a crash would take a parser's last words along.
PYTHON_OPTIONS: Final = ("-s", "-P", "-u")

PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
MESSAGE_BYTES_MAX: Final = 16 * 1024
SAID_READ_BYTES: Final = 64 * 1024
REAP_PAUSE_SECONDS: Final = 0.01
LOOK_SECONDS: Final = 0.25  # between two looks whether a parent that says nothing was stopped
STRAYS_MAX: Final = 10_000


class ParserKey(Struct, frozen=True):
    """What a guest parent has loaded: with one file changed it is another parser."""

    file: str
    identity: str


class Fork(Struct, frozen=True, kw_only=True):
    """What a guest is made with: both descriptors are passed to it, `folder` is its own."""

    connection: int
    printed: int
    folder: str
    memory_bytes_max: int


class GuestEnding(Struct, frozen=True, kw_only=True):
    """How a guest ended: its exit code, negative for a signal, None if nobody could tell."""

    code: int | None
    parent_died: bool = False


_living: set[int] = set()  # the guest parents of this process


class GuestParent:
    """One guest parent; use `start`. `end` and `close` may be called from any thread."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, folder: str) -> None:
        self.pid = process.pid
        _living.add(self.pid)
        self._process = process
        self._control = control
        self._folder = folder
        self._lock = threading.Lock()

    @classmethod
    def start(cls, code: ParserCode, *, preload: bool, memory_bytes_max: int) -> GuestParent:
        """Start a guest parent, which is not ready yet. Raises OSError, ParserChangedError."""
        given = sealed_code(code)
        try:
            return cls._start(code.file, given, preload=preload, memory_bytes_max=memory_bytes_max)
        finally:
            os.close(given)

    @classmethod
    def _start(cls, parser_file: str, given: int, *, preload: bool, memory_bytes_max: int) -> GuestParent:
        with ExitStack() as undo:  # also by Ctrl-C, while the process is being started
            folder = tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}parent-")
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(ours.close)  # which ends a process that was started already
            words = [theirs.fileno(), os.getpid(), SHIM, int(preload), memory_bytes_max, given, parser_file]
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, *PYTHON_OPTIONS, str(FORKER), *map(str, words)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    bufsize=0,
                    cwd=folder,
                    env={**PARENT_ENVIRONMENT, "TMPDIR": folder, "HOME": folder},
                    pass_fds=(theirs.fileno(), given),
                    start_new_session=True,
                )
            undo.pop_all()
        return cls(process, ours, folder)

    def trouble(self, *, seconds_max: float) -> str:
        """Wait until it is ready; why it will not be, with its last words, or ""."""
        said = GuestLog()
        deadline = time.monotonic() + seconds_max
        assert self._process.stdout is not None
        with self._process.stdout as printed:
            watched: list[Any] = [self._control, printed]
            while time.monotonic() < deadline and not is_stopped(self.pid):
                ready, _, _ = select.select(watched, [], [], LOOK_SECONDS)
                if self._control in ready:
                    return self._first_word(said)
                if ready and not (data := os.read(printed.fileno(), SAID_READ_BYTES)):
                    watched.remove(printed)
                elif ready:
                    said.add_bytes(data)
        return f"it was stopped, or not ready within {seconds_max:g} s"

    def fork(self, wish: Fork) -> int:
        """Return the number of a new guest. Raises GuestStartError, or ParentGoneError if there is no parent."""
        with self._lock:
            answer = self._ask(
                {"fork": wish.folder, "memory_bytes_max": wish.memory_bytes_max},
                pass_fds=[wish.connection, wish.printed],
                seconds_max=FORK_SECONDS_MAX,
            )
        if "errno" in answer:
            raise GuestStartError(answer["errno"], f"start a guest: {os.strerror(answer['errno'])}")
        return int(answer["pid"])

    def end(self, pid: int) -> GuestEnding:
        """Kill a guest that this parent has forked, with all that it started, and reap it. Call once for each guest."""
        kill_group(pid)
        with self._lock:
            try:
                return GuestEnding(code=self._ask({"end": pid}, seconds_max=KILL_SECONDS_MAX)["code"])
            except ParentGoneError:
                self._leave()
        code = _reap_adopted(pid)
        _end_strays()
        return GuestEnding(code=code, parent_died=True)

    def close(self) -> None:
        """End it, with a guest that it may have. Idempotent."""
        with self._lock:
            self._leave()

    def _first_word(self, said: GuestLog) -> str:
        try:
            answer = self._receive(LOOK_SECONDS)
        except ParentGoneError as error:
            said.flush()
            last = plain_text(said.tail().rpartition("\n")[2], chars_max=300)
            return f"{error}: {last}" if last else str(error)
        return str(answer.get("unshared", ""))

    def _ask(self, wish: dict[str, Any], *, seconds_max: float, pass_fds: list[int] | None = None) -> dict[str, Any]:
        try:
            socket.send_fds(self._control, [json.dumps(wish).encode()], pass_fds or [])
        except OSError as error:
            raise ParentGoneError(f"ask guest parent {self.pid}: {error}") from error
        return self._receive(seconds_max)

    def _receive(self, seconds_max: float) -> dict[str, Any]:
        self._await_word(seconds_max)
        try:
            data = self._control.recv(MESSAGE_BYTES_MAX)
        except OSError as error:
            raise ParentGoneError(f"hear guest parent {self.pid}: {error}") from error
        if not data:
            raise ParentGoneError(f"hear guest parent {self.pid}: it has ended")
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _await_word(self, seconds_max: float) -> None:
        """Wait until it has said something or has ended. Raises ParentGoneError if it is stopped or takes too long."""
        deadline = time.monotonic() + seconds_max
        while not select.select([self._control], [], [], LOOK_SECONDS)[0]:
            if is_stopped(self.pid):
                raise ParentGoneError(f"hear guest parent {self.pid}: somebody has stopped it")
            if time.monotonic() > deadline:
                raise ParentGoneError(f"hear guest parent {self.pid}: no word within {seconds_max:g} s")

    def _leave(self) -> None:
        self._control.close()
        if self._process.stdout is not None:
            self._process.stdout.close()  # it may never have been asked whether it is ready
        try:
            self._process.wait(timeout=0 if is_stopped(self.pid) else PARENT_LEAVE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()  # which a stopped process hears too
            with suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it dies when that lets go of it
                self._process.wait(timeout=PARENT_LEAVE_SECONDS_MAX)
        _living.discard(self.pid)
        shutil.rmtree(self._folder, ignore_errors=True)


class GuestParents:
    """The guest parents of one executor, started when first needed. For one thread, which must outlive them."""

    def __init__(self, *, ready_seconds_max: float = PARENT_READY_SECONDS_MAX) -> None:
        self._ready_seconds_max = ready_seconds_max
        self._parents: OrderedDict[ParserKey, GuestParent] = OrderedDict()
        self._prepared: tuple[ParserKey, int, GuestParent] | None = None  # with the memory that it may load in

    def prepare(self, code: ParserCode, memory_bytes_max: int = MEMORY_BYTES_MAX) -> None:
        """Start the parent of a job that is to come, and do not wait for it. What hinders it the job will tell."""
        self._drop_prepared()
        try:
            parent = GuestParent.start(code, preload=True, memory_bytes_max=memory_bytes_max)
        except OSError as error:
            logger.info("load %s before its first job: %s", code.file, error)
            return
        self._prepared = _key_of(code), memory_bytes_max, parent

    def fork(self, code: ParserCode, wish: Fork) -> tuple[GuestParent, int]:
        """Return a new guest's parent and number. Raises GuestStartError, ParserChangedError."""
        key = _key_of(code)
        for last in (False, True):
            parent = self._parents.get(key) or self._start(key, code, wish.memory_bytes_max)
            self._parents.move_to_end(key)
            try:
                return parent, parent.fork(wish)
            except ParentGoneError as error:  # since its last job; the next one is new
                self._drop(key)
                if last:
                    raise GuestStartError(errno.EIO, f"start a guest: {error}") from error
        raise AssertionError("unreachable: the second attempt returns or raises")

    def close(self) -> None:
        """End every guest parent. Idempotent."""
        self._drop_prepared()
        for key in list(self._parents):
            self._drop(key)

    def _start(self, key: ParserKey, code: ParserCode, memory_bytes_max: int) -> GuestParent:
        """Start a parent that has the parser loaded, or else one whose guests load it themselves."""
        for other in [other for other in self._parents if other.file == key.file]:
            self._drop(other)
        while len(self._parents) >= PARENTS_MAX:
            self._drop(next(iter(self._parents)))
        become_subreaper()
        trouble = ""
        for preload in (True, False):
            try:
                prepared = self._take_prepared(key, memory_bytes_max) if preload else None
                parent = prepared or GuestParent.start(code, preload=preload, memory_bytes_max=memory_bytes_max)
            except ParserChangedError:
                raise
            except OSError as error:
                raise GuestStartError(error.errno or errno.EIO, f"start a guest: {error.strerror or error}") from error
            try:
                trouble = parent.trouble(seconds_max=self._ready_seconds_max)
            except BaseException:  # an interrupt, where a person waits for the guest: nobody would close it later
                parent.close()
                raise
            if not trouble:
                self._parents[key] = parent
                return parent
            parent.close()
            logger.info("load %s once for all its jobs: %s; preload was %s", key.file, trouble, preload)
        raise GuestStartError(errno.EIO, f"start a guest: {trouble}")

    def _take_prepared(self, key: ParserKey, memory_bytes_max: int) -> GuestParent | None:
        """Return the parent that was prepared for such a job; one for another job is ended."""
        if self._prepared is None or self._prepared[:2] != (key, memory_bytes_max):
            self._drop_prepared()
            return None
        parent, self._prepared = self._prepared[2], None
        return parent

    def _drop_prepared(self) -> None:
        if self._prepared is not None:
            self._prepared[2].close()
            self._prepared = None

    def _drop(self, key: ParserKey) -> None:
        self._parents.pop(key).close()


def _key_of(code: ParserCode) -> ParserKey:
    return ParserKey(code.file, code.identity())


def become_subreaper() -> None:
    """Have the kernel make this process the parent of guests whose parent dies."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_group(pid: int) -> None:
    """Kill a guest's process group. It is unreaped, so that the number is still its own."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not come to have a group of its own; nor any child then
        os.kill(pid, signal.SIGKILL)


def _end_strays() -> None:
    """Kill and reap what a dead guest parent has left to us, its subreaper: all below us but living guest parents.

    A stray's own children come to us when it dies, so this goes on until there is none.
    """
    deadline = time.monotonic() + KILL_SECONDS_MAX
    while time.monotonic() < deadline:
        strays = [pid for pid in descendants([os.getpid()]) if parent_of(pid) == os.getpid() and pid not in _living]
        if not strays:
            return
        for pid in strays:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        time.sleep(REAP_PAUSE_SECONDS)


def _reap_adopted(pid: int) -> int | None:
    """Reap a guest whose parent has died, and what is left of its group; its exit code if it can be told."""
    deadline = time.monotonic() + KILL_SECONDS_MAX
    code: int | None = None
    try:
        while time.monotonic() < deadline:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(REAP_PAUSE_SECONDS)
        for _stray in range(STRAYS_MAX):
            if os.waitpid(-pid, os.WNOHANG)[0] == 0:
                break
    except ChildProcessError:
        return code
    return code
