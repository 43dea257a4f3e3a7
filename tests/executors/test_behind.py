"""Work that is done behind the one that brings it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from executors import behind
from executors.behind import AT_ONCE_BYTES, WAITING_BYTES_MAX, Behind

LARGE = AT_ONCE_BYTES + 1


def noting(done: list[int], number: int, fault: str | None = None) -> Callable[[], str | None]:
    def work() -> str | None:
        done.append(number)
        return fault

    return work


def test_work_is_done_in_its_order_and_all_of_it_by_the_end() -> None:
    done: list[int] = []
    with Behind[str]() as beside:
        for number in range(50):
            assert beside.do(noting(done, number), bytes_=AT_ONCE_BYTES // 4) is None
        assert beside.finish() is None
    assert done == list(range(50))


def test_the_first_bytes_are_worked_on_by_the_one_that_brings_them() -> None:
    threads: list[str] = []
    with Behind[str]() as beside:
        for bytes_ in (AT_ONCE_BYTES, 1):
            beside.do(lambda: threads.append(threading.current_thread().name), bytes_=bytes_)
        beside.finish()
    assert threads[0] == threading.current_thread().name
    assert threads[1].startswith("behind")


def test_who_brings_work_does_not_wait_for_it_until_too_many_bytes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "AT_ONCE_BYTES", 0)
    may_go, done = threading.Event(), list[int]()

    def held() -> str | None:
        may_go.wait(10)
        done.append(0)
        return None

    with Behind[str]() as beside:
        beside.do(held, bytes_=WAITING_BYTES_MAX - 1)
        beside.do(noting(done, 1), bytes_=1)
        assert done == []
        threading.Timer(0.05, may_go.set).start()
        beside.do(noting(done, 2), bytes_=1)  # has to wait for the first
        assert done[0] == 0
        beside.finish()
    assert done == [0, 1, 2]


@pytest.mark.parametrize("bytes_", [1, LARGE])
def test_nothing_is_done_behind_a_fault_and_the_first_one_is_told(bytes_: int) -> None:
    done: list[int] = []
    with Behind[str]() as beside:
        beside.do(noting(done, 0), bytes_=bytes_)
        beside.do(noting(done, 1, "broken"), bytes_=bytes_)
        beside.do(noting(done, 2, "broken too"), bytes_=bytes_)
        assert beside.finish() == "broken"
        assert beside.do(noting(done, 3), bytes_=bytes_) == "broken"
    assert done == [0, 1]


def test_what_work_raises_is_raised_to_the_one_that_brought_it_and_nothing_follows() -> None:
    done: list[int] = []

    def raising() -> str | None:
        raise ZeroDivisionError

    with Behind[str]() as beside:
        beside.do(raising, bytes_=LARGE)
        beside.do(noting(done, 1), bytes_=LARGE)
        with pytest.raises(ZeroDivisionError):
            beside.finish()
    assert done == []


def test_on_leaving_nothing_is_being_worked_on_and_what_waits_is_not_begun() -> None:
    begun, done = threading.Event(), list[int]()

    def slow() -> str | None:
        begun.set()
        threading.Event().wait(0.05)
        done.append(0)
        return None

    with Behind[str]() as beside:
        beside.do(slow, bytes_=LARGE)
        beside.do(noting(done, 1), bytes_=1)
        begun.wait(10)
    assert done == [0]
