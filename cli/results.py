"""Gathers what the read model knows of the files of one run: which outputs they have and which job made them."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from eventlog.ids import JobId, MaterializationKey, RunId, SourceHash
from projections import queries
from projections.queries import KeptRows
from projections.rows import JobRangeRow, JobRow, MaterializationRow


class Results(Struct, frozen=True, kw_only=True):
    """`by_source` holds the run's own and attached jobs, the ones to ask about a content without outputs."""

    materializations: dict[MaterializationKey, MaterializationRow]
    jobs: dict[JobId, JobRow]
    ranges: dict[JobId, list[JobRangeRow]]
    by_source: dict[SourceHash, JobRow]
    quarantine: list[KeptRows]


def gather(
    connection: queries.Connection, keys: Collection[MaterializationKey], *, run: RunId, attached: Collection[JobId]
) -> Results:
    """Return what is recorded under the keys, the jobs that made it, and the jobs of the run."""
    made = {row.materialization_key: row for row in queries.materializations_of(connection, keys)}
    own = queries.jobs_of_run(connection, run) + queries.jobs_of_ids(connection, attached)
    makers = queries.jobs_of_ids(connection, {row.job_id for row in made.values()})
    ranges: dict[JobId, list[JobRangeRow]] = {}
    for row in queries.ranges_of_jobs(connection, {job.job_id for job in makers if job.ranges_total}):
        ranges.setdefault(row.job_id, []).append(row)
    concerned = {job.job_id for job in (*own, *makers)}
    return Results(
        materializations=made,
        jobs={job.job_id: job for job in makers},
        ranges=ranges,
        by_source={job.source_hash: job for job in own},
        quarantine=queries.quarantine_of_jobs(connection, concerned),
    )
