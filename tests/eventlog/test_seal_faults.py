"""Tests of faults in sealing and signing: every system call that changes the disk fails once; the log loses nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from eventlog.checkpoint import read_anchor, read_checkpoint
from eventlog.compressed import opened_sealed, read_manifest, sealed_path
from eventlog.errors import LogError
from eventlog.sealing import drop_raw, first_seal, seal_segment
from eventlog.signing import sign_head
from eventlog.slices import export_slice
from eventlog.standalone.verify import check
from eventlog.verify import verify
from tests.eventlog.mutations import KEY
from tests.eventlog.support import LOG_ID, SEGMENT, draft, event, genesis_hash, open_log, small_log

CALLS: Final = ("write", "fsync", "rename", "unlink", "open", "pread", "link")
CALLS_MAX: Final = 200


class Fault(Exception):  # noqa: N818 - no error of ours: the process is over
    """The process ends here."""


def failing_at(turn: int, monkeypatch: pytest.MonkeyPatch, failure: Callable[[], Exception]) -> list[str]:
    """Have the `turn`-th of the calls fail; returns the list that the calls are noted in."""
    calls: list[str] = []

    def guarded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) == turn:
                raise failure()
            return real(*arguments, **named)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, guarded(name, getattr(os, name)))
    return calls


def at_every_call(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], then: Callable[[], None]) -> int:
    """Act with a fault at each call in turn, as an error and as an end; `then` looks at what is left and restores it.

    Returns how many calls there are when nothing fails.
    """
    for failure in (lambda: OSError(errno.EIO, "Input/output error"), Fault):
        for turn in range(1, CALLS_MAX):
            with monkeypatch.context() as patch:
                calls = failing_at(turn, patch, failure)
                with contextlib.suppress(OSError, LogError, Fault):
                    act()
            then()
            if len(calls) < turn:
                break  # every call had its turn
        else:
            raise AssertionError(f"more than {CALLS_MAX} calls")
    return len(calls)


def test_12_a_fault_at_any_call_of_sealing_leaves_the_raw_segment_or_its_whole_seal(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = quick / "log"
    small_log(folder, clean=True)
    raw = (folder / SEGMENT).read_bytes()
    start = first_seal(genesis_hash(folder))

    def seal_and_drop() -> None:
        seal_segment(folder, log_id=LOG_ID, start=start, key=KEY)
        drop_raw(folder, first=1)

    def nothing_is_lost() -> None:
        if (folder / SEGMENT).exists():
            assert (folder / SEGMENT).read_bytes() == raw
            assert verify(folder).verdict == "OK"
        else:
            manifest, _ = read_manifest(folder, first=1, key=KEY.verifying)
            with opened_sealed(sealed_path(folder, first=1), manifest) as sealed:
                assert b"".join(sealed.stream()) == raw
            (folder / SEGMENT).write_bytes(raw)
            sealed_path(folder, first=1).unlink()

    assert at_every_call(monkeypatch, seal_and_drop, nothing_is_lost) > 30


def test_a_fault_at_any_call_of_signing_leaves_the_old_anchor_or_the_new_one(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = quick / "log"
    small_log(folder, clean=True)
    sign_head(folder, KEY)
    old = read_anchor(folder)
    log = open_log(folder)
    log.commit([draft(event(5))])
    log.close()

    def the_anchor_is_whole() -> None:
        data = read_anchor(folder)
        assert data is not None
        assert read_checkpoint(data, KEY.verifying).size in (4, 6)
        assert verify(folder, key=KEY.verifying).verdict == "OK"
        (folder / "anchors" / "ANCHOR").write_bytes(old or b"")

    assert at_every_call(monkeypatch, lambda: sign_head(folder, KEY), the_anchor_is_whole) > 10


def test_a_fault_at_any_call_of_an_export_leaves_no_folder_or_a_whole_one(
    quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = quick / "log"
    small_log(folder, clean=True)
    sign_head(folder, KEY)

    def there_is_none_or_it_is_whole() -> None:
        if (quick / "slice").exists():
            assert check(quick / "slice")["verdict"] == "OK"
            shutil.rmtree(quick / "slice")
        shutil.rmtree(quick / "slice.tmp", ignore_errors=True)

    act = lambda: export_slice(folder, quick / "slice", first=2)  # noqa: E731
    assert at_every_call(monkeypatch, act, there_is_none_or_it_is_whole) > 20
