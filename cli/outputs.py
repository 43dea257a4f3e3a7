"""The verb `outputs`: whether every published file still holds the bytes that the log says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from msgspec import Struct

from cli.errors import EXIT_VERIFICATION
from cli.home import find_home
from cli.options import HomeOption, JsonOption
from cli.reading import reading
from cli.render import count, fitted, out, out_json, size, table

if TYPE_CHECKING:
    from projections.queries import PublishedFile

READ_BYTES = 1024 * 1024
State = Literal["ok", "changed", "lost"]


class OutputState(Struct, frozen=True, kw_only=True):
    """How a published file stands. `blake3` is what the log says of it, `found` what its bytes have now."""

    output: str
    job: int
    path: str
    rows: int
    bytes: int
    blake3: str
    found: str | None
    state: State


def outputs(
    show_all: Annotated[bool, typer.Option("--all", help="List the files that are well, too.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every published file and compare it with what the log says: exit code 0 if all are as published, 5 if not.

    Example: `casparian outputs`
    """
    from projections import queries

    with reading(find_home(home)) as reader:
        published = queries.published_files(reader.connection)
    states = [_state(each) for each in published]
    wrong = [each for each in states if each.state != "ok"]
    if as_json:
        out_json({"outputs": states, "wrong": len(wrong)})
    else:
        _show(states, states if show_all else wrong)
    raise typer.Exit(EXIT_VERIFICATION if wrong else 0)


def _show(states: list[OutputState], listed: list[OutputState]) -> None:
    if listed:
        rows = [(each.state, each.output, each.job, each.rows, fitted(each.path)) for each in listed]
        for line in table(("state", "output", "job", "rows", "file"), rows, right=(2, 3)):
            out(line)
    found = Counter(each.state for each in states)
    total = size(sum(each.bytes for each in states))
    told = f"{found['ok']} as published, {found['changed']} changed, {found['lost']} lost"
    out(f"published: {count(len(states), 'file')}, {total}; {told}")
    if found["changed"] or found["lost"]:
        out("next: put back what is not as published from a copy; or move it away, and run the same again with")
        out("      --remake-lost, which makes it anew and says so in the log")


def _state(published: PublishedFile) -> OutputState:
    from sinks.uri import open_sink

    path = open_sink(published.sink_uri).locate(published.file)
    found = blake3_of(Path(path))
    state: State = "lost" if found is None else "ok" if found == published.digest else "changed"
    return OutputState(
        output=published.output_name, job=published.job_id, path=path, rows=published.rows, bytes=published.bytes,
        blake3=published.digest, found=found, state=state,
    )  # fmt: skip


def blake3_of(path: Path) -> str | None:
    """Return the BLAKE3 of a file's bytes in hexadecimal, None if it cannot be read."""
    import blake3

    hasher = blake3.blake3()
    try:
        with path.open("rb") as stream:
            while piece := stream.read(READ_BYTES):  # bounded by the size of the file
                hasher.update(piece)
    except OSError:
        return None
    return hasher.hexdigest()
