"""Owns a guest's process: starts it bare, reads what it says as typed values, and leaves nothing of it behind.

The guest gets one end of a socket pair, an empty environment but for GUEST_ENVIRONMENT, a private folder to work in,
/dev/null to read and a pipe to write to; everything it prints ends in `Guest.log`. It is a process group of its own.
Not a sandbox: a guest may still read files and open connections, and a process of its own that starts a new session
leaves the group. If the host itself is killed, the kernel kills the guest, but not the guest's children, and nobody is
left to remove the private folder.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct

from eventlog.ids import OutputName
from executors.guest.errors import BadFrameError, BadStatementError, GuestStartError
from executors.guest.frames import (
    GuestBatch,
    GuestEnd,
    GuestFailure,
    GuestFrame,
    GuestStatement,
    decode_batch,
    decode_error,
    decode_log,
    decode_statement,
)
from executors.guest.guest_log import GuestLog
from executors.guest.limits import (
    EXIT_SECONDS_MAX,
    FRAME_BYTES_MAX,
    FRAME_END,
    FRAME_ERROR,
    FRAME_LOG,
    FRAME_METRICS,
    FRAME_SELECT,
    HELLO_SECONDS_MAX,
    JSON_BYTES_MAX,
    KILL_SECONDS_MAX,
    LOG_LINE_BYTES_MAX,
    SILENCE_SECONDS_MAX,
)

logger = logging.getLogger("casparian.guest")

SHIM: Final = Path(__file__).with_name("shim.py")

# All that a guest sees of an environment, besides TMPDIR and HOME, which are its private folder. No credentials, no
# locale or time zone of this machine; the hash seed is fixed so that the order of a parser's sets repeats.
GUEST_ENVIRONMENT: Final = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}

# What `-I` means, without its refusal to read PYTHONHASHSEED: no folder of the script (-P), no user site (-s); there
# are no other PYTHON* variables to ignore. Unbuffered (-u), or a crash would take a parser's last words along.
PYTHON_OPTIONS: Final = ("-s", "-P", "-u")

TICK_MILLISECONDS: Final = 200  # how soon the death of a process whose child holds the socket open is noticed
PIPE_READ_BYTES: Final = 64 * 1024
PIPE_READS_MAX: Final = 32  # pipes hold 64 KiB, at most 1 MiB: what is left after a death fits


class GuestOrders(Struct, frozen=True, kw_only=True):
    """What a guest is to do. `outputs` are the declared names, in the order in which frames select them."""

    parser_file: str
    source: bytes
    settings: dict[str, str]
    outputs: tuple[OutputName, ...]


class GuestTimes(Struct, frozen=True, kw_only=True):
    """How long a guest may take; tests make it short."""

    hello_seconds: float = HELLO_SECONDS_MAX
    silence_seconds: float = SILENCE_SECONDS_MAX


class _StreamEndedError(Exception):
    """The socket has no more to give."""

    def __init__(self, *, inside_frame: bool) -> None:
        super().__init__()
        self.inside_frame = inside_frame


class _SilentError(Exception):
    """The guest gave no sign of life within its time."""


def start_guest(orders: GuestOrders, *, times: GuestTimes | None = None) -> Guest:
    """Start a guest and give it its orders. Raises GuestStartError if the process cannot be had.

    The calling thread must live as long as the guest: the kernel kills the guest when that thread ends, which is how
    an executor that is killed leaves no guest behind.
    """
    message = _orders_message(orders)
    with ExitStack() as undo:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            undo.callback(ours.close)
            with theirs:
                folder = tempfile.mkdtemp(prefix="casparian-guest-")
                undo.callback(shutil.rmtree, folder, ignore_errors=True)
                process = _start_process(theirs.fileno(), folder)
        except OSError as error:
            raise GuestStartError(error.errno or errno.EIO, f"start a guest: {error.strerror or error}") from error
        undo.pop_all()  # from here on the guest cleans up
    guest = Guest(process, ours, Path(folder), outputs=len(orders.outputs), times=times or GuestTimes())
    # A guest that died already cannot be told anything: `frames` will say how it died.
    with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
        ours.settimeout(HELLO_SECONDS_MAX)
        ours.sendall(message)
    ours.setblocking(False)
    return guest


def _orders_message(orders: GuestOrders) -> bytes:
    body = msgspec.json.encode(
        {
            "parser_file": orders.parser_file,
            "path_hex": orders.source.hex(),
            "settings": orders.settings,
            "outputs": orders.outputs,
        }
    )
    if len(body) > JSON_BYTES_MAX:
        raise GuestStartError(
            errno.E2BIG, f"start a guest: its orders have {len(body):,} bytes, at most {JSON_BYTES_MAX:,} can be sent"
        )
    return struct.pack(">I", len(body)) + body


def _start_process(descriptor: int, folder: str) -> subprocess.Popen[bytes]:
    # What must happen in the child before anything else (die with the parent) is done by the shim: a preexec_fn would
    # fork with this process's threads and locks in it.
    return subprocess.Popen(
        [sys.executable, *PYTHON_OPTIONS, str(SHIM), str(descriptor), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd=folder,
        env={**GUEST_ENVIRONMENT, "TMPDIR": folder, "HOME": folder},
        pass_fds=(descriptor,),
        start_new_session=True,
    )


class Guest:
    """One running guest. Use it as a context manager: on leaving, its process group is gone and its folder removed.

    `kill` may be called from any thread; all else belongs to the thread that started the guest.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        connection: socket.socket,
        folder: Path,
        *,
        outputs: int,
        times: GuestTimes,
    ) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.log = GuestLog()
        self._process = process
        self._connection = connection
        self._printed = process.stdout
        self._folder = folder
        self._outputs = outputs
        self._times = times
        self._kill_lock = threading.Lock()
        self._selected = -1
        self._greeted = False
        self._may_print = True
        self._alive_until = time.monotonic() + times.hello_seconds
        self._read_before = 0
        self._read_most = 0
        os.set_blocking(self._printed.fileno(), False)
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._poll.register(self._printed, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._connection.close()
        self._printed.close()
        # A process that left the group may still write here; what it leaves is in the temp folder, for the system.
        shutil.rmtree(self._folder, ignore_errors=True)

    def frames(self) -> Iterator[GuestFrame]:
        """Yield what the guest says; the last value, and only it, is a GuestEnd or a GuestFailure.

        With the last value the guest is dead. Time that the caller spends between two frames is not held against it.
        """
        while True:
            self._sign_of_life()
            frame = self._next_frame()
            if isinstance(frame, GuestEnd | GuestFailure):
                self.kill()
                yield frame
                return
            yield frame

    def last_words(self) -> str:
        """Kill the guest and return the end of its log, complete."""
        self.kill()
        for _read in range(PIPE_READS_MAX):
            if not self._take_printed():
                break
        self.log.flush()
        return self.log.tail()

    def kill(self) -> None:
        """Kill the process group and reap the guest; nothing happens if that is done already.

        The leader is reaped after the kill only, so its number cannot have gone to another process.
        """
        with self._kill_lock:
            if self._process.returncode is not None:
                return
            os.killpg(self.pid, signal.SIGKILL)
            try:
                self._process.wait(timeout=KILL_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                # Stuck in the kernel, mostly on a dead network disk. It dies when the kernel lets go of it.
                logger.error("kill guest %d: still there after %.0f s", self.pid, KILL_SECONDS_MAX)

    def bytes_read(self) -> int:
        """Return how many bytes the guest has read since it started its work, as far as the system tells."""
        if self._greeted:
            self._read_most = max(self._read_most, _bytes_read_by(self.pid) - self._read_before)
        return self._read_most

    def _next_frame(self) -> GuestFrame:
        try:
            while True:
                frame = self._read_frame()
                if frame is not None:
                    return frame
        except BadFrameError as error:
            return _broken("bad_frame", f"read what the parser sent: {error}")
        except BadStatementError as error:
            return _broken("bad_statement", str(error))
        except _SilentError:
            return self._silence()
        except _StreamEndedError as ended:
            return self._death(ended)

    def _read_frame(self) -> GuestFrame | None:
        """Read one frame; None for those that concern only the stream itself."""
        mark = self._read_number(inside_frame=False)
        self._greet()
        if mark == FRAME_LOG:
            self._read_log()
            return None
        if mark == FRAME_SELECT:
            self._read_select()
            return None
        if mark == FRAME_END:
            return GuestEnd()
        if mark == FRAME_METRICS:
            return GuestStatement(statement=decode_statement(self._read_sized(JSON_BYTES_MAX)))
        if mark == FRAME_ERROR:
            return decode_error(self._read_sized(JSON_BYTES_MAX))
        return self._read_batch(mark)

    def _read_batch(self, length: int) -> GuestBatch:
        if length > FRAME_BYTES_MAX:
            raise BadFrameError(f"a frame of {length:,} bytes is announced, at most {FRAME_BYTES_MAX:,} are allowed")
        if self._selected < 0:
            raise BadFrameError("a batch came before its output was selected")
        return GuestBatch(output=self._selected, batch=decode_batch(self._read(length)))

    def _read_select(self) -> None:
        payload = self._read_sized(4)
        if len(payload) != 4:
            raise BadFrameError(f"an output is selected with {len(payload)} bytes instead of 4")
        index = int.from_bytes(payload, "big")
        if index >= self._outputs:
            raise BadFrameError(f"output {index} is selected, {self._outputs} are declared")
        self._selected = index

    def _read_log(self) -> None:
        line = decode_log(self._read_sized(LOG_LINE_BYTES_MAX + 1))
        if self.log.add(line.level, line.text):
            self._sign_of_life()

    def _read_sized(self, bytes_max: int) -> bytearray:
        length = self._read_number()
        if length > bytes_max:
            raise BadFrameError(f"{length:,} bytes are announced, at most {bytes_max:,} are allowed here")
        return self._read(length)

    def _read_number(self, *, inside_frame: bool = True) -> int:
        return int.from_bytes(self._read(4, inside_frame=inside_frame), "big")

    def _read(self, size: int, *, inside_frame: bool = True) -> bytearray:
        """Read exactly `size` bytes. Memory for them is taken by the kernel page by page, as they come."""
        data = bytearray(size)
        with memoryview(data) as view:
            filled = 0
            while filled < size:
                self._wait(inside_frame=inside_frame or filled > 0)
                try:
                    count = self._connection.recv_into(view[filled:])
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    count = 0
                if count == 0:
                    raise _StreamEndedError(inside_frame=inside_frame or filled > 0)
                filled += count
        return data

    def _wait(self, *, inside_frame: bool) -> None:
        """Return when the socket can be read; meanwhile take what the guest prints. Bounded by `_alive_until`."""
        while True:
            ready = {descriptor for descriptor, _event in self._poll.poll(TICK_MILLISECONDS)}
            if self._printed.fileno() in ready:
                self._take_printed()
            if self._connection.fileno() in ready:
                return
            if self._exited():
                # It may have sent its last frame between the poll and its end.
                if self._connection.fileno() in {descriptor for descriptor, _event in self._poll.poll(0)}:
                    return
                raise _StreamEndedError(inside_frame=inside_frame)
            if time.monotonic() > self._alive_until:
                raise _SilentError

    def _take_printed(self) -> bool:
        """Read what is there of the guest's output; False if nothing is."""
        if not self._may_print:
            return False
        try:
            data = os.read(self._printed.fileno(), PIPE_READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._poll.unregister(self._printed)
            self._may_print = False
            return False
        if self.log.add_bytes(data):
            self._sign_of_life()
        return True

    def _exited(self) -> bool:
        """Say whether the leader has ended, without reaping it: `kill` still needs its number."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _sign_of_life(self) -> None:
        if self._greeted:
            self._alive_until = time.monotonic() + self._times.silence_seconds

    def _greet(self) -> None:
        if not self._greeted:
            self._greeted = True
            self._read_before = _bytes_read_by(self.pid)
            self._sign_of_life()

    def _silence(self) -> GuestFailure:
        if not self._greeted:
            return GuestFailure(
                failure="permanent",
                kind="guest_silent",
                reason=f"the parser's process did not start its work within {self._times.hello_seconds:g} s",
                hint="see the job's log; check that the machine is not out of memory or processors",
            )
        return GuestFailure(
            failure="permanent",
            kind="guest_silent",
            reason=f"the parser gave no rows and no new log lines for {self._times.silence_seconds:g} s and was killed",
            hint="the file may lead the parser into an endless loop; report it to the parser's author",
        )

    def _death(self, ended: _StreamEndedError) -> GuestFailure:
        deadline = time.monotonic() + EXIT_SECONDS_MAX
        while not self._exited():
            if time.monotonic() > deadline:
                return _broken("bad_frame", "the parser closed its stream without ending it, and went on running")
            self._take_printed()  # or it may hang on its own output while it leaves
            time.sleep(0.01)
        self.kill()
        code = self._process.returncode
        if code is not None and code >= 0 and ended.inside_frame:
            return _broken("bad_frame", f"the parser's stream ends inside a frame (it left with code {code})")
        return _died(code)


def _died(code: int | None) -> GuestFailure:
    """Classify a death: out of memory shows as SIGKILL and may not happen again; every other death repeats."""
    if code == -signal.SIGKILL:
        return GuestFailure(
            failure="transient",
            kind="guest_killed",
            reason="the parser's process was killed (SIGKILL), most likely because memory ran out",
            hint="run with fewer workers or give the machine more memory",
        )
    how = f"left with code {code}" if code is None or code >= 0 else f"was ended by {_signal_name(-code)}"
    return GuestFailure(
        failure="permanent",
        kind="guest_died",
        reason=f"the parser's process {how} before the end of its stream",
        hint="see the job's log for its last words; report it to the parser's author",
    )


def _broken(kind: str, reason: str) -> GuestFailure:
    return GuestFailure(
        failure="permanent",
        kind=kind,
        reason=reason,
        hint="nothing of the file was kept; report it to the parser's author",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _bytes_read_by(pid: int) -> int:
    """Return the bytes that a process has read by read(2) and its kin, from /proc; 0 where that is not told."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("rchar:")), 0)
