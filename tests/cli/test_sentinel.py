"""What a start makes of what the last process left: jobs that wait, and artifacts that are staged."""

from __future__ import annotations

from cli.promoter import promoting_bundles
from cli.resuming import committed_stages
from cli.sentinel import _has_columns
from executors.parser_catalog import builtin_parsers
from tests.support import commit, conclude, given, join, leased, planned_run, shared

PACKAGES = {str(name): package for name, package in builtin_parsers().items()}


def test_a_waiting_job_goes_on_only_where_its_columns_can_still_be_read() -> None:
    declared = '{"columns":[{"name":"a","type":"string"}]}'
    assert _has_columns(PACKAGES["csv"], {"schema": declared})
    assert not _has_columns(PACKAGES["csv"], {"schema": '{"columns":[{"name":"a","type":"money"}]}'})
    assert not _has_columns(PACKAGES["csv"], {})
    assert _has_columns(PACKAGES["evtx"], {})


def test_what_was_committed_is_not_swept_rejected_rows_included() -> None:
    state = given(*planned_run(1, 2, 3), join(), leased(1, 2, 3), conclude(*shared(2, 3), commit(3, rejected=1)))
    assert committed_stages(state) == {".stage-1", ".stage-3-quarantine"}


def test_what_shares_an_artifact_is_promoted_together_after_a_start() -> None:
    state = given(*planned_run(1, 2, 3), join(), leased(1, 2, 3), conclude(*shared(2, 3), commit(3, rejected=1)))
    assert [[commit.job for commit in bundle] for bundle in promoting_bundles(state)] == [[1, 2], [3]]
