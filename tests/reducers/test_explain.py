"""Explanations: every line cites the log, and a changed component of a key changes its own line and no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eventlog.events import Event, LoggedCommand, MaterializationRecorded, RunPlanned, Target
from eventlog.ids import ArtifactHash, ConfigHash, EnvHash, JobId, OutputName, PathText, SchemaHash, SourceHash
from eventlog.keys import MaterializationComponents, TargetComponents, materialization_key, target_key
from reducers.explain import Decision, Fact, Interest, collect, decisions, facts_of, lines
from reducers.say import say
from tests.projections import histories
from tests.projections.histories import frames_of, whole_job

PATH = PathText("/case/a.evtx")
BASE = {
    "sink_uri": "parquet:///out",
    "sink_mode": "append",
    "table_name": "",
    "schema_hash": "5" * 64,
    "source_hash": "a" * 64,
    "artifact_hash": "7" * 64,
    "env_hash": "e" * 64,
    "config_hash": "c" * 64,
}
COMPONENTS = sorted(BASE)


def history(*runs: dict[str, str]) -> list[list[Event]]:
    """Each run reads PATH with these components, plans it, and makes evtx_events if no run before had the same."""
    events: list[list[Event]] = []
    made: set[str] = set()
    for number, values in enumerate(runs, start=1):
        file = replace(histories.seen(PATH), source_hash=SourceHash(values["source_hash"]))
        events += [[histories.run_started(number)], [histories.files_seen(file, run=number)]]
        planned = plan(number, values, at_seq=sum(map(len, events)))
        events.append([planned])
        key = key_of(planned, file.source_hash)
        if key not in made:
            made.add(key)
            events += job(number, planned, values, key)
        events.append([histories.run_finished(number)])
    return events


def plan(run: int, values: dict[str, str], *, at_seq: int) -> RunPlanned:
    where = TargetComponents(
        output_name=OutputName("evtx_events"),
        sink_uri=values["sink_uri"],
        sink_mode=values["sink_mode"],
        table_name=values["table_name"],
        schema_hash=SchemaHash(values["schema_hash"]),
    )
    target = Target(
        output=where.output_name,
        table_name=where.table_name,
        schema_hash=where.schema_hash,
        target_key=target_key(where),
    )
    return replace(
        histories.run_planned(run, at_seq=at_seq, found=1),
        artifact_hash=ArtifactHash(values["artifact_hash"]),
        env_hash=EnvHash(values["env_hash"]),
        config_hash=ConfigHash(values["config_hash"]),
        sink_uri=where.sink_uri,
        sink_mode=where.sink_mode,
        targets=(target,),
    )


def key_of(planned: RunPlanned, source: SourceHash) -> str:
    return materialization_key(
        MaterializationComponents(
            output_target_key=planned.targets[0].target_key,
            source_hash=source,
            artifact_hash=planned.artifact_hash,
            env_hash=planned.env_hash,
            config_hash=planned.config_hash,
        )
    )


def job(run: int, planned: RunPlanned, values: dict[str, str], key: str) -> list[list[Event]]:
    queued = replace(histories.queued(run, run=run), source_hash=SourceHash(values["source_hash"]))
    recorded = msgspec.convert(
        msgspec.to_builtins(histories.recorded(run, run=run))
        | {"materialization_key": key, "source_hash": values["source_hash"]},
        MaterializationRecorded,
    )
    return [[queued], [histories.dispatched(run)], [histories.committed(run)], [recorded]]


def explained(groups: Sequence[Sequence[Event]], path: PathText = PATH) -> list[Decision]:
    return decisions(path, facts_about(groups, Interest(paths=[path])))


def facts_about(groups: Sequence[Sequence[Event]], interest: Interest) -> list[Fact]:
    frames = frames_of(groups)
    for fact in facts_of(frames):
        interest.widen(fact)
    return collect(interest, frames)


@pytest.mark.parametrize("changed", COMPONENTS)
def test_a_changed_component_changes_its_own_line_and_no_other(changed: str) -> None:
    value = "parquet:///other" if changed == "sink_uri" else "f" * 64
    (decision,) = explained(history(BASE, BASE | {changed: value}))
    assert decision.action == "run"
    assert [component.name for component in decision.components if not component.same] == [changed]
    component = next(each for each in decision.components if each.name == changed)
    assert (component.value, component.before) == (value, BASE[changed])


def test_every_declared_component_is_explained_and_nothing_else() -> None:
    (decision,) = explained(history(BASE))
    declared = {*TargetComponents.__struct_fields__, *MaterializationComponents.__struct_fields__} - {
        "output_target_key"
    }
    assert {component.name for component in decision.components} == declared


def test_equal_components_are_a_reuse_that_names_the_job() -> None:
    (decision,) = explained(history(BASE, BASE))
    assert decision.action == "reused"
    assert decision.compared_with is not None
    assert decision.compared_with.job == JobId(1)
    assert all(component.same for component in decision.components)


def test_a_first_run_has_nothing_to_compare_with() -> None:
    (decision,) = explained(history(BASE))
    assert (decision.action, decision.compared_with) == ("run", None)
    assert {component.before for component in decision.components} == {None}


@given(st.lists(st.dictionaries(st.sampled_from(COMPONENTS), st.sampled_from(["f" * 64, "0" * 64])), max_size=4))
def test_the_explanation_agrees_with_the_key(changes: list[dict[str, str]]) -> None:
    runs = [BASE, *(BASE | change for change in changes)]
    (decision,) = explained(history(*runs))
    seen_before = runs[-1] in runs[:-1]
    assert (decision.action == "reused") == seen_before
    assert all(component.same for component in decision.components) == seen_before


def test_every_position_that_is_cited_holds_what_is_said() -> None:
    groups = history(BASE, BASE | {"source_hash": "f" * 64})
    frames = frames_of(groups)
    records = {record.seq: record.data for frame in frames for record in frame.records}
    for line in lines(facts_about(groups, Interest(jobs=[JobId(1)]))):
        assert type(records[line.seq]).__name__ == line.type
    (decision,) = explained(groups)
    for component in decision.components:
        for value, seq in ((component.value, component.seq), (component.before, component.before_seq)):
            assert value is not None
            assert f'"{value}"' in msgspec.json.encode(records[seq]).decode()


def test_a_job_is_explained_from_its_file_to_its_end() -> None:
    groups: list[list[Event]] = [
        [histories.opened()],
        [histories.deployed()],
        [histories.run_started()],
        [histories.files_seen(histories.seen(PATH), histories.seen("/case/other.evtx", content="b"))],
        [histories.run_planned()],
        *([event] for event in whole_job(1)),
        *([event] for event in whole_job(2, content="b")),
    ]
    told = lines(facts_about(groups, Interest(jobs=[JobId(1)])))
    types = [line.type for line in told]
    assert types[:4] == ["ParserDeployed", "RunStarted", "FilesSeen", "RunPlanned"]
    assert types[-1] == "JobCompleted"
    assert all(line.facts.get("job", 1) == 1 for line in told)
    (seen,) = [line for line in told if line.type == "FilesSeen"]
    assert PATH in seen.said
    assert "other.evtx" not in str(seen.facts)


def test_a_published_file_leads_to_its_job() -> None:
    groups = [*([event] for event in whole_job(1)), *([event] for event in whole_job(2, content="b"))]
    interest = Interest(file=histories.recorded(2).file)
    for fact in facts_of(frames_of(groups)):
        interest.widen(fact)
    assert interest.jobs == {JobId(2)}


@pytest.mark.parametrize("shape", [*get_args(Event), *get_args(LoggedCommand)], ids=lambda shape: shape.__name__)
def test_every_record_type_has_a_sentence(shape: type[msgspec.Struct]) -> None:
    for record in histories.one_of_each():
        if type(record) is shape:
            sentence = say(record)
            assert sentence
            assert "\n" not in sentence
            return
    raise AssertionError(f"histories.one_of_each has no {shape.__name__}")
