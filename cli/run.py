"""The verb `run`: a folder or files and a parser become tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_INTERRUPTED, EXIT_USAGE, CliError
from cli.home import Home, find_home, prepare_home, refuse_own_folder
from cli.options import HomeOption, JsonOption, complete_parser, parse_size
from cli.render import count, out, out_json, printable, shorten, size, table, talk

if TYPE_CHECKING:
    from cli.dispatching import JobLimits
    from cli.report import FileReport, RunReport

SHOWN_FILES_MAX = 20
PATH_CHARACTERS_MAX = 110
WORKERS_MAX = 64
JOB_SECONDS_MAX = 7 * 86400.0
JOB_MEMORY_BYTES_MIN = 64 * 1024**2  # below it no parser can start


def run(
    parser: Annotated[
        str, typer.Argument(metavar="PARSER", help="A parser's name, e.g. evtx.", autocompletion=complete_parser)
    ],
    inputs: Annotated[list[str], typer.Argument(metavar="PATH", help="Files or folders.")],
    sink: Annotated[
        str | None,
        typer.Option(
            "--sink", help="Where the tables go, e.g. parquet://./out. Default: the folder output in the home."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=WORKERS_MAX, help="Executor processes. Default: the cores.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the parser; part of what decides a reuse."),
    ] = None,
    job_memory: Annotated[
        int | None,
        typer.Option("--job-memory", parser=parse_size, metavar="SIZE", help="Memory of one job. Default: 4GiB."),
    ] = None,
    job_seconds: Annotated[
        float | None,
        typer.Option("--job-seconds", min=1, max=JOB_SECONDS_MAX, help="Seconds of one job. Default: 3600."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Parse files into tables; files whose tables exist already are reused.

    Example: `casparian run evtx ./case --sink parquet://./out`

    Exit codes: 0 all is well, 1 a file failed, 2 wrong usage, 3 some records could not be read,
    5 a balance sheet did not add up, 70 the log could not be written, 130 interrupted.
    """
    from cli.progress import make_talk
    from cli.sentinel import Sentinel
    from cli.session import InterruptedRunError, Request, RunSession
    from cli.stopping import Stopping
    from cli.watch import JobWatch
    from eventlog.ids import ParserName, path_text
    from sinks.errors import SinkUriError
    from sinks.uri import open_sink, parse_sink_uri

    place = find_home(home)
    try:
        named = sink if sink is not None else f"parquet://{path_text(os.fsencode(place.output))}"
        target = parse_sink_uri(named, base=Path.cwd())
    except SinkUriError as error:
        raise CliError(
            "bad_sink_uri", str(error), "casparian run evtx ./case --sink parquet://./out", exit_code=EXIT_USAGE
        ) from error
    request = Request(
        parser=ParserName(parser),
        inputs=tuple(os.fsencode(name) for name in inputs),
        sink_uri=target.uri,
        settings=_settings(settings or []),
    )
    _check_inputs(request.inputs)
    refuse_own_folder(place, target.path)
    prepare_home(place)
    reason = open_sink(target.uri).check()
    if reason is not None:
        next_step = "name another folder: --sink parquet://./out" if sink else "name another home: --home ./home"
        raise CliError("sink_unwritable", reason, next_step)
    watch = JobWatch()
    authority = Sentinel(
        place,
        purpose=f"run {parser}",
        workers=workers or _cores(),
        limits=_limits(job_memory, job_seconds),
        sink_uri=target.uri,
        watch=watch.observe,
    )
    with Stopping(leave=authority.leave_at_once) as stopping, authority as sentinel:
        for sentence in sentinel.recovery.sentences():
            talk(sentence)
        try:
            with make_talk() as progress, stopping.interruptible():
                report = RunSession(sentinel, request, watch=watch, talk=progress).execute()
        except (InterruptedRunError, KeyboardInterrupt) as error:
            summary = str(error) or "the run was interrupted before anything was begun"
            raise CliError(
                "interrupted", summary, "run the same command again to go on", exit_code=EXIT_INTERRUPTED
            ) from error
        if as_json:  # told before the home is closed: a disk that fails then must not cost the summary
            out_json(report)
        else:
            _show(report, place)
    raise typer.Exit(report.exit)


def _settings(words: list[str]) -> dict[str, str]:
    """Read NAME=VALUE words; whether the parser has such a setting is the run's decision."""
    settings: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or name in settings:
            why = "it is set twice" if name in settings else "it is not of the form NAME=VALUE"
            raise CliError("usage", f"read --set {word}: {why}", "--set raw_xml=true", exit_code=EXIT_USAGE)
        settings[name] = value
    return settings


def _limits(memory_bytes_max: int | None, seconds_max: float | None) -> JobLimits:
    from cli.dispatching import JobLimits

    default = JobLimits()
    if memory_bytes_max is not None and memory_bytes_max < JOB_MEMORY_BYTES_MIN:
        why = f"limit a job to {memory_bytes_max:,} bytes: Python and Arrow alone need {JOB_MEMORY_BYTES_MIN:,}"
        raise CliError("usage", why, "--job-memory 1GB", exit_code=EXIT_USAGE)
    return JobLimits(
        memory_bytes_max=memory_bytes_max or default.memory_bytes_max,
        seconds_max=seconds_max or default.seconds_max,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _check_inputs(inputs: tuple[bytes, ...]) -> None:
    """Refuse a command none of whose inputs exists: most likely a typing mistake, and nothing could be done."""
    if not any(os.path.lexists(name) for name in inputs):
        from eventlog.ids import path_text

        names = ", ".join(path_text(name) for name in inputs)
        raise CliError(
            "no_such_input",
            f"read the inputs of the run: {names}: no such file or folder",
            "name a file or a folder that exists",
        )


def _show(report: RunReport, home: Home) -> None:
    """Print the summary: what was found and done, the tables, what failed and why, what to type next."""
    base = _common_folder(report.files)
    out(f"run {report.run}: {report.parser} {report.parser_version}, {report.seconds:.1f} s")
    out(
        f"files: {report.found} found, {report.processed} processed, {report.reused} reused, {report.failed} failed"
        + (f"; {report.passed_over} others are not named {' or '.join(report.patterns)}" if report.passed_over else "")
        + (f"; in {printable(base)}" if base else "")
    )
    _show_reused([file for file in report.files if file.action == "reused"], base)
    out()
    for line in _output_lines(report):
        out(line)
    if skipped := sum(file.skipped or 0 for file in report.files if file.action != "failed"):
        out()
        out(f"{skipped:,} records or other units were skipped by {report.parser}, as it says itself: casparian balance")
    unaccounted = sum(file.accounting == "unaccounted" for file in report.files)
    if unaccounted:
        out()
        out(f"{count(unaccounted, 'file')} unaccounted: {report.parser} states no units, so rows may be missing unseen")
    damaged = [file for file in report.files if file.action != "failed" and file.status == "partial_success"]
    _show_files("could not be read in full", damaged, base, lambda file: _damage(file, home))
    _show_files("failed", [f for f in report.files if f.action == "failed"], base, lambda file: _failure(file, home))
    out()
    superseded = f"; {report.superseded} earlier outputs superseded" if report.superseded else ""
    if any(file.outputs for file in report.files):
        out(f"tables in {printable(report.sink)}{superseded}")
    out(f"next: {home.hint(_next_command(report))}")


def _common_folder(files: tuple[FileReport, ...]) -> str:
    """Return the folder that all files share, for showing their paths without it; "" for a single file."""
    if len(files) < 2:
        return ""
    return os.path.commonpath([file.path for file in files])


def _show_files(what: str, files: list[FileReport], base: str, tell: Callable[[FileReport], str]) -> None:
    if not files:
        return
    out()
    out(f"{count(len(files), 'file')} {what}:")
    for file in files[:SHOWN_FILES_MAX]:
        out(f"  {_shown_path(file, base)}")
        for line in tell(file).split("\n"):
            out(f"    {printable(line)}")
    if len(files) > SHOWN_FILES_MAX:
        out(f"  … and {len(files) - SHOWN_FILES_MAX} more: --json lists them all")


def _show_reused(files: list[FileReport], base: str) -> None:
    if files:
        out()
        out(f"{count(len(files), 'file')} reused:")
    for file in files[:SHOWN_FILES_MAX]:
        out(f"  {_shown_path(file, base)}: {printable(file.reason)}")
    if len(files) > SHOWN_FILES_MAX:
        out(f"  … and {len(files) - SHOWN_FILES_MAX} more: --json lists them all")


def _shown_path(file: FileReport, base: str) -> str:
    path = file.path.removeprefix(base + "/") if base else file.path
    return shorten(printable(path), PATH_CHARACTERS_MAX)


def _damage(file: FileReport, home: Home) -> str:
    said = f"{count(file.written or 0, 'record')} written; {count(len(file.ranges), 'place')} could not be read"
    if file.ranges:
        said += f", the first at byte {file.ranges[0].offset:,}: {file.ranges[0].reason}"
    return f"{said}\nnext: {home.hint(file.next_step)}"


def _failure(file: FileReport, home: Home) -> str:
    return f"{file.reason}\nnext: {home.hint(file.next_step)}" if file.next_step else file.reason


def _output_lines(report: RunReport) -> list[str]:
    """Return the table of outputs; a file whose content was parsed once is counted once."""
    sums: dict[str, dict[str | None, tuple[int, int]]] = {}
    for file in report.files:
        for output in file.outputs:
            sums.setdefault(output.name, {})[output.path] = (output.rows, output.bytes)
    rows = [
        (
            name,
            f"{sum(r for r, _ in made.values()):,}",
            size(sum(b for _, b in made.values())),
            len(made.keys() - {None}),
        )
        for name, made in sorted(sums.items())
    ]
    return table(("output", "rows", "size", "artifacts"), rows, right=(1, 2, 3)) if rows else ["no outputs"]


def _next_command(report: RunReport) -> str:
    if not report.files:
        return f"nothing was found for parser {report.parser}: name a folder that holds its files"
    tables = [output.name for file in report.files for output in file.outputs if output.rows]
    if not tables:
        return "casparian jobs"
    table_name = report.main_output if report.main_output in tables else min(tables)
    return f'casparian sql "select * from {table_name} limit 10"'
