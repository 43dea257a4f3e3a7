"""The verb `run`: a folder or files and a parser become tables."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_INTERRUPTED, EXIT_USAGE, CliError
from cli.home import Home, find_home, prepare_home, refuse_own_folder
from cli.limits import JOBS_PER_LEASE_MAX
from cli.options import HomeOption, JsonOption, complete_parser, parse_size
from cli.render import out_json, talk

if TYPE_CHECKING:
    from cli.front import Front
    from cli.messages import StartRun
    from cli.own_parser import OwnParser
    from cli.report import RunReport
    from sinks.uri import SinkTarget

WORKERS_MAX = 64
JOB_SECONDS_MAX = 7 * 86400.0
RETRY_SECONDS = 0.1  # for a sentinel that is leaving to be gone
JOB_MEMORY_BYTES_MIN = 64 * 1024**2  # below it no parser can start


def run(
    parser: Annotated[
        str,
        typer.Argument(
            metavar="PARSER",
            help="A parser's name, e.g. evtx, or the file or folder of your own, e.g. ./mine.py.",
            autocompletion=complete_parser,
        ),
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
    jobs_per_lease: Annotated[
        int | None,
        typer.Option(
            "--jobs-per-lease",
            min=1,
            max=JOBS_PER_LEASE_MAX,
            help="Small files that one parser process does one after the other. 1: each has its own. Default: 200.",
        ),
    ] = None,
    allow_quarantine: Annotated[
        bool | None,
        typer.Option(
            "--allow-quarantine/--no-quarantine", help="Publish an output although some of its rows break its rules."
        ),
    ] = None,
    quarantine_threshold: Annotated[
        float | None,
        typer.Option(
            "--quarantine-threshold",
            metavar="PERCENT",
            min=0,
            max=100,
            help="At most so many of its rows. Default: 10.",
        ),
    ] = None,
    quarantine_count: Annotated[
        int | None, typer.Option("--quarantine-count", metavar="ROWS", min=0, help="At most so many of its rows.")
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="FILE", help="Declare the columns, as `schema infer` writes them."),
    ] = None,
    remake_lost: Annotated[
        bool, typer.Option("--remake-lost", help="Make anew what was published and is not there any more.")
    ] = False,
    priority: Annotated[
        int, typer.Option("--priority", metavar="N", min=-1000, max=1000, help="Higher goes first. Default: 0.")
    ] = 0,
    dev: Annotated[
        bool, typer.Option("--dev", help="Try out a parser of your own: nothing is asked, its version is marked.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Parse files into tables; files whose tables exist already are reused.

    Example: `casparian run evtx ./case --sink parquet://./out`

    A parser of your own runs with your rights: a run on a terminal asks before the first time, and whenever a byte of
    it has changed; elsewhere `casparian parser trust` says it before.

    Rows that break the rules of their output never enter its table. They are kept beside it, with what is wrong with
    each: see `casparian quarantine`. Unless --allow-quarantine is given, an output with such rows is not published.

    Exit codes: 0 all is well, 1 a file failed, 2 wrong usage, 3 some records could not be read or rows were rejected,
    4 the parser is not trusted or rejected rows kept an output from being published, 5 a balance sheet did not add up
    or the log is not what it was, 70 the log could not be written, 130 interrupted.
    """
    from cli.config import quarantine_words, read_config
    from cli.inferring import settings_with_schema
    from cli.messages import StartRun
    from cli.own_parser import named_own
    from commands.policy_words import PolicyWords
    from commands.quarantine import ppm_of, trying
    from eventlog.ids import path_text
    from executors.scanner import absolute

    place = find_home(home)
    own = named_own(parser, inputs, dev=dev)
    target = _target(place, sink)
    flags = PolicyWords(
        place="command line",
        allow=allow_quarantine,
        ppm_max=ppm_of(quarantine_threshold),
        count_max=quarantine_count,
    )
    given = settings_with_schema(settings or [], schema)
    words = tuple(os.fsencode(name) for name in inputs)
    _check_inputs(words)
    refuse_own_folder(place, target.path)
    prepare_home(place)
    _check_target(target, named=sink is not None)
    memory_bytes_max, seconds_max = _limits(job_memory, job_seconds)
    wanted = StartRun(
        parser=own.package.name if own is not None else parser,
        own=own.word if own is not None else "",
        artifact_hash=own.package.artifact_hash if own is not None else "",
        inputs=tuple(path_text(absolute(name)) for name in words),
        sink_uri=target.uri,
        settings=given,
        quarantine=(quarantine_words(place), trying(dev=dev), flags),
        remake_lost=remake_lost,
        memory_bytes_max=memory_bytes_max,
        seconds_max=seconds_max,
        jobs_per_lease=jobs_per_lease or read_config(place).run.jobs_per_lease or 0,
        priority=priority,
    )
    report = _carry_out(place, wanted, own, workers=workers or _cores(), schema_file=schema, as_json=as_json)
    raise typer.Exit(report.exit)


def _carry_out(
    place: Home, wanted: StartRun, own: OwnParser | None, *, workers: int, schema_file: str | None, as_json: bool
) -> RunReport:
    """Have the run carried out, by the sentinel that runs or by ourselves, and tell how it went."""
    from cli.following import LeavingError
    from cli.front import front_of
    from cli.sentinel import Sentinel
    from eventlog.ids import ParserName

    def authority() -> Sentinel:
        soon = ParserName(wanted.parser)
        return Sentinel(place, purpose=f"run {soon}", workers=workers, sink_uri=wanted.sink_uri, soon=soon)

    told = False
    while True:  # ends with the runs that the leaving sentinel stays for, each of which has a person
        try:
            with front_of(place, authority) as front:
                report = _report(front, wanted, own)
                if as_json:  # told before the home is closed: a disk that fails then must not cost the summary
                    from cli.evidence import with_examples

                    out_json(with_examples(report))
                else:
                    from cli.summary import show_summary

                    show_summary(report, place, remake=place.hint(_remake_command(wanted, own, schema_file)))
                front.close(talk)
            return report
        except LeavingError:
            if not told:
                told = True
                talk("waiting: the sentinel leaves when the runs that it stays for are done; next: casparian start")
            time.sleep(RETRY_SECONDS)


def _with_columns(wanted: StartRun, own: OwnParser | None) -> StartRun:
    """Return the request with columns inferred from its files, where its parser needs some and none are declared."""
    from msgspec.structs import replace

    from cli import inferring
    from cli.given_settings import refuse_wrong
    from eventlog.ids import ParserName, path_bytes
    from executors.parser_catalog import builtin_parsers

    package = own.package if own is not None else builtin_parsers().get(ParserName(wanted.parser))
    if package is not None:
        refuse_wrong(package, wanted.settings)
    wanting = [] if package is None else [name for name in package.columns_from.values() if name not in wanted.settings]
    if package is None or not wanting:
        return wanted
    found = inferring.infer(package, [path_bytes(text) for text in wanted.inputs], wanted.settings)
    for line in inferring.told_of_run(found):
        talk(line)
    text = inferring.canonical(found)
    return replace(wanted, settings={**wanted.settings, **dict.fromkeys(wanting, text)})


def _report(front: Front, wanted: StartRun, own: OwnParser | None) -> RunReport:
    """Return how the run went, also if it was interrupted after it had been planned. Raises CliError before that."""
    from cli.following import carry_out
    from cli.own_parser import admit
    from cli.progress import make_talk

    try:
        with front.stopping.interruptible():
            if own is not None:
                admit(front, own)
            wanted = _with_columns(wanted, own)
    except KeyboardInterrupt:
        why = "the run was interrupted before anything was begun"
        raise CliError("interrupted", why, "run the same command again to go on", exit_code=EXIT_INTERRUPTED) from None
    with make_talk() as progress:
        return carry_out(front, wanted, progress)


def _target(place: Home, sink: str | None) -> SinkTarget:
    """Return where the tables go: what --sink says, else the home's own folder."""
    from eventlog.ids import path_text
    from sinks.errors import SinkUriError
    from sinks.uri import parse_sink_uri

    try:
        named = sink if sink is not None else f"parquet://{path_text(os.fsencode(place.output))}"
        return parse_sink_uri(named, base=Path.cwd())
    except SinkUriError as error:
        example = "casparian run evtx ./case --sink parquet://./out"
        raise CliError("bad_sink_uri", str(error), example, exit_code=EXIT_USAGE) from error


def _check_target(target: SinkTarget, *, named: bool) -> None:
    from sinks.uri import open_sink

    reason = open_sink(target.uri).check()
    if reason is not None:
        next_step = "name another folder: --sink parquet://./out" if named else "name another home: --home ./home"
        raise CliError("sink_unwritable", reason, next_step)


def _remake_command(wanted: StartRun, own: OwnParser | None, schema_file: str | None) -> str:
    """Return the command that runs the same request and makes anew what is lost."""
    from eventlog.ids import path_bytes

    given = {name: value for name, value in wanted.settings.items() if schema_file is None or name != "schema"}
    settings = [word for name, value in sorted(given.items()) for word in ("--set", f"{name}={value}")]
    settings += ["--schema", schema_file] if schema_file is not None else []
    parser = [wanted.parser] if own is None else [*(["--dev"] if own.dev else []), own.word]
    inputs = [os.fsdecode(path_bytes(text)) for text in wanted.inputs]
    words = ["casparian", "run", *parser, *inputs, "--sink", wanted.sink_uri]
    return shlex.join([*words, *settings, "--remake-lost"])


def _limits(memory_bytes_max: int | None, seconds_max: float | None) -> tuple[int, float]:
    """Return the limits of one job as a request says them: zero is the default."""
    if memory_bytes_max is not None and memory_bytes_max < JOB_MEMORY_BYTES_MIN:
        why = f"limit a job to {memory_bytes_max:,} bytes: Python and Arrow alone need {JOB_MEMORY_BYTES_MIN:,}"
        raise CliError("usage", why, "--job-memory 1GB", exit_code=EXIT_USAGE)
    return memory_bytes_max or 0, seconds_max or 0.0


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
