from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from eventlog.ids import OutputName
from executors.guest import limits
from executors.guest import parents as parents_module
from executors.guest.errors import GuestStartError
from executors.guest.frames import GuestBatch, GuestEnd, GuestFailure, GuestFrame, GuestStatement
from executors.guest.host import Guest, GuestOrders, GuestTimes
from executors.guest.host import start_guest as start_guest_of
from executors.guest.parents import GUEST_ENVIRONMENT, GuestParents
from tests.executors.jobs import PARSER, digests_beside, is_alive, make_source, wait_until

WARM = GuestParents()  # of the test that runs
QUICK = GuestTimes(silence_seconds=0.5)
PATIENT = GuestTimes(silence_seconds=20)


def orders(folder: Path, mode: str, **settings: str) -> GuestOrders:
    return GuestOrders(
        parser_file=str(PARSER),
        parser_digests=digests_beside(PARSER),
        source=os.fsencode(make_source(folder)),
        settings={"mode": mode, **settings},
        outputs=(OutputName("lines"), OutputName("notes")),
    )


def told_of(folder: Path, parser: Path, mode: str = "") -> GuestOrders:
    """Return orders for another parser than the fixture's, as it is now."""
    told = orders(folder, mode)
    return msgspec.structs.replace(told, parser_file=str(parser), parser_digests=digests_beside(parser))


class Seen(msgspec.Struct):
    """All that one guest said."""

    frames: list[GuestFrame]
    log: str
    guest: Guest

    @property
    def rows(self) -> list[dict[str, object]]:
        return [row for frame in self.frames if isinstance(frame, GuestBatch) for row in frame.batch.to_pylist()]

    @property
    def texts(self) -> list[object]:
        return [row["text"] for row in self.rows]

    @property
    def failure(self) -> GuestFailure:
        last = self.frames[-1]
        assert isinstance(last, GuestFailure)
        return last


def start_guest(told: GuestOrders, times: GuestTimes | None = None) -> Guest:
    return start_guest_of(told, parents=WARM, times=times)


def run(folder: Path, mode: str, times: GuestTimes = PATIENT, **settings: str) -> Seen:
    return read(start_guest(orders(folder, mode, **settings), times=times))


def read(guest: Guest) -> Seen:
    """Read a guest to its end; nothing of it is left then."""
    with guest:
        frames = list(guest.frames())
        seen = Seen(frames=frames, log=guest.last_words(), guest=guest)
    assert not is_alive(guest.pid)
    return seen


@pytest.fixture(autouse=True)
def no_folder_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    warm = GuestParents()
    monkeypatch.setattr(sys.modules[__name__], "WARM", warm)
    yield
    warm.close()
    assert list(temporary.iterdir()) == []


def test_rows_then_the_statement_then_the_end(tmp_path: Path) -> None:
    seen = run(tmp_path, "normal")
    batch, statement, end = seen.frames
    assert isinstance(batch, GuestBatch)
    assert (batch.output, batch.batch.to_pydict()) == (0, {"n": [0, 1, 2], "text": ["one", "two", "three"]})
    assert isinstance(statement, GuestStatement)
    assert [(each.unit, each.found) for each in statement.statements] == [("lines", 3)]
    assert isinstance(end, GuestEnd)
    assert seen.log == ""


def test_outputs_may_interleave(tmp_path: Path) -> None:
    seen = run(tmp_path, "two_outputs_interleaved")
    assert [frame.output for frame in seen.frames if isinstance(frame, GuestBatch)] == [0, 1] * 5


def test_a_large_table_arrives_in_bounded_batches(tmp_path: Path) -> None:
    sizes = [
        frame.batch.num_rows for frame in run(tmp_path, "many", rows="120000").frames if isinstance(frame, GuestBatch)
    ]
    assert sizes == [50_000, 50_000, 20_000]


def test_a_heavy_batch_is_split_below_the_frame_bound(tmp_path: Path) -> None:
    seen = run(tmp_path, "wide", bytes="25000000", rows="3")
    sizes = [frame.batch.nbytes for frame in seen.frames if isinstance(frame, GuestBatch)]
    assert len(sizes) == 2
    assert max(sizes) <= limits.FRAME_BYTES_MAX
    assert seen.rows[2]["n"] == 2


def test_a_row_above_the_frame_bound_fails_with_advice(tmp_path: Path) -> None:
    failure = run(tmp_path, "wide", bytes=str(65 * 1024 * 1024), rows="1").failure
    assert (failure.failure, failure.kind) == ("permanent", "row_too_large")
    assert "split the value" in failure.hint


@pytest.mark.parametrize(
    ("mode", "failure", "kind", "words"),
    [
        ("error", "unknown", "parser_error", "KeyError: 'no such field'"),
        ("permanent", "permanent", "not_lines", "the file holds no lines"),
        ("transient", "transient", "parser_error", "the helper was busy"),
        ("oom", "transient", "out_of_memory", "MemoryError"),
        ("disk", "transient", "io_error", "Input/output error"),
        ("leaves", "unknown", "parser_error", "SystemExit: I give up"),
        ("vanish", "unknown", "guest_died", "left with code 3 before the end of its stream"),
        ("unknown_output", "permanent", "unknown_output", "'surprise'"),
        ("bad_yield", "permanent", "bad_output", "yielded (str, list)"),
        ("senseless_statement", "permanent", "bad_statement", "$.statements[0].found"),
    ],
)
def test_each_way_to_fail_has_its_class_and_kind(
    tmp_path: Path, mode: str, failure: str, kind: str, words: str
) -> None:
    said = run(tmp_path, mode).failure
    assert (said.failure, said.kind) == (failure, kind)
    assert words in said.reason
    assert "\n" not in said.reason
    assert said.hint


def test_the_trace_is_in_the_log_without_our_own_frames(tmp_path: Path) -> None:
    log = run(tmp_path, "error").log
    assert 'raise KeyError("no such field")' in log
    assert "shim.py" not in log


def test_a_parser_that_does_not_compile_fails_with_its_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def parse(:\n")
    with start_guest(told_of(tmp_path, broken), times=PATIENT) as guest:
        frames = list(guest.frames())
        log = guest.last_words()
    assert [frame.kind for frame in frames if isinstance(frame, GuestFailure)] == ["parser_error"]
    assert "def parse(:" in log


@pytest.mark.parametrize(
    ("number", "failure", "kind", "word"),
    [
        (signal.SIGKILL, "transient", "guest_killed", "SIGKILL"),
        (signal.SIGSEGV, "unknown", "guest_died", "SIGSEGV"),
        (signal.SIGABRT, "unknown", "guest_died", "SIGABRT"),
    ],
)
def test_a_death_is_told_by_its_signal(
    tmp_path: Path, number: signal.Signals, failure: str, kind: str, word: str
) -> None:
    seen = run(tmp_path, "crash", signal=str(int(number)))
    assert seen.texts == ["before the crash"]
    assert (seen.failure.failure, seen.failure.kind) == (failure, kind)
    assert word in seen.failure.reason
    assert seen.log == "last words"


def test_all_that_is_printed_is_captured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = run(tmp_path, "prints").log
    for words in ("to stdout", "to stderr", "from a child", "from native code", "a warning", "through logging: ?[31m"):
        assert words in log
    assert capfd.readouterr() == ("", "")


def test_a_guest_that_hangs_is_killed_and_keeps_its_rows(tmp_path: Path) -> None:
    seen = run(tmp_path, "hang", QUICK)
    assert seen.texts == ["before the hang"]
    assert (seen.failure.failure, seen.failure.kind) == ("permanent", "guest_silent")
    assert "0.5 s" in seen.failure.reason


def test_an_endless_talker_ends_as_a_silent_one(tmp_path: Path) -> None:
    seen = run(tmp_path, "flood", QUICK)
    assert seen.failure.kind == "guest_silent"
    assert seen.guest.log.dropped > 0
    assert len(seen.log) < limits.LOG_TAIL_BYTES_MAX + 100
    assert "further lines were dropped" in seen.log


@pytest.mark.parametrize("by", ["python", "arrow"])
def test_a_guest_may_use_so_much_memory_and_the_limit_is_named(tmp_path: Path, by: str) -> None:
    told = orders(tmp_path, "oom", mebibytes="2048", by=by)
    seen = read(start_guest(msgspec.structs.replace(told, memory_bytes_max=300 * 1024**2)))
    assert (seen.failure.failure, seen.failure.kind) == ("transient", "out_of_memory")
    assert "a process of this job may use 314,572,800 bytes" in seen.failure.reason
    assert "higher limit on memory" in seen.failure.hint


def test_memory_within_the_limit_is_given(tmp_path: Path) -> None:
    told = orders(tmp_path, "oom", mebibytes="128")
    seen = read(start_guest(msgspec.structs.replace(told, memory_bytes_max=300 * 1024**2)))
    assert isinstance(seen.frames[-1], GuestEnd)


def test_native_code_that_aborts_for_want_of_memory_ran_out_of_memory(tmp_path: Path) -> None:
    failure = run(tmp_path, "refused_memory").failure
    assert (failure.failure, failure.kind) == ("transient", "out_of_memory")
    assert "may use 4,294,967,296 bytes" in failure.reason


@pytest.mark.parametrize(("mode", "of"), [("flood", "rows"), ("flood", "frames"), ("slow", ""), ("hang", "")])
def test_a_job_that_takes_too_long_is_killed_whatever_it_does(tmp_path: Path, mode: str, of: str) -> None:
    told = msgspec.structs.replace(orders(tmp_path, mode, of=of), seconds_max=1.0)
    began = time.monotonic()
    with start_guest(told, times=PATIENT) as guest:
        last = deque(guest.frames(), maxlen=1)[0]
    assert time.monotonic() - began < 10
    assert isinstance(last, GuestFailure)
    assert (last.failure, last.kind) == ("permanent", "time_limit")
    assert "still at work after 1 s" in last.reason


def test_a_guest_that_never_starts_its_work_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = tmp_path / "sleeper.py"
    sleeper.write_text(
        parents_module.SHIM.read_text()
        + "\n\ndef main(_connection, parser, load):\n"
        + "    return 0 if parser and parser.__name__ == 'rehearsal' else __import__('time').sleep(60)\n"
    )
    monkeypatch.setattr(parents_module, "SHIM", sleeper)
    failure = run(tmp_path, "normal", GuestTimes(hello_seconds=0.3)).failure
    assert failure.kind == "guest_silent"
    assert "did not start its work" in failure.reason


def test_the_time_that_the_host_takes_is_not_held_against_the_guest(tmp_path: Path) -> None:
    with start_guest(orders(tmp_path, "two_outputs_interleaved"), times=GuestTimes(silence_seconds=0.3)) as guest:
        frames = guest.frames()
        next(frames)
        time.sleep(0.5)
        assert isinstance(list(frames)[-1], GuestEnd)


def test_a_grandchild_dies_with_a_guest_that_succeeded(tmp_path: Path) -> None:
    seen = run(tmp_path, "spawns")
    assert isinstance(seen.frames[-1], GuestEnd)
    assert wait_until(lambda: not is_alive(int(str(seen.texts[0]))))


def test_a_death_is_noticed_although_a_grandchild_holds_the_socket(tmp_path: Path) -> None:
    seen = run(tmp_path, "spawns", then="crash")
    assert "SIGSEGV" in seen.failure.reason
    assert wait_until(lambda: not is_alive(int(str(seen.texts[0]))))


def test_leaving_the_context_kills_a_guest_in_the_middle(tmp_path: Path) -> None:
    with start_guest(orders(tmp_path, "slow"), times=PATIENT) as guest:
        next(guest.frames())
        assert is_alive(guest.pid)
    assert not is_alive(guest.pid)


def test_kill_from_another_thread_ends_the_frames(tmp_path: Path) -> None:
    with start_guest(orders(tmp_path, "hang"), times=PATIENT) as guest:
        killer = threading.Timer(0.3, guest.kill)
        killer.start()
        last = list(guest.frames())[-1]
        killer.join()
    assert isinstance(last, GuestFailure)
    assert last.kind == "guest_killed"


def test_the_guest_sees_nothing_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    facts = [str(text) for text in run(tmp_path, "writes_env").texts]
    names = {fact.removeprefix("env ") for fact in facts if fact.startswith("env ")}
    assert names == {*GUEST_ENVIRONMENT, "TMPDIR", "HOME"}
    folder = next(fact.removeprefix("cwd ") for fact in facts if fact.startswith("cwd "))
    assert f"tmpdir {folder}" in facts
    assert not Path(folder).exists()
    assert "stdin ''" in facts
    assert "session True" in facts
    assert sorted(fact.split()[2] for fact in facts if fact.startswith("open ")) == ["null", "pipe", "pipe", "socket"]
    assert {fact for fact in facts if fact.startswith("hidden")} == {
        "hidden eventlog",
        "hidden executors",
        "hidden sinks",
    }
    assert f"path {parents_module.SHIM.parent}" not in facts


def test_sets_have_the_same_order_in_every_guest(tmp_path: Path) -> None:
    hashes = {fact for _run in range(2) for fact in run(tmp_path, "writes_env").texts if str(fact).startswith("hash ")}
    assert len(hashes) == 1


def test_a_path_that_is_not_utf8_reaches_the_parser(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/odd \xff name.txt"
    Path(os.fsdecode(odd)).write_text("here\n")
    with start_guest(msgspec.structs.replace(orders(tmp_path, "normal"), source=odd), times=PATIENT) as guest:
        assert [type(frame) for frame in guest.frames()] == [GuestBatch, GuestStatement, GuestEnd]


def test_bytes_read_are_those_of_the_work(tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    big.write_text("line\n" * 200_000)
    changed = msgspec.structs.replace(orders(tmp_path, "hang_after_reading"), source=os.fsencode(big))
    with start_guest(changed, times=PATIENT) as guest:
        next(guest.frames())
        assert 1_000_000 <= guest.bytes_read() < 1_500_000


def frame(mark: int, payload: bytes = b"") -> bytes:
    return struct.pack(">II", mark, len(payload)) + payload


SELECTED = frame(limits.FRAME_SELECT, struct.pack(">I", 0))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack(">I", limits.FRAME_BYTES_MAX + 1), "67,108,865 bytes is announced"),
        (struct.pack(">I", 0xFFFFFFFC), "is announced"),
        (struct.pack(">I", 10) + b"x" * 10, "before its output was selected"),
        (SELECTED + struct.pack(">I", 10) + b"x" * 10, "not readable as an Arrow stream"),
        (SELECTED + struct.pack(">I", 1000) + b"x" * 10, "ends inside a frame"),
        (b"\0\0", "ends inside a frame"),
        (frame(limits.FRAME_SELECT, struct.pack(">I", 2)), "output 2 is selected, 2 are declared"),
        (frame(limits.FRAME_SELECT, b"\0"), "selected with 1 bytes"),
        (struct.pack(">II", limits.FRAME_SELECT, 5), "5 bytes are announced, at most 4"),
        (struct.pack(">II", limits.FRAME_ERROR, limits.JSON_BYTES_MAX + 1), "1,000,001 bytes are announced"),
        (struct.pack(">II", limits.FRAME_LOG, limits.LOG_LINE_BYTES_MAX + 2), "65,538 bytes are announced"),
        (frame(limits.FRAME_LOG), "no level byte"),
        (frame(limits.FRAME_ERROR, b"{}"), "error frame cannot be read"),
    ],
)
def test_a_stream_that_breaks_its_rules_is_a_bad_frame(tmp_path: Path, data: bytes, words: str) -> None:
    failure = run(tmp_path, "raw", bytes_hex=data.hex()).failure
    assert (failure.failure, failure.kind) == ("permanent", "bad_frame")
    assert words in failure.reason


def test_a_frame_that_never_completes_ends_as_silence(tmp_path: Path) -> None:
    data = SELECTED + struct.pack(">I", 1000) + b"x"
    assert run(tmp_path, "raw", QUICK, bytes_hex=data.hex(), then="hang").failure.kind == "guest_silent"


def test_a_guest_that_closes_its_socket_and_stays_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executors.guest.host.EXIT_SECONDS_MAX", 0.2)
    failure = run(tmp_path, "raw", bytes_hex="", then="stay").failure
    assert failure.kind == "bad_frame"
    assert "went on running" in failure.reason


def test_an_end_followed_by_anything_is_the_end(tmp_path: Path) -> None:
    data = struct.pack(">I", limits.FRAME_END) + b"and more"
    assert isinstance(run(tmp_path, "raw", bytes_hex=data.hex()).frames[-1], GuestEnd)


def test_an_error_frame_by_hand_is_the_parser_s_own_word(tmp_path: Path) -> None:
    said = json.dumps({"error": "busy", "retryable": True, "kind": "busy", "hint": "wait"}).encode()
    failure = run(tmp_path, "raw", bytes_hex=frame(limits.FRAME_ERROR, said).hex()).failure
    assert failure == GuestFailure(failure="transient", kind="busy", reason="busy", hint="wait")


def test_many_ranges_are_cut_and_counted(tmp_path: Path) -> None:
    statements = [frame.statements[0] for frame in run(tmp_path, "damaged").frames if isinstance(frame, GuestStatement)]
    assert (len(statements[0].ranges), statements[0].ranges_total) == (1000, 1500)
    assert statements[0].ranges[3].reason.startswith("bad ?")


def test_a_guest_that_cannot_be_started_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python here"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(GuestStartError, match="No such file or directory") as caught:
        start_guest(orders(tmp_path, "normal"))
    assert caught.value.errno == errno.ENOENT
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_orders_above_their_bound_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GuestStartError, match="at most 1,000,000 can be sent"):
        start_guest(orders(tmp_path, "normal", filler="x" * limits.JSON_BYTES_MAX))


STARTER = """
import sys, time
from tests.executors.guest.test_host import orders
from executors.guest.host import start_guest
from executors.guest.parents import GuestParents
from pathlib import Path
guest = start_guest(orders(Path(sys.argv[1]), "hang"), parents=GuestParents())
next(guest.frames())
print(guest.pid, flush=True)
time.sleep(60)
"""


def test_a_guest_dies_with_its_host(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as starter:
        assert starter.stdout is not None
        guest_pid = int(starter.stdout.readline())
        assert is_alive(guest_pid)
        starter.kill()
    assert wait_until(lambda: not is_alive(guest_pid))


def test_corrupt_arrow_is_read_here_and_refused_by_validation(tmp_path: Path) -> None:
    batches = [frame.batch for frame in run(tmp_path, "corrupt_arrow").frames if isinstance(frame, GuestBatch)]
    with pytest.raises(pa.ArrowInvalid):
        batches[0].validate(full=True)


def several(folder: Path, *sources: str) -> list[GuestOrders]:
    """Return orders for as many inputs of one guest, each of which says what is to be done with it."""
    told = []
    for number, text in enumerate(sources):
        place = folder / f"{number}"
        place.mkdir()
        source = os.fsencode(make_source(place, text))
        told.append(msgspec.structs.replace(orders(folder, "by_source"), source=source, more=True))
    return told


def test_a_guest_that_waits_does_the_next_input_in_the_same_process(tmp_path: Path) -> None:
    first, second = several(tmp_path, "remembers\n", "remembers\nmore\n")
    with start_guest(first, times=PATIENT) as guest:
        before = Seen(list(guest.frames()), "", guest)
        assert guest.waits() and is_alive(guest.pid)
        guest.go_on(second)
        assert not guest.waits()
        after = Seen(list(guest.frames()), "", guest)
    assert (before.texts[1], after.texts[1]) == ("uses 1", "uses 2")
    assert before.texts[2] == after.texts[2] == f"pid {guest.pid}"
    assert not is_alive(guest.pid)


def test_what_is_printed_belongs_to_the_input_that_it_was_printed_for(tmp_path: Path) -> None:
    first, second = several(tmp_path, "prints\n", "error\n")
    with start_guest(first, times=PATIENT) as guest:
        assert isinstance(list(guest.frames())[-1], GuestEnd)
        assert "to stdout" in guest.log.tail()
        guest.go_on(second)
        assert isinstance(list(guest.frames())[-1], GuestFailure)
        assert not guest.waits()
        words = guest.last_words()
    assert "to stdout" not in words
    assert "Traceback" in words


def test_each_input_has_the_time_of_a_job(tmp_path: Path) -> None:
    first, second = several(tmp_path, "normal\n", "slow\n")
    with start_guest(first, times=PATIENT) as guest:
        assert isinstance(list(guest.frames())[-1], GuestEnd)
        guest.go_on(msgspec.structs.replace(second, seconds_max=0.3))
        begun = time.monotonic()
        seen = Seen(list(guest.frames()), "", guest)
    assert seen.failure.kind == "time_limit"
    assert time.monotonic() - begun < 5


def test_an_input_of_a_guest_that_died_meanwhile_is_told_how(tmp_path: Path) -> None:
    first, second = several(tmp_path, "normal\n", "normal\n")
    with start_guest(first, times=PATIENT) as guest:
        assert isinstance(list(guest.frames())[-1], GuestEnd)
        os.kill(guest.pid, signal.SIGKILL)
        guest.go_on(second)
        seen = Seen(list(guest.frames()), "", guest)
    assert seen.failure.kind == "guest_killed"


def test_each_input_selects_its_output_anew(tmp_path: Path) -> None:
    first, second = several(tmp_path, "two_outputs_interleaved\n", "normal\n")
    with start_guest(first, times=PATIENT) as guest:
        assert isinstance(list(guest.frames())[-1], GuestEnd)
        guest.go_on(second)
        again = Seen(list(guest.frames()), "", guest)
    assert [frame.output for frame in again.frames if isinstance(frame, GuestBatch)] == [0]
