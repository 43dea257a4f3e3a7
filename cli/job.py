"""The verbs of one job: `job show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CliError
from cli.home import find_home
from cli.options import HomeOption, JsonOption
from cli.plain import PlainCommand, PlainGroup
from cli.reading import reading
from cli.render import out, out_json, printable, size, table

if TYPE_CHECKING:
    from projections.queries import JobDetail

app = typer.Typer(cls=PlainGroup, no_args_is_help=True, help="Look at one job. Example: `casparian job show 17`")

JobArgument = Annotated[
    int, typer.Argument(metavar="ID", min=1, help="The job's number, as `casparian jobs` lists it.")
]


@app.callback()
def main() -> None:
    """Group the verbs that speak of one job."""


@app.command("show", cls=PlainCommand)
def show(job_id: JobArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what one job read, made and accounted for, and every event of its life.

    Example: `casparian job show 17`
    """
    from eventlog.ids import JobId
    from projections import queries

    with reading(find_home(home)) as reader:
        detail = queries.job(reader.connection, JobId(job_id))
    if detail is None:
        raise CliError("not_found", f"show job {job_id}: there is no such job in this home", "casparian jobs")
    if as_json:
        out_json(detail)
        return
    _show(detail)


def _show(detail: JobDetail) -> None:
    job = detail.job
    out(f"job {job.job_id} of run {job.run_id}: {job.completion_status or job.status}")
    facts = {
        "file": job.path,
        "blake3": job.source_hash,
        "sha256": job.sha256,
        "size": size(job.size),
        "parser": f"{job.parser} {job.parser_version}",
        "artifact": job.artifact_hash,
        "attempt": job.attempt,
        "executor": job.executor or "",
        "queued": job.queued_at,
        "finished": job.finished_at or "",
    }
    for name, value in facts.items():
        if value != "":
            out(f"  {name:<9} {printable(str(value))}")
    _show_sheet(detail)
    _show_error(detail)
    _show_events(detail)


def _show_sheet(detail: JobDetail) -> None:
    job = detail.job
    if job.found is not None:
        unit = job.unit or "units"
        out(
            f"  balance   {job.found} {unit} found = {job.written} written + {job.quarantined} quarantined"
            f" + {job.skipped} skipped + {job.unreadable} unreadable"
        )
    for row in detail.ranges:
        extent = f"{row.byte_length} bytes" if row.byte_length >= 0 else "length unknown"
        out(f"            at offset {row.byte_offset}, {extent}: {printable(row.reason)}")
    for output in detail.outputs:
        place = f"{output.sink_uri}/{output.file}" if output.file else "no rows, so no file"
        out(f"  output    {output.output_name}: {output.rows:,} rows, {size(output.bytes)}, {printable(place)}")


def _show_error(detail: JobDetail) -> None:
    job = detail.job
    if job.error_reason:
        out(f"  failed    {printable(f'{job.error_class}, {job.error_kind}: {job.error_reason}')}")
    if job.error_hint:
        out(f"  next      {printable(job.error_hint)}")
    if job.log_tail:
        out("  the guest's last words:")
        for line in job.log_tail.split("\n")[-20:]:
            out(f"    {printable(line)}")


def _show_events(detail: JobDetail) -> None:
    out("  events, by their position in the log:")
    for line in table(("seq", "event"), [(event.seq, event.type) for event in detail.events], right=(0,)):
        out(f"    {line}")
