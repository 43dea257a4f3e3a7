"""Which commits publish together."""

from __future__ import annotations

import msgspec
from hypothesis import given as for_all
from hypothesis import strategies as st

from eventlog.events import OutputsCommitted, StagedOutput
from eventlog.ids import Digest, JobId, OutputName, SchemaHash
from reducers.job import Promoting
from reducers.shares import bundle_with, bundles
from tests.support import commit, given, running_job


def committed(job: int, *names: str) -> OutputsCommitted:
    state = given(*running_job(), commit())
    promoting = state.jobs.get(JobId(1))
    assert isinstance(promoting, Promoting)
    outputs = tuple(
        StagedOutput(
            output=OutputName("rows"), staged=name, final=f"{name}.parquet", digest=Digest("9"), bytes=1, rows=1,
            schema_hash=SchemaHash("s"), jobs=(),
        )
        for name in names
    )  # fmt: skip
    return msgspec.structs.replace(promoting.committed, job=JobId(job), outputs=outputs)


def numbers(commits: list[OutputsCommitted]) -> list[list[int]]:
    return [[each.job for each in bundle] for bundle in bundles(commits)]


def test_commits_that_share_nothing_are_bundles_of_one() -> None:
    assert numbers([committed(1, "a"), committed(2, "b"), committed(3)]) == [[1], [2], [3]]


def test_commits_are_together_also_by_way_of_a_third() -> None:
    assert numbers([committed(1, "a"), committed(2, "b"), committed(3, "a", "b")]) == [[1, 3, 2]]


def test_only_commits_of_the_same_lease_are_asked_about() -> None:
    one, two = committed(1, "a"), committed(2, "a")
    other = msgspec.structs.replace(committed(3, "a"), lease="another")
    assert [each.job for each in bundle_with(two, [one, two, other])] == [1, 2]


@for_all(st.lists(st.sets(st.sampled_from("abcdef"), max_size=3), max_size=8))
def test_bundles_are_a_partition_and_no_name_is_in_two(shapes: list[set[str]]) -> None:
    commits = [committed(job, *sorted(names)) for job, names in enumerate(shapes, start=1)]
    found = bundles(commits)
    assert sorted(each.job for bundle in found for each in bundle) == list(range(1, len(shapes) + 1))
    owners: dict[str, int] = {}
    for index, bundle in enumerate(found):
        for each in bundle:
            for output in each.outputs:
                assert owners.setdefault(output.staged, index) == index
