"""Each connection is answered in turn on its own thread: what one peer does or leaves undone concerns it alone."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pynng
import pytest

from cli import connections
from cli.connections import Connections
from cli.wire import FRAME, NUMBER, Requester
from executors.errors import PeerGoneError, TransportError
from tests.acceptance.terminal import eventually
from tests.peers import RawPeer

SECONDS = 5.0
BYTES_MAX = 100_000


@pytest.fixture
def address() -> Iterator[str]:
    """An address in a folder whose name is short enough for a socket, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="wire-") as name:
        yield f"ipc://{name}/socket"


@contextmanager
def listening(address: str, answer: Callable[[bytes], bytes]) -> Iterator[Connections]:
    server = Connections(address, answer=answer, message_bytes_max=BYTES_MAX)
    server.start()
    try:
        yield server
    finally:
        server.close()


def reversed_(message: bytes) -> bytes:
    return message[::-1]


def requester(address: str) -> Requester:
    return Requester(Path(address.removeprefix("ipc://")), message_bytes_max=BYTES_MAX, dial_seconds=SECONDS)


def threads() -> int:
    return sum(thread.name == "control request" for thread in threading.enumerate())


def test_who_asks_with_nng_is_answered(address: str) -> None:
    with listening(address, reversed_), pynng.Req0(dial=address) as asking:
        for message in (b"abc", b"\0\xff" * 30_000):
            asking.send(message)
            assert asking.recv() == message[::-1]


def test_many_at_once_are_answered_each_with_its_own(address: str) -> None:
    with listening(address, reversed_):
        askers = [requester(address) for _ in range(20)]
        for turn in range(3):
            for number, asker in enumerate(askers):
                message = f"{turn}.{number}".encode()
                assert asker.request(message, timeout_seconds=SECONDS) == message[::-1]
        for asker in askers:
            asker.close()
        eventually(lambda: threads() == 0, seconds=SECONDS, what="the threads of those that left to end")


def test_one_that_takes_long_keeps_no_other_waiting(address: str) -> None:
    go_on = threading.Event()

    def answer(message: bytes) -> bytes:
        assert message != b"slow" or go_on.wait(SECONDS)
        return message

    with listening(address, answer):
        slow, quick = requester(address), requester(address)
        answers: list[bytes] = []
        asking = threading.Thread(target=lambda: answers.append(slow.request(b"slow", timeout_seconds=SECONDS)))
        asking.start()
        for _ in range(50):
            assert quick.request(b"quick", timeout_seconds=1.0) == b"quick"
        assert answers == []
        go_on.set()
        asking.join()
        assert answers == [b"slow"]
        slow.close()
        quick.close()


def test_readers_that_never_read_and_messages_that_never_end_keep_nobody_waiting(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.3)
    with listening(address, lambda message: message * 400), ExitStack() as stack:
        for _ in range(10):
            deaf = stack.enter_context(RawPeer(address))
            with suppress(BrokenPipeError):  # a slow machine may be so slow that it is hung up on in the middle
                for _ in range(50):
                    deaf.send(b"x" * 200)
            half = stack.enter_context(RawPeer(address))
            half.socket.sendall(FRAME.pack(1, 1000) + b"y" * 10)
        silent = stack.enter_context(RawPeer(address))
        asker = requester(address)
        assert asker.request(b"x", timeout_seconds=SECONDS) == b"x" * 400
        eventually(lambda: threads() == 2, seconds=SECONDS, what="the others to be hung up on")
        silent.greet()
        assert silent.ask(b"z") == b"z" * 400  # silence alone is no offence
        asker.close()


def test_where_all_places_are_taken_who_was_silent_longest_has_to_go(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 3)
    with listening(address, reversed_):
        oldest, second, third = (requester(address) for _ in range(3))
        assert oldest.request(b"ab", timeout_seconds=SECONDS) == b"ba"
        newest = requester(address)
        for each in (oldest, third, newest):
            assert each.request(b"ab", timeout_seconds=SECONDS) == b"ba"
        with pytest.raises(PeerGoneError):
            second.request(b"ab", timeout_seconds=SECONDS)
        for each in (oldest, second, third, newest):
            each.close()


def test_where_all_are_being_answered_one_more_is_turned_away(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 1)
    go_on, begun = threading.Event(), threading.Event()

    def answer(message: bytes) -> bytes:
        begun.set()
        assert go_on.wait(SECONDS)
        return message

    with listening(address, answer):
        busy = requester(address)
        answers: list[bytes] = []
        asking = threading.Thread(target=lambda: answers.append(busy.request(b"x", timeout_seconds=SECONDS)))
        asking.start()
        assert begun.wait(SECONDS)
        with pytest.raises(PeerGoneError):
            requester(address)
        go_on.set()
        asking.join()
        assert answers == [b"x"]
        busy.close()


@pytest.mark.parametrize("number", [0, 1, 0x7FFF_FFFF])
def test_a_request_without_a_number_ends_its_connection(address: str, number: int) -> None:
    with listening(address, reversed_), RawPeer(address) as peer:
        peer.greet()
        peer.socket.sendall(FRAME.pack(1, 5) + NUMBER.pack(number) + b"x")
        with pytest.raises(ConnectionError):
            peer.receive()


def test_a_server_that_closes_ends_requests_under_way_at_once(address: str) -> None:
    go_on = threading.Event()

    def answer(message: bytes) -> bytes:
        go_on.wait(SECONDS)
        return message

    with listening(address, answer) as server:
        asker = requester(address)
        ending = threading.Timer(0.1, server.close)
        ending.start()
        begin = time.monotonic()
        with pytest.raises(PeerGoneError):
            asker.request(b"x", timeout_seconds=SECONDS)
        assert time.monotonic() - begin < 3
        go_on.set()
        asker.close()
        ending.join()
        with pytest.raises(PeerGoneError):
            requester(address)
        assert not Path(address.removeprefix("ipc://")).exists()


def test_an_address_that_cannot_be_had_is_told(address: str) -> None:
    with (
        listening(address, reversed_),
        pytest.raises(TransportError, match=f"listen on {address}: Address already in use"),
    ):
        Connections(address, answer=reversed_, message_bytes_max=BYTES_MAX).start()
