"""What a start makes of what the last process left: jobs that wait, and artifacts that are staged."""

from __future__ import annotations

from pathlib import Path

from cli.home import Home
from cli.promoter import promoting_bundles
from cli.resuming import committed_stages
from cli.sentinel import Sentinel
from cli.sentinel_parsers import has_columns
from eventlog.ids import ParserName
from executors.parser_catalog import builtin_parsers
from tests.acceptance.terminal import Terminal
from tests.executors.jobs import wait_until
from tests.support import commit, conclude, given, join, leased, planned_run, shared

LOOK_SECONDS = 1.0
PACKAGES = {str(name): package for name, package in builtin_parsers().items()}


def test_a_waiting_job_goes_on_only_where_its_columns_can_still_be_read() -> None:
    declared = '{"columns":[{"name":"a","type":"string"}]}'
    assert has_columns(PACKAGES["csv"], {"schema": declared})
    assert not has_columns(PACKAGES["csv"], {"schema": '{"columns":[{"name":"a","type":"money"}]}'})
    assert not has_columns(PACKAGES["csv"], {})
    assert has_columns(PACKAGES["evtx"], {})


def test_a_home_that_never_had_a_job_gets_an_executor_as_soon_as_one_is_to_come(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")

    def hires(soon: str | None) -> bool:
        with Sentinel(home, purpose="run", workers=2, soon=ParserName(soon) if soon else None) as sentinel:
            return wait_until(lambda: sentinel.fleet.size == 1, seconds=LOOK_SECONDS)

    assert [hires(None), hires("nobody's"), hires("evtx")] == [False, False, True]
    casparian = Terminal(tmp_path / "run")
    (tmp_path / "lines.jsonl").write_text('{"a": 1}\n')
    assert casparian.casparian("run", "jsonl", tmp_path / "lines.jsonl", "--home", home.root).code == 0
    assert not hires("evtx")


def test_what_was_committed_is_not_swept_rejected_rows_included() -> None:
    state = given(*planned_run(1, 2, 3), join(), leased(1, 2, 3), conclude(*shared(2, 3), commit(3, rejected=1)))
    assert committed_stages(state) == {".stage-1", ".stage-3-quarantine"}


def test_what_shares_an_artifact_is_promoted_together_after_a_start() -> None:
    state = given(*planned_run(1, 2, 3), join(), leased(1, 2, 3), conclude(*shared(2, 3), commit(3, rejected=1)))
    assert [[commit.job for commit in bundle] for bundle in promoting_bundles(state)] == [[1, 2], [3]]
