"""A message crosses the control socket as nng would send it, however it is cut up; what is none ends its connection."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pynng
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.wire import FRAME, HELLO, MAGIC, PARTS, Pipe, Requester, dial
from executors.errors import PeerGoneError, RequestTimedOutError, TransportError

SECONDS = 5.0
BYTES_MAX = 10_000


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for a socket, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="wire-") as name:
        yield Path(name)


def pair(*, seconds: float = SECONDS) -> tuple[socket.socket, Pipe]:
    """Return a raw end, and the pipe at the other one."""
    raw, connected = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return raw, Pipe(connected, part="rep", message_bytes_max=BYTES_MAX, seconds=seconds)


@settings(max_examples=50, deadline=None)
@given(messages=st.lists(st.binary(max_size=300), max_size=8), cut=st.integers(1, 97))
def test_messages_come_whole_and_in_order_wherever_the_bytes_are_cut(messages: list[bytes], cut: int) -> None:
    raw, pipe = pair()
    data = b"".join(FRAME.pack(1, len(message)) + message for message in messages)

    def say() -> None:
        for start in range(0, len(data), cut):
            raw.sendall(data[start : start + cut])

    speaking = threading.Thread(target=say)
    speaking.start()
    assert [pipe.receive() for _ in messages] == messages
    speaking.join()
    raw.close()
    with pytest.raises(PeerGoneError):
        pipe.receive()
    pipe.close()


@pytest.mark.parametrize("length", [BYTES_MAX + 5, 2**40, 2**64 - 1])
def test_a_message_that_says_to_be_too_long_is_refused_before_it_comes(length: int) -> None:
    raw, pipe = pair()
    raw.sendall(FRAME.pack(1, length))
    with pytest.raises(TransportError, match=f"{length:,} bytes, at most 10,004 are taken"):
        pipe.receive()
    raw.close()
    pipe.close()


@pytest.mark.parametrize(
    "hello",
    [b"GET / HT", HELLO.pack(MAGIC, PARTS["rep"], 0), HELLO.pack(MAGIC, PARTS["req"], 1), HELLO.pack(b"\0SP\1", 48, 0)],
)
def test_who_takes_no_fitting_part_is_refused(hello: bytes) -> None:
    raw, pipe = pair()
    raw.sendall(hello)
    with pytest.raises(TransportError, match="does not speak this protocol"):
        pipe.greet()
    raw.close()
    pipe.close()


def test_half_a_message_ends_the_connection(folder: Path) -> None:
    """Nothing could follow it: the other side would take what comes for the rest."""
    raw, pipe = pair(seconds=0.2)
    with pytest.raises(TimeoutError):
        pipe.send(b"x" * 4_000_000)
    raw.settimeout(SECONDS)
    while raw.recv(1_000_000):
        continue
    raw.close()
    pipe.close()


# --- held to nng -----------------------------------------------------------------------------------------------------


def test_a_question_to_nng_is_answered_by_it(folder: Path) -> None:
    with pynng.Rep0(listen=f"ipc://{folder}/socket") as server:
        requester = Requester(folder / "socket", message_bytes_max=BYTES_MAX, dial_seconds=SECONDS)

        def answer() -> None:
            for _ in range(3):
                server.send(server.recv()[::-1])

        answering = threading.Thread(target=answer)
        answering.start()
        for message in (b"a", b"\0\xff" * 2000, b"abc"):
            assert requester.request(message, timeout_seconds=SECONDS) == message[::-1]
        answering.join()
        requester.close()


def test_an_answer_that_comes_too_late_is_passed_over(folder: Path) -> None:
    with pynng.Rep0(listen=f"ipc://{folder}/socket") as server:
        requester = Requester(folder / "socket", message_bytes_max=BYTES_MAX, dial_seconds=SECONDS)
        begin = time.monotonic()
        with pytest.raises(RequestTimedOutError, match=r"no answer within 0.1 s"):
            requester.request(b"slow", timeout_seconds=0.1)
        assert 0.1 <= time.monotonic() - begin < 3
        server.send(server.recv())

        def answer() -> None:
            server.send(server.recv())

        answering = threading.Thread(target=answer)
        answering.start()
        assert requester.request(b"next", timeout_seconds=SECONDS) == b"next"
        answering.join()
        requester.close()


def test_a_peer_that_goes_is_noticed_at_once_and_stays_gone(folder: Path) -> None:
    server = pynng.Rep0(listen=f"ipc://{folder}/socket")
    requester = Requester(folder / "socket", message_bytes_max=BYTES_MAX, dial_seconds=SECONDS)
    ending = threading.Timer(0.1, server.close)
    ending.start()
    begin = time.monotonic()
    for _ in range(2):
        with pytest.raises(PeerGoneError, match="the peer has gone"):
            requester.request(b"x", timeout_seconds=SECONDS)
    assert time.monotonic() - begin < 3
    requester.close()
    ending.join()


def test_a_request_that_is_empty_or_too_long_is_not_sent(folder: Path) -> None:
    with pynng.Rep0(listen=f"ipc://{folder}/socket", recv_timeout=50) as server:
        requester = Requester(folder / "socket", message_bytes_max=BYTES_MAX, dial_seconds=SECONDS)
        for wrong in (b"", b"x" * (BYTES_MAX + 1)):
            with pytest.raises(TransportError, match=f"{len(wrong)} bytes, but a message has 1 to {BYTES_MAX}"):
                requester.request(wrong, timeout_seconds=SECONDS)
        with pytest.raises(pynng.Timeout):
            server.recv()
        requester.close()


def test_where_nobody_answers_is_nobody(folder: Path) -> None:
    mute = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mute.bind(str(folder / "mute"))
    mute.listen(1)
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(str(folder / "stale"))
    stale.close()
    (folder / "file").write_text("no socket")
    for name in ("mute", "stale", "file", "absent", "x" * 200):
        begin = time.monotonic()
        with pytest.raises(PeerGoneError, match="check that the sentinel runs"):
            dial(folder / name, part="req", message_bytes_max=BYTES_MAX, seconds=0.2)
        assert time.monotonic() - begin < 3
    mute.close()
