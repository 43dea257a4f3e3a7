"""Tests that views show exactly the recorded files, under names that mean one thing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from eventlog.column_types import PrimitiveType, duckdb_type
from eventlog.events import Event
from eventlog.schema import LINEAGE_COLUMNS, Column
from projections.catalog import Catalog
from projections.errors import AmbiguousNameError, MissingFileError, UnreachableFileError
from projections.projector import Projector
from projections.sql_text import exact_pattern, identifier, list_literal, text_literal
from tests.projections import histories as h
from tests.projections.published import published, published_together, uri_of, write_rows

BEGUN: Sequence[Event] = (h.opened(), h.joined(), h.run_started())


def catalog_of(projector: Projector, *events: Event) -> Catalog:
    projector.apply(h.frames_of([[*BEGUN, *events]]))
    return Catalog(projector.connection)


def count(projector: Projector, table: str) -> int:
    return int(projector.connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def test_a_view_shows_current_rows_and_its_twin_shows_all_with_their_jobs(projector: Projector, tmp_path: Path) -> None:
    old, new = published(tmp_path, 1), published(tmp_path, 2, version="2", rows=5)
    other = published(tmp_path, 3, content="b", rows=7)
    catalog_of(projector, h.deployed(), *old, *new, *other).create_all()
    assert count(projector, "evtx_events") == 5 + 7
    assert count(projector, "evtx_events_all") == 3 + 5 + 7
    assert count(projector, "outputs.evtx__evtx_events") == 5 + 7
    jobs = projector.connection.execute("SELECT DISTINCT _cf_job_id FROM evtx_events_all ORDER BY 1").fetchall()
    assert jobs == [("1",), ("2",), ("3",)]


def test_a_case_written_to_two_targets_is_shown_once(projector: Projector, tmp_path: Path) -> None:
    catalog = catalog_of(projector, h.deployed(), *published(tmp_path / "a", 1), *published(tmp_path / "b", 2))
    catalog.create_all()
    assert count(projector, "evtx_events") == 3
    assert count(projector, "evtx_events_all") == 6


def test_a_reading_that_is_asked_for_again_is_shown_in_place_of_the_newer_one(
    projector: Projector, tmp_path: Path
) -> None:
    jobs = [*published(tmp_path, 1), *published(tmp_path, 2, version="2", rows=5)]
    catalog = catalog_of(projector, h.deployed(), *jobs, h.reused(1))
    catalog.create_all()
    assert (count(projector, "evtx_events"), count(projector, "evtx_events_all")) == (3, 8)
    (said,) = catalog.remarks()
    assert said.startswith("evtx_events shows one reading of each content, the one that a run asked for last: 1 of 1 ")
    assert "with version 1" in said
    assert "0 of 1 with version 2" in said


def test_a_lost_reading_is_shown_nowhere(projector: Projector, tmp_path: Path) -> None:
    jobs = [*published(tmp_path, 1), *published(tmp_path, 2, version="2", rows=5)]
    catalog_of(projector, h.deployed(), *jobs, h.outputs_lost(2)).create_all()
    assert (count(projector, "evtx_events"), count(projector, "evtx_events_all")) == (3, 3)


def test_one_reading_of_everything_needs_no_remark(projector: Projector, tmp_path: Path) -> None:
    catalog = catalog_of(projector, h.deployed(), *published(tmp_path, 1), *published(tmp_path, 2, content="b"))
    catalog.create_all()
    assert catalog.remarks() == []


def test_a_recorded_file_of_another_size_is_refused_by_name(projector: Projector, tmp_path: Path) -> None:
    catalog = catalog_of(projector, h.deployed(), *published(tmp_path, 1))
    next(tmp_path.iterdir()).write_bytes(b"")
    with pytest.raises(MissingFileError, match="it has 0 bytes where"):
        catalog.create_mentioned("select * from evtx_events")


def test_a_file_that_no_event_records_is_not_shown(projector: Projector, tmp_path: Path) -> None:
    write_rows(tmp_path / "evtx_events_stray.parquet")
    catalog_of(projector, h.deployed(), *published(tmp_path, 1)).create_all()
    assert count(projector, "evtx_events_all") == 3


def test_a_declared_output_without_files_is_an_empty_table_of_its_types(projector: Projector) -> None:
    types: tuple[PrimitiveType, ...] = get_args(PrimitiveType)
    columns = tuple(Column(name=f'{each} "column"', type=each) for each in types)
    catalog_of(projector, h.deployed(outputs=[h.output(columns=columns)])).create_all()
    described = projector.connection.execute("DESCRIBE evtx_events").fetchall()
    words = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    expected = [(column.name, duckdb_type(column.type)) for column in (*columns, *LINEAGE_COLUMNS)]
    assert [(name, kind) for name, kind, *_rest in described] == [(name, words.get(t, t)) for name, t in expected]
    assert count(projector, "evtx_events") == 0


def test_an_output_without_rows_supersedes_one_that_had_some(projector: Projector, tmp_path: Path) -> None:
    events = [*published(tmp_path, 1), *published(tmp_path, 2, version="2", rows=0)]
    catalog_of(projector, h.deployed(), *events).create_all()
    assert (count(projector, "evtx_events"), count(projector, "evtx_events_all")) == (0, 3)


def test_an_output_that_the_current_parser_no_longer_declares_keeps_its_rows(
    projector: Projector, tmp_path: Path
) -> None:
    events = [h.deployed(), *published(tmp_path, 1), h.deployed(version="2", outputs=[h.output("other")])]
    catalog = catalog_of(projector, *events)
    catalog.create_all()
    assert count(projector, "evtx_events") == 3
    assert "other" in catalog.names()


def test_columns_that_came_with_a_later_version_are_null_before(projector: Projector, tmp_path: Path) -> None:
    wider = h.output(columns=(Column(name="channel", type="string"), *h.EVTX_COLUMNS))
    events = [*published(tmp_path, 1), *published(tmp_path, 2, content="b", version="2", schema=wider, rows=2)]
    catalog_of(projector, h.deployed(), *events).create_all()
    rows = projector.connection.execute(
        "SELECT event_id, channel, count(*) FROM evtx_events GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert rows == [(4624, "text", 2), (4624, None, 3)]


def test_a_name_of_two_parsers_is_not_created_and_both_full_names_are(projector: Projector, tmp_path: Path) -> None:
    events = [*published(tmp_path, 1), *published(tmp_path, 2, parser="Other", content="b", rows=2)]
    catalog = catalog_of(projector, h.deployed(), h.deployed("Other"), *events)
    catalog.create_all()
    assert count(projector, "outputs.evtx__evtx_events") == 3
    assert count(projector, 'outputs."Other__evtx_events"') == 2
    assert "evtx_events" not in catalog.names()
    told = catalog.explain_unknown("EVTX_events")
    assert isinstance(told, AmbiguousNameError)
    assert 'it can be any of outputs."Other__evtx_events", outputs.evtx__evtx_events;' in str(told)


def test_an_output_named_like_the_twin_of_another_is_ambiguous(projector: Projector) -> None:
    catalog = catalog_of(projector, h.deployed(outputs=[h.output("rows"), h.output("rows_all")]))
    catalog.create_all()
    assert catalog.ambiguous_names == {"rows_all": ["evtx__rows_all", "evtx__rows_all__2"]}
    assert "rows" in catalog.names()


def test_an_output_cannot_take_the_name_of_a_read_model_table(projector: Projector) -> None:
    catalog_of(projector, h.deployed(outputs=[h.output("cf_jobs")]), h.queued(1)).create_all()
    assert count(projector, "cf_jobs") == 1
    assert count(projector, "outputs.evtx__cf_jobs_all") == 0


def test_only_views_whose_name_stands_in_the_text_are_created(projector: Projector) -> None:
    catalog = catalog_of(projector, h.deployed(outputs=[h.output("one"), h.output("two"), h.output("one_more")]))
    catalog.create_mentioned("select * from \"ONE\" where x = 'two_all'")
    names = projector.connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE NOT internal AND view_name NOT LIKE 'cf_%' ORDER BY 1"
    ).fetchall()
    assert names == [("one",), ("two_all",)]


@pytest.mark.parametrize(
    "name",
    [
        "it's",
        'a "quoted" one',
        "new\nline",
        "a[1]",
        "st*r",
        "q?x",
        "host=A",
        "back\\slash",
        "semi;--",
        "{a,b}",
        "é\u2028",
    ],
)
def test_hostile_folder_names_are_read_as_they_are(projector: Projector, tmp_path: Path, name: str) -> None:
    catalog_of(projector, h.deployed(), *published(tmp_path / name, 1)).create_all()
    assert count(projector, "evtx_events") == 3
    columns = [row[0] for row in projector.connection.execute("DESCRIBE evtx_events").fetchall()]
    assert columns == [column.name for column in (*h.EVTX_COLUMNS, *LINEAGE_COLUMNS)]


def test_a_name_with_a_star_never_matches_another_folder(projector: Projector, tmp_path: Path) -> None:
    events = published(tmp_path / "st*r", 1)
    published(tmp_path / "star", 1)
    catalog = catalog_of(projector, h.deployed(), *events)
    catalog.create_mentioned("evtx_events")
    assert count(projector, "evtx_events") == 3
    for file in (tmp_path / "st*r").iterdir():
        file.unlink()
    with pytest.raises(MissingFileError):
        catalog.create_mentioned("evtx_events_all")


def test_a_folder_that_is_not_utf8_is_refused_in_a_sentence(projector: Projector, tmp_path: Path) -> None:
    event = h.recorded(1, sink_uri=uri_of(tmp_path) + "/\\xff")
    catalog = catalog_of(projector, h.deployed(), h.queued(1), event)
    with pytest.raises(UnreachableFileError, match="not UTF-8 and DuckDB cannot open it"):
        catalog.create_all()


def test_a_target_that_is_not_of_files_is_refused_in_a_sentence(projector: Projector) -> None:
    catalog = catalog_of(projector, h.deployed(), h.queued(1), h.recorded(1, sink_uri="delta:///x"))
    with pytest.raises(UnreachableFileError, match="start with parquet:// only"):
        catalog.create_all()


def test_a_recorded_file_that_is_gone_is_named(projector: Projector, tmp_path: Path) -> None:
    catalog = catalog_of(projector, h.deployed(), *published(tmp_path, 1))
    path = next(tmp_path.iterdir())
    path.unlink()
    with pytest.raises(MissingFileError) as told:
        catalog.create_all()
    assert str(path) in str(told.value)
    assert "put it back from a copy" in str(told.value)


def test_a_recorded_file_that_is_not_parquet_is_refused_in_a_sentence(projector: Projector, tmp_path: Path) -> None:
    catalog = catalog_of(projector, h.deployed(), *published(tmp_path, 1))
    published_file = next(tmp_path.iterdir())
    published_file.write_bytes(b"n" * published_file.stat().st_size)
    with pytest.raises(UnreachableFileError, match=r"make the table outputs\.\"evtx__evtx_events\" from its recorded"):
        catalog.create_all()


def test_a_thousand_files_are_one_view(projector: Projector, tmp_path: Path) -> None:
    events: list[Event] = []
    template = tmp_path / "template"
    write_rows(template, rows=1)
    for job in range(1, 1001):
        made = h.recorded(job, content=f"{job:04d}", sink_uri=uri_of(tmp_path), size=template.stat().st_size)
        (tmp_path / made.file).hardlink_to(template)
        events += [h.queued(job), made]
    catalog = catalog_of(projector, h.deployed(), *events)
    begun = time.monotonic()
    catalog.create_mentioned("evtx_events")
    assert count(projector, "evtx_events") == 1000
    assert time.monotonic() - begun < 5


def test_literals_and_patterns_are_escaped() -> None:
    assert text_literal("it's") == "'it''s'"
    assert list_literal(["a", "b'"]) == "['a', 'b''']"
    assert identifier('a"b') == '"a""b"'
    assert exact_pattern("/a*/[b]/c?") == "/a[*]/[[]b]/c[?]"


# --- files that jobs share ------------------------------------------------------------------------------------------


def jobs_in(projector: Projector, table: str) -> dict[str, int]:
    rows = projector.connection.execute(f"SELECT _cf_job_id, count(*) FROM {table} GROUP BY ALL").fetchall()
    return dict(rows)


def test_a_shared_file_is_shown_once_with_the_rows_of_all_its_jobs(projector: Projector, tmp_path: Path) -> None:
    catalog = catalog_of(projector, h.deployed(), *published_together(tmp_path, "a", "b", "c"))
    catalog.create_all()
    assert jobs_in(projector, "evtx_events") == jobs_in(projector, "evtx_events_all") == {"1": 3, "2": 3, "3": 3}
    (recorded,) = catalog.recorded
    assert (recorded.superseded, recorded.lost) == ([], [])


def test_of_a_shared_file_only_the_rows_that_are_current_are_shown(projector: Projector, tmp_path: Path) -> None:
    together = published_together(tmp_path, "a", "b", "c")
    newer = published(tmp_path, 7, content="b", version="2", rows=5)
    catalog_of(projector, h.deployed(), *together, *newer).create_all()
    assert jobs_in(projector, "evtx_events") == {"1": 3, "3": 3, "7": 5}
    assert jobs_in(projector, "evtx_events_all") == {"1": 3, "2": 3, "3": 3, "7": 5}


def test_of_a_shared_file_what_was_declared_lost_is_shown_nowhere(projector: Projector, tmp_path: Path) -> None:
    together = published_together(tmp_path, "a", "b", "c")
    catalog_of(projector, h.deployed(), *together, h.outputs_lost(1, 3)).create_all()
    assert jobs_in(projector, "evtx_events") == jobs_in(projector, "evtx_events_all") == {"2": 3}


def test_a_shared_file_of_which_all_is_lost_is_not_read(projector: Projector, tmp_path: Path) -> None:
    together = published_together(tmp_path, "a", "b")
    catalog = catalog_of(projector, h.deployed(), *together, h.outputs_lost(1, 2))
    next(tmp_path.iterdir()).unlink()
    catalog.create_all()
    assert jobs_in(projector, "evtx_events_all") == {}


def test_a_content_that_is_asked_for_again_is_shown_out_of_the_file_that_it_shares(
    projector: Projector, tmp_path: Path
) -> None:
    together = published_together(tmp_path, "a", "b")
    newer = published_together(tmp_path, "a", "b", first_job=5, rows=4)
    catalog_of(projector, h.deployed(), *together, *newer, h.reused(1)).create_all()
    assert jobs_in(projector, "evtx_events") == {"1": 3, "6": 4}
    assert jobs_in(projector, "evtx_events_all") == {"1": 3, "2": 3, "5": 4, "6": 4}


def test_a_lost_shared_file_is_told_of_by_name(projector: Projector, tmp_path: Path) -> None:
    catalog = catalog_of(projector, h.deployed(), *published_together(tmp_path, "a", "b"))
    next(tmp_path.iterdir()).unlink()
    with pytest.raises(MissingFileError, match="it is not there, although"):
        catalog.create_mentioned("select * from evtx_events")
