"""A ledger of what was acknowledged to the outside, kept by another process while a run goes on.

`python -P -m tests.acceptance.ledger HOME OUT LEDGER` looks at a home as a person beside it would: at the records that
`log show` shows, at the files that are published, at the jobs that `jobs --status completed` lists. Each fact is a
line, synced before the next look. Whatever happens to the run afterwards, every fact in the ledger must still hold.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import blake3
import msgspec
from msgspec import Struct

from eventlog.errors import LogMissingError
from eventlog.files import write_all
from eventlog.fsport import OS_FS
from eventlog.reader import read_frames

LOOK_SECONDS = 0.05
JOBS_SECONDS = 5.0  # between two questions to the installed command, which costs half a second of a core
JOBS_LIMIT = 10_000
LEAVE_SECONDS_MAX = 30
COMMAND = (sys.executable, "-P", "-m", "casparian")

Kind = Literal["record", "file", "job", "fault"]


class Fact(Struct, frozen=True, array_like=True):
    """Something that was acknowledged: a record at its seq, a file with its digest, a completed job with its counts.

    A "fault" is an answer that should never be given, whatever the moment: it never holds.
    """

    kind: Kind
    key: str
    value: str


class Ledger:
    """A file of facts. Appending returns when they are on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, facts: Iterable[Fact]) -> None:
        data = b"".join(msgspec.json.encode(fact) + b"\n" for fact in facts)
        if not data:
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            write_all(descriptor, data)
            OS_FS.sync_data(descriptor)
        finally:
            os.close(descriptor)

    def facts(self) -> list[Fact]:
        if not self._path.exists():
            return []
        return [msgspec.json.decode(line, type=Fact) for line in self._path.read_bytes().splitlines()]

    def broken(self, home: Path, out: Path, *, jobs: Iterable[dict[str, Any]]) -> list[str]:
        """Return, in words, the facts that do not hold now. `jobs` is what `jobs --status completed` lists."""
        now = {(fact.kind, fact.key): fact.value for fact in [*records(home, 1), *files(out), *completed(jobs)]}
        return [
            f"{fact.kind} {fact.key}: acknowledged {fact.value[:300]}, now {now.get((fact.kind, fact.key), '')[:300]!r}"
            for fact in self.facts()
            if now.get((fact.kind, fact.key)) != fact.value
        ]


def records(home: Path, first: int) -> Iterator[Fact]:
    """Yield the records from `first` on as `log show --json` shows them; only durable ones are."""
    try:
        for frame in read_frames(home / "log", from_seq=first):
            for record in frame.records:
                shown = (record.type, frame.ts, frame.actor, record.data)
                if record.seq >= first:
                    yield Fact("record", str(record.seq), msgspec.json.encode(shown).decode())
    except LogMissingError:
        return  # nothing was run yet


def files(out: Path, known: frozenset[str] = frozenset()) -> Iterator[Fact]:
    """Yield the published files that are not known yet."""
    for path in sorted(out.glob("*.parquet")):
        if path.name not in known:
            yield Fact("file", path.name, blake3.blake3(path.read_bytes()).hexdigest())


def completed(jobs: Iterable[dict[str, Any]]) -> Iterator[Fact]:
    """Yield what a list of completed jobs says of each."""
    for job in jobs:
        said = (job["status"], job["completion_status"], job["source_hash"], job["found"], job["written"])
        yield Fact("job", str(job["job_id"]), msgspec.json.encode(said).decode())


def ask_jobs(home: Path) -> list[dict[str, Any]] | Fact:
    """Ask the installed command for the completed jobs; a fault if it does not answer."""
    words = ["jobs", "--status", "completed", "--limit", str(JOBS_LIMIT), "--home", str(home), "--json"]
    asked = subprocess.run([*COMMAND, *words], capture_output=True, check=False, timeout=LEAVE_SECONDS_MAX)
    answer = msgspec.json.decode(asked.stdout) if asked.stdout else {}
    if asked.returncode == 0:
        listed: list[dict[str, Any]] = answer["jobs"]
        return listed
    if answer.get("error", {}).get("code") == "no_log":
        return []
    return Fact("fault", "jobs", f"exit code {asked.returncode}: {asked.stdout!r} {asked.stderr!r}")


@contextmanager
def watching(home: Path, out: Path, path: Path) -> Iterator[Ledger]:
    """Have another process keep a ledger as long as the block lasts."""
    words = [sys.executable, "-P", "-m", "tests.acceptance.ledger", str(home), str(out), str(path)]
    watcher = subprocess.Popen(words, stdin=subprocess.PIPE)
    try:
        yield Ledger(path)
        assert watcher.poll() is None, "the ledger's process ended early"
    finally:
        watcher.communicate(timeout=LEAVE_SECONDS_MAX)
    assert watcher.returncode == 0


def watch(home: Path, out: Path, ledger: Ledger) -> None:
    """Look and write until standard input is closed."""
    seq = 0
    known: set[str] = set()
    listed: set[Fact] = set()
    jobs_at = time.monotonic()
    while not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
        try:
            seen = [*records(home, seq + 1), *files(out, frozenset(known))]
        except Exception as error:  # noqa: BLE001  # whatever a look raises would be raised at a person who looks
            seen = [Fact("fault", "look", f"{type(error).__name__}: {error}")]
        if time.monotonic() >= jobs_at:
            answer = ask_jobs(home)
            seen += [answer] if isinstance(answer, Fact) else [fact for fact in completed(answer) if fact not in listed]
            jobs_at = time.monotonic() + JOBS_SECONDS
        ledger.append(seen)
        seq = max([seq, *(int(fact.key) for fact in seen if fact.kind == "record")])
        known |= {fact.key for fact in seen if fact.kind == "file"}
        listed |= {fact for fact in seen if fact.kind == "job"}


if __name__ == "__main__":
    watch(Path(sys.argv[1]), Path(sys.argv[2]), Ledger(Path(sys.argv[3])))
