"""Owns what an executor is told of a lease that it is given: the inputs, the parser, and how much a guest may use."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from commands.lease import JOBS_MAX
from eventlog.events import JobDispatched, JobQueued
from eventlog.ids import LogId
from executors import protocol
from executors.declared_schema import resolve_outputs
from executors.guest.limits import MEMORY_BYTES_MAX, SECONDS_MAX
from executors.parser_catalog import ParserPackage


class JobLimits(Struct, frozen=True, kw_only=True):
    """What one guest may use, and for how many small files: limits of a run, part of no key."""

    memory_bytes_max: int = MEMORY_BYTES_MAX
    seconds_max: float = SECONDS_MAX
    jobs_per_lease: int = JOBS_MAX


def terms(
    handed_out: Sequence[tuple[JobDispatched, JobQueued]],
    package: ParserPackage,
    limits: JobLimits,
    *,
    log_id: LogId,
) -> protocol.Dispatch:
    """Return the message that hands out these jobs, all of one lease, of one parser and one run."""
    (dispatched, spec), *others = handed_out
    return protocol.Dispatch(
        lease=dispatched.lease,
        attempt=dispatched.attempt,
        log_id=log_id,
        path=spec.path,
        size=spec.size,
        mtime_ns=spec.mtime_ns,
        file_uid=spec.file_uid,
        source_hash=spec.source_hash,
        parser=spec.parser,
        parser_version=spec.parser_version,
        parser_file=package.file,
        parser_digests=package.digests,
        settings=spec.settings,
        outputs=resolve_outputs(package, spec.settings).outputs,
        sink_uri=spec.sink_uri,
        dispatched_at=dispatched.dispatched_at,
        memory_bytes_max=limits.memory_bytes_max,
        seconds_max=limits.seconds_max,
        further=tuple(_further(other, other_spec) for other, other_spec in others),
    )


def _further(dispatched: JobDispatched, spec: JobQueued) -> protocol.FurtherInput:
    return protocol.FurtherInput(
        job=dispatched.job,
        attempt=dispatched.attempt,
        path=spec.path,
        size=spec.size,
        mtime_ns=spec.mtime_ns,
        file_uid=spec.file_uid,
        source_hash=spec.source_hash,
    )
