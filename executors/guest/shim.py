"""Runs inside the guest: runs one parser's `parse`, sends what it yields to the host over a socket.

Loaded by path in the guest parent (forker.py), which forks a guest to call `main`. It needs the standard library and
pyarrow only and never imports our packages, so that a parser's environment need not hold them; the bounds are repeated
here and a test holds them equal to executors/guest/limits.py. It is a convenience for parsers, not a guard: the host
believes nothing it says.

What a parser is: a file with a literal `outputs` and `def parse(path: str, settings: dict[str, str])`, a generator of
`(output_name, pyarrow.RecordBatch or Table)` whose return value is None or a statement of units (see `_statement`).
Instead of the pair it may give anything with a `name` and `data`, and instead of one of them a list; `parse` may as
well return such a list, and then makes no statement. Python files beside the parser's can be imported: by relative
imports, because its folder is a package, or by their bare names, where no other module has that name (loader.py).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import struct
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final, NamedTuple

import pyarrow as pa

ROWS_PER_BATCH_MAX: Final = 50_000
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
JSON_BYTES_MAX: Final = 1_000_000
LOG_LINE_BYTES_MAX: Final = 64 * 1024
LOG_JOB_BYTES_MAX: Final = 10 * 1024 * 1024
RANGES_MAX: Final = 1000
END_OF_STREAM: Final = b"\xff\xff\xff\xff\0\0\0\0"  # of the Arrow IPC format: a continuation mark and a length of zero
AHEAD_BYTES_MIN: Final = 256 * 1024  # of a batch that is sent while the parser makes the next one
AHEAD_BYTES_MAX: Final = 16 * 1024 * 1024  # that wait to be sent; a larger batch waits alone
AHEAD_STACK_BYTES: Final = 256 * 1024
HEADS_MAX: Final = 64  # outputs of which it is remembered how their streams begin

OURS: Final = os.path.dirname(__file__)  # noqa: PTH120 - pathlib is one more import

PRINTED: Final = 2  # the descriptor of a pipe to the host

FRAME_END: Final = 0
FRAME_METRICS: Final = 0xFFFFFFFB
FRAME_SELECT: Final = 0xFFFFFFFD
FRAME_LOG: Final = 0xFFFFFFFE
FRAME_ERROR: Final = 0xFFFFFFFF


class UnusableOutputError(ValueError):
    """The parser gave something that cannot be sent; `kind` is a word for programs, `hint` what to change."""

    def __init__(self, reason: str, *, kind: str, hint: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint


class Channel:
    """Send frames. One lock around each, because a parser may log from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._sender = 0  # the thread that has the lock
        self._log_bytes = 0
        self._is_parted = False

    def receive_orders(self) -> dict[str, Any]:
        """Read a frame of the host's: {path_hex, settings, outputs}, and `more` if another one may follow."""
        (length,) = struct.unpack(">I", self._receive(4))
        if length > JSON_BYTES_MAX:
            raise ValueError(f"read orders: {length:,} bytes announced, at most {JSON_BYTES_MAX:,} are allowed")
        orders: dict[str, Any] = json.loads(self._receive(length))
        return orders

    def part(self) -> None:
        """Leave the socket to the parent, in a child that a parser has forked: frames of two processes would mix.

        What it logs is printed from now on, which the job's log has as well.
        """
        self._is_parted = True
        self._lock = threading.Lock()  # the thread that has the old one may not be there to let go
        self._connection.close()

    def batch(self, payload: Payload, select: int | None) -> None:
        """Send a batch; `select` is its output's index, where that is another one than before."""
        chosen = b"" if select is None else struct.pack(">III", FRAME_SELECT, 4, select)
        length = struct.pack(">I", sum(map(len, payload)))
        self._send(chosen + length + payload[0], *payload[1:])

    def error(self, payload: bytes) -> None:
        self._marked(FRAME_ERROR, payload)

    def end(self, metrics: bytes) -> None:
        """Send what the parser states of its input, if it does, and that all is said."""
        stated = struct.pack(">II", FRAME_METRICS, len(metrics)) + metrics if metrics else b""
        self._send(stated + struct.pack(">I", FRAME_END))

    def begin(self) -> None:
        """Count what is logged anew: each input has its own allowance."""
        with self._lock:
            self._log_bytes = 0

    def log(self, level: int, text: str, *, always: bool = False) -> None:
        """Send a line, cut to LOG_LINE_BYTES_MAX. After LOG_JOB_BYTES_MAX nothing is sent, save what is `always`."""
        whole = text.encode("utf-8", "backslashreplace")
        line = whole[-LOG_LINE_BYTES_MAX:] if always else whole[:LOG_LINE_BYTES_MAX]
        self._log_bytes += len(line)
        if always or self._log_bytes <= LOG_JOB_BYTES_MAX:
            self._marked(FRAME_LOG, bytes([max(1, min(level, 255))]) + line)

    def _marked(self, mark: int, payload: bytes) -> None:
        # Amid a frame only a destructor logs, which the collector happens to run there: it would wait for itself.
        if mark == FRAME_LOG and (self._is_parted or self._sender == threading.get_ident()):
            os.write(PRINTED, payload[1:] + b"\n")
            return
        self._send(struct.pack(">II", mark, len(payload)) + payload)

    def _send(self, *parts: Any) -> None:
        """Send all parts, as a rule in one call: each call may wake the host."""
        with self._lock:
            self._sender = threading.get_ident()
            try:
                sent = self._connection.sendmsg(parts)
                for part in parts:
                    if sent < len(part):
                        self._connection.sendall(memoryview(part)[sent:])
                    sent = max(0, sent - len(part))
            finally:
                self._sender = 0

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._connection.recv(size - len(data))
            if not piece:
                raise EOFError("read orders: the host closed the socket")
            data += piece
        return data


class Outbox:
    """Sends batches in their order: large ones on a thread of its own, because a send lasts until the host has read.

    What is sent was serialized before, so the parser may do with its arrays what it likes.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._selected = -1  # the output that the host takes the next batch to be of
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Payload, int | None]] = deque()  # the first is being sent
        self._waiting_bytes = 0
        self._fault: BaseException | None = None
        self._has_thread = False

    def begin(self) -> None:
        """Be ready for another input, of which the host knows no output yet."""
        self._selected = -1

    def put(self, payload: Payload, index: int) -> None:
        """Send a batch of an output, now or soon. Raises OSError, MemoryError, also for one that was put before."""
        select = None if index == self._selected else index
        self._selected = index
        size = sum(map(len, payload))
        if not self._waiting and (size < AHEAD_BYTES_MIN or not self._begun()):
            self.drain()
            self._channel.batch(payload, select)
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._waiting_bytes + size <= AHEAD_BYTES_MAX)
            self._refuse_faulty()
            self._waiting.append((payload, select))
            self._waiting_bytes += size
            self._changed.notify_all()

    def part(self) -> None:
        """Send nothing more, in a child that a parser has forked: all that waits is the parent's, as is the thread."""
        self._changed = threading.Condition()
        self._waiting.clear()
        self._fault = OSError("a process that the parser has forked has given rows, which its parent alone can")
        self._channel.part()

    def drain(self) -> None:
        """Return when all is sent. Raises what put raises."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
            self._refuse_faulty()

    def _refuse_faulty(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _begun(self) -> bool:
        """Return whether there is a thread, after trying to start it."""
        if not self._has_thread:
            before = threading.stack_size(AHEAD_STACK_BYTES)
            try:
                threading.Thread(target=self._send_all, name="outbox", daemon=True).start()
                self._has_thread = True
            except RuntimeError:  # the guest may start no more: it is sent as it comes
                return False
            finally:
                threading.stack_size(before)
        return True

    def _send_all(self) -> None:
        try:
            while True:  # each round sends a batch; it ends with the process, or with a fault
                self._send_next()
        # Whatever it is: who waits for this thread would wait for ever if it were not told.
        except BaseException as error:  # noqa: BLE001
            self._fault = error
            with self._changed:
                self._waiting.clear()
                self._changed.notify_all()

    def _send_next(self) -> None:
        """Wait for a batch and send it; a function of its own, so that nothing keeps its memory afterwards."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            payload, select = self._waiting[0]
        self._channel.batch(payload, select)
        with self._changed:
            self._waiting.popleft()
            self._waiting_bytes -= sum(map(len, payload))
            self._changed.notify_all()


SENDING: Final[list[Outbox]] = []  # that of the guest which this process is, of its parent none


def part_from_parent() -> None:
    """Be no guest, in a process that a parser forks: the host would take what it says for the guest's."""
    for outbox in SENDING:
        outbox.part()


os.register_at_fork(after_in_child=part_from_parent)


class ChannelHandler(logging.Handler):
    """Send what a parser logs through `logging` to the host; what it logs while it is loaded once for all goes nowhere.

    Made before guests are forked, because a guest pays for each page that it writes to.
    """

    channel: Channel | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.channel is not None:
                self.channel.log(record.levelno, self.format(record))
        except Exception:  # noqa: BLE001 - as every logging handler does: a bad log call must not end the parser
            self.handleError(record)


LOGGED: Final = ChannelHandler()


def send_logs(channel: Channel | None) -> None:
    """Have the root logger send to the channel, whatever the parser made of it when it was loaded."""
    LOGGED.channel = channel
    if logging.root.handlers != [LOGGED] or logging.root.level != logging.INFO:
        logging.basicConfig(level=logging.INFO, handlers=[LOGGED], force=True)


def main(descriptor: int, parser: ModuleType | None, load: Callable[[], ModuleType]) -> int:
    """Run one job, or those of a lease one after the other until one fails or the host has heard enough.

    Returns 0 for success, 1 for a permanent and 2 for a transient failure. `parser` is the module that the guest parent
    has loaded; None if each guest is to `load` it itself.
    """
    os.set_inheritable(descriptor, False)
    channel = Channel(socket.socket(fileno=descriptor))
    outbox = Outbox(channel)
    SENDING[:] = [outbox]
    channel.log(logging.DEBUG, f"guest ready: python {sys.version.split()[0]}, pyarrow {pa.__version__}")
    send_logs(channel)
    try:
        orders = channel.receive_orders()
        parser = parser or load()
        stated = send_job(outbox, parser, orders)
        while orders.get("more"):
            channel.end(stated)
            orders = channel.receive_orders()
            channel.begin()
            send_logs(channel)
            stated = send_job(outbox, parser, orders)
    # A parser may raise anything, SystemExit and KeyboardInterrupt included; all of it is the job's failure.
    except BaseException as error:  # noqa: BLE001
        channel.log(logging.ERROR, trace_of(error), always=True)
        said = describe(error)
        channel.error(json_bytes(said))
        return 2 if said["retryable"] else 1
    finally:
        SENDING.clear()
    channel.end(stated)
    return 0


def send_job(outbox: Outbox, parser: ModuleType, orders: dict[str, Any]) -> bytes:
    """Run the parser over the source and send all that it yields; return its statement as it is sent, if it has one."""
    indexes = {name: index for index, name in enumerate(orders["outputs"])}
    outbox.begin()
    try:
        path = os.fsdecode(bytes.fromhex(orders["path_hex"]))
        statement = _send_all(outbox, parser.parse(path, orders["settings"]), indexes)
    finally:
        outbox.drain()  # what was given before a failure is sent too, however quick that was
    return b"" if statement is None else _statement(statement)


def _send_all(outbox: Outbox, returned: Any, indexes: dict[str, int]) -> Any:
    """Send the batches that `parse` gives; return what it states."""
    yielded = _given(returned)
    while True:
        try:
            item = next(yielded)
        except StopIteration as finished:
            return finished.value
        for output, batches in _unpack(item):
            index = _index(indexes, output)
            for batch in batches:
                for payload in payloads(output, batch):
                    outbox.put(payload, index)


def _index(indexes: dict[str, int], output: str) -> int:
    """Return by which number the host knows an output."""
    if output not in indexes:
        raise UnusableOutputError(
            f"the parser yielded rows for {output!r}, which its outputs do not declare",
            kind="unknown_output",
            hint=f"declare it in `outputs`, or yield one of: {', '.join(indexes)}",
        )
    return indexes[output]


def _given(returned: Any) -> Iterator[Any]:
    """Return what `parse` gives, one after another, whether it is a generator or has returned all at once."""
    if _pair(returned) is not None:
        return iter([returned])
    try:
        return iter(returned)
    except TypeError as error:
        raise UnusableOutputError(
            f"`parse` returned {type(returned).__name__}, not rows",
            kind="bad_output",
            hint="make `parse` a generator: yield pairs of the output's name and a pyarrow RecordBatch or Table",
        ) from error


Payload = tuple[bytes, Any, bytes]  # the parts of one complete Arrow stream: schema, batch (a pa.Buffer), end


class Head(NamedTuple):
    """How the streams of a schema begin, and whether they may hold dictionaries: found out once for many batches."""

    schema: pa.Schema
    content: bytes
    coded: bool


_heads: dict[str, Head] = {}  # by output, the last one: also of the files before in a lease


def payloads(output: str, batch: pa.RecordBatch) -> Iterator[Payload]:
    """Serialize a batch as complete Arrow streams within ROWS_PER_BATCH_MAX and FRAME_BYTES_MAX, in row order."""
    head = _head(output, batch.schema)
    if head.coded:
        batch = _without_dictionaries(batch)
        head = _head_of(batch.schema)
    if head.coded:
        raise UnusableOutputError(
            f"a column of {output!r} has dictionaries inside its values",
            kind="bad_output",
            hint="cast it to its plain type: lists and structs are sent without dictionaries",
        )
    for start in range(0, max(batch.num_rows, 1), ROWS_PER_BATCH_MAX):
        yield from _within_frame(batch.slice(start, ROWS_PER_BATCH_MAX), head.content)


def _head(output: str, schema: pa.Schema) -> Head:
    kept = _heads.get(output)
    if kept is None or not kept.schema.equals(schema, check_metadata=True):
        if len(_heads) >= HEADS_MAX:
            _heads.clear()
        kept = _heads[output] = _head_of(schema)
    return kept


def _head_of(schema: pa.Schema) -> Head:
    coded = any("dictionary<" in str(field.type) for field in schema)
    return Head(schema, schema.serialize().to_pybytes(), coded)


def _without_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with plain columns: a dictionary is a message of its own, and a frame holds one batch."""
    columns: list[Any] = list(batch.columns)
    columns = [each.dictionary_decode() if pa.types.is_dictionary(each.type) else each for each in columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _within_frame(batch: pa.RecordBatch, head: bytes) -> Iterator[Payload]:
    # The memory behind a slice is told at once, its own bytes only after a look at each buffer: they are rarely needed.
    if batch.get_total_buffer_size() <= FRAME_BYTES_MAX or batch.nbytes <= FRAME_BYTES_MAX:
        payload: Payload = (head, batch.serialize(), END_OF_STREAM)
        if sum(map(len, payload)) <= FRAME_BYTES_MAX:
            yield payload
            return
    if batch.num_rows <= 1:
        raise UnusableOutputError(
            f"one row needs {batch.nbytes:,} bytes, at most {FRAME_BYTES_MAX:,} can be sent",
            kind="row_too_large",
            hint="split the value over several rows, or leave it out and state the record as skipped, with the reason",
        )
    half = batch.num_rows // 2
    yield from _within_frame(batch.slice(0, half), head)
    yield from _within_frame(batch.slice(half), head)


def _unpack(item: object) -> list[tuple[str, list[pa.RecordBatch]]]:
    """Return outputs with their batches, of one thing that the parser gave or of a list of such things."""
    return [_batches(each) for each in item] if isinstance(item, list) else [_batches(item)]


def _batches(item: object) -> tuple[str, list[pa.RecordBatch]]:
    match _pair(item):
        case (str(output), pa.RecordBatch() as batch):
            return output, [batch]
        case (str(output), pa.Table() as table):
            return output, table.to_batches(max_chunksize=ROWS_PER_BATCH_MAX)
    parts = ", ".join(type(part).__name__ for part in item[:3]) if isinstance(item, tuple) else type(item).__name__
    raise UnusableOutputError(
        f"the parser yielded ({parts})",
        kind="bad_output",
        hint="yield a pair: the output's name and a pyarrow RecordBatch or Table",
    )


def _pair(item: object) -> tuple[object, object] | None:
    """Return an output's name and its rows, if `item` is a pair, or has them as `name` and `data`; else None."""
    match item:
        case (str(output), (pa.RecordBatch() | pa.Table()) as data):
            return output, data
        case object(name=str(output), data=(pa.RecordBatch() | pa.Table()) as data):
            return output, data
        case _:
            return None


def _statement(stated: Any) -> bytes:
    """Return the metrics frame of what the parser returned: its first RANGES_MAX ranges and how many there were.

    {"unit": "records", "output": "evtx_events", "found": int, "unreadable": int,
     "skipped": int, "skips": [{"count": int, "reason": str}, ...],
     "ranges": [{"offset": int, "length": int, "reason": str}, ...]}
    where each row of one output, or of any in a list of them, is a unit; else without "output" and with
    "accepted": int. Or a list of such, for an input that is counted in several units.
    """
    try:
        wholes = [_with_total(each) for each in (stated if isinstance(stated, list | tuple) else [stated])]
        payload = json_bytes({"statements": wholes})
        while len(payload) > JSON_BYTES_MAX and any(whole["ranges"] for whole in wholes):
            for whole in wholes:
                whole["ranges"] = whole["ranges"][: len(whole["ranges"]) // 2]
            payload = json_bytes({"statements": wholes})
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise UnusableOutputError(
            f"the parser's statement of units cannot be sent: {error}",
            kind="bad_statement",
            hint="return None, a dict of unit, output, found, skipped, skips, unreadable and ranges, or a list of such",
        ) from error
    if len(payload) > JSON_BYTES_MAX:
        raise UnusableOutputError(
            f"the parser's statement of units has {len(payload):,} bytes, at most {JSON_BYTES_MAX:,} can be sent",
            kind="bad_statement",
            hint="return the known keys only: unit, output, accepted, found, skipped, skips, unreadable, ranges",
        )
    return payload


def _with_total(statement: Any) -> dict[str, Any]:
    ranges = list(statement.get("ranges", ()))
    return {"ranges_total": len(ranges), **statement, "ranges": ranges[:RANGES_MAX]}


def trace_of(error: BaseException) -> str:
    """Return the trace of an exception without the frames that led to the parser and say nothing of it."""
    trace = error.__traceback__
    while trace is not None and os.path.dirname(trace.tb_frame.f_code.co_filename) == OURS:  # noqa: PTH120
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip("\n")


def describe(error: BaseException) -> dict[str, Any]:
    """Return what the host is told of an exception: classes named PermanentError or TransientError classify themselves.

    Running out of memory and failing hardware may be better next time. Of any other exception nobody knows: `known` is
    false, and the log has it tried once more.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    classified = known = bool(names & {"PermanentError", "TransientError", "UnusableOutputError"})
    retryable, kind = "TransientError" in names and "PermanentError" not in names, "parser_error"
    hint = "see the job's log for the trace; the file may be damaged in a way that the parser does not expect"
    reason = f"{type(error).__name__}: {error}" if str(error) and not classified else str(error) or type(error).__name__
    if classified:
        kind, hint = getattr(error, "kind", None) or kind, getattr(error, "hint", None) or hint
    elif isinstance(error, MemoryError):
        known, retryable, kind, hint = True, True, "out_of_memory", "run again with fewer workers or more memory"
    elif isinstance(error, OSError) and error.errno == errno.EIO:
        known, retryable, kind, hint = True, True, "io_error", "check the disk that holds the source, then run again"
    said = {"error": reason[:4_000], "retryable": retryable, "kind": str(kind)[:64], "hint": str(hint)[:4_000]}
    return {**said, "known": known}


def json_bytes(value: object) -> bytes:
    """Return UTF-8 JSON. Half a surrogate pair (from a file name that is not UTF-8) becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
