"""Owns what a ```console block is: commands behind `$ `, their output below, and when two outputs are the same.

The blocks of one document are one session: run in order by bash, in one fresh folder, with real processes. A line `> `
under a command goes on with it. A line `...` in a block stands for any lines that are not shown. A block of a language
with a name, such as ```python trades.py, is a file that lies in the folder from the beginning.

What may differ between two honest runs is masked by patterns: ids, hashes of artifacts, times, sizes of what was
written, positions in the log (the order of two executors is chance), the person's name. All else has to be equal, to
the letter.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

ROOT = Path(__file__).parent.parent
# The folder that documents show. The real one has a name of the same length, because tables are as wide as their paths.
SHOWN_FOLDER = "/cases/2026-017"
SCRATCH = Path("/tmp")
SESSION_SECONDS_MAX = 600
FENCE = "```"


class Step(Struct, frozen=True, kw_only=True):
    """One command of a block and the output that the document shows. `line` is the first line of the output, from 0."""

    command: str
    line: int
    shown: tuple[str, ...]


def steps(text: str) -> list[Step]:
    """Return the commands of all console blocks of a document, in order."""
    lines = text.split("\n")
    return [step for first, last in _blocks(lines) for step in _steps(lines, first, last)]


def _blocks(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the first line of each block and the line of its closing fence."""
    begun: int | None = None
    for number, line in enumerate(lines):
        if begun is None and line == f"{FENCE}console":
            begun = number + 1
        elif begun is not None and line == FENCE:
            yield begun, number
            begun = None


def files(text: str) -> dict[str, str]:
    """Return the files that a document shows whole, by name."""
    found = re.finditer(rf"^{FENCE}[a-z]+ (\S+)\n(.*?)^{FENCE}$", text, re.MULTILINE | re.DOTALL)
    return {block[1]: block[2] for block in found}


def _steps(lines: list[str], first: int, last: int) -> Iterator[Step]:
    starts = [number for number in range(first, last) if lines[number].startswith("$ ")]
    for start, following in zip(starts, [*starts[1:], last], strict=True):
        output = start + 1
        while output < following and lines[output].startswith("> "):
            output += 1
        command = "\n".join(line[2:] for line in lines[start:output])
        shown = lines[output:following]
        while shown and not shown[-1]:
            shown.pop()
        yield Step(command=command, line=output, shown=tuple(shown))


# --- running them -----------------------------------------------------------------------------------------------------


def run(commands: list[str], *, present: Mapping[str, str] | None = None) -> list[list[str]]:
    """Run the commands in one session of bash and return the output of each, the fresh folder's name as it is shown.

    `present` are the files that lie in the folder before. Both streams of a command are one, as on a terminal. Raises
    ValueError if the session did not reach its end.
    """
    folder = SCRATCH / secrets.token_hex(len(SHOWN_FOLDER))[: len(SHOWN_FOLDER) - len(f"{SCRATCH}/")]
    folder.mkdir(mode=0o700)
    for name, content in (present or {}).items():
        (folder / name).write_text(content, encoding="utf-8")
    try:
        return _session(commands, folder)
    finally:
        shutil.rmtree(folder)


def _session(commands: list[str], folder: Path) -> list[list[str]]:
    mark = f"--- {secrets.token_hex(8)} ---"
    script = f"mark() {{ local code=$?; printf '%s\\n' '{mark}'; return $code; }}\n"
    script += "".join(f"{command}\nmark\n" for command in commands)
    with subprocess.Popen(
        ["bash", "--noprofile", "--norc", "-c", script],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as shell:
        try:
            told, _ = shell.communicate(timeout=SESSION_SECONDS_MAX)
        except BaseException:
            os.killpg(shell.pid, signal.SIGKILL)  # a session that hangs has children, which hold its streams
            raise
    *outputs, rest = told.decode(errors="backslashreplace").replace(str(folder), SHOWN_FOLDER).split(f"{mark}\n")
    if len(outputs) != len(commands):
        raise ValueError(f"run {commands[len(outputs)]!r}: the session ended in it: {rest}")
    return [_lines(output) for output in outputs]


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment of somebody who has set up a checkout: the command on the path, a home in the folder."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "CASPARIAN_HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }


def _lines(output: str) -> list[str]:
    """Return the lines of an output as a document can show them: no spaces at their ends, no empty lines at the end."""
    lines = [line.rstrip() for line in output.split("\n") if not _PASSING.fullmatch(line)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


# Progress is told every few seconds: how often depends on the machine.
_PASSING = re.compile(r"(processing: \d+ of \d+ jobs? done|reading: .*)")

# --- comparing them ---------------------------------------------------------------------------------------------------

# Hashes of evidence are not among these: the practice case is the same everywhere, and so must they be.
_HASH = r"[0-9a-f]{64}\b"
_MASKS: tuple[tuple[str, str], ...] = (
    (rf"(?<=\bartifact ){_HASH}", "<hash>"),  # covers the versions of Python and of packages
    (rf"(?<=\benvironment ){_HASH}", "<hash>"),
    (rf"(?<=\bartifact_hash ){_HASH}", "<hash>"),
    (rf"(?<=\benv_hash      ){_HASH}", "<hash>"),
    (rf"(?<=^  key ){_HASH}", "<hash>"),
    (rf"(?<=\.parquet, blake3 ){_HASH}", "<hash>"),  # of what was written: it holds the time
    (rf"(?<=\d, sha256 ){_HASH}$", "<hash>"),  # the head of the log
    (r"(?<=\+dev\.)[0-9a-f]{8}\b", "<hash>"),  # of an artifact, as above
    (r"(?<=^log )[0-9a-f]{32}\b", "<id>"),
    (rf"(?<=^  artifact  ){_HASH}", "<hash>"),  # the same in `job show`, and two times
    (r"(?<=^  queued    )20\d\d-\S+Z$", "<time>"),
    (r"(?<=^  finished  )20\d\d-\S+Z$", "<time>"),
    (r"(?<= rows, )\d+\.\d kB(?=, parquet:)", "<size>"),
    (r"\bexecutor-\d+-[0-9a-f]{8}\b", "<executor>"),
    (r"(?<=_)[0-9a-f]{16}(?=\.parquet\b)", "<key>"),  # holds the log's id
    (r"(?<=\] )20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ(?=  )", "<time>"),  # when something was recorded
    (r"(?<=, )\d+\.\d s$", "<seconds>"),  # how long a run took
    (r"(?<= rows, )\d+(?= bytes, parquet:)", "<bytes>"),
    (r"^(\w+ +[\d,]+ +)\d+\.\d kB(?=  )", r"\1<size>"),  # of what was written
    (r"\[ *\d+\]", "[<seq>]"),
    (r"(?<= recorded up to )\d+(?=:)", "<seq>"),
    (r"^ +\d+  (?=[A-Z][A-Za-z]+$)", "<seq>  "),  # an event in `job show`
    (r"(?<=^head: seq )\d+", "<seq>"),
    (r"(?<=^log <id>: )\d+ events( and \d+ commands?)? in \d+ commits$", "<events and commits>"),  # jobs share leases
    (r"(?<= known durable up to seq )\d+$", "<seq>"),
    (r"(?<=: )\d+ records in \d+ commits$", "<records and commits>"),  # there is one executor for each core
    (r"(?<=, )\d+ workers?(?=,)", "<workers>"),
    (r"(?<=\] <time>  cli:)\S+", "<person>"),
    (r"(?<=^resumed from an earlier run: )\d+ jobs? waiting, \d+(?= being published$)", "<jobs>"),
)
_COMPILED = [(re.compile(pattern), word) for pattern, word in _MASKS]


def masked(line: str) -> str:
    """Return a line with what may differ between two honest runs replaced by a word for it."""
    for pattern, word in _COMPILED:
        line = pattern.sub(word, line)
    return line


def same(shown: list[str], real: list[str]) -> bool:
    """Say whether the real output is what is shown, where `...` may stand for any number of lines."""
    return _match([masked(line) for line in shown], [masked(line) for line in real])


def _match(shown: list[str], real: list[str]) -> bool:
    """Match piece by piece between the omissions: the first place that fits is as good as any later one."""
    pieces = _pieces(shown)
    if len(pieces) == 1:
        return shown == real
    first, *middle, last = pieces
    if len(first) + len(last) > len(real) or real[: len(first)] != first or real[len(real) - len(last) :] != last:
        return False
    rest = real[len(first) : len(real) - len(last)]
    for piece in middle:
        at = next((n for n in range(len(rest) - len(piece) + 1) if rest[n : n + len(piece)] == piece), None)
        if at is None:
            return False
        rest = rest[at + len(piece) :]
    return True


def _pieces(shown: list[str]) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    for line in shown:
        if line.strip() == "...":
            pieces.append([])
        else:
            pieces[-1].append(line)
    return pieces
