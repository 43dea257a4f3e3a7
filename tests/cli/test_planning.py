"""What a run has to make: pure comparison of what it wants with what is recorded and what is under way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cli.planning import Plan, Wanted, compare
from eventlog.events import JobKey
from eventlog.ids import JobId, MaterializationKey, OutputName, SourceHash, TargetKey
from tests.projections.histories import seen

OUTPUTS = ("evtx_events", "evtx_files")


def wanted(path: str, content: str) -> Wanted:
    keys = tuple(
        JobKey(
            output=OutputName(output),
            target_key=TargetKey("t"),
            materialization_key=MaterializationKey(f"{content}-{output}"),
        )
        for output in OUTPUTS
    )
    return Wanted(seen(path, content=content), keys)


def keys_of(content: str) -> set[MaterializationKey]:
    return {MaterializationKey(f"{content}-{output}") for output in OUTPUTS}


def test_what_is_recorded_is_reused_and_what_is_not_gets_a_job() -> None:
    plan = compare((wanted("/a", "a"), wanted("/b", "b")), claimed={}, missing=keys_of("b"))
    assert plan.reused == {"/a"}
    assert [new.file.path for new in plan.new] == ["/b"]


def test_one_missing_output_is_enough_for_a_job() -> None:
    plan = compare((wanted("/a", "a"),), claimed={}, missing={MaterializationKey("a-evtx_files")})
    assert len(plan.new) == 1


def test_a_content_that_is_met_twice_gets_one_job() -> None:
    plan = compare((wanted("/a", "a"), wanted("/copy", "a")), claimed={}, missing=keys_of("a"))
    assert [new.file.path for new in plan.new] == ["/a"]
    assert (plan.attached_count, plan.attached_jobs) == (1, ())


def test_a_key_that_an_open_job_has_claimed_gets_no_second_job() -> None:
    claimed = {MaterializationKey("a-evtx_events"): JobId(7)}
    plan = compare((wanted("/a", "a"),), claimed=claimed, missing=keys_of("a"))
    assert (plan.new, plan.attached_count, plan.attached_jobs) == ((), 1, (JobId(7),))


@given(
    contents=st.lists(st.sampled_from("abcdef"), max_size=12),
    missing=st.sets(st.sampled_from("abcdef")),
    claimed=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9)),
)
def test_every_file_is_counted_once_and_nothing_missing_is_left_out(
    contents: list[str], missing: set[str], claimed: dict[str, int]
) -> None:
    items = tuple(wanted(f"/{number}", content) for number, content in enumerate(contents))
    open_keys = {key: JobId(job) for content, job in claimed.items() for key in keys_of(content)}
    plan: Plan = compare(items, claimed=open_keys, missing={key for content in missing for key in keys_of(content)})
    assert len(plan.new) + plan.attached_count + len(plan.reused) == len(items)
    made = {new.file.source_hash for new in plan.new}
    assert len(made) == len(plan.new)
    for content in set(contents) & missing:
        assert (SourceHash(content * 64) in made) != (content in claimed)
