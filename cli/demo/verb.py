"""The verb `demo`: a made-up case of any size, run, and held to the truth about its damage."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.demo.comparison import Comparison, compared, show
from cli.errors import EXIT_PARTIAL, EXIT_USAGE, CliError
from cli.home import Home
from cli.options import JsonOption, parse_size
from cli.reading import reading
from cli.render import out_json, printable, talk

if TYPE_CHECKING:
    from cli.demo.evtx_corpus import FileTruth, Truth
    from cli.demo.fix_truth import Truth as DayTruth
    from projections.queries import BalanceRow

SIZE_BYTES = 20 * 1000**2
SETTING = "recover=true"  # the truth is that of a reader that goes on behind a damaged record


class Kind(StrEnum):
    """The kinds of a case, named as the parsers that read them."""

    evtx = "evtx"
    fix = "fix"


# What `run` is told for a kind: of a small log, one bad row may be a large part, and must not cost the others.
_RUN_WORDS = {
    Kind.evtx: ("--set", SETTING),
    Kind.fix: ("--allow-quarantine", "--quarantine-threshold", "100"),
}


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A new folder for the case, its tables and its home.")
    ],
    kind: Annotated[
        Kind, typer.Option("--kind", help="evtx: event logs with damage. fix: a day of FIX logs with dirt.")
    ] = Kind.evtx,
    size: Annotated[
        int | None,
        typer.Option("--size", parser=parse_size, metavar="SIZE", help="How many bytes of logs. Default: 20MB."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed makes the same bytes.")] = 1,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Executor processes. Default: the cores.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a case with the damage of real ones, run it, and compare the tables with what was made.

    Example: `casparian demo ./demo --size 500MB`

    The case is event logs, with --kind fix a day of FIX logs. With --json, the object that `run` prints is followed by
    one of the comparison.

    Exit codes: 0 the tables agree with the truth, 3 so they do and some of the logs are damaged, 5 they do not, others
    as `run` has.
    """
    case, home = folder.absolute() / "case", folder.absolute() / "home"
    bytes_total = size or SIZE_BYTES
    talk(f"making {bytes_total:,} bytes of logs in {printable(str(case))}")
    truth = _make(kind, case, seed=seed, bytes_total=bytes_total)
    truth.save(folder / "truth.ndjson")
    words = ["run", kind.value, str(case), "--sink", f"parquet://{folder.absolute()}/out", "--home", str(home)]
    words += ["--workers", str(workers)] if workers else []
    words += ["--json"] if as_json else []
    _run([*words, *_RUN_WORDS[kind]])
    comparison = _compare(Home(home), case, truth)
    if as_json:
        out_json(comparison)
    else:
        show(comparison, home)
    raise typer.Exit(comparison.exit)


def _make(kind: Kind, case: Path, *, seed: int, bytes_total: int) -> Truth | DayTruth:
    """Make the case. Raises CliError where it cannot be made as asked."""
    from cli.demo import evtx_corpus, fix_day

    generate = evtx_corpus.generate if kind is Kind.evtx else fix_day.generate
    try:
        return generate(case, seed=seed, bytes_total=bytes_total)
    except (evtx_corpus.CorpusError, fix_day.DayError) as error:
        example = f"casparian demo ./new-folder --kind {kind.value} --size 20MB"
        raise CliError("bad_demo", str(error), example, exit_code=EXIT_USAGE) from error


def _run(words: list[str]) -> None:
    """Run the case by the words that a person would type; a run that cannot go on ends the demo as it ended."""
    from cli.app import app

    code = app(words, prog_name="casparian", standalone_mode=False)
    if code not in (None, 0, 1, EXIT_PARTIAL):
        raise typer.Exit(code)


def _compare(home: Home, case: Path, truth: Truth | DayTruth) -> Comparison:
    """Hold the tables to what was made, file by file."""
    from cli.demo import evtx_corpus

    return _compare_evtx(home, case, truth) if isinstance(truth, evtx_corpus.Truth) else _compare_fix(home, case, truth)


def _compare_evtx(home: Home, case: Path, truth: Truth) -> Comparison:
    from projections import queries

    with reading(home) as reader:
        rows: dict[str, BalanceRow] = {row.path: row for row in queries.balance(reader.connection)}
    damaged = any(file.lost or file.unreadable or not file.readable for file in truth.files)
    return compared(truth.files, lambda file: _difference(file, case, rows), records=truth.records, damaged=damaged)


def _compare_fix(home: Home, case: Path, truth: DayTruth) -> Comparison:
    from cli.demo import fix_check

    sheets, found = fix_check.read_day(home)
    damaged = any(file.quarantined.total or file.unreadable for file in truth.files)
    return compared(
        truth.files,
        lambda file: fix_check.difference(file, case, sheets, found),
        records=truth.messages,
        damaged=damaged,
    )


def _difference(file: FileTruth, case: Path, rows: Mapping[str, BalanceRow]) -> str:
    """Return how a file's sheet differs from the truth about it, "" if it does not."""
    row = rows.get(str(case / file.path))
    if row is None:
        return "it was not read"
    if not file.readable:
        return "" if row.status == "failed" else "it is no event log, and was taken for one"
    if row.status != "completed" or row.found is None or row.written is None:
        return row.reason or row.status
    if row.found != file.found:
        return f"{row.found} records found, {file.found} were made"
    sound = file.found - file.unreadable
    if not sound - file.doubtful <= row.written <= sound:
        return f"{row.written} records written, {sound} of those made are whole"
    return ""
