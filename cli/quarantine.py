"""The verbs of rejected rows: `quarantine ls`, `show`, `sample`, `export`, `purge`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from cli.errors import EXIT_REFUSED, EXIT_USAGE, CliError
from cli.home import Home, find_home, prepare_home
from cli.limits import DAYS_MAX
from cli.options import HomeOption, JsonOption, LimitOption, ReasonOption
from cli.outputs import blake3_of
from cli.plain import PlainCommand, PlainGroup
from cli.reading import reading
from cli.render import count, fitted, out, out_json, printable, size, table, talk

if TYPE_CHECKING:
    from cli.report import QuarantineReport
    from eventlog.ids import LogId
    from projections.queries import Connection, KeptRows

KEPT_MAX = 1_000_000
FORMATS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet"}

app = typer.Typer(
    cls=PlainGroup,
    no_args_is_help=True,
    help="Look at the rows that broke the rules of their output. Example: `casparian quarantine show 17`",
)

JobArgument = Annotated[int | None, typer.Argument(metavar="[JOB]", min=1, help="Only those of this job.")]
OutputOption = Annotated[str | None, typer.Option("--output", metavar="NAME", help="Only those of this output.")]
RuleOption = Annotated[
    str | None, typer.Option("--rule", metavar="COLUMN.CODE", help="Only those that broke this rule first.")
]


AllOption = Annotated[
    bool, typer.Option("--all", help="Those of earlier readings of the same contents, too. Default: of one each.")
]


@app.callback()
def main() -> None:
    """Group the verbs that speak of rejected rows."""


class KeptReport(Struct, frozen=True, kw_only=True):
    """One file of rejected rows; `state`: kept beside its output, `rejected` the output itself too, or deleted."""

    output: str
    job: int
    file: str
    rows: int
    accepted: int
    rules: str
    state: str
    bytes: int
    path: str
    reason: str  # why it was deleted


@app.command("ls", cls=PlainCommand)
def ls(
    job: JobArgument = None,
    output: OutputOption = None,
    limit: LimitOption = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is kept of rejected rows, newest first, with the rules that they broke.

    Example: `casparian quarantine ls --output fix_order_lifecycle`
    """
    kept = [_listed(each) for each in _kept(find_home(home), job=job, output=output, limit=limit)]
    if as_json:
        out_json({"quarantine": kept})
        return
    rows = [
        (each.output, each.job, each.rows, each.accepted, each.state, each.rules, fitted(each.file)) for each in kept
    ]
    for line in table(("output", "job", "rows", "accepted", "state", "rules", "file"), rows, right=(1, 2, 3)):
        out(line)
    out(f"{count(sum(each.rows for each in kept), 'row')} rejected in {count(len(kept), 'output')}")


@app.command("show", cls=PlainCommand)
def show(
    job: JobArgument = None,
    output: OutputOption = None,
    every: AllOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show by output and rule how many rows were rejected, with three examples of each: file, line, value.

    Example: `casparian quarantine show 17`
    """
    from cli.evidence import examples, show_quarantine

    place = find_home(home)
    kept = _reports(place, job=job, output=output, every=every)
    if as_json:
        out_json({"quarantine": [{"kept": each, "examples": examples(each)} for each in kept]})
        return
    show_quarantine(kept)
    name = kept[0].output
    out(f'next: {place.hint("casparian sql")} "select * from {name}_quarantine limit 10"')


@app.command("sample", cls=PlainCommand)
def sample(
    job: JobArgument = None,
    output: OutputOption = None,
    rule: RuleOption = None,
    every: AllOption = False,
    limit: LimitOption = 10,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print rejected rows, the first of each rule, with file, line, value and all that is wrong with them.

    Example: `casparian quarantine sample --rule price.precision_exceeded --limit 20`
    """
    from cli.evidence import examples

    kept = _reports(find_home(home), job=job, output=output, every=every)
    rows = [example for each in kept for example in examples(each, per_rule=limit, rule=rule)][:limit]
    if as_json:
        out_json({"rows": rows})
        return
    for row in rows:
        out(printable(f"{row.place()}: {row.rule}: {row.value!r}"))
        out(f"  {printable(row.error)}")
    if not rows:
        out("no rejected row broke this rule first; for the rules: casparian quarantine ls")


@app.command("export", cls=PlainCommand)
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file that ends in .csv or .parquet.")],
    output: Annotated[str, typer.Option("--output", metavar="NAME", help="Of which: see `quarantine ls`.")],
    job: Annotated[int | None, typer.Option("--job", min=1, help="Only those of this job.")] = None,
    every: AllOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write rejected rows into one file, whole, with what is wrong with each. Nothing is overwritten.

    Example: `casparian quarantine export ./rejected.csv --output fix_order_lifecycle`
    """
    if file.suffix not in FORMATS:
        why = f"export rejected rows to {file}: its name ends in neither of {', '.join(FORMATS)}"
        raise CliError("usage", why, "casparian quarantine export ./rejected.csv --output NAME", exit_code=EXIT_USAGE)
    kept = _reports(find_home(home), job=job, output=output, every=every)
    rows = _write(kept, file)
    if as_json:
        out_json({"file": str(file), "rows": rows, "output": output})
    else:
        out(f"{count(rows, 'row')} of {output} written to {printable(str(file))}")


@app.command("purge", cls=PlainCommand)
def purge(
    reason: ReasonOption,
    older_than: Annotated[
        int | None,
        typer.Option(
            "--older-than", metavar="DAYS", min=0, max=DAYS_MAX, help="Default: retention_days of config.toml."
        ),
    ] = None,
    job: Annotated[int | None, typer.Option("--job", min=1, help="Only those of this job.")] = None,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Also in a folder of another home of this log: this one takes its place."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete kept rejected rows that are old enough. That it was done, by whom and why, stays in the log.

    Nothing is deleted in a folder that another home of the same log uses: one of them is a copy, and the other would
    miss what is gone. A file with other bytes than were recorded is left, and told.

    Example: `casparian quarantine purge --older-than 90 --reason "the case is closed"`

    Exit codes: 0 they are deleted, 1 a folder is not there, 2 nothing says how old, 4 a folder is another home's.
    """
    place = find_home(home)
    days = _days(place, older_than)
    doomed, left = _old(place, days=days, job=job)
    for uri in dict.fromkeys(each.sink_uri for each in doomed):
        _require_ours(place, uri, take_over=take_over)
    for each in left:
        if _is_ours(place, each.sink_uri):
            _remove(each)
    if doomed:
        _delete(place, doomed, reason)
    if as_json:
        out_json({"deleted": [_listed(each) for each in doomed], "older_than_days": days})
    else:
        freed = size(sum(each.bytes for each in doomed))
        out(f"{count(len(doomed), 'file')} of rejected rows older than {count(days, 'day')} deleted, {freed}")


# --- how ------------------------------------------------------------------------------------------------------------


def _kept(home: Home, *, job: int | None, output: str | None, limit: int = KEPT_MAX) -> list[KeptRows]:
    from eventlog.ids import JobId
    from projections import queries

    with reading(home) as reader:
        wanted = JobId(job) if job is not None else None
        return queries.quarantine(reader.connection, job_id=wanted, output=output, limit=limit)


def _reports(home: Home, *, job: int | None, output: str | None, every: bool) -> Sequence[QuarantineReport]:
    """Return what is still kept, of one reading of each content or of all. Raises CliError where nothing is."""
    from cli.file_reports import quarantine_reports

    wide = every or job is not None
    kept = [each for each in _kept(home, job=job, output=output) if each.deleted_seq is None and (each.current or wide)]
    if not kept:
        whose = " ".join([*([f"job {job}"] if job is not None else []), *([f"output {output}"] if output else [])])
        why = f"look for rejected rows{f' of {whose}' if whose else ''}: none are kept"
        raise CliError("not_found", why, "casparian quarantine ls")
    return quarantine_reports(kept)


def _listed(kept: KeptRows) -> KeptReport:
    from cli.evidence import rule_id
    from cli.file_reports import quarantine_report

    report = quarantine_report(kept)
    state = "deleted" if kept.deleted_seq is not None else "rejected" if kept.rejected else "kept"
    return KeptReport(
        output=report.output,
        job=report.job,
        file=report.file,
        rows=report.rows,
        accepted=report.accepted,
        rules=", ".join(f"{rule_id(rule)} ({rule.rows:,})" for rule in report.rules),
        state=state,
        bytes=kept.bytes,
        path=report.path,
        reason=kept.deleted_reason or "",
    )


def _write(kept: Sequence[QuarantineReport], file: Path) -> int:
    """Copy the kept rows into a new file, which appears whole or not at all; return how many there were."""
    from tempfile import mkdtemp

    import duckdb

    from projections.sql_text import exact_pattern, list_literal, text_literal

    files = list_literal([exact_pattern(each.path) for each in kept])
    source = f"read_parquet({files}, union_by_name=true, hive_partitioning=false)"
    folder: Path | None = None
    try:
        folder = Path(mkdtemp(prefix=f".{file.name[:64]}.", dir=file.parent))
        beside = folder / "rows"
        with duckdb.connect() as connection:
            copy = f"COPY (SELECT * FROM {source}) TO {text_literal(str(beside))} ({FORMATS[file.suffix]})"
            (rows,) = connection.execute(copy).fetchone() or (0,)
        file.hardlink_to(beside)  # unlike a rename, it never takes the place of what is there
    except FileExistsError as error:
        why = f"export rejected rows to {file}: it is there already, and nothing is overwritten"
        raise CliError("exists", why, "name a new file", exit_code=EXIT_USAGE) from error
    except OSError as error:
        why = f"export rejected rows to {file}: {file.parent}: {(error.strerror or str(error)).lower()}"
        raise CliError("export_failed", why, "name a file in a folder that is there and can be written") from error
    except duckdb.Error as error:
        why = f"export rejected rows to {file}: {str(error).splitlines()[0]}"
        raise CliError("export_failed", why, "casparian outputs") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return int(rows)


def _days(home: Home, older_than: int | None) -> int:
    from cli.config import read_config

    days = older_than if older_than is not None else read_config(home).quarantine.retention_days
    if days is None:
        why = "delete rejected rows: neither --older-than nor retention_days in config.toml says how old they must be"
        next_step = 'casparian quarantine purge --older-than 90 --reason "the case is closed"'
        raise CliError("usage", why, next_step, exit_code=EXIT_USAGE)
    return days


def _old(home: Home, *, days: int, job: int | None) -> tuple[list[KeptRows], list[KeptRows]]:
    """Return what is kept of jobs that ended so many days ago, and what deletions are recorded of."""
    from eventlog.ids import JobId
    from projections import queries

    with reading(home) as reader:
        kept = queries.quarantine(reader.connection, job_id=JobId(job) if job is not None else None, limit=KEPT_MAX)
        ended = _ended(reader.connection, kept)
    before = datetime.now(UTC) - timedelta(days=days)
    there = [each for each in kept if each.deleted_seq is None and ended[each.job_id] <= before]
    return there, [each for each in kept if each.deleted_seq is not None]


def _ended(connection: Connection, kept: Sequence[KeptRows]) -> dict[int, datetime]:
    from projections import queries

    jobs = queries.jobs_of_ids(connection, {each.job_id for each in kept})
    return {job.job_id: datetime.fromisoformat(job.finished_at or job.queued_at) for job in jobs}


def _delete(home: Home, doomed: Sequence[KeptRows], reason: str) -> None:
    """Record the deletion, then remove the files: what is gone is always said to be gone."""
    from cli import clock
    from cli.sentinel import Sentinel
    from commands.quarantine import DELETED_MAX
    from eventlog.events import DeletedEvidence, DeleteQuarantine
    from eventlog.ids import Digest

    prepare_home(home)
    with Sentinel(home, purpose="quarantine purge") as sentinel:
        for start in range(0, len(doomed), DELETED_MAX):
            part = doomed[start : start + DELETED_MAX]
            files = tuple(
                DeletedEvidence(
                    job=each.job_id,
                    output=each.output_name,
                    file=each.file,
                    sink_uri=each.sink_uri,
                    digest=Digest(each.digest),
                )
                for each in part
            )
            command = DeleteQuarantine(files=files, reason=reason, now=clock.now())
            outcome = sentinel.handler.call(command, actor=clock.actor())
            if outcome.refused is not None:
                raise CliError(outcome.refused.code, outcome.refused.why, outcome.refused.next_step)
            for each in part:
                _remove(each)


def _require_ours(home: Home, uri: str, *, take_over: bool) -> None:
    """Return if this home may delete in a target. Raises CliError, before a deletion is recorded."""
    from cli.target_claims import other_claim, take
    from sinks.uri import open_sink

    sink, log_id = open_sink(uri), _log_id(home)
    if not sink.is_marked():
        why = f"delete rejected rows in {uri}: it does not carry its mark, so its disk may not be mounted"
        raise CliError("target_without_mark", why, "mount it, then type the same again")
    other = other_claim(sink, home, log_id)
    if other is not None and not take_over:
        raise CliError(
            "target_of_another_home",
            f"delete rejected rows: {other.sentence()}",
            "delete them in that home; if this one takes its place, type the same with --take-over",
            exit_code=EXIT_REFUSED,
        )
    take(sink, home, log_id)


def _is_ours(home: Home, uri: str) -> bool:
    from cli.target_claims import other_claim
    from sinks.uri import open_sink

    sink = open_sink(uri)
    return sink.is_marked() and other_claim(sink, home, _log_id(home)) is None


def _log_id(home: Home) -> LogId:
    from eventlog.recovery import require_genesis

    return require_genesis(home.log)[0].log_id


def _remove(kept: KeptRows) -> None:
    """Remove a file whose deletion is recorded; a deletion that was cut short is finished by the next one.

    Not one with other bytes: a copy of this home gives its jobs the same numbers, and so its files the same names.
    """
    from sinks.uri import open_sink

    path = Path(open_sink(kept.sink_uri).locate(kept.file))
    try:
        if path.exists() and blake3_of(path) != kept.digest:
            talk(f"remove {path}: it has other bytes than were recorded, so it is left; look at it, remove it by hand")
            return
        path.unlink(missing_ok=True)
    except OSError as error:
        talk(f"remove {path}: {error.strerror}; its deletion is recorded, remove it by hand")
