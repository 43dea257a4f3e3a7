"""Owns one guest: has it forked, reads what it says as typed values, and leaves nothing of it behind.

The guest gets one end of a socket pair, an empty environment but for GUEST_ENVIRONMENT, a private folder to work in,
/dev/null to read and a pipe to write to; everything it prints ends in `Guest.log`. It is a session of its own, and so
is what it starts; all of it is killed with it. Not a sandbox: a guest may still read files, write to them and open
connections. If the host itself is killed, its guest parents end their guests and leave; the private folders stay.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import socket
import struct
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
from executors.failures import TransientKind, failure_class
from executors.guest.code import ParserCode
from executors.guest.errors import BadFrameError, BadStatementError, GuestStartError
from executors.guest.frames import (
    GuestBatch,
    GuestEnd,
    GuestFailure,
    GuestFrame,
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
    LOG_LINE_BYTES_MAX,
    MEMORY_BYTES_MAX,
    SECONDS_MAX,
    SILENCE_SECONDS_MAX,
)
from executors.guest.parents import FOLDER_PREFIX, Fork, GuestEnding, GuestParent, GuestParents

TICK_MILLISECONDS: Final = 200  # how exactly the bounds on time are kept
NUMBER_BYTES: Final = 4  # of a length or a mark
READ_AHEAD_BYTES: Final = 64 * 1024  # of a guest's stream: small frames come several at a time
PIPE_READ_BYTES: Final = 64 * 1024
PIPE_READS_MAX: Final = 32  # pipes hold 64 KiB, at most 1 MiB: what is left after a death fits
LEAVING_MILLISECONDS: Final = 10

REPORT_IT: Final = "nothing of the file was kept; report it to the parser's author"
MORE_MEMORY: Final = "run again with a higher limit on memory (--job-memory), or with fewer workers (--workers)"
# What Rust and C++ print before they abort because the system refused memory; Python raises MemoryError instead.
ALLOCATION_REFUSED: Final = ("memory allocation of", "bad_alloc")


class GuestOrders(Struct, frozen=True, kw_only=True):
    """What a guest is to do, and with how much. `outputs` are the declared names, in the order of their frames' index.

    `memory_bytes_max` bounds what each of its processes may write to, `seconds_max` the whole job by the wall clock.
    With `more` the guest waits for further orders when it has done these.
    """

    parser_file: str
    parser_digests: dict[str, str]  # of its Python files, see `ParserCode`
    source: bytes
    settings: dict[str, str]
    outputs: tuple[OutputName, ...]
    memory_bytes_max: int = MEMORY_BYTES_MAX
    seconds_max: float = SECONDS_MAX
    more: bool = False


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


class _OverTimeError(Exception):
    """The job has taken all the time that it may."""


def start_guest(orders: GuestOrders, *, parents: GuestParents, times: GuestTimes | None = None) -> Guest:
    """Start a guest and give it its orders. Raises GuestStartError if the process cannot be had,
    ParserChangedError if a file of the parser is not what its digest says.

    The calling thread must live as long as the guest: the kernel ends guest parents when that thread ends, which is how
    an executor that is killed leaves no guest behind.
    """
    message = _orders_message(orders)
    begun = time.monotonic()
    with ExitStack() as undo:
        try:
            process, connection = _forked(orders, parents, undo)
        except OSError as error:
            if isinstance(error, GuestStartError):
                raise
            raise GuestStartError(error.errno or errno.EIO, f"start a guest: {error.strerror or error}") from error
        undo.pop_all()  # from here on the guest cleans up
    guest = Guest(process, connection, orders, times=times or GuestTimes(), begun=begun)
    _send(connection, message)
    return guest


def _send(connection: socket.socket, message: bytes) -> None:
    # A guest that died already cannot be told anything: `frames` will say how it died.
    with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
        connection.settimeout(HELLO_SECONDS_MAX)
        connection.sendall(message)
    connection.setblocking(False)


def _orders_message(orders: GuestOrders) -> bytes:
    said = {"path_hex": orders.source.hex(), "settings": orders.settings, "outputs": orders.outputs}
    body = msgspec.json.encode({**said, "more": True} if orders.more else said)
    if len(body) > JSON_BYTES_MAX:
        raise GuestStartError(
            errno.E2BIG, f"start a guest: its orders have {len(body):,} bytes, at most {JSON_BYTES_MAX:,} can be sent"
        )
    return struct.pack(">I", len(body)) + body


def _forked(orders: GuestOrders, parents: GuestParents, undo: ExitStack) -> tuple[_Process, socket.socket]:
    """Return a new guest and our end of its socket. Raises OSError; `undo` takes back what was made until then."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    undo.callback(ours.close)
    with theirs, ExitStack() as passed:
        printed, write_end = os.pipe()
        undo.callback(os.close, printed)
        passed.callback(os.close, write_end)
        folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX)
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        wish = Fork(
            connection=theirs.fileno(),
            printed=write_end,
            folder=folder,
            memory_bytes_max=orders.memory_bytes_max,
        )
        parent, pid = parents.fork(ParserCode(file=orders.parser_file, digests=orders.parser_digests), wish)
        undo.callback(parent.end, pid)
        return _Process(pid=pid, parent=parent, pidfd=os.pidfd_open(pid), printed=printed, folder=folder), ours


class _Process(Struct, frozen=True, kw_only=True):
    """A guest's process: whose child it is, a descriptor that tells its death, one that tells what it prints."""

    pid: int
    parent: GuestParent
    pidfd: int
    printed: int
    folder: str


class Guest:
    """One running guest. Use it as a context manager: on leaving, its process group is gone and its folder removed.

    `kill` may be called from any thread; all else belongs to the thread that started the guest.
    """

    def __init__(
        self, process: _Process, connection: socket.socket, orders: GuestOrders, *, times: GuestTimes, begun: float
    ) -> None:
        self.pid = process.pid
        self.log = GuestLog()
        self._process = process
        self._connection = connection
        self._orders = orders
        self._times = times
        self._kill_lock = threading.Lock()
        self._ending: GuestEnding | None = None
        self._selected = -1
        self._greeted = False
        self._waits = False
        self._may_print = True
        self._over_at = begun + orders.seconds_max
        self._alive_until = time.monotonic() + times.hello_seconds
        self._read_most = 0
        self._room = memoryview(bytearray(READ_AHEAD_BYTES))
        self._ahead = self._room[:0]  # what is there of the frames that come next
        os.set_blocking(process.printed, False)
        self._poll = select.poll()
        for descriptor in (connection.fileno(), process.printed, process.pidfd):
            self._poll.register(descriptor, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._connection.close()
        os.close(self._process.printed)
        os.close(self._process.pidfd)
        _remove(self._process.folder)

    def waits(self) -> bool:
        """Say whether it has done what it was told, and may be given further orders."""
        return self._waits

    def go_on(self, orders: GuestOrders) -> None:
        """Give a guest that waits its next orders: for its limits and its log as if it were a new one.

        Raises GuestStartError if they are too large.
        """
        assert self._waits, "a guest has one input at a time"
        message = _orders_message(orders)
        now = time.monotonic()
        self._waits = False
        self._orders = orders
        self._selected = -1
        self.log = GuestLog()
        self._over_at = now + orders.seconds_max
        self._alive_until = now + self._times.silence_seconds
        _send(self._connection, message)

    def frames(self) -> Iterator[GuestFrame]:
        """Yield what the guest says; the last value, and only it, is a GuestEnd or a GuestFailure.

        With the last value the guest is dead, or waits for further orders if it was told that there may be `more`. Time
        that the caller spends between two frames is not held against it.
        """
        while True:
            self._sign_of_life()
            frame = self._next_frame()
            if isinstance(frame, GuestEnd) and self._orders.more:
                self._take_all_printed()
                self._waits = True
                yield frame
                return
            if isinstance(frame, GuestEnd | GuestFailure):
                self.kill()
                yield frame
                return
            yield frame

    def last_words(self) -> str:
        """Kill the guest and return the end of its log, complete."""
        self.kill()
        self._take_all_printed()
        self.log.flush()
        return self.log.tail()

    def kill(self) -> GuestEnding:
        """Kill the guest with all that it started; a second call tells of the same end."""
        with self._kill_lock:
            if self._ending is None:
                self._ending = self._process.parent.end(self.pid)
            return self._ending

    def bytes_read(self) -> int:
        """Return how many bytes the guest has read, as far as the system tells."""
        if self._greeted:
            self._read_most = max(self._read_most, _bytes_read_by(self.pid))
        return self._read_most

    def _next_frame(self) -> GuestFrame:
        try:
            while True:
                frame = self._read_frame()
                if frame is not None:
                    return self._with_limit(frame)
        except BadFrameError as error:
            return _failure("bad_frame", f"read what the parser sent: {error}", REPORT_IT)
        except BadStatementError as error:
            return _failure("bad_statement", str(error), REPORT_IT)
        except _SilentError:
            return self._silence()
        except _OverTimeError:
            return self._over_time()
        except _StreamEndedError as ended:
            return self._death(ended)

    def _read_frame(self) -> GuestFrame | None:
        """Read one frame; None for those that concern only the stream itself."""
        if time.monotonic() > self._over_at:  # asked here too: a guest that always has something to say never waits
            raise _OverTimeError
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
            return decode_statement(self._read_sized(JSON_BYTES_MAX))
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
        if index >= len(self._orders.outputs):
            raise BadFrameError(f"output {index} is selected, {len(self._orders.outputs)} are declared")
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
        if len(self._ahead) >= NUMBER_BYTES:
            number, self._ahead = int.from_bytes(self._ahead[:NUMBER_BYTES], "big"), self._ahead[NUMBER_BYTES:]
            return number
        return int.from_bytes(self._read(NUMBER_BYTES, inside_frame=inside_frame), "big")

    def _read(self, size: int, *, inside_frame: bool = True) -> bytearray:
        """Read exactly `size` bytes. Memory for them is taken by the kernel page by page, as they come."""
        data = bytearray(size)
        with memoryview(data) as view:
            filled = self._take_ahead(view)
            if not filled and not inside_frame:  # where the guest is waited for, what is printed is taken too
                self._wait(inside_frame=False)
            while filled < size:
                inside, rest = inside_frame or filled > 0, view[filled:]
                if len(rest) >= READ_AHEAD_BYTES:
                    filled += self._receive(rest, inside_frame=inside)
                else:
                    self._ahead = self._room[: self._receive(self._room, inside_frame=inside)]
                    filled += self._take_ahead(rest)
        return data

    def _take_ahead(self, target: memoryview) -> int:
        """Fill the target with what was read ahead; return how many bytes that was enough for."""
        count = min(len(target), len(self._ahead))
        target[:count], self._ahead = self._ahead[:count], self._ahead[count:]
        return count

    def _receive(self, target: memoryview, *, inside_frame: bool) -> int:
        """Wait for bytes and read as many as there are, at least one. Raises _StreamEndedError and as `_wait` does."""
        while True:
            try:
                count = self._connection.recv_into(target)
            except BlockingIOError:
                self._wait(inside_frame=inside_frame)
                continue
            except ConnectionResetError:
                count = 0
            if count == 0:
                raise _StreamEndedError(inside_frame=inside_frame)
            return count

    def _wait(self, *, inside_frame: bool) -> None:
        """Return when the socket can be read; meanwhile take what the guest prints. Bounded by its limits on time."""
        while True:
            ready = {descriptor for descriptor, _event in self._poll.poll(TICK_MILLISECONDS)}
            if self._process.printed in ready:
                self._take_printed()
            if self._connection.fileno() in ready:
                return
            if self._process.pidfd in ready:
                # It may have sent its last frame between the poll and its end.
                if self._connection.fileno() in {descriptor for descriptor, _event in self._poll.poll(0)}:
                    return
                raise _StreamEndedError(inside_frame=inside_frame)
            now = time.monotonic()
            if now > self._over_at:
                raise _OverTimeError
            if now > self._alive_until:
                raise _SilentError

    def _take_all_printed(self) -> None:
        for _read in range(PIPE_READS_MAX):
            if not self._take_printed():
                break

    def _take_printed(self) -> bool:
        """Read what is there of the guest's output; False if nothing is."""
        if not self._may_print:
            return False
        try:
            data = os.read(self._process.printed, PIPE_READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._poll.unregister(self._process.printed)
            self._may_print = False
            return False
        if self.log.add_bytes(data):
            self._sign_of_life()
        return True

    def _sign_of_life(self) -> None:
        if self._greeted:
            self._alive_until = time.monotonic() + self._times.silence_seconds

    def _greet(self) -> None:
        if not self._greeted:
            self._greeted = True
            self._sign_of_life()

    def _with_limit(self, frame: GuestFrame) -> GuestFrame:
        """Name the limit behind a guest's own word that its memory ran out."""
        if not isinstance(frame, GuestFailure) or frame.kind != TransientKind.OUT_OF_MEMORY:
            return frame
        return msgspec.structs.replace(frame, reason=f"{frame.reason}; {self._memory_limit()}", hint=MORE_MEMORY)

    def _memory_limit(self) -> str:
        return f"a process of this job may use {self._orders.memory_bytes_max:,} bytes"

    def _silence(self) -> GuestFailure:
        if not self._greeted:
            return _failure(
                "guest_silent",
                f"the parser's process did not start its work within {self._times.hello_seconds:g} s",
                "see the job's log; check that the machine is not out of memory or processors",
            )
        return _failure(
            "guest_silent",
            f"the parser gave no rows and no new log lines for {self._times.silence_seconds:g} s and was killed",
            "the file may lead the parser into an endless loop; report it to the parser's author",
        )

    def _over_time(self) -> GuestFailure:
        return _failure(
            "time_limit",
            f"the job was still at work after {self._orders.seconds_max:g} s, all that a job may take, and was killed",
            "run again with a higher limit on time (--job-seconds), if the file deserves it",
        )

    def _death(self, ended: _StreamEndedError) -> GuestFailure:
        deadline = time.monotonic() + EXIT_SECONDS_MAX
        while not self._wait_for_exit():
            if time.monotonic() > deadline:
                return _failure(
                    "bad_frame", "the parser closed its stream without ending it, and went on running", REPORT_IT
                )
        ending = self.kill()
        if ending.parent_died:
            return _failure(
                TransientKind.GUEST_PARENT_DIED,
                "the process from which this parser's guests are forked has died, and the job's guest with it",
                "nothing of the file was kept; if it happens again, report it to the parser's author",
            )
        code = ending.code
        if code is not None and code >= 0 and ended.inside_frame:
            reason = f"the parser's stream ends inside a frame (it left with code {code})"
            return _failure("bad_frame", reason, REPORT_IT)
        if code == -signal.SIGABRT and any(words in self.last_words() for words in ALLOCATION_REFUSED):
            reason = f"native code of the parser gave up when memory was refused; {self._memory_limit()}"
            return _failure(TransientKind.OUT_OF_MEMORY, reason, MORE_MEMORY)
        return _died(code)

    def _wait_for_exit(self) -> bool:
        """Wait a moment for its exit and say whether it came; take what it prints, or it may hang on that."""
        self._take_printed()
        exited = select.poll()
        exited.register(self._process.pidfd, select.POLLIN)
        return bool(exited.poll(LEAVING_MILLISECONDS))


def _remove(folder: str) -> None:
    """Remove a job's folder. Most are empty."""
    try:
        os.rmdir(folder)  # noqa: PTH106 - pathlib costs more than the call
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def _died(code: int | None) -> GuestFailure:
    """Classify a death: out of memory shows as SIGKILL and may not happen again; every other death repeats."""
    if code == -signal.SIGKILL:
        return _failure(
            TransientKind.GUEST_KILLED,
            "the parser's process was killed (SIGKILL), most likely because memory ran out",
            "run with fewer workers or give the machine more memory",
        )
    how = f"left with code {code}" if code is None or code >= 0 else f"was ended by {_signal_name(-code)}"
    return _failure(
        "guest_died",
        f"the parser's process {how} before the end of its stream",
        "see the job's log for its last words; report it to the parser's author",
    )


def _failure(kind: str, reason: str, hint: str) -> GuestFailure:
    return GuestFailure(failure=failure_class(kind), kind=kind, reason=reason, hint=hint)


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
