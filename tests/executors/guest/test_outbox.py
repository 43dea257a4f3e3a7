"""Tests of the guest's end of the socket: what is sent while the parser goes on is what it gave, in its order."""

from __future__ import annotations

import logging
import socket
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from executors.guest import shim
from executors.guest.frames import GuestBatch, GuestEnd, GuestFailure
from tests.acceptance.terminal import eventually
from tests.executors.guest import test_shim
from tests.executors.guest.test_host import Seen, read, start_guest, told_of

SMALL, LARGE = b"s" * 10, b"l" * shim.AHEAD_BYTES_MIN
parents = test_shim.parents


class Host:
    """The other end of a guest's socket; it reads on a thread of its own, once it may."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.channel = shim.Channel(theirs)
        self.outbox = shim.Outbox(self.channel)
        self.may_read = threading.Event()
        self.got = bytearray()
        self._theirs = theirs
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        self.may_read.wait()
        while data := self.socket.recv(1024 * 1024):
            self.got += data

    def end(self) -> bytes:
        self.may_read.set()
        self._theirs.close()
        self._thread.join()
        self.socket.close()
        return bytes(self.got)


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.end()


def payload(content: bytes | bytearray) -> shim.Payload:
    return b"", content, b""


def frames(*sent: tuple[bytes, int | None]) -> bytes:
    """Return batches as they are to be sent, with the output that is chosen before."""
    told = b""
    for content, select in sent:
        chosen = b"" if select is None else b"\xff\xff\xff\xfd\0\0\0\4" + select.to_bytes(4, "big")
        told += chosen + len(content).to_bytes(4, "big") + content
    return told


def test_batches_of_every_size_are_sent_in_their_order(host: Host) -> None:
    for content, index in ((SMALL, 0), (LARGE, 0), (SMALL, 1), (LARGE, 1), (SMALL, 0)):
        host.outbox.put(payload(content), index)
    host.may_read.set()
    host.outbox.drain()
    assert host.end() == frames((SMALL, 0), (LARGE, None), (SMALL, 1), (LARGE, None), (SMALL, 0))


def test_a_large_batch_does_not_wait_until_it_is_read(host: Host) -> None:
    for _ in range(4):
        host.outbox.put(payload(LARGE), 0)
    assert host.got == b""
    host.may_read.set()
    host.outbox.drain()


def test_no_more_waits_than_is_allowed(host: Host) -> None:
    size = shim.AHEAD_BYTES_MAX // 2
    put = []

    def give() -> None:
        for number in range(4):
            host.outbox.put(payload(b"x" * size), 0)
            put.append(number)

    giver = threading.Thread(target=give)
    giver.start()
    giver.join(0.3)
    assert put == [0, 1], "the third would be more than may wait"
    host.may_read.set()
    giver.join()
    host.outbox.drain()
    assert len(host.end()) == 8 + 4 + 4 * (4 + size)


def test_a_batch_that_is_larger_than_what_may_wait_waits_alone(host: Host) -> None:
    host.may_read.set()
    for _ in range(3):
        host.outbox.put(payload(b"x" * (shim.AHEAD_BYTES_MAX + 1)), 0)
    host.outbox.drain()
    assert len(host.end()) == 8 + 4 + 3 * (4 + shim.AHEAD_BYTES_MAX + 1)


def test_who_gives_to_a_host_that_is_gone_is_told(host: Host) -> None:
    host.socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(BrokenPipeError):
        for _ in range(10):
            host.outbox.put(payload(LARGE), 0)
        host.outbox.drain()
    with pytest.raises(BrokenPipeError):
        host.outbox.put(payload(SMALL), 0)


def test_where_no_thread_can_be_started_a_batch_is_sent_as_it_comes(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    host.may_read.set()
    host.outbox.put(payload(LARGE), 0)
    assert host.end() == frames((LARGE, 0))


class Content(bytearray):
    """Bytes of which it can be told whether anybody still has them."""


def test_what_was_sent_is_kept_by_nobody(host: Host) -> None:
    """The last large batch counts against the memory of a parser that gives no other one for long."""
    host.may_read.set()
    content = Content(LARGE)
    kept = weakref.ref(content)
    host.outbox.put(payload(content), 0)
    del content
    host.outbox.drain()
    eventually(lambda: kept() is None, what="the batch to be let go of")


def test_whatever_ends_the_thread_is_told_to_who_waits_for_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_payload: shim.Payload, _select: int | None) -> None:
        raise MemoryError

    told: list[type[BaseException]] = []

    def give() -> None:
        for _ in range(2):
            try:
                host.outbox.put(payload(LARGE), 0)
                host.outbox.drain()
            except MemoryError as error:
                told.append(type(error))

    monkeypatch.setattr(shim.Channel, "batch", lambda _self, *given: fail(*given))
    giver = threading.Thread(target=give, daemon=True)
    giver.start()
    giver.join(10)
    assert told == [MemoryError, MemoryError]


def test_what_is_logged_amid_a_frame_is_printed(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    """As by a destructor that the collector runs there: it would wait for the lock that its own thread has."""
    channel = host.channel
    connection = channel._connection

    class Collecting:
        def sendmsg(self, parts: Sequence[bytes]) -> int:
            channel.log(logging.ERROR, "said by a destructor")
            return connection.sendmsg(parts)

        sendall = connection.sendall

    channel._connection = Collecting()  # type: ignore[assignment]  # the two calls that are made
    host.may_read.set()
    for content in (SMALL, LARGE):
        giver = threading.Thread(target=host.outbox.put, args=(payload(content), 0), daemon=True)
        giver.start()
        giver.join(10)
        assert not giver.is_alive(), "it waits for itself"
    host.outbox.drain()
    channel._connection = connection
    assert host.end() == frames((SMALL, 0), (LARGE, None))
    assert capfd.readouterr().err == "said by a destructor\n" * 2


HEAD = """
import logging, os
import pyarrow as pa
MEMORY = bytearray(8 * 50_000)
def batch(number):
    MEMORY[:] = number.to_bytes(8, "little") * 50_000
    numbers = pa.Array.from_buffers(pa.int64(), 50_000, [None, pa.py_buffer(MEMORY)])
    return pa.record_batch([numbers, pa.array(["t"] * 50_000)], names=["n", "text"])
"""


def seen_of(folder: Path, body: str) -> Seen:
    """Run a parser with this body."""
    parser = folder / "given.py"
    parser.write_text(f"{HEAD}\ndef parse(path, settings):\n{body}\n")
    return read(start_guest(told_of(folder, parser)))


def numbers(folder: Path, body: str) -> list[Any]:
    """Return the sum of the numbers of each batch that such a parser gives, and what else it says."""
    seen = seen_of(folder, body)
    return [pc.sum(each.batch.column(0)).as_py() if isinstance(each, GuestBatch) else each for each in seen.frames]


def test_a_parser_may_write_over_what_it_gave(tmp_path: Path) -> None:
    """An array over memory of the parser is sent as it was when it was given."""
    body = """
    for number in range(1, 30):
        yield "lines", batch(number)
"""
    assert numbers(tmp_path, body)[:-1] == [50_000 * number for number in range(1, 30)]


def test_all_that_was_given_before_a_failure_is_sent(tmp_path: Path) -> None:
    body = """
    for number in range(20):
        yield "lines", batch(1)
    raise ValueError("no more")
"""
    *sums, failure = numbers(tmp_path, body)
    assert sums == [50_000] * 20
    assert isinstance(failure, GuestFailure)
    assert failure.reason == "ValueError: no more"


def test_a_parser_may_fork_while_a_batch_is_sent(tmp_path: Path) -> None:
    body = """
    for number in range(10):
        yield "lines", batch(1)
        child = os.fork()
        if child == 0:
            logging.getLogger().handlers[0].channel._lock.acquire(timeout=5) or os._exit(7)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, "the child waits for a thread that it does not have"
"""
    *sums, end = numbers(tmp_path, body)
    assert sums == [50_000] * 10
    assert isinstance(end, GuestEnd), end


def test_what_forked_children_log_never_stands_amid_a_batch(tmp_path: Path) -> None:
    """The children of a pool, say: they have the guest's socket, too, and the host cannot tell who speaks."""
    body = """
    text = pa.array(["t" * 300] * 50_000)
    for number in range(5):
        yield "lines", pa.record_batch([batch(1).column(0), text], names=["n", "text"])
        child = os.fork()
        if child == 0:
            for line in range(50):
                logging.info("line %d of child %d", line, number)
            os._exit(0)
        os.waitpid(child, 0)
"""
    seen = seen_of(tmp_path, body)
    assert isinstance(seen.frames[-1], GuestEnd), seen.frames[-1]
    assert [each.batch.num_rows for each in seen.frames if isinstance(each, GuestBatch)] == [50_000] * 5
    assert all(f"line 49 of child {number}" in seen.log for number in range(5))


@pytest.mark.parametrize("end", ["return", "raise SystemExit(0)", 'yield "lines", batch(9)', 'yield "lines", small'])
def test_a_forked_child_says_nothing_for_its_parent(tmp_path: Path, end: str) -> None:
    """One that comes back from its work as if it were the parser would end the job, or give its rows twice."""
    body = f"""
    small = batch(9).slice(0, 10)
    for number in range(3):
        yield "lines", batch(1)
        child = os.fork()
        if child == 0:
            {end}
            return
        os.waitpid(child, 0)
"""
    *sums, last = numbers(tmp_path, body)
    assert sums == [50_000] * 3
    assert isinstance(last, GuestEnd), last
