"""The same log folds to the same digests in every process: whatever hash seed, time zone, language and batch it has."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.history import history_of
from eventlog.frames import FrameDraft, stamp_once
from tests.projections import histories as h
from tests.projections.digests import digests
from tests.projections.logs import open_log

ROOT = Path(__file__).parents[2]
ALL = 10_000
Machine = tuple[dict[str, str], int]

QUICK: list[Machine] = [
    ({"PYTHONHASHSEED": "0", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "LANG": "C"}, 7),
]
MACHINES: list[Machine] = [
    ({"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": language, "LANG": language}, frames_max)
    for (seed, frames_max), (zone, language) in itertools.product(
        (("0", 1), ("1", 7), ("random", ALL)),
        (("UTC", "C"), ("Asia/Kathmandu", "C.UTF-8"), ("America/St_Johns", "tr_TR.UTF-8")),
    )
]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log of some hundred events of every kind of run, some of them stamped."""
    home = tmp_path_factory.mktemp("home")
    writer = open_log(home)
    events = list(itertools.islice(history_of(writer.log_id), 400))
    drafts = [FrameDraft(events=tuple(events[at : at + 3]), actor="test") for at in range(0, len(events), 3)]
    stamped = FrameDraft(events=(h.joined("exec-9"),), actor="é" * 20, stamp=stamp_once("id-1", b"once"))
    writer.commit([*drafts, stamped])
    writer.close()
    return home / "log"


def told(log: Path, machines: Sequence[Machine]) -> list[Any]:
    """Return what each process says, two at a time."""
    answers: list[Any] = []
    for at in range(0, len(machines), 2):
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.projections.digests", str(log), str(frames_max)],
                env={**os.environ, **environment}, cwd=ROOT, stdout=subprocess.PIPE,
            )
            for environment, frames_max in machines[at : at + 2]
        ]  # fmt: skip
        answers += [msgspec.json.decode(each.communicate(timeout=60)[0]) for each in running]
    return answers


def test_35_another_machine_and_another_batch_fold_a_log_to_the_same_digests(log: Path) -> None:
    here = digests(log, frames_max=ALL)
    assert len(here) > 8
    assert told(log, QUICK) == [here] * len(QUICK)


@pytest.mark.slow
def test_35_every_machine_and_batch_folds_a_log_to_the_same_digests(log: Path) -> None:
    assert told(log, MACHINES) == [digests(log, frames_max=ALL)] * len(MACHINES)
