"""What becomes durable is told to whoever listens; nobody is waited for, and what is missed is seen by its numbers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import pynng
import pytest

from cli.home import Home
from cli.sentinel import Sentinel
from cli.telling import FRAMES_UNREAD_MAX, LEFT_REMEMBERED_MAX, Present, Teller
from cli.told import FRAME_BYTES_MAX, ToldFrame, read_told, told
from cli.wire import HELLO, MAGIC, PARTS, Pipe, dial
from eventlog.frames import Frame
from executors.errors import PeerGoneError, TransportError
from tests.acceptance.terminal import eventually
from tests.peers import RawPeer
from tests.support import planned_run

SECONDS = 5.0


@pytest.fixture
def frames(tmp_path: Path) -> list[Frame]:
    """The frames of a small log."""
    with Sentinel(Home(tmp_path / "home"), purpose="test") as sentinel:
        for command in planned_run(1, 2):
            assert sentinel.handler.call(command, actor="test").refused is None
        return list(sentinel.log.replay())


@pytest.fixture
def teller() -> Iterator[Teller]:
    with tempfile.TemporaryDirectory(prefix="wire-") as name:
        teller = Teller(f"ipc://{name}/socket")
        teller.start()
        yield teller
        teller.close()


def listening(teller: Teller) -> Pipe:
    path = Path(teller.address.removeprefix("ipc://"))
    pipe = dial(path, part="sub", message_bytes_max=FRAME_BYTES_MAX, seconds=SECONDS)
    eventually(lambda: teller.listeners > 0, seconds=SECONDS, what="the listener to be known")
    return pipe


def test_a_frame_is_told_as_it_stands_in_the_log(frames: list[Frame]) -> None:
    for frame in frames:
        heard = read_told(told(frame))
        assert (heard.first, heard.last, heard.ts, heard.actor) == (frame.first, frame.last, frame.ts, frame.actor)
        assert [(each.seq, each.type) for each in heard.records] == [(each.seq, each.type) for each in frame.records]
        assert [bytes(each.data) for each in heard.records] == [
            msgspec.json.encode(each.data) for each in frame.records
        ]


def test_what_is_told_reaches_every_listener_in_order_also_those_with_nng(teller: Teller, frames: list[Frame]) -> None:
    pipe = listening(teller)
    with pynng.Sub0(dial=teller.address, topics=b"", recv_timeout=5000) as other:
        eventually(lambda: teller.listeners == 2, seconds=SECONDS, what="both listeners to be known")
        teller.observe(frames)
        wanted = [told(frame) for frame in frames if frame.records]
        assert [pipe.receive() for _ in wanted] == wanted
        assert [other.recv() for _ in wanted] == wanted
    pipe.close()


def test_nothing_is_kept_while_nobody_listens(teller: Teller, frames: list[Frame]) -> None:
    pipe = listening(teller)
    pipe.close()
    eventually(lambda: teller.listeners == 0, seconds=SECONDS, what="the listener to be gone")
    teller.observe(frames)
    assert teller._batches.empty()


def test_a_listener_that_does_not_read_holds_nobody_up_and_sees_what_it_missed(
    teller: Teller, frames: list[Frame]
) -> None:
    deaf, other = listening(teller), listening(teller)
    frame = next(frame for frame in frames if frame.records)
    count = 20_000
    many = [msgspec.structs.replace(frame, first=n, last=n) for n in range(1, count + 1)]
    begin = time.monotonic()
    for start in range(0, count, 10):
        teller.observe(many[start : start + 10])
    assert time.monotonic() - begin < 3
    numbers = _numbers(deaf)
    assert len(numbers) >= FRAMES_UNREAD_MAX / 2
    assert len(numbers) < count
    assert numbers == sorted(set(numbers))
    deaf.close()
    other.close()


def _numbers(pipe: Pipe) -> list[int]:
    pipe.give(1.0)
    numbers: list[int] = []
    try:
        while True:
            numbers.append(read_told(pipe.receive()).first)
    except TimeoutError:
        return numbers


def test_strangers_that_come_and_go_change_nothing_for_a_listener(teller: Teller, frames: list[Frame]) -> None:
    pipe = listening(teller)
    for hello in (HELLO.pack(MAGIC, PARTS["req"], 0), HELLO.pack(MAGIC, PARTS["sub"], 0), b"GET / HT"):
        for _ in range(40):
            with RawPeer(teller.address, hello=hello) as stranger, suppress(ConnectionError):
                stranger.greet()
    eventually(lambda: teller.listeners == 1, seconds=SECONDS, what="the strangers to be gone")
    frame = next(frame for frame in frames if frame.records)
    teller.observe([frame])
    assert pipe.receive() == told(frame)
    pipe.close()


def test_who_leaves_before_being_heard_to_come_is_not_there() -> None:
    present = Present()
    for number in (1, 2):
        present.came(number)
    present.left(3)
    present.came(3)
    present.left(1)
    assert len(present) == 1
    present.came(3)  # the number is given again
    assert len(present) == 2


def test_of_those_that_are_only_heard_to_leave_few_are_remembered() -> None:
    present = Present()
    for number in range(2 * LEFT_REMEMBERED_MAX):
        present.left(number)
    present.came(0)
    assert len(present) == 1, "the first were forgotten"
    present.came(2 * LEFT_REMEMBERED_MAX - 1)
    assert len(present) == 1


def test_a_frame_that_is_too_long_is_not_told(teller: Teller, frames: list[Frame]) -> None:
    pipe = listening(teller)
    frame = next(frame for frame in frames if frame.records)
    long = msgspec.structs.replace(frame, actor="x" * FRAME_BYTES_MAX)
    teller.observe([long, frame])
    assert pipe.receive() == told(frame)
    pipe.close()


def test_the_end_is_heard_at_once() -> None:
    with tempfile.TemporaryDirectory(prefix="wire-") as name:
        teller = Teller(f"ipc://{name}/socket")
        teller.start()
        pipe = listening(teller)
        teller.close()
        with pytest.raises(PeerGoneError):
            pipe.receive()
        pipe.close()


@pytest.mark.parametrize("message", [b"", b"\xff", b"{}", b'{"first":1}'])
def test_what_is_no_frame_is_refused(message: bytes) -> None:
    with pytest.raises(TransportError, match="read what the sentinel tells"):
        read_told(message)


def test_an_address_that_cannot_be_had_is_told(teller: Teller) -> None:
    with pytest.raises(TransportError, match=f"listen on {teller.address}"):
        Teller(teller.address).start()


def test_a_told_frame_is_of_numbers_that_follow_each_other(frames: list[Frame]) -> None:
    heard: list[ToldFrame] = [read_told(told(frame)) for frame in frames if frame.records]
    assert all(after.first == before.last + 1 for before, after in pairwise(heard))
