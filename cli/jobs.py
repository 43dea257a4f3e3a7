"""The verb `jobs`: what was and is being done."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.home import find_home
from cli.options import HomeOption, JsonOption, LimitOption
from cli.reading import ask
from cli.render import count, fitted, out, out_json, table, talk
from cli.standing import cut_off_among, say_cut_off

if TYPE_CHECKING:
    from projections.rows import JobRow


class Status(StrEnum):
    """The words that --status takes: those of a job's state, and those that the list and `status` show for some."""

    queued = "queued"
    dispatched = "dispatched"
    running = "running"
    promoting = "promoting"
    aborting = "aborting"
    completed = "completed"
    failed = "failed"
    aborted = "aborted"
    cancelled = "cancelled"  # aborted
    success = "success"  # completed
    partial_success = "partial_success"  # completed


def jobs(
    status: Annotated[Status | None, typer.Option("--status", help="Only jobs that stand like this.")] = None,
    limit: LimitOption = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first; also while a run is going on.

    Example: `casparian jobs --status failed`
    """
    from projections import queries

    place = find_home(home)
    word = Status.aborted if status is Status.cancelled else status
    rows = ask(place, queries.jobs, status=word.value if word else None, limit=limit + 1)
    cut = cut_off_among(place, [row.status for row in rows[:limit]])
    show_jobs(rows, limit=limit, status=status.value if status else None, cut_off=cut, as_json=as_json)


def show_jobs(
    rows: Sequence[JobRow], *, limit: int, status: str | None = None, cut_off: int = 0, as_json: bool
) -> None:
    """Print jobs, of which the caller gives one more than `limit` if there are more; nobody works on `cut_off`."""
    truncated, rows = len(rows) > limit, rows[:limit]
    if as_json:
        out_json({"jobs": rows, "truncated": truncated, "cut_off": cut_off})
        return
    lines = [
        (
            row.job_id,
            row.run_id,
            row.parser,
            row.completion_status or row.status,
            row.written,
            fitted(row.path),
            row.error_reason or "",
        )
        for row in rows
    ]
    for line in table(("job", "run", "parser", "status", "records", "file", "why"), lines, right=(0, 1, 4)):
        out(line)
    if truncated:
        talk(f"only the newest {count(limit, 'job')} of them: --limit shows more")
    if not rows:
        out("no jobs" + (f" with status {status}" if status else ""))
    if cut_off:
        talk(say_cut_off(cut_off))
