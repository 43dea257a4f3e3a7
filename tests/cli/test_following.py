"""How a terminal follows a run, against replies that come in a given order."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import msgspec
import pytest

from cli.following import carry_out
from cli.messages import Asked, HaltRun, ReadReport, Reply, ReportPart, RunSeen, RunTaken, StartRun, Told
from cli.report import RunReport
from eventlog.ids import PathText
from tests.cli.test_summary import REPORT

if TYPE_CHECKING:
    from cli.front import Front

WANTED = StartRun(parser="p", inputs=(PathText("/case"),), sink_uri="parquet:///out", settings={}, quarantine=())
SEEN = RunSeen(version=0, scanned=None, planned=None, worked=None, notes=(), failed=None, report_bytes=None)


@dataclass
class Answering:
    """A front whose run ends with a report; a person interrupts it while it is looked at for the first time."""

    report: RunReport
    stopping: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(asked=False))
    halts: int = 0

    def ask(self, asked: Asked) -> Reply:
        data = msgspec.json.encode(self.report)
        match asked.request:
            case StartRun():
                return RunTaken(ticket=asked.id, workers=1)
            case HaltRun():
                self.halts += 1
                return Told(data=b"")
            case ReadReport(offset=offset):
                return ReportPart(data=data[offset : offset + 100])
            case _ if not self.stopping.asked:
                self.stopping.asked = True
                return SEEN
            case _:
                return msgspec.structs.replace(SEEN, version=1, report_bytes=len(data))


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def scanning(self, files: int, bytes_: int) -> None: ...
    def planned(self, *, found: int, reused: int, to_run: int, refused: int) -> None: ...
    def working(self, *, done: int, total: int, rows: int, seconds_left: int | None) -> None: ...
    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


@pytest.mark.parametrize("interrupted", ["", "run 1 was interrupted: 2 jobs stopped"], ids=["too late", "in time"])
def test_who_interrupts_a_run_that_has_ended_is_told_that_it_has(interrupted: str) -> None:
    report = msgspec.structs.replace(REPORT, interrupted=interrupted)
    front, talk = Answering(report), Notes()
    assert carry_out(cast("Front", front), WANTED, talk) == report
    assert front.halts == 1
    too_late = ["the run had come to its end before it could be interrupted"]
    assert talk.notes[1:] == ([] if interrupted else too_late)
