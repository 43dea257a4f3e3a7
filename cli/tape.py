"""The verbs of tapes: `tape export`, `tape validate`, `tape explain`, `tape replay`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_USAGE, EXIT_VERIFICATION, CliError
from cli.home import find_home
from cli.options import HomeOption, JsonOption, LimitOption
from cli.plain import PlainCommand
from cli.reading import nothing_here
from cli.render import count, out, out_json, printable, talk

if TYPE_CHECKING:
    from reducers.tape import JobStory, Story, Told
    from reducers.tape_rules import Validation

app = typer.Typer(
    no_args_is_help=True,
    help="A tape is a part of the log that may leave the house: names, paths and reasons in it are hashed. "
    "Example: `casparian tape export ./for-support.tape`",
)

TapeArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The tape.")]
JOBS_SHOWN_MAX = 200
EVENTS_SHOWN_MAX = 50  # of one job


class Format(StrEnum):
    """How an explanation is printed."""

    text = "text"
    json = "json"


class Screen(StrEnum):
    """What can be shown from a tape."""

    jobs = "jobs"
    files = "files"
    job = "job"


@app.callback()
def main() -> None:
    """Group the verbs that speak of tapes."""


@app.command("export", cls=PlainCommand)
def export(
    tape: Annotated[Path, typer.Argument(metavar="OUT", help="The file to make; never one that exists.")],
    first: Annotated[int, typer.Option("--from", min=1, help="The first position of the log.")] = 1,
    last: Annotated[int | None, typer.Option("--to", min=1, help="The last position. Default: the end.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a part of the log as a tape: redacted, so that it can be given away.

    Example: `casparian tape export ./for-support.tape --from 120`
    """
    from cli import taping
    from eventlog.errors import LogMissingError

    place = find_home(home)
    try:
        part = taping.export(place, tape, first=first, last=last)
    except LogMissingError as error:
        raise nothing_here(place) from error
    if as_json:
        out_json({"tape": str(tape), "from": part.first, "to": part.last, "head": part.head})
        return
    out(f"{printable(str(tape))}: positions {part.first} to {part.last} of the log, redacted")
    out(f"head of that part: {part.head}")
    out(f"next: casparian tape explain {printable(str(tape))}")


@app.command("validate", cls=PlainCommand)
def validate(tape: TapeArgument, as_json: JsonOption = False) -> None:
    """Check a tape: its form, its order, its links, every job's moves and sheet. Exit code 5 if something is wrong.

    Example: `casparian tape validate ./for-support.tape`
    """
    from cli.replaying import entries_of
    from reducers.tape_rules import validate as validate_entries

    with entries_of(tape) as entries:
        validation = validate_entries(entries)
    if as_json:
        out_json(validation)
    else:
        _show_validation(validation)
    raise typer.Exit(0 if validation.valid else EXIT_VERIFICATION)


@app.command("explain", cls=PlainCommand)
def explain(
    tape: TapeArgument,
    shape: Annotated[Format, typer.Option("--format", help="For people or for programs.")] = Format.text,
    as_json: JsonOption = False,
) -> None:
    """Say what a tape tells: what was asked, how each job went, what was made, what went wrong.

    Example: `casparian tape explain ./for-support.tape --format json`
    """
    from cli.replaying import entries_of
    from reducers.tape import Teller
    from reducers.tape_rules import Validator

    teller, validator = Teller(), Validator()
    with entries_of(tape) as entries:
        for entry in entries:
            teller.see(entry)
            validator.see(entry)
    story = teller.end()
    if as_json or shape is Format.json:
        out_json(story)
    else:
        _show_story(story)
    _leave(validator.end(), tape)


@app.command("replay", cls=PlainCommand)
def replay(
    tape: TapeArgument,
    screen: Annotated[Screen, typer.Argument(help="Which screen to show.")],
    number: Annotated[int | None, typer.Argument(metavar="N", min=1, help="With `job`: the job's number.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Show `jobs`, `files` or one `job` as they were at the end of the tape, without the home that it is from.

    Example: `casparian tape replay ./for-support.tape job 17`
    """
    from cli.replaying import entries_of, replayed
    from reducers.tape_rules import validate as validate_entries

    if (screen is Screen.job) != (number is not None):
        raise CliError(
            "usage",
            f"replay {screen.value}: a job needs its number, the other screens take none",
            "casparian tape replay FILE job 17",
            exit_code=EXIT_USAGE,
        )
    with entries_of(tape) as entries:
        validation = validate_entries(entries)
    with entries_of(tape) as entries, replayed(entries) as (connection, left_out):
        _show_screen(connection, screen, number, limit=limit, as_json=as_json)
    if left_out:
        talk(f"{count(left_out, 'event')} of jobs, runs and executors that began before the tape are not shown")
    _leave(validation, tape)


def _leave(validation: Validation, tape: Path) -> None:
    """End with exit code 5, saying so, if what was shown is from a tape that does not validate."""
    if not validation.valid:
        talk(f"this tape does not validate: {count(validation.findings_total, 'finding')}")
        talk(f"next:  casparian tape validate {printable(str(tape))}")
        raise typer.Exit(EXIT_VERIFICATION)


def _show_screen(connection: object, screen: Screen, number: int | None, *, limit: int, as_json: bool) -> None:
    import duckdb

    from cli.files import show_files
    from cli.job import show_job
    from cli.jobs import show_jobs
    from eventlog.ids import JobId
    from projections import queries

    assert isinstance(connection, duckdb.DuckDBPyConnection)
    match screen:
        case Screen.jobs:
            show_jobs(queries.jobs(connection, limit=limit + 1), limit=limit, as_json=as_json)
        case Screen.files:
            show_files(queries.files(connection, limit=limit + 1), limit=limit, as_json=as_json)
        case Screen.job:
            detail = queries.job(connection, JobId(number or 0))
            if detail is None:
                raise CliError(
                    "not_found", f"show job {number}: the tape has no such job", "casparian tape explain FILE"
                )
            show_job(detail, as_json=as_json)


# --- what people see ------------------------------------------------------------------------------------------------


def _show_validation(validation: Validation) -> None:
    shape = " of an earlier implementation" if validation.legacy else ""
    out(f"{'valid' if validation.valid else 'not valid'}: {count(validation.events, 'event')}{shape}")
    for finding in validation.findings:
        seq = f", seq {finding.seq}" if finding.seq >= 0 else ""
        out(f"line {finding.line}{seq}: {printable(finding.message)}")
    more = validation.findings_total - len(validation.findings)
    if more:
        out(f"and {count(more, 'finding')} more")


def _show_story(story: Story) -> None:
    part = f", positions {story.log.get('from')} to {story.log['to']} of a log" if story.log.get("to") else ""
    made_by = f", made by casparian {story.versions['casparian']}" if "casparian" in story.versions else ""
    out(printable(f"tape: {count(story.event_count, 'event')}, schema version {story.schema_version}{part}{made_by}"))
    _show_told("asked", story.commands, len(story.commands))
    out()
    out(f"jobs: {story.jobs_total}")
    for job in story.jobs[:JOBS_SHOWN_MAX]:
        _show_job(job)
    if story.jobs_total > JOBS_SHOWN_MAX:
        out(f"  … and {story.jobs_total - JOBS_SHOWN_MAX} more: --format json tells them")
    _show_told("materializations", story.materializations, story.materializations_total)
    _show_told("errors", story.errors, story.errors_total)


def _show_job(job: JobStory) -> None:
    parser = f" by {job.parser}" if job.parser else ""
    out(printable(f"  job {job.job}{parser}: {job.status}" + (f", {job.sheet}" if job.sheet else "")))
    if job.error:
        out(printable(f"    failed: {job.error}"))
    _show_lines(job.events[:EVENTS_SHOWN_MAX], indent="    ")


def _show_told(what: str, told: list[Told], total: int) -> None:
    out()
    out(f"{what}: {total}")
    _show_lines(told[:JOBS_SHOWN_MAX], indent="  ")
    if total > JOBS_SHOWN_MAX:
        out(f"  … and {total - JOBS_SHOWN_MAX} more: --format json tells them")


def _show_lines(told: Iterable[Told], *, indent: str) -> None:
    for each in told:
        place = f"[{each.log_seq}]" if each.log_seq else f"[tape {each.seq}]"
        out(f"{indent}{place} {printable(each.said)}")
