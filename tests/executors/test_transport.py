"""Every transport keeps the same promises; nng's own traps are tried against real processes."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pynng
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executors.addresses import SOCKET_PATH_BYTES_MAX, remove_socket
from executors.errors import PeerGoneError, RequestTimedOutError, TransportError
from executors.memory_transport import MemoryHub
from executors.nng_transport import NngClient, NngServer
from executors.transport import Client, Handler, Reply, Server

SECONDS = 5.0  # for what is expected to happen; failing tests wait that long
BYTES_MAX = 10_000


class Wire:
    """One address of one implementation; closes what it made."""

    def __init__(self, make_server: Callable[[int], Server], make_client: Callable[[float], Client]) -> None:
        self._make_server = make_server
        self._make_client = make_client
        self._made: list[Server | Client] = []

    def server(self, handler: Handler, *, contexts: int = 4) -> Server:
        server = self._make_server(contexts)
        self._made.append(server)
        server.serve(handler)
        return server

    def client(self, *, dial_timeout_seconds: float = SECONDS) -> Client:
        client = self._make_client(dial_timeout_seconds)
        self._made.append(client)
        return client

    def close(self) -> None:
        for end in reversed(self._made):
            end.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for a socket, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="wire-") as name:
        yield Path(name)


def nng_wire(folder: Path) -> Wire:
    address = f"ipc://{folder}/socket"
    return Wire(
        lambda contexts: NngServer(address, contexts=contexts, message_bytes_max=BYTES_MAX),
        lambda seconds: NngClient(address, dial_timeout_seconds=seconds, message_bytes_max=BYTES_MAX),
    )


def memory_wire(_folder: Path) -> Wire:
    hub = MemoryHub(message_bytes_max=BYTES_MAX)
    return Wire(
        lambda contexts: hub.server(contexts=contexts), lambda seconds: hub.client(dial_timeout_seconds=seconds)
    )


@pytest.fixture(params=[nng_wire, memory_wire], ids=["nng", "memory"])
def wire(request: pytest.FixtureRequest, folder: Path) -> Iterator[Wire]:
    wire: Wire = request.param(folder)
    yield wire
    wire.close()


def echo(message: bytes, reply: Reply) -> None:
    reply(message)


class Held:
    """A handler that keeps every request; tests answer them when they like."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self.requests: list[tuple[bytes, Reply]] = []

    def __call__(self, message: bytes, reply: Reply) -> None:
        with self._arrived:
            self.requests.append((message, reply))
            self._arrived.notify_all()

    def wait(self, count: int) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.requests) >= count, SECONDS)


# --- the contract ----------------------------------------------------------------------------------------------------


def test_a_request_returns_its_answer(wire: Wire) -> None:
    wire.server(lambda message, reply: reply(message[::-1]))
    assert wire.client().request(b"\0abc\xff", timeout_seconds=SECONDS) == b"\xffcba\0"


def test_messages_up_to_the_limit_pass_and_larger_ones_are_refused_before_they_are_sent(wire: Wire) -> None:
    seen: list[int] = []

    def measure(message: bytes, reply: Reply) -> None:
        seen.append(len(message))
        reply(message)

    wire.server(measure)
    client = wire.client()
    assert len(client.request(b"x" * BYTES_MAX, timeout_seconds=SECONDS)) == BYTES_MAX
    for wrong in (b"", b"x" * (BYTES_MAX + 1)):
        with pytest.raises(TransportError, match=f"{len(wrong)} bytes, but a message has 1 to {BYTES_MAX}"):
            client.request(wrong, timeout_seconds=SECONDS)
    assert seen == [BYTES_MAX]
    assert client.request(b"still there", timeout_seconds=SECONDS) == b"still there"


def test_a_reply_may_come_later_and_from_another_thread(wire: Wire) -> None:
    held = Held()
    wire.server(held)
    client = wire.client()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.request, b"question", timeout_seconds=SECONDS)
        held.wait(1)
        held.requests[0][1](b"answer")
        assert asked.result(SECONDS) == b"answer"


def test_answers_out_of_order_reach_their_own_requests(wire: Wire) -> None:
    held = Held()
    wire.server(held)
    clients = [wire.client(), wire.client()]
    with ThreadPoolExecutor(4) as pool:
        asked = {
            name: pool.submit(clients[number % 2].request, name, timeout_seconds=SECONDS)
            for number, name in enumerate([b"a", b"b", b"c", b"d"])
        }
        held.wait(4)
        for message, reply in reversed(held.requests):
            reply(message * 2)
        assert {name: future.result(SECONDS) for name, future in asked.items()} == {
            name: name * 2 for name in (b"a", b"b", b"c", b"d")
        }


def test_more_requests_than_contexts_wait_their_turn_and_are_all_answered(wire: Wire) -> None:
    held = Held()
    wire.server(held, contexts=2)
    client = wire.client()
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(client.request, bytes([65 + n]), timeout_seconds=SECONDS) for n in range(6)]
        held.wait(2)
        time.sleep(0.05)
        assert len(held.requests) == 2
        for number in range(6):
            held.wait(number + 1)
            message, reply = held.requests[number]
            reply(message)
        assert sorted(future.result(SECONDS) for future in asked) == [b"A", b"B", b"C", b"D", b"E", b"F"]


def test_the_handler_runs_on_one_thread_for_one_message_at_a_time(wire: Wire) -> None:
    threads: set[int] = set()
    inside = threading.Lock()
    overlaps: list[bytes] = []

    def watchful(message: bytes, reply: Reply) -> None:
        threads.add(threading.get_ident())
        if not inside.acquire(blocking=False):
            overlaps.append(message)
            reply(message)
            return
        time.sleep(0.005)
        inside.release()
        reply(message)

    wire.server(watchful)
    client = wire.client()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: client.request(bytes([65 + n]), timeout_seconds=SECONDS), range(12)))
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert overlaps == []


def test_a_second_reply_is_refused_and_the_first_stands(wire: Wire) -> None:
    refused: list[str] = []

    def twice(_message: bytes, reply: Reply) -> None:
        reply(b"first")
        try:
            reply(b"second")
        except AssertionError as error:
            refused.append(str(error))

    wire.server(twice)
    client = wire.client()
    assert client.request(b"x", timeout_seconds=SECONDS) == b"first"
    assert client.request(b"y", timeout_seconds=SECONDS) == b"first"
    assert refused == ["a request was answered twice; reply exactly once"] * 2


def test_an_answer_that_is_empty_or_too_large_is_refused_and_the_request_stays_open(wire: Wire) -> None:
    refused: list[str] = []

    def clumsy(_message: bytes, reply: Reply) -> None:
        for wrong in (b"", b"x" * (BYTES_MAX + 1)):
            try:
                reply(wrong)
            except ValueError as error:
                refused.append(str(error))
        reply(b"right")

    wire.server(clumsy)
    assert wire.client().request(b"x", timeout_seconds=SECONDS) == b"right"
    assert len(refused) == 2


def test_a_handler_that_raises_closes_its_own_request_only(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    held = Held()

    def picky(message: bytes, reply: Reply) -> None:
        if message == b"bad":
            raise KeyError("no such job")
        held(message, reply)

    wire.server(picky)
    client = wire.client()
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.ERROR, "casparian.transport"):
        good = pool.submit(client.request, b"good", timeout_seconds=SECONDS)
        held.wait(1)
        with pytest.raises(TransportError, match="the peer failed on this request") as caught:
            client.request(b"bad", timeout_seconds=SECONDS)
        held.requests[0][1](b"answer")
        assert good.result(SECONDS) == b"answer"
    assert type(caught.value) is TransportError
    assert [(record.name, record.exc_info is not None) for record in caplog.records] == [("casparian.transport", True)]


def test_a_handler_that_raises_after_its_reply_has_answered(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    def late(message: bytes, reply: Reply) -> None:
        reply(message)
        raise KeyError("too late to matter")

    wire.server(late)
    with caplog.at_level(logging.ERROR, "casparian.transport"):
        assert wire.client().request(b"x", timeout_seconds=SECONDS) == b"x"


def test_a_request_without_an_answer_times_out_at_its_own_time(wire: Wire) -> None:
    held = Held()
    wire.server(held)
    client = wire.client()
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(client.request, b"long", timeout_seconds=SECONDS)
        held.wait(1)
        started = time.monotonic()
        with pytest.raises(RequestTimedOutError, match=r"no answer within 0.1 s"):
            client.request(b"short", timeout_seconds=0.1)
        assert 0.1 <= time.monotonic() - started < 3
        held.requests[0][1](b"answer")
        assert long.result(SECONDS) == b"answer"


def test_an_answer_after_the_timeout_goes_nowhere_and_the_client_goes_on(wire: Wire) -> None:
    held = Held()
    wire.server(held, contexts=1)
    client = wire.client()
    with pytest.raises(RequestTimedOutError):
        client.request(b"slow", timeout_seconds=0.05)
    held.wait(1)
    held.requests[0][1](b"too late")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.request, b"next", timeout_seconds=SECONDS)
        held.wait(2)
        held.requests[1][1](b"in time")
        assert asked.result(SECONDS) == b"in time"


def test_a_server_that_closes_ends_requests_under_way_and_later_ones_at_once(wire: Wire) -> None:
    held = Held()
    server = wire.server(held, contexts=1)
    client = wire.client()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.request, b"x", timeout_seconds=SECONDS) for _ in range(2)]  # one held, one queued
        held.wait(1)
        started = time.monotonic()
        server.close()
        for future in asked:
            with pytest.raises(PeerGoneError, match="the peer has gone"):
                future.result(SECONDS)
        with pytest.raises(PeerGoneError):
            client.request(b"x", timeout_seconds=SECONDS)
        assert time.monotonic() - started < 3
    held.requests[0][1](b"nobody hears this")
    server.close()


def test_a_client_stays_gone_when_a_new_server_takes_the_address(wire: Wire) -> None:
    wire.server(echo).close()
    first = wire.server(echo)
    old = wire.client()
    first.close()
    wire.server(echo)
    with pytest.raises(PeerGoneError):
        old.request(b"x", timeout_seconds=SECONDS)
    assert wire.client().request(b"x", timeout_seconds=SECONDS) == b"x"


def test_a_client_connects_to_a_server_that_starts_a_little_later(wire: Wire) -> None:
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(wire.client)
        time.sleep(0.1)
        wire.server(echo)
        assert made.result(SECONDS).request(b"x", timeout_seconds=SECONDS) == b"x"


def test_a_client_that_finds_nobody_says_so_in_bounded_time(wire: Wire) -> None:
    started = time.monotonic()
    with pytest.raises(PeerGoneError, match=r"nobody listened within 0.2 s"):
        wire.client(dial_timeout_seconds=0.2)
    assert 0.2 <= time.monotonic() - started < 3


def test_an_address_where_somebody_listens_is_refused(wire: Wire) -> None:
    server = wire.server(echo)
    with pytest.raises(TransportError, match=f"listen on {server.address}: somebody listens there already"):
        wire.server(echo)
    assert wire.client().request(b"x", timeout_seconds=SECONDS) == b"x"


def test_closing_a_client_ends_its_requests_and_leaves_the_server_to_others(wire: Wire) -> None:
    held = Held()
    wire.server(held)
    closing, other = wire.client(), wire.client()
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(closing.request, b"x", timeout_seconds=SECONDS)
        held.wait(1)
        kept = pool.submit(other.request, b"y", timeout_seconds=SECONDS)
        held.wait(2)
        closing.close()
        closing.close()
        with pytest.raises(TransportError, match="this client was closed"):
            asked.result(1)
        with pytest.raises(TransportError, match="this client was closed"):
            closing.request(b"x", timeout_seconds=SECONDS)
        for _, reply in held.requests:
            reply(b"answer")
        assert kept.result(SECONDS) == b"answer"


@pytest.mark.parametrize("closing", ["server", "client"])
def test_an_end_that_closes_at_any_moment_of_a_request_neither_hangs_nor_ends_the_process(
    wire: Wire, closing: str
) -> None:
    for round_number in range(60):
        server = wire.server(echo if round_number % 2 else Held())
        client = wire.client()
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(client.request, b"x", timeout_seconds=SECONDS) for _ in range(2)]
            time.sleep(round_number % 15 / 10_000)
            started = time.monotonic()
            (server if closing == "server" else client).close()
            for future in asked:
                error = future.exception(SECONDS)
                assert error is None or isinstance(error, TransportError)
                assert not isinstance(error, RequestTimedOutError)
            assert time.monotonic() - started < 3
        client.close()
        server.close()


@settings(max_examples=20, deadline=None)
@given(messages=st.lists(st.binary(min_size=1, max_size=2000), max_size=12))
def test_any_bytes_come_back_as_they_were_from_several_threads(messages: list[bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="wire-") as name:
        for wire in (nng_wire(Path(name)), memory_wire(Path(name))):
            wire.server(echo)
            client = wire.client()
            with ThreadPoolExecutor(4) as pool:
                asked = pool.map(lambda message: client.request(message, timeout_seconds=SECONDS), messages)  # noqa: B023
                assert list(asked) == messages
            wire.close()


# --- nng alone -------------------------------------------------------------------------------------------------------

SERVER_PROGRAM = """
import sys, time
from executors.nng_transport import NngServer
server = NngServer(sys.argv[1])
server.serve(lambda message, reply: None if message == b"hold" else reply(message))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def peer(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server in a process of its own that answers everything but `hold`."""
    address = f"ipc://{folder}/peer"
    with subprocess.Popen([sys.executable, "-c", SERVER_PROGRAM, address], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process, address
        process.kill()


def test_a_killed_peer_is_noticed_during_a_request(
    peer: tuple[subprocess.Popen[bytes], str], capfd: pytest.CaptureFixture[str]
) -> None:
    process, address = peer
    client = NngClient(address)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.request, b"hold", timeout_seconds=30)
        assert client.request(b"x", timeout_seconds=SECONDS) == b"x"
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(PeerGoneError):
            asked.result(SECONDS)
        assert time.monotonic() - started < 3
    with pytest.raises(PeerGoneError):
        client.request(b"x", timeout_seconds=30)
    client.close()
    assert capfd.readouterr() == ("", "")


def test_a_stopped_peer_times_out_and_answers_again_when_it_goes_on(
    peer: tuple[subprocess.Popen[bytes], str],
) -> None:
    process, address = peer
    client = NngClient(address)
    assert client.request(b"w", timeout_seconds=SECONDS) == b"w"
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # it may answer until then
    with pytest.raises(RequestTimedOutError):
        client.request(b"x", timeout_seconds=0.2)
    with pytest.raises(PeerGoneError):
        NngClient(address, dial_timeout_seconds=0.2)
    process.send_signal(signal.SIGCONT)
    assert client.request(b"y", timeout_seconds=SECONDS) == b"y"
    client.close()


def test_a_stale_socket_file_is_taken_over(peer: tuple[subprocess.Popen[bytes], str]) -> None:
    process, address = peer
    process.kill()
    process.wait(SECONDS)
    assert Path(address.removeprefix("ipc://")).is_socket()
    server = NngServer(address)
    server.serve(echo)
    client = NngClient(address)
    assert client.request(b"x", timeout_seconds=SECONDS) == b"x"
    client.close()
    server.close()


def test_the_socket_file_is_gone_after_close(folder: Path) -> None:
    server = NngServer(f"ipc://{folder}/socket")
    server.serve(echo)
    assert (folder / "socket").is_socket()
    server.close()
    assert list(folder.iterdir()) == []


def test_a_server_that_never_served_closes(folder: Path) -> None:
    NngServer(f"ipc://{folder}/socket").close()
    assert list(folder.iterdir()) == []


def test_a_message_over_the_limit_from_a_foreign_peer_costs_only_its_connection(folder: Path) -> None:
    address = f"ipc://{folder}/socket"
    server = NngServer(address, message_bytes_max=BYTES_MAX)
    server.serve(echo)
    client = NngClient(address)
    with pynng.Req0(resend_time=-1, recv_timeout=1000, dial=address, block_on_dial=True) as foreign:
        foreign.send(b"x" * (BYTES_MAX + 1))
        with pytest.raises(pynng.ConnectionReset):
            foreign.recv()
    assert client.request(b"x", timeout_seconds=SECONDS) == b"x"
    client.close()
    server.close()


def test_an_answer_over_the_clients_limit_ends_the_connection_instead_of_filling_memory(folder: Path) -> None:
    address = f"ipc://{folder}/socket"
    server = NngServer(address)
    server.serve(lambda _message, reply: reply(b"x" * 2000))
    client = NngClient(address, message_bytes_max=1000)
    with pytest.raises(PeerGoneError):
        client.request(b"x", timeout_seconds=SECONDS)
    client.close()
    server.close()


def test_a_peer_that_does_not_speak_nng_disturbs_nobody(folder: Path) -> None:
    server = NngServer(f"ipc://{folder}/socket")
    server.serve(echo)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(folder / "socket"))
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        client = NngClient(server.address)
        assert client.request(b"x", timeout_seconds=SECONDS) == b"x"
        client.close()
    server.close()


def test_ends_that_were_never_closed_do_not_keep_a_process_from_ending(folder: Path) -> None:
    program = """
import sys
from executors.nng_transport import NngClient, NngServer
server = NngServer(sys.argv[1])
server.serve(lambda message, reply: reply(message))
clients = [NngClient(sys.argv[1]) for _ in range(3)]
assert clients[0].request(b"x", timeout_seconds=5) == b"x"
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, f"ipc://{folder}/socket"],
        capture_output=True,
        timeout=10,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_many_servers_and_clients_leave_no_threads_and_no_descriptors(folder: Path) -> None:
    def descriptors() -> int:
        gc.collect()  # what other tests left behind would be counted before and gone after
        return len(list(Path("/proc/self/fd").iterdir()))

    def once() -> None:
        wire = nng_wire(folder)
        wire.server(echo)
        assert wire.client().request(b"x", timeout_seconds=SECONDS) == b"x"
        wire.close()

    once()
    before = threading.active_count(), descriptors()
    for _ in range(20):
        once()
    assert (threading.active_count(), descriptors()) == before


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("tcp://127.0.0.1:9", "not of the form ipc:///absolute/path"),
        ("ipc://relative", "not of the form ipc:///absolute/path"),
        ("ipc:///a\0b", "not of the form ipc:///absolute/path"),
        ("ipc:///\udcff", "not UTF-8"),
        ("ipc:///" + "x" * SOCKET_PATH_BYTES_MAX, "108 bytes of path, at most 107"),
    ],
)
def test_an_address_that_cannot_be_a_socket_file_is_refused(address: str, why: str) -> None:
    for use in (NngServer, NngClient, remove_socket):
        with pytest.raises(TransportError, match=why):
            use(address)


def test_a_folder_that_does_not_exist_cannot_be_listened_in(folder: Path) -> None:
    with pytest.raises(TransportError, match=r"listen on ipc:///.*/missing/socket: "):
        NngServer(f"ipc://{folder}/missing/socket").serve(echo)
