"""One warm process per parser forks the guests; nothing of a job reaches another, and nothing outlives its end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executors.guest.code import ParserCode
from executors.guest.errors import GuestStartError, ParserChangedError
from executors.guest.frames import GuestBatch, GuestEnd, GuestFailure, GuestFrame
from executors.guest.host import Guest, GuestOrders, GuestTimes, start_guest
from executors.guest.limits import PARENTS_MAX
from executors.guest.parents import GuestParent, GuestParents
from tests.executors.guest.test_host import STARTER, orders, told_of
from tests.executors.jobs import PARSER, is_alive, wait_until

PATIENT = GuestTimes(silence_seconds=20)


@pytest.fixture
def parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GuestParents]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    warm = GuestParents()
    yield warm
    warm.close()
    assert list(temporary.iterdir()) == []


def finished(parents: GuestParents, told: GuestOrders) -> tuple[list[GuestFrame], str]:
    with start_guest(told, parents=parents, times=PATIENT) as guest:
        return list(guest.frames()), guest.last_words()


def texts(frames: list[GuestFrame]) -> list[str]:
    return [str(text) for frame in frames if isinstance(frame, GuestBatch) for text in frame.batch["text"].to_pylist()]


def facts(parents: GuestParents, told: GuestOrders) -> dict[str, str]:
    """Return what the mode `remembers` tells."""
    return dict(text.rsplit(" ", 1) for text in texts(finished(parents, told)[0]))


def parser_of(tmp_path: Path, *, before: str = "", name: str = "parser.py") -> GuestOrders:
    """Return orders for the fixture parser with some lines put before its own."""
    file = tmp_path / name
    body = PARSER.read_text().replace("from __future__ import annotations\n", "")
    file.write_text(f"from __future__ import annotations\n{before}\n{body}")
    return told_of(tmp_path, file, "remembers")


def test_the_parser_is_loaded_once_and_each_job_is_a_process_of_its_own(parents: GuestParents, tmp_path: Path) -> None:
    first, second = (facts(parents, orders(tmp_path, "remembers")) for _job in range(2))
    assert first["loaded by"] == first["of"] == second["loaded by"] == second["of"]
    assert first["pid"] != second["pid"]


def test_what_a_job_leaves_in_the_module_never_reaches_another(parents: GuestParents, tmp_path: Path) -> None:
    assert [facts(parents, orders(tmp_path, "remembers"))["uses"] for _job in range(3)] == ["1", "1", "1"]


def test_a_changed_parser_has_another_parent_and_the_old_one_ends(parents: GuestParents, tmp_path: Path) -> None:
    before = facts(parents, parser_of(tmp_path))
    after = facts(parents, parser_of(tmp_path, before="CHANGED = True"))
    assert before["of"] != after["of"]
    assert not is_alive(int(before["of"]))


def prepared_pid(parents: GuestParents, told: GuestOrders) -> int:
    parents.prepare(ParserCode(file=told.parser_file, digests=told.parser_digests))
    assert parents._prepared is not None
    return parents._prepared[2].pid


def test_a_parser_that_was_prepared_is_the_first_job_s_parent(parents: GuestParents, tmp_path: Path) -> None:
    pid = prepared_pid(parents, orders(tmp_path, "remembers"))
    assert [int(facts(parents, orders(tmp_path, "remembers"))["of"]) for _job in range(2)] == [pid, pid]


def test_a_parser_that_was_prepared_in_vain_is_ended(parents: GuestParents, tmp_path: Path) -> None:
    first = prepared_pid(parents, parser_of(tmp_path, name="first.py"))
    second = prepared_pid(parents, parser_of(tmp_path, name="second.py"))
    assert not is_alive(first)
    assert int(facts(parents, parser_of(tmp_path, name="third.py"))["of"]) != second
    assert not is_alive(second)
    fourth = prepared_pid(parents, parser_of(tmp_path, name="fourth.py"))
    parents.close()
    assert not is_alive(fourth)


def test_a_parser_that_cannot_be_prepared_is_told_of_by_its_job(parents: GuestParents, tmp_path: Path) -> None:
    told = parser_of(tmp_path)
    Path(told.parser_file).unlink()
    parents.prepare(ParserCode(file=told.parser_file, digests=told.parser_digests))
    assert parents._prepared is None
    with pytest.raises(ParserChangedError):
        finished(parents, told)


def test_the_parser_that_was_idle_longest_makes_room(parents: GuestParents, tmp_path: Path) -> None:
    used = [
        int(facts(parents, parser_of(tmp_path, before=f"N = {n}", name=f"p{n}.py"))["of"])
        for n in range(PARENTS_MAX + 1)
    ]
    assert [is_alive(pid) for pid in used] == [False] + [True] * PARENTS_MAX


@pytest.mark.parametrize(
    "before",
    [
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "KEPT = open('/dev/null')",
        "import subprocess; CHILD = subprocess.Popen(['sleep', '300'])",
        "",
    ],
    ids=["thread", "file", "process", "nothing"],
)
def test_a_module_that_a_fork_would_not_carry_over_is_loaded_by_each_guest(
    parents: GuestParents, tmp_path: Path, before: str
) -> None:
    told = facts(parents, parser_of(tmp_path, before=before))
    assert (told["loaded by"] == told["pid"]) is bool(before)
    assert (told["loaded by"] == told["of"]) is not bool(before)


def test_a_module_that_cannot_be_loaded_fails_its_job_with_the_trace(parents: GuestParents, tmp_path: Path) -> None:
    frames, log = finished(parents, parser_of(tmp_path, before="raise RuntimeError('no such table')"))
    (failure,) = frames
    assert isinstance(failure, GuestFailure)
    assert (failure.failure, failure.kind) == ("unknown", "parser_error")
    assert "no such table" in failure.reason
    assert "raise RuntimeError('no such table')" in log
    assert "forker.py" not in log and "shim.py" not in log


def test_a_module_that_ends_the_process_fails_its_job(parents: GuestParents, tmp_path: Path) -> None:
    frames, _log = finished(parents, parser_of(tmp_path, before="__import__('os')._exit(7)"))
    (failure,) = frames
    assert isinstance(failure, GuestFailure)
    assert (failure.kind, "left with code 7" in failure.reason) == ("guest_died", True)


def test_a_parser_that_is_not_there_any_more_is_not_started(parents: GuestParents, tmp_path: Path) -> None:
    told = parser_of(tmp_path)
    Path(told.parser_file).unlink()
    with pytest.raises(ParserChangedError, match=r"parser.py cannot be read any more: No such file or directory"):
        finished(parents, told)


def test_a_module_that_hangs_while_it_is_loaded_is_bounded(tmp_path: Path, parents: GuestParents) -> None:
    impatient = GuestParents(ready_seconds_max=1.0)
    told = parser_of(tmp_path, before="__import__('time').sleep(60)")
    with start_guest(told, parents=impatient, times=GuestTimes(silence_seconds=0.5)) as guest:
        (failure,) = guest.frames()
    impatient.close()
    assert isinstance(failure, GuestFailure)
    assert failure.kind == "guest_silent"


def test_a_child_with_a_session_of_its_own_ends_with_its_guest(parents: GuestParents, tmp_path: Path) -> None:
    frames, _log = finished(parents, orders(tmp_path, "escapes"))
    assert isinstance(frames[-1], GuestEnd)
    assert not is_alive(int(texts(frames)[0]))


def test_a_killed_parent_takes_its_guest_along_and_the_next_job_has_another(
    parents: GuestParents, tmp_path: Path
) -> None:
    old = int(facts(parents, orders(tmp_path, "remembers"))["of"])
    with start_guest(orders(tmp_path, "hang"), parents=parents, times=PATIENT) as guest:
        frames = guest.frames()
        next(frames)
        os.kill(old, signal.SIGKILL)
        failure = list(frames)[-1]
        assert not is_alive(guest.pid)
    assert isinstance(failure, GuestFailure)
    assert (failure.failure, failure.kind) == ("transient", "guest_parent_died")
    assert int(facts(parents, orders(tmp_path, "remembers"))["of"]) != old


def test_an_idle_parent_that_was_killed_is_replaced_without_a_word(parents: GuestParents, tmp_path: Path) -> None:
    old = int(facts(parents, orders(tmp_path, "remembers"))["of"])
    os.kill(old, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(old))
    assert int(facts(parents, orders(tmp_path, "remembers"))["of"]) != old


def test_a_job_of_a_stopped_parent_is_ended_soon(parents: GuestParents, tmp_path: Path) -> None:
    old = int(facts(parents, orders(tmp_path, "remembers"))["of"])
    with start_guest(orders(tmp_path, "hang"), parents=parents, times=PATIENT) as guest:
        next(guest.frames())
        os.kill(old, signal.SIGSTOP)
        began = time.monotonic()
        assert guest.kill().parent_died
        assert time.monotonic() - began < 3
        assert not is_alive(guest.pid)
        assert not is_alive(old)


def test_an_idle_parent_that_was_stopped_is_replaced_without_a_word(parents: GuestParents, tmp_path: Path) -> None:
    old = int(facts(parents, orders(tmp_path, "remembers"))["of"])
    os.kill(old, signal.SIGSTOP)
    assert int(facts(parents, orders(tmp_path, "remembers"))["of"]) != old
    assert not is_alive(old)


def test_a_dead_guest_keeps_its_number_until_it_is_ended(parents: GuestParents, tmp_path: Path) -> None:
    with start_guest(orders(tmp_path, "vanish"), parents=parents, times=PATIENT) as guest:
        assert wait_until(lambda: not is_alive(guest.pid))
        time.sleep(0.1)
        assert Path(f"/proc/{guest.pid}/stat").exists()
        assert guest.kill().code == 3
    assert not Path(f"/proc/{guest.pid}").exists()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_host_leaves_no_process_not_even_one_with_a_session_of_its_own(tmp_path: Path, stopped: bool) -> None:
    script = STARTER.replace('"hang")', '"escapes", then="hang")').replace(
        "next(guest.frames())", "frame = next(guest.frames()); print(frame.batch['text'][0], guest._process.parent.pid)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as host:
        assert host.stdout is not None
        pids = [int(word) for _line in range(2) for word in host.stdout.readline().split()]
        assert len(pids) == 3 and all(is_alive(pid) for pid in pids)
        if stopped:
            os.kill(pids[1], signal.SIGSTOP)  # the guest parent, as a guest of its could
        host.kill()
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_fork_that_the_system_refuses_is_told_with_its_number(
    parents: GuestParents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(_parent: GuestParent, _wish: dict[str, Any], **_more: object) -> dict[str, Any]:
        return {"errno": number}

    monkeypatch.setattr(GuestParent, "_ask", refused)
    with pytest.raises(GuestStartError, match="start a guest") as caught:
        start_guest(orders(tmp_path, "normal"), parents=parents)
    assert caught.value.errno == number


def test_a_parent_whose_start_is_interrupted_ends_and_leaves_no_folder(
    parents: GuestParents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def interrupted(*words: Any, **more: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*words, **more))
        raise KeyboardInterrupt

    popen = subprocess.Popen
    monkeypatch.setattr("executors.guest.parents.subprocess.Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start_guest(orders(tmp_path, "normal"), parents=parents)
    monkeypatch.undo()
    with started[0] as process:
        assert process.wait(timeout=10) is not None, "it ends with the socket on which it is told what to do"


def test_the_guest_parent_holds_nothing_of_the_host_s(parents: GuestParents, tmp_path: Path) -> None:
    parent = int(facts(parents, orders(tmp_path, "remembers"))["of"])
    loaded = Path(f"/proc/{parent}/maps").read_text()
    assert "pyarrow" in loaded
    assert not any(name in loaded for name in ("pynng", "duckdb", "blake3"))
    assert len(list(Path(f"/proc/{parent}/task").iterdir())) == 1
    environment = Path(f"/proc/{parent}/environ").read_bytes().split(b"\0")
    assert {entry.partition(b"=")[0] for entry in environment if entry} <= {
        *(b"LANG", b"LC_ALL", b"TZ", b"PYTHONHASHSEED", b"TMPDIR", b"HOME", b"JE_ARROW_MALLOC_CONF")
    }


def test_random_numbers_differ_between_jobs(parents: GuestParents, tmp_path: Path) -> None:
    changed = parser_of(tmp_path, before="import random")
    file = Path(changed.parser_file)
    file.write_text(file.read_text().replace('f"uses {len(USES)}"', 'f"random {random.random()}"'))
    changed = told_of(tmp_path, file, "remembers")
    assert len({facts(parents, changed)["random"] for _job in range(3)}) == 3


def test_ending_twice_tells_of_the_same_end(parents: GuestParents, tmp_path: Path) -> None:
    guest: Guest = start_guest(orders(tmp_path, "hang"), parents=parents, times=PATIENT)
    with guest:
        assert guest.kill() == guest.kill()
        assert guest.kill().code == -signal.SIGKILL
