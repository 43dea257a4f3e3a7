"""What crash tests share: a terminal with the fixture parser, a folder that mixes its modes, and what must be equal.

After any number of crashes and one more run, `Outcome` is that of a run that nobody disturbed, and `left_behind` is
empty. Rows are compared without _cf_job_id and _cf_processed_at, which say when and by which attempt they were made.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import blake3
import pyarrow.parquet as pq
from msgspec import Struct

from projections import queries
from projections.reader import open_reader
from tests.acceptance import driver
from tests.acceptance.terminal import Done, Terminal, eventually

SENTINEL_LOGS = ("sentinel.log", "sentinel.log.1")  # what `start` writes: they stay
POLL_SECONDS = 0.002
VOLATILE = ("_cf_job_id", "_cf_processed_at")


class Roles(Struct, frozen=True):
    """The live processes of a home, by what they do. A guest parent is a shim that has a shim for a child."""

    executors: tuple[int, ...]
    guest_parents: tuple[int, ...]
    guests: tuple[int, ...]


class Outcome(Struct, frozen=True):
    """What a run leaves for a person: its exit code, what it says of each file, the rows of each table."""

    code: int
    files: dict[str, Any]
    tables: dict[str, Counter[str]]


class FixtureTerminal(Terminal):
    """A terminal whose command knows the fixture parser as well."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.command = driver.COMMAND
        self.jobs_per_lease = 1  # a test that is about one job has it alone

    def processes(self) -> list[tuple[int, list[str]]]:
        """Return the live processes of this home, without the ledger's, which look at it from outside."""
        return [
            (pid, words)
            for pid, words in super().processes()
            if "tests.acceptance.ledger" not in words and "jobs" not in words
        ]

    def words(self, source: Path | Sequence[Path], *, workers: int = 2) -> list[str]:
        """Return the words of a run over a folder or over files, into the folder for tables, with --json."""
        inputs = [source] if isinstance(source, Path) else source
        options = ["--sink", f"parquet://{self.out}", "--workers", str(workers), "--json"]
        return ["run", "fixture", *map(str, inputs), *options, "--jobs-per-lease", str(self.jobs_per_lease)]

    def begin(
        self, source: Path | Sequence[Path], *, workers: int = 2, before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a run and leave it running; the words `before` stand before its verb."""
        return self.start(*before, *self.words(source, workers=workers))

    def finish(self, source: Path | Sequence[Path], *, workers: int = 2) -> Done:
        """Run to the end."""
        return self.casparian(*self.words(source, workers=workers))

    def roles(self) -> Roles:
        """Return who is alive, by what they do."""
        words = dict(self.processes())
        executors = tuple(pid for pid, said in words.items() if "executors.worker" in said)
        shims = {pid for pid, said in words.items() if any(word.endswith("shim.py") for word in said)}
        guests = {pid for pid in shims if parent_of(pid) in shims}  # forked: with the words of their parent
        return Roles(executors=executors, guest_parents=tuple(shims - guests), guests=tuple(guests))

    def log_bytes(self) -> int:
        """Return how much is written to the log, without the zeros that lie ahead of it; 0 if there is none."""
        return len(self.log_text())

    def log_text(self) -> bytes:
        """Return all that was written to the log, durable or not: what a crash finds."""
        return b"".join(path.read_bytes().rstrip(b"\0") for path in sorted(self.home.glob("log/*.ndjson")))

    def has_logged(self, event: str, job: int) -> bool:
        """Say whether an event of a job was written; `job` is the first field of those that have one."""
        return f'"type":"{event}","data":{{"job":{job},'.encode() in self.log_text()

    def completed(self) -> list[dict[str, Any]]:
        """Return what `jobs --status completed --json` would list."""
        import msgspec

        with closing(open_reader(self.home, self.home / "log")) as reader:
            rows = queries.jobs(reader.connection, status="completed", limit=10_000)
        listed: list[dict[str, Any]] = msgspec.to_builtins(rows)
        return listed

    def recorded(self) -> list[str]:
        """Return the files that the log says are published."""
        with closing(open_reader(self.home, self.home / "log")) as reader:
            asked = "select file from cf_materializations where file <> '' union select file from cf_quarantine"
            found = reader.connection.execute(asked).fetchall()
        return sorted(row[0] for row in found)

    def outcome(self, done: Done) -> Outcome:
        """Return what is to be compared with an undisturbed run."""
        files = {
            file["path"]: [file[field] for field in ("status", "found", "written", "skipped", "unreadable")]
            for file in done.json["files"]
        }
        return Outcome(code=done.code, files=files, tables=tables(self.out))

    def left_behind(self) -> list[str]:
        """Return what should not be there when nothing runs: staged files, sockets, guests' folders, processes."""
        eventually(lambda: self.processes() == [], what="the processes to be gone")
        name = blake3.blake3(os.fsencode(os.path.realpath(self.home))).hexdigest()[:16]
        folders = (self.folder / f"casparian-{os.geteuid()}", Path(f"/tmp/casparian-{os.geteuid()}"))
        sockets = [path for folder in folders for path in folder.glob(f"{name[:8]}*")]
        strangers = [name for name in self.listed() if not name.endswith(".parquet")]
        scratch = [path for path in self.home.glob("tmp/*") if path.name not in SENTINEL_LOGS]
        return [str(path) for path in [*sockets, *strangers, *scratch]]

    def check_whole(self, done: Done, calm: Outcome) -> None:
        """Assert that a disturbed home ended as an undisturbed one."""
        found = self.outcome(done)
        assert found.code == calm.code, done.err
        assert found.files == calm.files
        assert found.tables.keys() == calm.tables.keys()
        for name, rows in calm.tables.items():
            assert found.tables[name] == rows, f"{name}: {found.tables[name].total()} rows, not {rows.total()}"
        self.check_sound()

    def check_sound(self) -> None:
        """Assert that exactly what is recorded is published, that nothing else is left, and that the log is whole."""
        assert sorted(path.name for path in self.out.glob("*.parquet")) == self.recorded()
        left = self.left_behind()
        assert left == [], left
        verified = self.casparian("log", "verify")
        assert verified.code == 0, verified.out


def tables(out: Path) -> dict[str, Counter[str]]:
    """Return the rows of all published files, by output, as text; a row that is there twice counts twice.

    Rejected rows count once: each run that reads a file again, because policy forbade its outputs, keeps them again.
    """
    found: dict[str, Counter[str]] = {}
    for path in sorted(out.glob("*.parquet")):
        table = pq.read_table(path)
        kept = [name for name in table.column_names if name not in VOLATILE]
        rows = found.setdefault(path.name.rsplit("_", 1)[0], Counter())
        texts = [repr(tuple(row.values())) for row in table.select(kept).to_pylist()]
        rows.update(set(texts) - rows.keys() if path.name.rsplit("_", 1)[0].endswith("_quarantine") else texts)
    return found


def parent_of(pid: int) -> int:
    """Return the parent of a process, 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def wait_for(condition: Callable[[], bool], *, run: subprocess.Popen[bytes], seconds: float) -> bool:
    """Say whether the condition came true within the time, while the run was alive. Looks every POLL_SECONDS."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and run.poll() is None:
        if condition():
            return True
        time.sleep(POLL_SECONDS)
    return False


def write_source(path: Path, first_line: str, *, lines: int, seed: int = 0) -> Path:
    """Write a file that tells the fixture parser what to do in its first line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = random.Random(f"{path.name} {seed}")
    body = "".join(f"{number} {draw.getrandbits(64):016x}\n" for number in range(lines - 1))
    path.write_text(f"{first_line}\n{body}")
    return path


def write_mixed(folder: Path, *, good: int) -> list[Path]:
    """Write so many good files and, two thirds in, the three that never end well, which every later run tries again."""
    bad = {"error": "error", "unbalanced": "wrong_statement", "partial": "partial"}
    files = []
    for number in range(good):
        line = ("normal", "paced rest_ms=30", "normal", "two_outputs_interleaved")[number % 4]
        files.append(write_source(folder / f"good{number:02}.txt", line, lines=20 + number))
    files[good * 2 // 3 : 0] = [write_source(folder / f"{name}.txt", line, lines=7) for name, line in bad.items()]
    return files


def write_every_mode(folder: Path) -> list[Path]:
    """Write a file for each further mode that ends by itself and at once; a good one after each, lest they pause it."""
    modes = ("damaged", "permanent", "crash signal=11", "leaves", "vanish", "bad_shape", "null", "reserved")
    more = ("corrupt_arrow", "prints", "empty", "unknown_output", "bad_yield", "no_statement", "foreign_statement")
    lines = [each for mode in (*modes, *more) for each in (mode, "normal")]
    return [write_source(folder / f"mode{n:02}.txt", line, lines=5) for n, line in enumerate(lines)]


def write_logs(terminal: FixtureTerminal, *, slow: int, quick: int) -> None:
    """Write so many files that take their guest three seconds, then so many that take it none, in order of names."""
    for number in range(slow):
        write_source(terminal.folder / "logs" / f"a{number}.txt", "paced rest_ms=100", lines=30)
    for number in range(quick):
        write_source(terminal.folder / "logs" / f"b{number}.txt", "normal", lines=5 + number)


@contextmanager
def stopped_guest(
    terminal: FixtureTerminal, *, logs: int = 1, workers: int = 1, before: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a run and freeze its first guest, so that its job runs for as long as the test needs."""
    write_logs(terminal, slow=1, quick=logs - 1)
    run = terminal.begin(terminal.folder / "logs", workers=workers, before=before)
    found: list[int] = []

    def frozen() -> bool:
        found.extend(terminal.roles().guests[:1])
        if found:
            os.kill(found[0], signal.SIGSTOP)
        return bool(found)

    try:
        eventually(frozen, what="a guest")
        yield run, found[0]
    finally:
        run.kill()
        run.communicate(timeout=90)
