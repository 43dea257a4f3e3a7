"""Turns answers into text: tables for people, JSON for programs. Decides nothing.

What comes from a case may hold anything: control characters are shown escaped, so that a file name can neither move
the cursor nor break a table.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence

import msgspec

from cli.errors import CliError

_encoder = msgspec.json.Encoder(order=None)
SHOWN_CHARACTERS_MAX = 60


def printable(text: str) -> str:
    """Return the text with control, format and unassigned characters escaped."""
    return "".join(
        character if unicodedata.category(character)[0] != "C" else character.encode("unicode_escape").decode()
        for character in text
    )


def shorten(text: str, characters_max: int = SHOWN_CHARACTERS_MAX) -> str:
    """Return the text, its middle replaced by an ellipsis if it is too long: both ends tell files apart."""
    if len(text) <= characters_max:
        return text
    half = (characters_max - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def fitted(text: str, characters_max: int = SHOWN_CHARACTERS_MAX) -> str:
    """Return the text as a terminal can show it in a line; where stdout is none, all of it: programs read that."""
    return shorten(text, characters_max) if sys.stdout.isatty() else text


def place_text(offset: int, length: int | None = None) -> str:
    """Return where bytes stand in a file, in the one way in which it is said; length -1 is one that nobody knows."""
    at = f"at byte {offset:,}"
    if length is None:
        return at
    return f"{at}, {length:,} bytes" if length >= 0 else f"{at}, length unknown"


def out(line: str = "") -> None:
    """Print one line of data. Whoever reads it may leave (`| head`): that is their right, and no error."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        let_go_of_stdout()
    except OSError:
        let_go_of_stdout()  # it would fail again at the exit, and its error would hide this one
        raise


def let_go_of_stdout() -> None:
    """Send what is still buffered, and all that follows, nowhere: stdout has failed or has no reader any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def talk(line: str) -> None:
    """Print one line of talk."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def out_json(value: object) -> None:
    """Print one JSON value on one line."""
    out(_encoder.encode(value).decode())


def count(number: int, noun: str) -> str:
    """Return `1 file`, `2 files`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(bytes_: int) -> str:
    """Return a size for people, in units of 1,000."""
    value = float(bytes_)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> list[str]:
    """Return the lines of a plain table; the columns whose positions are in `right` are set to the right."""
    cells = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max([len(printable(heading)), *(len(row[i]) for row in cells)]) for i, heading in enumerate(headings)]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    headings = [printable(heading) for heading in headings]
    return [line(headings), "  ".join("-" * width for width in widths), *(line(row) for row in cells)]


def show_error(error: CliError, *, as_json: bool) -> None:
    """Tell an error: the sentence and the next step on stderr, with --json the same as an object on stdout."""
    if as_json:
        out_json(
            {
                "error": {"code": error.code, "message": error.message, "next_step": error.next_step},
                "exit": error.exit_code,
            }
        )
    message = error.message if error.code == "usage" else printable(error.message)
    talk(f"error: {message}")
    if error.next_step:
        talk(f"next:  {printable(error.next_step)}")
