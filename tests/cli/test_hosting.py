"""Runs that a sentinel carries out for others: begun once for each request."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cli.home import Home
from cli.messages import Asked, Refusal, RunTaken, StartRun, ask
from cli.sentinel import Sentinel
from commands.policy_words import PolicyWords
from eventlog.ids import PathText

NOTHING_SAID = PolicyWords(place="command")


def wanted(folder: Path) -> Asked:
    request = StartRun(
        parser="evtx",
        inputs=(PathText(str(folder)),),
        sink_uri=f"parquet://{folder}/out",
        settings={},
        quarantine=(NOTHING_SAID, NOTHING_SAID),
    )
    return ask(request)


@pytest.mark.parametrize("same", [True, False])
def test_a_request_under_the_id_of_another_one_does_not_get_the_run_of_that(tmp_path: Path, same: bool) -> None:
    with Sentinel(Home(tmp_path / "home"), purpose="test", lasting=True) as sentinel:
        first = wanted(tmp_path)
        again = first if same else msgspec.structs.replace(wanted(tmp_path / "other"), id=first.id)
        assert sentinel.control.answer(first) == RunTaken(ticket=first.id, workers=0)
        answer = sentinel.control.answer(again)
        if same:
            assert answer == RunTaken(ticket=first.id, workers=0)
        else:
            assert isinstance(answer, Refusal)
            assert answer.code == "id_reused"
