"""The verbs of one job: `job show`, `job cancel`, `job abandon`, `job retry`, `job priority`; and `job retry-all`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.errors import EXIT_ERROR, EXIT_OK, EXIT_REFUSED, CliError
from cli.home import Home, find_home
from cli.options import HomeOption, JsonOption, ReasonIfAny, ReasonOption
from cli.plain import PlainCommand, PlainGroup
from cli.reading import ask
from cli.render import count, out, out_json, place_text, printable, size, table, talk
from cli.standing import cut_off_among, say_cut_off

if TYPE_CHECKING:
    from cli.messages import JobSeen, RetriedAs
    from eventlog.events import BalanceSheet
    from projections.queries import JobDetail

CANCEL_SECONDS_MAX = 15.0  # for a guest to be killed and its executor to say so
PUBLISH_SECONDS_MAX = 2.0  # for what a cancel came too late for; longer only where the target does not answer

RETRIES_SHOWN_MAX = 20
LAST_LINES_MAX = 20

app = typer.Typer(
    cls=PlainGroup,
    no_args_is_help=True,
    help="Look at one job, stop it, or make it again. Example: `casparian job show 17`",
)

JobArgument = Annotated[
    int, typer.Argument(metavar="ID", min=1, max=2**53, help="The job's number, as `casparian jobs` lists it.")
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

    place = find_home(home)
    detail = ask(place, queries.job, job_id=JobId(job_id))
    if detail is None:
        raise CliError("not_found", f"show job {job_id}: there is no such job in this home", "casparian jobs")
    show_job(detail, cut_off=bool(cut_off_among(place, [detail.job.status])), as_json=as_json)


@app.command("cancel", cls=PlainCommand)
def cancel(
    job_id: JobArgument,
    reason: ReasonIfAny = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a job before it publishes anything; also during a run, from another terminal.

    Its guest is killed, what it has staged is removed, and nothing of it is ever published. Without a run going on, a
    job that a crash left open is ended.

    Example: `casparian job cancel 17 --reason "wrong folder"`

    Exit codes: 0 it is aborted, or had ended already; 1 there is no such job, or it has not ended yet; 4 too late: its
    outputs have passed the commit point and are published.
    """
    from cli.asking import ENDED, await_end, give
    from cli.messages import CancelJob
    from eventlog.ids import JobId

    place, job = find_home(home), JobId(job_id)
    refused, seconds = "", CANCEL_SECONDS_MAX
    try:
        give(place, CancelJob(job=job, reason=reason or ""), purpose=f"job cancel {job}")
        if not as_json:
            out(f"job {job}: aborting")
    except CliError as error:
        if error.code not in ("already_completed", "already_committing"):
            raise
        refused, seconds = error.code, PUBLISH_SECONDS_MAX
    seen = await_end(place, job, seconds=seconds)
    too_late = refused == "already_committing"
    code = EXIT_REFUSED if too_late else EXIT_OK if seen.state in ENDED else EXIT_ERROR
    _tell_end(place, seen, already=refused == "already_completed", code=code, as_json=as_json)


@app.command("abandon", cls=PlainCommand)
def abandon(
    job_id: JobArgument,
    reason: ReasonOption = "Abandoned by user",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give up a job whose outputs are staged but not published, and remove them: its file can be parsed anew.

    Refused while the target does not answer: it may come back with the outputs on it.

    Example: `casparian job abandon 17`

    Exit codes: 0 it is abandoned, or had failed already; 1 there is no such job; 4 refused.
    """
    from cli.asking import await_end, give
    from cli.messages import AbandonJob
    from eventlog.ids import JobId

    place, job = find_home(home), JobId(job_id)
    already = False
    try:
        give(place, AbandonJob(job=job, reason=reason), purpose=f"job abandon {job}", withhold=job)
    except CliError as refused:
        if refused.code != "already_completed":
            raise
        already = True
    seen = await_end(place, job, seconds=PUBLISH_SECONDS_MAX)
    code = EXIT_REFUSED if seen.state == "completed" else EXIT_OK  # what is recorded stays published
    _tell_end(place, seen, already=already, code=code, as_json=as_json)


# Makes what waits and nothing else. A run makes it as well, but has a target and settings of its own, and nobody should
# have to type those of the job again.
START = "casparian start"
ALREADY = frozenset({"already_completed", "already_committing", "already_queued"})


@app.command("retry", cls=PlainCommand)
def retry(
    job_id: JobArgument,
    reason: ReasonOption = "Retried by user",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a job again that failed or was stopped: its file is queued under a new number, with the same settings.

    Where nobody is at work it waits for `casparian start` or the next run. A job whose outputs exist, or that has not
    ended, is left alone.

    Example: `casparian job retry 17 --reason "the disk is back"`

    Exit codes: 0 it is queued, or there is nothing to make again; 1 there is no such job; 4 refused: its parser is not
    the one that it was queued for, or it is being stopped.
    """
    from cli.asking import give_retry
    from cli.messages import RetryJob

    place = find_home(home)
    try:
        told, running = give_retry(place, RetryJob(job=job_id, reason=reason), purpose=f"job retry {job_id}")
    except CliError as refused:
        if refused.code not in ALREADY:
            raise
        _tell_already(place, job_id, refused, as_json=as_json)
        return
    (made,) = told.queued
    next_step = place.hint(f"casparian job show {made.new_job}" if running else START)
    if as_json:
        facts = {"job": job_id, "answer": "queued", "new_job": made.new_job, "running": running}
        out_json({**facts, "next_step": next_step, "exit": EXIT_OK})
        return
    out(f"job {job_id} is made again as job {made.new_job}")
    out(
        "  it is taken up now"
        if running
        else "  nobody is at work: it waits for `casparian start`, or for the next run, whichever files that is for"
    )
    out(f"next: {next_step}")


def _tell_already(place: Home, job_id: int, refused: CliError, *, as_json: bool) -> None:
    next_step = place.hint(refused.next_step)
    if as_json:
        facts = {"job": job_id, "answer": refused.code, "new_job": None, "running": None}
        out_json({**facts, "next_step": next_step, "exit": EXIT_OK})
        return
    out(f"{printable(refused.message)}: nothing to make again")
    out(f"next: {next_step}")


@app.command("retry-all", cls=PlainCommand)
def retry_all(
    parser: Annotated[str, typer.Option("--parser", metavar="NAME", help="Only jobs of this parser.")] = "",
    dead: Annotated[bool, typer.Option("--dead", help="Only jobs that failed, not those that were stopped.")] = False,
    reason: ReasonOption = "Retried by user",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make every job again that failed or was stopped, as long as nothing newer was made of its file.

    Example: `casparian job retry-all --parser evtx --dead`

    Exit codes: 0 they are queued, or there is nothing to make again; 4 refused.
    """
    from cli.asking import give_retry
    from cli.messages import RetryAll

    place = find_home(home)
    queued: list[RetriedAs] = []
    passed_over = after = 0
    running = False
    while True:
        wish = RetryAll(parser=parser, dead=dead, after=after, reason=reason)
        told, running = give_retry(place, wish, purpose="job retry-all")
        queued += told.queued
        passed_over += told.passed_over
        if told.last <= after:
            break
        after = told.last
    next_step = "" if running or not queued else place.hint(START)
    if as_json:
        facts = {"queued": queued, "passed_over": passed_over, "running": running}
        out_json({**facts, "next_step": next_step, "exit": EXIT_OK})
        return
    _tell_all(queued, passed_over, running=running, next_step=next_step)


def _tell_all(queued: list[RetriedAs], passed_over: int, *, running: bool, next_step: str) -> None:
    if not queued:
        out("nothing to make again")
    else:
        out(f"{count(len(queued), 'job')} made again")
        for line in table(("job", "made again as"), [(each.job, each.new_job) for each in queued[:RETRIES_SHOWN_MAX]]):
            out(f"  {line}")
    if len(queued) > RETRIES_SHOWN_MAX:
        out(f"  and {len(queued) - RETRIES_SHOWN_MAX:,} more: casparian jobs --status queued")
    if passed_over:
        why = "their outputs exist, or their parser is not the one that they were queued for, or not trusted any more"
        out(f"{count(passed_over, 'job')} left alone: {why}")
    if queued:
        out(
            "they are taken up now"
            if running
            else "nobody is at work: they wait for `casparian start`, or for the next run, whichever files that is for"
        )
    if next_step:
        out(f"next: {next_step}")


@app.command("priority", cls=PlainCommand)
def priority(
    job_id: JobArgument,
    number: Annotated[
        int, typer.Argument(metavar="N", min=-1000, max=1000, help="Higher goes first; 0 is what a run gives.")
    ],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a job handed out earlier or later than others. For a negative number say `--` before it.

    Example: `casparian job priority 17 10`

    Exit codes: 0 it has that priority, or has ended already; 1 there is no such job; 4 too late: it publishes already.
    """
    from cli.asking import give
    from cli.messages import SetPriority

    already = False
    try:
        give(find_home(home), SetPriority(job=job_id, priority=number), purpose=f"job priority {job_id}")
    except CliError as refused:
        if refused.code != "already_completed":
            raise
        already = True
    if as_json:
        out_json({"job": job_id, "priority": number, "already_completed": already, "exit": EXIT_OK})
        return
    out(f"job {job_id} has already ended" if already else f"job {job_id} has priority {number} now")


def _tell_end(place: Home, seen: JobSeen, *, already: bool, code: int, as_json: bool) -> NoReturn:
    """Print how the job stands, and leave with the exit code."""
    from cli.report import JobEnd

    # What is published stays: a person can look at it, or remove the files and have them made anew.
    next_step = place.hint(f"casparian job show {seen.job}") if code == EXIT_REFUSED else ""
    if as_json:
        end = JobEnd(
            job=seen.job,
            state=seen.state,
            already=already,
            reason=seen.reason,
            outputs=seen.outputs,
            next_step=next_step,
            exit=code,
        )
        out_json(end)
        raise typer.Exit(code)
    reason = f": {printable(seen.reason)}" if seen.reason else ""
    out(f"job {seen.job}: {'already ' if already else ''}{seen.state}{reason}")
    for output in seen.outputs:
        where = printable(output.path) if output.path else "no rows, so no file"
        out(f"  published {output.name}: {count(output.rows, 'row')}, {where}")
    if seen.state == "promoting":
        out("  it has passed the commit point: its outputs are published as soon as their folder can be reached")
    elif not seen.outputs:
        out("  nothing of it was published")
    if next_step:
        out(f"next: {next_step}")
    raise typer.Exit(code)


def show_job(detail: JobDetail, *, cut_off: bool = False, as_json: bool) -> None:
    """Print all that is known of a job; with `cut_off` it is recorded as at work, and nobody works."""
    if as_json:
        from msgspec import structs

        out_json({**structs.asdict(detail), "cut_off": cut_off})
        return
    job = detail.job
    out(f"job {job.job_id} of run {job.run_id}: {job.completion_status or job.status}")
    facts = {
        "file": job.path,
        "blake3": job.source_hash,
        "sha256": job.sha256,
        "size": size(job.size),
        "parser": f"{job.parser} {job.parser_version}",
        "artifact": job.artifact_hash,
        "attempt": _attempt(detail),
        "priority": job.priority or "",
        "retry of": "" if job.retry_of is None else f"job {job.retry_of}",
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
    if cut_off:
        talk(say_cut_off(1))


def _show_sheet(detail: JobDetail) -> None:
    import msgspec

    from cli.report import skips_of
    from reducers.say import say_sheet, units

    job = detail.job
    if job.found is not None:
        what = units(job.found, job.unit or "units")
        out(
            f"  balance   {job.found} {what} found = {job.written} written + {job.quarantined} quarantined"
            f" + {job.skipped} skipped + {job.unreadable} unreadable"
        )
    for skip in skips_of(job.skips):
        out(f"            {skip.count:,} skipped: {printable(skip.reason)}")
    for sheet in _further(job.further):
        out(f"            {printable(say_sheet(sheet))}")
    for note in msgspec.json.decode(job.notes, type=tuple[str, ...]) if job.notes else ():
        out(f"  note      {printable(note)}")
    for row in detail.ranges:
        out(f"            {place_text(row.byte_offset, row.byte_length)}: {printable(row.reason)}")
    for kept in detail.quarantine:
        gone = f"; deleted: {kept.deleted_reason}" if kept.deleted_seq is not None else ""
        place = f"{kept.sink_uri}/{kept.file}{gone}"
        out(f"  rejected  {kept.output_name}: {count(kept.rows, 'row')} beside {kept.accepted:,}, {printable(place)}")
    for found in detail.mismatches:
        out(
            f"  columns   {found.output_name}: missing {found.missing}, not declared {found.extra}, "
            f"misplaced {found.misplaced}, of another type {found.types}"
        )
    for output in detail.outputs:
        place = f"{output.sink_uri}/{output.file}" if output.file else "no rows, so no file"
        place += f", from its row {output.row_first:,} on" if output.row_first else ""
        out(f"  output    {output.output_name}: {count(output.rows, 'row')}, {size(output.bytes)}, {printable(place)}")


def _further(text: str | None) -> tuple[BalanceSheet, ...]:
    import msgspec

    from eventlog.events import BalanceSheet

    return msgspec.json.decode(text, type=tuple[BalanceSheet, ...]) if text else ()


def _attempt(detail: JobDetail) -> str:
    """Return which attempt of how many: those that it may have, or, once it has ended, had."""
    from commands.attempt import RETRIES_MAX

    job = detail.job
    left = RETRIES_MAX - job.retries if job.status in ("queued", "dispatched", "running") else 0
    again = f"; waits until {job.scheduled_at}" if job.status == "queued" and job.attempt else ""
    return f"{job.attempt} of {job.attempt + left}{again}"


# Why a failed job was not tried again, by the class of its failure.
FINAL = {
    "permanent": "it would fail again",
    "transient": "its retries are used up",
    "unknown": "nobody knows the cause, and it failed again",
    "accounting": "what it read does not add up",
    "policy": "the run does not allow its rejected rows",
    "promotion": "its outputs could not be published",
}


def _show_error(detail: JobDetail) -> None:
    job = detail.job
    if job.status == "promoting":
        out("  waits     its outputs are staged, and are published as soon as their folder can be reached")
        out(f"  give up   casparian job abandon {job.job_id}")
    if job.error_reason and job.error_class is None:
        out(f"  why       {printable(job.error_reason)}")
    elif job.error_reason:
        out(f"  failed    {printable(f'{job.error_class}, {job.error_kind}: {job.error_reason}')}")
        out(f"  final     {FINAL[str(job.error_class)]}")
    if job.error_hint:
        out(f"  next      {printable(job.error_hint)}")
    if job.status in ("failed", "aborted") and job.error_class != "policy":  # a retry has the policy of its job
        out(f"  again     casparian job retry {job.job_id}")
    show_last_words(job.log_tail or "")


def show_last_words(text: str) -> None:
    """Print the end of what a guest has said, if it has said anything."""
    if text:
        out("  the guest's last words:")
    for line in text.split("\n")[-LAST_LINES_MAX:] if text else ():
        out(f"    {printable(line)}")


def _show_events(detail: JobDetail) -> None:
    out("  events, by their position in the log:")
    with_reasons = any(event.reason for event in detail.events)
    titles = ("seq", "event", "why")[: 3 if with_reasons else 2]
    lines = [(event.seq, event.type, printable(event.reason or ""))[: len(titles)] for event in detail.events]
    for line in table(titles, lines, right=(0,)):
        out(f"    {line}")
