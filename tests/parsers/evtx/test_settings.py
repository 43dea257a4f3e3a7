"""What a run may set."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cli.demo.evtx_writer import (
    UserData,
    zero_record_size,
)
from parsers.evtx.errors import PermanentError
from parsers.evtx.settings import DEFAULTS
from tests.parsers.evtx.reading import (
    FOLDER,
    a_logon,
    read,
    whole_log,
    written,
)


def test_the_manifest_declares_the_settings_with_the_defaults_of_the_parser() -> None:
    manifest = tomllib.loads((FOLDER / "casparian.toml").read_text())
    assert manifest["settings"] == DEFAULTS == {"raw_xml": "false", "recover": "false", "tables": "all"}


def test_raw_xml_is_filled_when_asked_for_record_by_record(tmp_path: Path) -> None:
    data, layout = whole_log()
    damaged = zero_record_size(data, layout, chunk=1, record=3)
    for row in read(damaged.data, tmp_path, raw_xml="true").rows():
        assert f"<EventRecordID>{row['event_record_id']}</EventRecordID>" in row["raw_event_xml"]


@pytest.mark.parametrize(
    "given_settings",
    [
        {"raw_xml": "yes"},
        {"speed": "true"},
        {"tables": ""},
        {"tables": "evtx_files"},
        {"tables": "evtx_events,prefetch_files"},
    ],
)
def test_setting_that_is_not_declared_is_refused(tmp_path: Path, given_settings: dict[str, str]) -> None:
    with pytest.raises(PermanentError, match="is not one of the parser's") as caught:
        read(whole_log()[0], tmp_path, **given_settings)
    assert caught.value.kind == "bad_setting"


@pytest.mark.parametrize(
    "others", [[], ["evtx_files"], ["evtx_eventdata_kv"], ["evtx_userdata_kv", "evtx_record_annotations"]]
)
def test_only_the_tables_asked_for_are_made_and_they_are_the_same(tmp_path: Path, others: list[str]) -> None:
    made = [a_logon(1), a_logon(2, user_data=UserData(name="Cleared", fields={"Who": "x"})), a_logon(4)]
    whole = read(written(made)[0], tmp_path)
    some = read(written(made)[0], tmp_path, tables=",".join(["evtx_events", *others]))
    assert {output for output, _ in some.batches} == {"evtx_events", *others}
    for output in ("evtx_events", *others):
        assert some.rows(output) == whole.rows(output) != []
    assert some.statement == whole.statement
