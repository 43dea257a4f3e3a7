"""Terminals and cases for acceptance tests."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.demo.evtx_writer import Event, write_evtx
from fixtures.evtx_case import CaseFile, build_case
from tests.acceptance.terminal import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


class Case:
    """A case folder and what is in it."""

    def __init__(self, folder: Path, files: list[CaseFile]) -> None:
        self.folder = folder
        self.files = files


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Two hosts, one damaged log, one copy."""
    folder = tmp_path / "a case"
    return Case(folder, build_case(folder))


def write_log(path: Path, *, records: int, first_id: int = 1, host: str = "HOST1") -> Path:
    """Write a valid event log of so many records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = datetime(2026, 1, 20, 8, 0, tzinfo=UTC)
    events = [
        Event(
            record_id=first_id + number,
            time=start + timedelta(seconds=number),
            provider="Microsoft-Windows-Security-Auditing",
            event_id=4624,
            channel="Security",
            computer=host,
            data={"TargetUserName": f"user{number}"},
        )
        for number in range(records)
    ]
    with path.open("wb") as stream:
        write_evtx(stream, events)
    return path


@pytest.fixture
def many_logs(tmp_path: Path) -> Path:
    """A folder of 30 small logs, each with its own content: enough work to look at a run from outside."""
    folder = tmp_path / "many"
    for number in range(30):
        write_log(folder / f"log{number:02}.evtx", records=5 + number, first_id=1000 * number + 1)
    return folder


@pytest.fixture(scope="session")
def real_evtx() -> Path:
    """The folder of real event logs; the test is skipped where it is not."""
    data = Path(os.environ.get("CASPARIAN_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (data / "evtx").is_dir():
        pytest.skip(f"no real data at {data}: set CASPARIAN_REAL_DATA to the folder that holds evtx/")
    return data / "evtx"
