"""Peers that mean harm, on both sockets of a real sentinel: refused, counted, never fatal; work goes on after them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from cli.messages import VERSION
from cli.roster import STRANGERS_MAX
from executors.protocol import HEADER, PROTOCOL_VERSION, OpCode
from tests.acceptance import driver
from tests.acceptance.crashes import FixtureTerminal, write_source
from tests.acceptance.terminal import eventually
from tests.acceptance.test_metrics import one, told
from tests.acceptance.test_service import sentinel
from tests.peers import FRAME, HELLO, REP, REQ, SUB, RawPeer

pytestmark = pytest.mark.acceptance

SOCKETS = ("control", "executors")
CONNECTIONS = 200


class Target:
    """A sentinel under attack: where it listens, and whether it is still whole."""

    def __init__(self, terminal: FixtureTerminal) -> None:
        self.terminal = terminal
        control = (terminal.home / "tmp" / "control.address").read_text().strip()
        others = {name: control.removesuffix("control") + name for name in ("executors", "tail")}
        self.address = {"control": control} | others

    def errors(self, socket: str) -> float:
        return one(told(self.terminal), "protocol_errors_total", socket=socket)

    def check_at_work(self, name: str = "case") -> None:
        """An ordinary run does what it always does."""
        case = self.terminal.folder / name
        for number in range(2):
            write_source(case / f"{number}.txt", "normal", lines=3 + number, seed=len(name))
        done = self.terminal.finish(case)
        assert (done.code, done.json["processed"]) == (0, 2), done.err


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    terminal = FixtureTerminal(tmp_path)
    terminal.env[driver.SHORT_WAITS] = "yes"  # a lease that a peer took along is over in seconds
    with sentinel(terminal, workers=1):
        target = Target(terminal)
        yield target
        target.check_at_work()
    assert terminal.casparian("log", "verify").code == 0
    assert terminal.casparian("replay", "--check").code == 0


def said(op: int, payload: object, *, job: int = 0, version: int = PROTOCOL_VERSION, length: int = -1) -> bytes:
    """Return a message to the executors' socket, as wrong as it is asked for."""
    body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    return HEADER.pack(version, op, 0, job, len(body) if length < 0 else length) + body


def op_of(answer: bytes) -> int:
    return int(HEADER.unpack_from(answer)[1])


def asked(request: dict[str, Any], *, request_id: str = "hostile-1", version: object = VERSION) -> bytes:
    return json.dumps({"version": version, "id": request_id, "actor": "cli:eve", "request": request}).encode()


def identify(name: str, **other: object) -> bytes:
    facts = {"executor": name, "pid": 4, "host": "h", "version": "0", "capacity": 1}
    return said(OpCode.IDENTIFY, facts | other)


def idle(name: str) -> bytes:
    return said(OpCode.HEARTBEAT, {"executor": name})


def conclude(name: str, *, lease: str = "no such lease", job: int = 1, **other: object) -> bytes:
    receipt = {"type": "failed", "failure": "permanent", "kind": "k", "reason": "r", "hint": "h"}
    return said(OpCode.CONCLUDE, {"executor": name, "lease": lease, "receipt": receipt} | other, job=job)


# --- messages that are none -----------------------------------------------------------------------------------------


def mutated(random: Random, seeds: list[bytes]) -> bytes:
    """Return bytes that are anything, or nearly a message."""
    if random.random() < 0.4:
        return random.randbytes(random.choice([0, 1, 7, 15, 16, 17, 64, 400, 5000]))
    message = bytearray(random.choice(seeds))
    for _ in range(random.randrange(1, 6)):
        place = random.randrange(len(message) + 1)
        match random.randrange(4):
            case 0:
                message[place : place + 1] = random.randbytes(1)
            case 1:
                del message[place : place + random.randrange(1, 20)]
            case 2:
                message[place:place] = random.randbytes(random.randrange(1, 9))
            case _:
                message[place:place] = random.choice([b"[" * 5000, b"9" * 400, b'"\\ud800"', b"-1", b"1e308", b"\xff"])
        if not message:
            return b""
    return bytes(message)


SEEDS = {
    "control": [
        asked({"type": "Ping"}),
        asked({"type": "CancelJob", "job": 1, "reason": "r"}),
        asked({"type": "GetJob", "job": 1}),
        asked({"type": "WatchRun", "ticket": "t", "version": 0, "notes": 0}),
        asked({"type": "Ask", "question": "jobs", "arguments": {"limit": 3}}),
        asked({"type": "LendReadModel"}),
        asked({"type": "Tail"}),
        asked({"type": "SetPriority", "job": 1, "priority": 5}),
        asked({"type": "ReadReport", "ticket": "t", "offset": 0}),
        asked({"type": "RetryAll", "parser": "", "dead": False, "after": 0, "reason": "r"}),
    ],
    "executors": [
        identify("eve"),
        idle("eve"),
        conclude("eve", begun_ago=1.0),
        said(OpCode.HEARTBEAT, {"executor": "eve", "lease": "l", "rows": 1, "bytes_read": 1}, job=1),
        said(OpCode.DISPATCH_ACK, {"lease": "l", "guest_pid": 1}, job=1),
    ],
}


def batter(target: Target, socket: str, *, seed: int, messages: int) -> None:
    """Send what is none; each is answered, or its connection is ended."""
    random = Random(seed)
    peer = RawPeer(target.address[socket])
    peer.greet()
    try:
        for _ in range(messages):
            try:
                peer.send(mutated(random, SEEDS[socket]))
                if random.random() < 0.05:  # dies before it hears
                    raise ConnectionResetError
                peer.receive()
            except TimeoutError:
                raise AssertionError(f"seed {seed}: a message was neither answered nor refused in 10 s") from None
            except ConnectionError:
                peer.socket.close()
                peer = RawPeer(target.address[socket])
                peer.greet()
    finally:
        peer.socket.close()


@pytest.mark.parametrize("socket", SOCKETS)
def test_random_messages_are_refused_and_counted(target: Target, socket: str) -> None:
    batter(target, socket, seed=8, messages=300)
    assert target.errors(socket) >= 100


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("socket", SOCKETS)
@pytest.mark.parametrize("seed", range(5))
def test_thousands_of_random_messages_are_refused_and_counted(target: Target, socket: str, seed: int) -> None:
    batter(target, socket, seed=seed, messages=1000)
    assert target.errors(socket) >= 300


def test_another_version_is_told_which_one_is_spoken(target: Target) -> None:
    for version in (0, VERSION + 1, 10**30, -1):
        with RawPeer(target.address["control"]) as peer:
            peer.greet()
            answer = json.loads(peer.ask(asked({"type": "Ping"}, version=version)))
        assert answer["reply"]["code"] in ("version", "bad_request")
    for version in {0, PROTOCOL_VERSION + 1, 255}:
        with RawPeer(target.address["executors"]) as peer:
            peer.greet()
            answer = peer.ask(said(OpCode.IDENTIFY, b"{}", version=version))
        assert op_of(answer) == OpCode.ERR
        assert b"VersionMismatch" in answer
    assert target.errors("executors") == 3
    assert target.errors("control") == 4


def test_short_headers_lying_lengths_and_unknown_codes_are_refused(target: Target) -> None:
    good = identify("eve")
    wrong = [good[:size] for size in range(1, HEADER.size)]
    wrong += [said(OpCode.IDENTIFY, b"{}", length=length) for length in (0, 1, 3, 2**32 - 1)]
    wrong += [said(op, b"{}") for op in (0, 7, 11, 14, 255)]
    wrong += [said(op, b"{}") for op in (OpCode.DISPATCH, OpCode.ABORT, OpCode.ERR, OpCode.DEPLOY, OpCode.DISCARD)]
    with RawPeer(target.address["executors"]) as peer:
        peer.greet()
        for message in wrong:
            assert op_of(peer.ask(message)) == OpCode.ERR, message
    assert target.errors("executors") == len(wrong)


@pytest.mark.parametrize("socket", SOCKETS)
def test_giant_lengths_and_wrong_hellos_end_their_connection_alone(target: Target, socket: str) -> None:
    address = target.address[socket]
    for length in (64 * 1024 * 1024, 2**40, 2**63, 2**64 - 1):
        with RawPeer(address) as peer:
            peer.greet()
            peer.socket.sendall(FRAME.pack(1, length) + b"x" * 100)
            with pytest.raises(ConnectionError):
                peer.receive()
    for hello in (b"\0" * HELLO.size, b"GET / HT", HELLO.pack(b"\0SP\0", REP, 0), HELLO.pack(b"\0SP\1", 0x30, 0)):
        with RawPeer(address, hello=hello) as peer, suppress(ConnectionError):
            peer.greet()
            peer.send(b"x")
            with pytest.raises(ConnectionError):
                peer.receive()
    with RawPeer(address) as half:  # never says the rest
        half.socket.sendall(FRAME.pack(1, 1000) + b"y" * 10)
        target.check_at_work("during")


# --- peers that misuse what is allowed ------------------------------------------------------------------------------


@pytest.mark.parametrize("socket", SOCKETS)
def test_two_hundred_connections_at_once_keep_nobody_out(target: Target, socket: str) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(target.address[socket])) for _ in range(CONNECTIONS)]
        for peer in peers:
            peer.greet()
        for peer in peers:
            peer.send(b"nothing")
        target.check_at_work("crowded")
        for peer in peers:
            assert peer.receive()
    assert target.errors(socket) >= CONNECTIONS


@pytest.mark.slow
def test_readers_that_never_read_keep_nobody_out(target: Target) -> None:
    """Each asks for more than its connection holds, far more often than there are contexts."""
    long = asked({"type": "Ask", "question": "x" * 150, "arguments": {}})
    with ExitStack() as stack:
        for _ in range(40):
            peer = stack.enter_context(RawPeer(target.address["control"], seconds=0.1))
            peer.greet()
            with suppress(TimeoutError):
                for _ in range(3000):
                    peer.send(long)
        eventually(
            lambda: target.terminal.casparian("status").code == 0, seconds=60, what="the sentinel to answer others"
        )
        target.check_at_work("unread")


@pytest.mark.parametrize("socket", SOCKETS)
def test_peers_that_ask_and_die_leave_nothing_behind(target: Target, socket: str) -> None:
    for _ in range(150):
        with RawPeer(target.address[socket]) as peer:
            peer.greet()
            peer.send(SEEDS[socket][0])
    target.check_at_work("mourned")


def test_listeners_that_speak_or_never_listen_harm_nobody(target: Target) -> None:
    address = target.address["tail"]
    subscriber = HELLO.pack(b"\0SP\0", SUB, 0)
    with ExitStack() as stack:
        for _ in range(30):
            deaf = stack.enter_context(RawPeer(address, hello=subscriber))
            deaf.greet()
        for length in (5, 1000, 64 * 1024 * 1024, 2**40, 2**64 - 1):
            loud = stack.enter_context(RawPeer(address, hello=subscriber))
            loud.greet()
            loud.socket.sendall(FRAME.pack(1, length) + b"x" * 5)
        for hello in (b"\0" * HELLO.size, b"GET / HT", HELLO.pack(b"\0SP\0", REQ, 0)):
            stranger = stack.enter_context(RawPeer(address, hello=hello))
            with suppress(ConnectionError):
                stranger.socket.sendall(b"x" * 100)
        target.check_at_work("heard")
        shown = target.terminal.casparian("log", "tail", "-n", "3", "--json")
        assert (shown.code, len(shown.out.splitlines())) == (0, 3)


def test_an_executor_that_nobody_knows_is_sent_away(target: Target) -> None:
    with RawPeer(target.address["executors"]) as peer:
        peer.greet()
        assert op_of(peer.ask(idle("nobody"))) == OpCode.ABORT
        assert op_of(peer.ask(conclude("nobody"))) == OpCode.ABORT
        assert op_of(peer.ask(said(OpCode.DISPATCH_ACK, {"lease": "foreign", "guest_pid": 1}, job=1))) == OpCode.DISCARD
        working = {"executor": "nobody", "lease": "foreign", "rows": 1, "bytes_read": 1}
        assert op_of(peer.ask(said(OpCode.HEARTBEAT, working, job=1))) == OpCode.ABORT


TOO_MUCH = (
    identify("eve", pid=10**30),
    identify("eve", pid=-1),
    identify("eve", capacity=2**70),
    identify("eve" * 1000),
    identify(""),
    identify("eve", host="h" * 100_000),
    conclude("eve", begun_ago=1e300),
    conclude("eve", begun_ago=-5.0),
    said(OpCode.IDENTIFY, identify("eve")[HEADER.size :].replace(b"eve", b"\\ud800")),
    said(OpCode.CONCLUDE, conclude("eve")[HEADER.size :].replace(b'"hint":"h"', b'"hint":"\\udfff"'), job=1),
    conclude("eve", lease="l" * 100_000),
    said(OpCode.HEARTBEAT, {"executor": "eve", "lease": "l", "rows": 2**80, "bytes_read": 1}, job=1),
)


def test_what_the_log_or_a_table_could_not_hold_is_refused(target: Target) -> None:
    for wrong in TOO_MUCH:
        with RawPeer(target.address["executors"]) as peer:
            peer.greet()
            assert op_of(peer.ask(wrong)) == OpCode.ERR, wrong[:300]
    assert target.errors("executors") == len(TOO_MUCH)


@pytest.mark.slow
def test_questions_asked_again_and_again_hold_one_place(target: Target) -> None:
    """A replayed question for work answers the one before it: contexts are not used up."""
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(target.address["executors"])) for _ in range(CONNECTIONS)]
        for peer in peers:
            peer.greet()
        assert op_of(peers[0].ask(identify("eve"))) == OpCode.IDENTIFY
        for peer in peers:
            peer.send(idle("eve"))
        answered = [op_of(peer.receive()) for peer in peers[:-1]]
        assert set(answered) <= {OpCode.HEARTBEAT, OpCode.ABORT}


def test_a_sentinel_takes_in_no_more_executors_than_it_has_places_for(target: Target) -> None:
    with RawPeer(target.address["executors"]) as peer:
        peer.greet()
        answers = [op_of(peer.ask(identify(f"eve{number}"))) for number in range(150)]
    assert answers.count(OpCode.ERR) == 150 - STRANGERS_MAX
    assert answers[:STRANGERS_MAX] == [OpCode.IDENTIFY] * STRANGERS_MAX
    turned_away = target.terminal.casparian("executor")
    assert turned_away.code == 1
    assert "casparian executors ls" in turned_away.err + turned_away.out, "it is one too many, not of another version"
    target.check_at_work("beside")  # its own executors have a place all the same


@contextmanager
def a_job_taken_by(target: Target, name: str) -> Iterator[tuple[RawPeer, dict[str, Any], int]]:
    """Be an executor that is given a job; the peer, what it was told and the job."""
    with RawPeer(target.address["executors"], seconds=30) as peer:
        peer.greet()
        assert op_of(peer.ask(identify(name))) == OpCode.IDENTIFY
        peer.send(idle(name))
        write_source(target.terminal.folder / "stolen" / "a.txt", "normal", lines=3)
        run = target.terminal.begin(target.terminal.folder / "stolen")
        try:
            answer = peer.receive()
            while op_of(answer) == OpCode.HEARTBEAT:
                answer = peer.ask(idle(name))
            assert op_of(answer) == OpCode.DISPATCH, answer
            yield peer, json.loads(answer[HEADER.size :]), struct.unpack_from("!Q", answer, 4)[0]
        finally:
            run.communicate(timeout=60)


def test_a_receipt_that_comes_again_counts_once_and_a_foreign_lease_not_at_all(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path)
    terminal.env[driver.SHORT_WAITS] = "yes"
    with sentinel(terminal, workers=0):
        target = Target(terminal)
        with a_job_taken_by(target, "eve") as (peer, dispatch, job):
            with RawPeer(target.address["executors"]) as stranger:
                stranger.greet()
                foreign = said(OpCode.DISPATCH_ACK, {"lease": "foreign", "guest_pid": 1}, job=job)
                assert op_of(stranger.ask(foreign)) == OpCode.DISCARD
                assert op_of(stranger.ask(conclude("nobody", lease="foreign", job=job))) == OpCode.ABORT
            wide = {"unit": "u", "output": "", "found": 10**30, "written": 0, "quarantined": 0, "skipped": 0}
            lying: dict[str, object] = {
                "type": "failed",
                "failure": "permanent",
                "kind": "k",
                "reason": "r",
                "hint": "h",
            }
            lying |= {"sheet": wide | {"unreadable": 10**30}}
            answer = peer.ask(conclude("eve", lease=dispatch["lease"], job=job, receipt=lying))
            assert op_of(answer) == OpCode.ERR
            assert b"no integer of 64 bits" in answer
            receipt = conclude("eve", lease=dispatch["lease"], job=job)
            for _ in range(3):
                assert op_of(peer.ask(receipt)) == OpCode.HEARTBEAT
        samples = told(terminal)
        assert one(samples, "jobs_failed_total", parser="fixture") == 1
        assert one(samples, "jobs_dispatched_total", parser="fixture") == 1
    assert terminal.casparian("log", "verify").code == 0


def test_a_command_that_is_replayed_is_carried_out_once(target: Target) -> None:
    wish = asked({"type": "RevokeParser", "parser": "nobody", "reason": "r"}, request_id="replayed-1")
    with RawPeer(target.address["control"]) as peer:
        peer.greet()
        before = _seq(peer)
        answers = {peer.ask(wish) for _ in range(20)}
        assert len(answers) == 1
        assert _seq(peer) - before <= 3


def _seq(peer: RawPeer) -> int:
    seq: int = json.loads(peer.ask(asked({"type": "GetStatus"})))["reply"]["seq"]
    return seq
