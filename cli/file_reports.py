"""Says how each file of a run ended, from what the read model knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import cache

import msgspec
from msgspec.structs import replace

from cli.planning import Plan, Wanted
from cli.report import Action, FileReport, OutputReport, QuarantineReport, RangeReport, RuleReport, skips_of
from cli.results import Results
from commands.run import RunTally
from eventlog.events import RefusedFile, SeenFile
from eventlog.ids import JobId, PathText
from projections.catalog import lost_reason
from projections.queries import KeptRows, RecordedFile
from projections.rows import JobRow, MaterializationRow
from sinks.sink import Sink
from sinks.uri import open_sink

NOTHING: Mapping[JobId, str] = {}


def file_report(
    item: Wanted, plan: Plan, results: Results, *, stuck: Mapping[JobId, str], held: Mapping[JobId, str] = NOTHING
) -> FileReport:
    """Return how one file of the plan ended; `stuck` says of jobs why their outputs cannot be published now, `held` why
    they are not made."""
    made = [results.materializations.get(key.materialization_key) for key in item.keys]
    recorded = [row for row in made if row is not None]
    if len(recorded) < len(made):
        return _unfinished(item, results, stuck, held)
    job = results.jobs[recorded[0].job_id]
    lost = next(filter(None, map(lost_output, recorded)), "")
    if lost:
        return _lost_report(item, job, lost)
    reused = item.file.path in plan.reused
    action: Action = "reused" if reused else "run"
    outputs = tuple(
        OutputReport(name=row.output_name, rows=row.rows, bytes=row.bytes, path=_place(row), row_first=row.row_first)
        for row in sorted(recorded, key=lambda row: row.output_name)
    )
    return FileReport(
        path=item.file.path,
        source_hash=item.file.source_hash,
        sha256=item.file.sha256,
        action=action,
        job=job.job_id,
        found=job.found if job.unit else None,
        written=job.written if job.unit else None,
        quarantined=job.quarantined if job.unit else None,
        skipped=job.skipped if job.unit else None,
        skips=skips_of(job.skips),
        unreadable=job.unreadable if job.unit else None,
        ranges=tuple(
            RangeReport(offset=row.byte_offset, length=row.byte_length, reason=row.reason)
            for row in results.ranges.get(job.job_id, ())
        ),
        outputs=outputs,
        accounting="balanced" if job.unit else "unaccounted",
        status=job.completion_status or "success",
        reason=_why(item, job, reused=reused),
        next_step=f"casparian job show {job.job_id}",
    )


def _lost_report(item: Wanted, job: JobRow, lost: str) -> FileReport:
    """Return the report of a file whose outputs were published and are not there any more: no silent reuse."""
    return _failed_report(
        item.file.path,
        item.file,
        reason=f"its output was published by job {job.job_id}, but {lost}",
        next_step="put it back from a copy, or run again with --remake-lost",
        job=job.job_id,
        status="lost",
    )


def _unfinished(item: Wanted, results: Results, stuck: Mapping[JobId, str], held: Mapping[JobId, str]) -> FileReport:
    """Return the report of a file without outputs: its job failed, was stopped, or waits for its target."""
    job = results.by_source.get(item.file.source_hash)
    if job is None:
        return _failed_report(item.file.path, item.file, reason="no job was made for it", next_step="run again")
    why_stuck, why_held = stuck.get(JobId(job.job_id)), held.get(JobId(job.job_id))
    if why_held is not None:
        next_step = "casparian parser health"
        return _failed_report(
            item.file.path, item.file, reason=why_held, next_step=next_step, job=job.job_id, status="held"
        )
    reason = (
        f"its outputs are staged but cannot be published: {why_stuck}" if why_stuck else job.error_reason or job.status
    )
    next_step = "run again when the target can be reached" if why_stuck else job.error_hint or ""
    return _failed_report(
        item.file.path,
        item.file,
        reason=reason,
        next_step=next_step or f"casparian job show {job.job_id}",
        job=job.job_id,
        status=job.error_class or job.status,
    )


def refused_report(refused: RefusedFile) -> FileReport:
    """Return the report of a path that could not be read."""
    return _failed_report(refused.path, None, reason=refused.reason, next_step="")


def _failed_report(
    path: PathText,
    file: SeenFile | None,
    *,
    reason: str,
    next_step: str,
    job: int | None = None,
    status: str = "refused",
) -> FileReport:
    return FileReport(
        path=path,
        source_hash=file.source_hash if file else None,
        sha256=file.sha256 if file else None,
        action="failed",
        job=job,
        found=None,
        written=None,
        quarantined=None,
        skipped=None,
        skips=(),
        unreadable=None,
        ranges=(),
        outputs=(),
        accounting=None,
        status=status,
        reason=reason,
        next_step=next_step,
    )


def _why(item: Wanted, job: JobRow, *, reused: bool) -> str:
    """Return the reason for what was done with a file, in words."""
    if reused:
        return f"same content, parser, settings and target as job {job.job_id} of run {job.run_id}"
    if job.path != item.file.path:
        return f"same content as {job.path}, parsed once, by job {job.job_id}"
    return "no outputs were recorded for this content, parser, settings and target"


def told_shown_again(files: Sequence[FileReport], jobs: Set[JobId]) -> tuple[tuple[FileReport, ...], int]:
    """Return the reports, those of these jobs saying that the tables show them again, and how many they are."""
    told = tuple(_shown_again(file) if file.job in jobs and file.action != "failed" else file for file in files)
    return told, sum(new is not old for new, old in zip(told, files, strict=True))


def _shown_again(file: FileReport) -> FileReport:
    return replace(file, reason=f"{file.reason}; the tables showed another reading of it and show this one again")


def lost_output(row: MaterializationRow) -> str:
    """Return what is wrong with a published output, as far as a look at its size tells; "" if nothing is."""
    if not row.file:
        return ""
    recorded = RecordedFile(
        parser=row.parser,
        output_name=row.output_name,
        sink_uri=row.sink_uri,
        file=row.file,
        bytes=row.bytes,
        schema_hash=row.schema_hash,
        current=True,
    )
    why = lost_reason(recorded)
    return f"{row.file}: {why}" if why else ""


def _place(row: MaterializationRow) -> str | None:
    return _sink(row.sink_uri).locate(row.file) if row.file else None


@cache
def _sink(uri: str) -> Sink:
    return open_sink(uri)


def quarantine_reports(kept: Sequence[KeptRows]) -> tuple[QuarantineReport, ...]:
    """Return what is told of rejected rows, by output and job."""
    reports = [quarantine_report(row) for row in kept]
    return tuple(sorted(reports, key=lambda each: (each.output, each.job)))


def quarantine_report(row: KeptRows) -> QuarantineReport:
    return QuarantineReport(
        output=row.output_name,
        job=row.job_id,
        file=row.path,
        rows=row.rows,
        accepted=row.accepted,
        pct=round(row.rows / (row.rows + row.accepted) * 100, 4),
        rules=msgspec.json.decode(row.rules, type=tuple[RuleReport, ...]),
        rejected=row.rejected,
        path=_sink(row.sink_uri).locate(row.file),
        deleted=row.deleted_reason or "",
    )


def tally_of(files: Sequence[FileReport], superseded: int) -> RunTally:
    done = [file for file in files if file.action != "failed"]
    return RunTally(
        processed=sum(file.action == "run" for file in files),
        reused=sum(file.action == "reused" for file in files),
        failed=len(files) - len(done),
        forbidden=sum(file.status == "policy" for file in files),
        partial=sum(file.status == "partial_success" for file in done),
        unaccounted=sum(file.status in ("accounting", "lost") for file in files),
        superseded=superseded,
    )
