"""Tells a preview to a person: the columns of both sides, the first rows, what would be rejected, what would follow."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Final

from cli.columns import column_lines
from cli.evidence import show_rules
from cli.home import Home
from cli.preview_report import PreviewFailure, PreviewOutput, PreviewReport, PreviewRows
from cli.render import count, fitted, out, place_text, printable, shorten, table
from executors.trial import ROWS_JUDGED_MAX
from reducers.say import say_sheet

CELL_CHARACTERS_MAX: Final = 40
LOG_LINES_SHOWN_MAX: Final = 20
RANGES_SHOWN_MAX: Final = 3


def show_preview(report: PreviewReport, place: Home, *, run: str, schema: str) -> None:
    """Print a preview. `run` is the command that would do it, `schema` the one that shows what is declared."""
    version = printable(f"{report.parser} {report.parser_version}")
    out(f"preview of {fitted(printable(report.file))} by {version}; nothing was written")
    for output in report.outputs:
        out()
        _show_output(output)
    out()
    if report.failure is not None:
        _show_failure(report.failure, report.log_tail)
    else:
        _show_account(report)
        _show_policy(report)
    out(f"next: {place.hint(_next_step(report, run=run, schema=schema))}")


def _show_output(output: PreviewOutput) -> None:
    mode = "" if output.mode == "strict" else f" ({output.mode})"
    if not any(column.given for column in output.columns):
        declared = sum(column.declared is not None for column in output.columns)
        out(f"output {output.output}{mode}: nothing was given for its {count(declared, 'column')}")
        return
    rejected = f", {output.rejected:,} rejected" if output.rejected else ""
    out(f"output {output.output}{mode}: {count(output.accepted, 'row')} accepted{rejected}")
    for line in column_lines(output.columns):
        out(f"  {line}")
    for warning in output.warnings:
        out(f"  note: {printable(warning)}")
    if output.preview.rows:
        out()
        for line in row_lines(output.preview, characters_max=_width()):
            out(f"  {line}")
    if output.rules:
        out()
        out(f"  {count(output.rejected, 'row')} would be rejected:")
        examples = {each.rule: list(each.examples) for each in output.rules}
        show_rules({rule: rule.rows for rule in examples}, examples.__getitem__)


def row_lines(rows: PreviewRows, *, characters_max: int | None) -> list[str]:
    """Return the lines of a table that is at most so wide: long values are cut, columns that find no room are named."""
    shown = len(rows.columns)
    texts = [["(null)" if value is None else value for value in row] for row in rows.rows]
    if characters_max is None:
        return table(rows.columns, texts)
    texts = [[shorten(printable(value), CELL_CHARACTERS_MAX) for value in row] for row in texts]
    while shown > 1:  # bounded by the number of columns
        lines = table(rows.columns[:shown], [row[:shown] for row in texts])
        if max(map(len, lines)) <= characters_max:
            break
        shown -= 1
    lines = table(rows.columns[:shown], [row[:shown] for row in texts])
    if left := len(rows.columns) - shown:
        lines.append(f"… and {count(left, 'column')} more: see --json")
    return lines


def _width() -> int | None:
    """Return how wide a table may be; None where stdout is no terminal: programs read all of it."""
    return shutil.get_terminal_size().columns - 2 if sys.stdout.isatty() else None


def _show_failure(failure: PreviewFailure, log_tail: str) -> None:
    out(f"the parser fails here: {printable(failure.reason)}")
    if (schema := failure.schema) is not None:
        parts: dict[str, Sequence[str]] = {
            "missing": schema.missing,
            "not declared": schema.extra,
            "at another place": schema.misplaced,
            "of another type": schema.types,
        }
        for what, names in parts.items():
            if names:
                out(f"  {what}: {printable(', '.join(names))}")
    if failure.hint:
        out(f"  {printable(failure.hint)}")
    if log_tail:
        out("its log ends so:")
        for line in log_tail.split("\n")[-LOG_LINES_SHOWN_MAX:]:
            out(f"  {printable(line)}")


def _show_account(report: PreviewReport) -> None:
    if report.ending == "stopped":
        judged = report.accepted + report.rejected
        out(f"stopped after {judged:,} rows (a preview judges about {ROWS_JUDGED_MAX:,}); the rest was not looked at")
    for sheet in report.sheets:
        out(printable(say_sheet(sheet)))
        for each in sheet.ranges[:RANGES_SHOWN_MAX]:
            out(f"  unreadable {place_text(each.offset, each.length)}: {printable(each.reason)}")
        if more := sheet.ranges_total - min(len(sheet.ranges), RANGES_SHOWN_MAX):
            out(f"  and {more:,} more")
    if report.accounting:
        out(f"a run would fail this file: {printable(report.accounting)}")


def _show_policy(report: PreviewReport) -> None:
    if report.accounting:
        return
    if report.policy.forbidden:
        out(f"a run would publish nothing of this file: {printable(report.policy.forbidden)}")
    elif report.rejected:
        rows = count(report.rejected, "row")
        out(f"a run would publish the accepted rows and keep {rows} beside them, as the home's policy lets it")


def _next_step(report: PreviewReport, *, run: str, schema: str) -> str:
    if report.failure is not None or report.accounting:
        return schema
    return f"{run} {report.policy.options}".rstrip()
