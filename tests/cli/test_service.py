from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from cli import clock, service
from cli.errors import CliError
from cli.home import find_home, prepare_home
from eventlog.fsport import OS_FS
from eventlog.lock import LogLock, this_process

HOLD_SECONDS = 0.5


def test_a_start_that_was_turned_away_waits_until_who_was_quicker_can_be_asked_or_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = find_home(str(tmp_path / "home"))
    prepare_home(home)
    home.log.mkdir(exist_ok=True)
    monkeypatch.setattr(service, "COMMAND", (sys.executable, "-c", "raise SystemExit('somebody holds it')"))
    quicker = LogLock.acquire(home.log, this_process(since=clock.now(), purpose="run"), fs=OS_FS)
    begun = time.monotonic()
    threading.Timer(HOLD_SECONDS, quicker.release).start()
    with pytest.raises(CliError, match="somebody holds it"):
        service._started(home, 1, None)
    assert time.monotonic() - begun >= HOLD_SECONDS
