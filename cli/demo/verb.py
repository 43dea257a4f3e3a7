"""The verb `demo`: a made-up case of any size, run, and held to the truth about its damage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from cli.errors import EXIT_OK, EXIT_PARTIAL, EXIT_USAGE, EXIT_VERIFICATION, CliError
from cli.home import Home
from cli.options import JsonOption, parse_size
from cli.reading import reading
from cli.render import count, out, out_json, printable, talk

if TYPE_CHECKING:
    from cli.demo.evtx_corpus import FileTruth, Truth
    from projections.queries import BalanceRow

SIZE_BYTES = 20 * 1000**2
SETTING = "recover=true"  # the truth is that of a reader that goes on behind a damaged record
DIFFERENCES_SHOWN_MAX = 10


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A new folder for the case, its tables and its home.")
    ],
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
    """Make a case of event logs with the damage of real ones, run it, and compare the tables with what was made.

    Example: `casparian demo ./demo --size 500MB`

    With --json, the object that `run` prints is followed by one of the comparison.

    Exit codes: 0 the tables agree with the truth, 3 so they do and some of the logs are damaged, 5 they do not, others
    as `run` has.
    """
    from cli.demo.evtx_corpus import CorpusError, generate
    from cli.run import run

    case, home = folder.absolute() / "case", folder.absolute() / "home"
    bytes_total = size or SIZE_BYTES
    talk(f"making {bytes_total:,} bytes of event logs in {printable(str(case))}")
    try:
        truth = generate(case, seed=seed, bytes_total=bytes_total)
    except CorpusError as error:
        raise CliError(
            "bad_demo", str(error), "casparian demo ./new-folder --size 20MB", exit_code=EXIT_USAGE
        ) from error
    truth.save(folder / "truth.ndjson")
    try:
        run(
            parser="evtx",
            inputs=[str(case)],
            sink=f"parquet://{folder.absolute()}/out",
            workers=workers,
            settings=[SETTING],
            home=str(home),
            as_json=as_json,
        )
    except typer.Exit as ended:
        if ended.exit_code not in (0, 1, EXIT_PARTIAL):
            raise
    comparison = _compare(Home(home), case, truth)
    if as_json:
        out_json(comparison)
    else:
        _show(comparison, home)
    raise typer.Exit(comparison.exit)


class Difference(Struct, frozen=True, kw_only=True):
    path: str
    why: str


class Comparison(Struct, frozen=True, kw_only=True):
    """What was made, and where the tables do not hold it."""

    exit: int
    files: int
    bytes: int
    records: int
    differences: tuple[Difference, ...]


def _compare(home: Home, case: Path, truth: Truth) -> Comparison:
    """Hold the tables to what was made, file by file."""
    from projections import queries

    with reading(home) as reader:
        rows: dict[str, BalanceRow] = {row.path: row for row in queries.balance(reader.connection)}
    differences = [
        Difference(path=file.path, why=why) for file in truth.files if (why := _difference(file, case, rows))
    ]
    damaged = any(file.lost or file.unreadable or not file.readable for file in truth.files)
    return Comparison(
        exit=EXIT_VERIFICATION if differences else EXIT_PARTIAL if damaged else EXIT_OK,
        files=len(truth.files),
        bytes=truth.bytes,
        records=truth.records,
        differences=tuple(differences),
    )


def _show(comparison: Comparison, home: Path) -> None:
    files, wrong = count(comparison.files, "file"), comparison.differences
    out()
    out(f"made: {files}, {comparison.bytes:,} bytes, {count(comparison.records, 'record')}")
    out(f"the tables agree with what was made for {comparison.files - len(wrong)} of {files}")
    for each in wrong[:DIFFERENCES_SHOWN_MAX]:
        out(f"  {each.path}: {each.why}")
    out(f"next: {Home(home, named=True).hint('casparian balance')}")


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
