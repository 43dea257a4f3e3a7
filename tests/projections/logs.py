"""Owns the writing of real logs for the tests of readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from eventlog.events import Event
from eventlog.frames import FrameDraft
from eventlog.ids import LogId
from eventlog.log import Log
from tests.projections import histories as h

LOG_ID = LogId("0123456789abcdef" * 2)


def _die(message: str) -> NoReturn:
    raise AssertionError(message)


def open_log(home: Path, log_id: LogId = LOG_ID) -> Log:
    """Open or create the log of a home; its first event is WriterOpened."""
    return Log.open(home / "log", clock=h.now, new_log_id=lambda: log_id, version="0", purpose="test", die=_die)


def write_log(home: Path, *groups: Sequence[Event]) -> None:
    """Append one frame per group and close the log."""
    log = open_log(home)
    log.commit([FrameDraft(events=tuple(group), actor="test") for group in groups])
    log.close()
