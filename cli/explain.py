"""The verb `explain` (alias `why`): where an object came from and why it is as it is, each line citing the log."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import structs

from cli.errors import CliError
from cli.home import Home, find_home
from cli.options import HomeOption, JsonOption
from cli.plain import PlainCommand
from cli.reading import pass_facts, read_facts, reading
from cli.record import RowArgument, TableArgument, find_row
from cli.rejected_row import find_rejected, is_rejected
from cli.render import count, fitted, out, out_json, place_text, printable
from cli.shown_name import file_not_met

if TYPE_CHECKING:
    from reducers.explain import Component, Decision, Fact
    from reducers.run_files import RunFiles

RUN_FILES_SHOWN = 20
PATH_CHARACTERS_MAX = 110

app = typer.Typer(
    no_args_is_help=True,
    help="Say where something came from and why, from the log alone; each line cites its position there. "
    "Example: `casparian explain decision ./case/Security.evtx`",
)

PathArgument = Annotated[Path, typer.Argument(metavar="PATH", help="The file, as a run read it.")]


@app.callback()
def main() -> None:
    """Group the questions."""


@app.command("job", cls=PlainCommand)
def job(
    job_id: Annotated[int, typer.Argument(metavar="ID", min=1, help="The job's number.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain one job: who asked, what was read, by which parser, what was made, how it ended.

    Example: `casparian explain job 17`
    """
    from eventlog.ids import JobId
    from reducers.explain import Interest

    place = find_home(home)
    facts = read_facts(place, Interest(jobs=[JobId(job_id)]))
    if not facts:
        raise CliError("not_found", f"explain job {job_id}: there is no such job in this home", "casparian jobs")
    own = [fact for fact in facts if getattr(fact.record, "job", None) == job_id]
    _tell(place, f"job {job_id}", _end_of(own), facts, next_step=f"casparian balance --job {job_id}", as_json=as_json)


@app.command("run", cls=PlainCommand)
def run(
    run_id: Annotated[int, typer.Argument(metavar="ID", min=1, help="The run's number.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of its files to list.")] = RUN_FILES_SHOWN,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain one run: who asked for what, what was planned and why, how it ended, what became of its files.

    Example: `casparian explain run 3`
    """
    from eventlog.ids import RunId
    from reducers.explain import Interest
    from reducers.run_files import RunFiles

    place = find_home(home)
    facts = read_facts(place, Interest(runs=[RunId(run_id)]))
    if not facts:
        raise CliError("not_found", f"explain run {run_id}: there is no such run in this home", "casparian jobs")
    met = RunFiles(RunId(run_id), files_max=limit)
    pass_facts(place, met.see)
    _tell(place, f"run {run_id}", _end_of(facts), facts, files=met, next_step="casparian jobs", as_json=as_json)


@app.command("file", cls=PlainCommand)
def file(path: PathArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Explain one file: when it was read, with which content, and every job that its content went through.

    Example: `casparian explain file ./case/Security.evtx`
    """
    place = find_home(home)
    name, facts = _facts_of_path(place, path, question="file")
    _tell(
        place, name, _standing(facts), facts, next_step=f"casparian explain decision {_quoted(path)}", as_json=as_json
    )


@app.command("decision", cls=PlainCommand)
def decision(path: PathArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Explain why the newest run processed a file again or reused its tables: every component of the key, compared.

    Example: `casparian explain decision ./case/Security.evtx`
    """
    from reducers.explain import decisions, lines

    place = find_home(home)
    name, facts = _facts_of_path(place, path, question="decision")
    made = decisions(name, facts)
    if as_json:
        out_json({"subject": name, "decisions": [_as_json(each) for each in made], "lines": lines(facts)})
        return
    if not made:
        out(f"{printable(name)}: no plan has decided on it")
    for each in made:
        _show_decision(each)
    out(f"next: {place.hint(f'casparian explain file {_quoted(path)}')}")


@app.command("row", cls=PlainCommand)
def row(table: TableArgument, name: RowArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Explain one row: the file, the bytes and the job that it came from, and what led to that job.

    Of a rejected row (a table whose name ends in _quarantine) also the rules that it broke.

    Example: `casparian explain row evtx_events 17:4211`
    """
    from reducers.explain import Interest

    place = find_home(home)
    with reading(place) as reader:
        if is_rejected(table):
            rejected = find_rejected(reader.connection, table, name)
            job, row_of, answer = rejected.job, rejected.place, rejected.sentence()
        else:
            found = find_row(reader.connection, table, name)
            job, row_of = found.job, found.row
            place_in_file = f", {place_text(found.offset, found.length)}" if found.offset >= 0 else ""
            answer = f"row {found.row} of {table} was made by job {job.job_id} from {job.path}{place_in_file}"
    facts = read_facts(place, Interest(jobs=[job.job_id]))
    next_step = f"casparian record {table} {name}"
    _tell(place, f"row {row_of}", answer, facts, next_step=next_step, as_json=as_json)


@app.command("output", cls=PlainCommand)
def output(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The file name, or the digest, of a published output.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain one published file: the job that made it, from which bytes, asked for by whom.

    Example: `casparian explain output evtx_events_0123456789abcdef.parquet`
    """
    from reducers.explain import Interest

    place = find_home(home)
    finding = Interest(file=Path(name).name)
    pass_facts(place, finding.widen)
    if not finding.jobs:
        raise CliError(
            "not_found",
            f"explain the output {name}: nothing of that name or digest was ever published from this home",
            "casparian job show ID lists the files of a job",
        )
    facts = read_facts(place, Interest(jobs=finding.jobs))
    made = [
        fact for fact in facts if Path(name).name in (getattr(fact.record, part, "") for part in ("file", "digest"))
    ]
    answer = _end_of(made)
    if len(finding.jobs) > 1:
        answer = f"{len(finding.jobs):,} jobs have rows in it, as of one lease; the last of them: {answer}"
    _tell(place, Path(name).name, answer, facts, next_step="casparian log verify", as_json=as_json)


# --- the facts ------------------------------------------------------------------------------------------------------


def _facts_of_path(place: Home, path: Path, *, question: str) -> tuple[Any, list[Fact]]:
    from eventlog.ids import path_text
    from reducers.explain import Interest

    name = path_text(os.fsencode(os.path.abspath(path)))  # noqa: PTH100  as scanned: links are not resolved
    facts = read_facts(place, Interest(paths=[name]))
    if not facts:
        with reading(place) as reader:
            raise file_not_met(
                place,
                reader.connection,
                doing=f"explain {printable(name)}",
                file=path,
                command=f"casparian explain {question}",
            )
    return name, facts


def _end_of(facts: Sequence[Fact]) -> str:
    """Return the newest thing that happened, which is how the object stands."""
    from reducers.say import say

    return say(facts[-1].record)


def _standing(facts: Sequence[Fact]) -> str:
    """Return how a file stands: the run that met it last, and the newest thing that happened to a job of it."""
    from eventlog.events import FilesRefused, FilesSeen
    from reducers.say import say

    met = [fact.record for fact in facts if isinstance(fact.record, FilesSeen | FilesRefused)]
    last = f"met last by run {met[-1].run}; " if met else ""
    if met and isinstance(met[-1], FilesRefused):
        return last + say(met[-1])
    jobs = [fact.record for fact in facts if hasattr(fact.record, "job")]
    return last + (say(jobs[-1]) if jobs else "no job was made for it")


# --- the answer -----------------------------------------------------------------------------------------------------


def _tell(
    place: Home,
    subject: str,
    answer: str,
    facts: Iterable[Fact],
    *,
    next_step: str,
    as_json: bool,
    files: RunFiles | None = None,
) -> None:
    from reducers.explain import Explanation, lines

    explanation = Explanation(subject=subject, answer=answer, lines=tuple(lines(facts)))
    if as_json:
        listed = {"files": files.files(), "files_total": files.total} if files else {}
        out_json({**structs.asdict(explanation), **listed})
        return
    out(printable(answer if answer.startswith(subject) else f"{subject}: {answer}"))
    out()
    width = len(str(explanation.lines[-1].seq))
    for line in explanation.lines:
        out(f"  [{line.seq:>{width}}] {line.facts['ts'][:19]}Z  {printable(line.said)}")
    if files is not None:
        _show_files(place, subject, files)
    out()
    out(f"next: {place.hint(next_step)}")


def _show_files(place: Home, subject: str, files: RunFiles) -> None:
    shown = files.files()
    out()
    out(f"{count(files.total, 'file')}:")
    for file in shown:
        out(f"  {fitted(printable(file.path), PATH_CHARACTERS_MAX)}: {printable(file.outcome)}")
    if more := files.total - len(shown):
        out(f"  … and {more:,} more ({place.hint(f'casparian explain {subject} --limit {files.total}')})")


def _show_decision(decision: Decision) -> None:
    made = decision.compared_with
    differing = [component.name for component in decision.components if not component.same]
    if made is None:
        why = f"nothing was recorded for it up to {decision.at_seq}"
    elif decision.lost_seq:
        why = f"what job {made.job} recorded [{decision.compared_seq}] was declared lost [{decision.lost_seq}]"
    elif decision.action == "reused":
        why = f"every component of its key equals that of job {made.job} [{decision.compared_seq}]"
    else:
        why = f"{', '.join(differing)} differ{'s' if len(differing) == 1 else ''} from job {made.job} "
        why += f"[{decision.compared_seq}]"
    out(f"{decision.output}: {decision.action}, because {why}")
    out(f"  key {decision.key}, decided on what was recorded up to [{decision.at_seq}]")
    for component in decision.components:
        out(f"  {_component_line(component)}")
    out()


def _component_line(component: Component) -> str:
    value = printable(component.value) or '""'
    now = f"{component.name:<13} {value} [{component.seq}]"
    if component.before is None:
        return f"  {now}"
    if component.same:
        return f"= {now}, as in [{component.before_seq}]"
    before = printable(component.before) or '""'
    return f"≠ {now}, was {before} [{component.before_seq}]"


def _as_json(decision: Decision) -> dict[str, Any]:
    import msgspec

    shown: dict[str, Any] = msgspec.to_builtins(decision)
    for component, each in zip(decision.components, shown["components"], strict=True):
        each["same"] = component.same
    return shown


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))
