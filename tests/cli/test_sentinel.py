"""What a start makes of jobs that this version cannot give their columns."""

from __future__ import annotations

from cli.sentinel import _has_columns
from executors.parser_catalog import builtin_parsers

PACKAGES = {str(name): package for name, package in builtin_parsers().items()}


def test_a_waiting_job_goes_on_only_where_its_columns_can_still_be_read() -> None:
    declared = '{"columns":[{"name":"a","type":"string"}]}'
    assert _has_columns(PACKAGES["csv"], {"schema": declared})
    assert not _has_columns(PACKAGES["csv"], {"schema": '{"columns":[{"name":"a","type":"money"}]}'})
    assert not _has_columns(PACKAGES["csv"], {})
    assert _has_columns(PACKAGES["evtx"], {})
