"""Compares what a run wants with what there is: which files need a job, which are reused. Pure.

Both sides are read elsewhere, at one position of the log; whether a plan made there still stands is for `decide`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from msgspec import Struct

from commands.job import NewJob
from eventlog.events import JobKey, RunStarted, SeenFile, Target
from eventlog.ids import ConfigHash, JobId, MaterializationKey, PathText, SourceHash
from eventlog.keys import MaterializationComponents, TargetComponents, materialization_key, target_key
from eventlog.schema import schema_hash
from executors.parser_catalog import ParserPackage


class Wanted(Struct, frozen=True):
    """One file of the run with the keys of the outputs that it should have."""

    file: SeenFile
    keys: tuple[JobKey, ...]


class Plan(Struct, frozen=True, kw_only=True):
    """What is to be done: `new` jobs, `attached` open ones that make the same outputs, the rest is reused."""

    wanted: tuple[Wanted, ...]
    new: tuple[NewJob, ...]
    attached_jobs: tuple[JobId, ...]
    reused: frozenset[PathText]
    attached_count: int


def wanted_of(
    files: Sequence[SeenFile], targets: tuple[Target, ...], package: ParserPackage, *, settings_hash: ConfigHash
) -> tuple[Wanted, ...]:
    """Return each file with the keys of the outputs that the run should leave for it."""
    return tuple(
        Wanted(file, _keys(targets, package, settings_hash=settings_hash, source=file.source_hash)) for file in files
    )


def keys_of(wanted: Iterable[Wanted]) -> list[MaterializationKey]:
    """Return every key of these files, in order."""
    return [key.materialization_key for item in wanted for key in item.keys]


def compare(
    wanted: tuple[Wanted, ...], *, claimed: Mapping[MaterializationKey, JobId], missing: Set[MaterializationKey]
) -> Plan:
    """Return the plan. `claimed` are the keys of open jobs, `missing` those that nothing is recorded under.

    A content that is met twice gets one job, and a key that an open job has claimed gets none.
    """
    new: list[NewJob] = []
    reused: set[PathText] = set()
    attached_jobs: set[JobId] = set()
    attached_count = 0
    begun: set[SourceHash] = set()
    for item in wanted:
        open_job = next((claimed[k.materialization_key] for k in item.keys if k.materialization_key in claimed), None)
        if not any(key.materialization_key in missing for key in item.keys):
            reused.add(item.file.path)
        elif open_job is not None or item.file.source_hash in begun:
            attached_count += 1
            if open_job is not None:
                attached_jobs.add(open_job)
        else:
            begun.add(item.file.source_hash)
            new.append(NewJob(file=item.file, keys=item.keys))
    return Plan(
        wanted=wanted,
        new=tuple(new),
        attached_jobs=tuple(sorted(attached_jobs)),
        reused=frozenset(reused),
        attached_count=attached_count,
    )


def targets_of(started: RunStarted, package: ParserPackage) -> tuple[Target, ...]:
    """Return where each declared output of the run goes."""
    targets = []
    for schema in package.outputs:
        shape = schema_hash(schema)
        components = TargetComponents(
            output_name=schema.output,
            sink_uri=started.sink_uri,
            sink_mode=started.sink_mode,
            table_name="",
            schema_hash=shape,
        )
        targets.append(
            Target(output=schema.output, table_name="", schema_hash=shape, target_key=target_key(components))
        )
    return tuple(targets)


def _keys(
    targets: tuple[Target, ...], package: ParserPackage, *, settings_hash: ConfigHash, source: SourceHash
) -> tuple[JobKey, ...]:
    """Return the materialization key of each target for one content."""
    return tuple(
        JobKey(
            output=target.output,
            target_key=target.target_key,
            materialization_key=materialization_key(
                MaterializationComponents(
                    output_target_key=target.target_key,
                    source_hash=source,
                    artifact_hash=package.artifact_hash,
                    env_hash=package.env_hash,
                    config_hash=settings_hash,
                )
            ),
        )
        for target in targets
    )
