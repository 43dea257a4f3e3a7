"""Owns the summary of a run for people: what was found and done, the tables, what failed and why, what to type next."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cli.errors import EXIT_PARTIAL
from cli.home import Home
from cli.render import count, fitted, out, place_text, printable, size, table

if TYPE_CHECKING:
    from cli.report import FileReport, RunReport

SHOWN_FILES_MAX = 20
PATH_CHARACTERS_MAX = 110


def show_summary(report: RunReport, place: Home, *, remake: str) -> None:
    """Print the summary. `remake` is the command that makes lost outputs anew."""
    files = report.files
    stopped = [file for file in files if file.is_stopped]
    failed = [file for file in files if file.has_failed]
    base = _common_folder(files)
    _show_headline(report, base, failed=len(failed), stopped=len(stopped))
    _show_reused([file for file in files if file.action == "reused"], base)
    out()
    for line in _output_lines(report):
        out(line)
    if report.quarantine:
        from cli.evidence import show_quarantine

        out()
        show_quarantine(report.quarantine, written=_rows_written(report))
    for sentence in _remarks(report):
        out()
        out(sentence)
    damaged = [file for file in files if file.action != "failed" and file.ranges]
    _show_files("could not be read in full", damaged, base, lambda file: _damage(file, place))
    _show_files("failed", failed, base, lambda file: _failure(file, place))
    if not report.interrupted:  # that says it of all of them
        _show_files("not processed", stopped, base, lambda file: _failure(file, place))
    out()
    if report.exit == EXIT_PARTIAL:
        out("a partial success: not all that was found is in the tables")
    superseded = f"; {report.superseded} earlier outputs superseded" if report.superseded else ""
    if any(file.outputs for file in files):
        out(f"tables in {printable(report.sink)}{superseded}")
    for step in _next_steps(report, lost=sum(file.status == "lost" for file in files), remake=remake):
        out(f"next: {place.hint(step)}")


def _show_headline(report: RunReport, base: str, *, failed: int, stopped: int) -> None:
    out(f"run {report.run}: {report.parser} {report.parser_version}, {report.seconds:.1f} s")
    if report.interrupted:
        out(printable(report.interrupted))
    out(
        f"files: {report.found} found, {report.processed} processed, {report.reused} reused, {failed} failed"
        + (f", {stopped} not processed" if stopped else "")
        + (f"; {_passed_over(report)}" if report.passed_over else "")
        + (f"; in {printable(base)}" if base else "")
    )


def _passed_over(report: RunReport) -> str:
    names = " or ".join(report.patterns)
    said = f"{count(report.passed_over, 'other')} not named {names}"
    return f"{said} (casparian files --passed-over {report.parser} FOLDER; a file that is named itself is always read)"


_SKIPPED = {True: "record or other unit was", False: "records or other units were"}


def _remarks(report: RunReport) -> list[str]:
    """Return what must be said of the files as a whole, each in a sentence."""
    done = [file for file in report.files if file.action != "failed"]
    skipped = sum(file.skipped or 0 for file in done)
    unaccounted = sum(file.accounting == "unaccounted" for file in report.files)
    again = report.shown_again
    remarks = (
        (report.gone_total, _gone(report)),
        (again, f"{count(again, 'file')} reused an earlier reading, which the tables show now in place of the later "
                f"one; both are in {report.main_output}_all, told apart by _cf_job_id"),
        (skipped, f"{skipped:,} {_SKIPPED[skipped == 1]} skipped by {report.parser}; for the reasons: "
                  "casparian balance"),
        (unaccounted, f"{count(unaccounted, 'file')} unaccounted: {report.parser} states no units, so rows may be "
                      "missing unseen"),
    )  # fmt: skip
    return [sentence for number, sentence in remarks if number]


def _gone(report: RunReport) -> str:
    """Return what is to be said of files that were read once and have left the folders of the run."""
    if not report.gone:
        return ""
    first, others = fitted(printable(report.gone[0]), PATH_CHARACTERS_MAX), report.gone_total - 1
    are, which = ("is", "it") if not others else ("are", "them")
    and_more = f" and {count(others, 'other')}" if others else ""
    moved = f"; {report.gone_elsewhere:,} of them renamed, or a copy is here" if report.gone_elsewhere else ""
    said = f"{count(report.gone_total, 'file')} that earlier runs have read here {are} not there any more"
    return f"{said}: {first}{and_more}{moved}; tables made of {which} stay (run --json has the paths)"


def _common_folder(files: Sequence[FileReport]) -> str:
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
    return fitted(printable(path), PATH_CHARACTERS_MAX)


def _damage(file: FileReport, home: Home) -> str:
    said = f"{count(file.written or 0, 'record')} written; {count(len(file.ranges), 'place')} could not be read"
    if file.ranges:
        said += f", the first {place_text(file.ranges[0].offset)}: {file.ranges[0].reason}"
    return f"{said}\nnext: {home.hint(file.next_step)}"


def _failure(file: FileReport, home: Home) -> str:
    """Return why, what to do, and the command that shows the rest, such as the last words of the parser."""
    steps = [file.next_step] if file.next_step else []
    if file.job is not None and "casparian " not in file.next_step:
        steps.append(f"casparian job show {file.job}")
    return "\n".join([file.reason, *(f"next: {home.hint(step)}" for step in steps)])


def _output_lines(report: RunReport) -> list[str]:
    """Return the table of outputs; a content that was parsed once is counted once, as is a file that several share."""
    written = _rows_written(report)
    sizes: dict[str, dict[str, int]] = {name: {} for name in written}
    for file in report.files:
        for output in file.outputs:
            if output.path is not None:
                sizes[output.name][output.path] = output.bytes
    rows = [
        (name, f"{count:,}", size(sum(sizes[name].values())), len(sizes[name]))
        for name, count in sorted(written.items())
    ]
    return table(("output", "rows", "size", "artifacts"), rows, right=(1, 2, 3)) if rows else ["no outputs"]


def _next_steps(report: RunReport, *, lost: int, remake: str) -> list[str]:
    steps = [f"put what is lost back from a copy, or make it anew: {remake}"] if lost else []
    if report.interrupted:
        return [*steps, "run the same command again to go on"]
    return [*steps, *_quarantine_steps(report), _look_at(report)]


def _rows_written(report: RunReport) -> dict[str, int]:
    """Return how many rows of each output are published; a content that several files have is counted once."""
    made = {(output.name, file.job): output.rows for file in report.files for output in file.outputs}
    written: dict[str, int] = {}
    for (name, _job), rows in made.items():
        written[name] = written.get(name, 0) + rows
    return written


def _quarantine_steps(report: RunReport) -> list[str]:
    """Return what can be typed where rows were rejected."""
    if not report.quarantine:
        return []
    return ["casparian quarantine show", f'casparian sql "select * from {report.quarantine[0].output}_quarantine"']


def _look_at(report: RunReport) -> str:
    if not report.files:
        return f"nothing was found for parser {report.parser}: name a folder that holds its files"
    if any(file.status == "held" for file in report.files):
        return "casparian parser health"
    tables = [output.name for file in report.files for output in file.outputs if output.rows]
    if not tables:
        return "casparian jobs"
    table_name = report.main_output if report.main_output in tables else min(tables)
    return f'casparian sql "select * from {table_name} limit 10"'
