"""What tests of a lasting sentinel share: it is started and stopped by its verbs, and runs are followed from terminals.

What a terminal was told is kept, and compared at the end with what stands in the log.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from executors.processes import is_alive
from projections.reader import open_reader
from tests.acceptance import driver
from tests.acceptance.crashes import FixtureTerminal
from tests.acceptance.terminal import RUN_SECONDS_MAX, Done

ROLES = ("sentinel", "executor", "guest parent", "guest")
# What a run may be told instead of a report, when what it spoke with was killed, stopped or sent away.
TURNED_AWAY = frozenset({"sentinel_gone", "home_in_use", "interrupted", "begun_before"})
CODES = frozenset({0, 1, 3, 4, 5, 130})
START_SECONDS_MAX = 60


class LastingTerminal(FixtureTerminal):
    """Terminals of one home with a sentinel that lasts. A lease is over in seconds, a retry is due in one."""

    def __init__(self, folder: Path, *, workers: int = 2) -> None:
        super().__init__(folder)
        self.hold = folder / "hold"
        self.env |= {driver.SHORT_WAITS: "yes", driver.HOLD: str(self.hold)}
        self.workers = workers
        self.sentinel = 0
        self.told = Told()

    def go_on(self) -> None:
        """Have a sentinel that lasts, once nobody holds the home any more for a command of their own."""
        if is_alive(self.sentinel):
            return
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            done = self.casparian("start", "--workers", str(self.workers), "--json")
            if done.code == 0:
                self.sentinel = done.json["pid"]
                return
            # Turned away by a terminal that has gone itself before it could be asked: the words tell it.
            assert done.json["error"]["code"] == "home_in_use" or "holds it" in done.out, done.out
            assert time.monotonic() < deadline, done.out

    def leave(self) -> None:
        """Stop the sentinel in order."""
        done = self.casparian("stop", "--json")
        assert done.code == 0, done.out + done.err
        assert not is_alive(self.sentinel)

    def end_all(self) -> None:
        """Kill whoever is left, that a failed test leaves nobody."""
        for pid, _words in self.processes():
            hurt([pid], signal.SIGKILL)

    def jobs_queued(self) -> int:
        """Return how many jobs were ever queued: the number of the youngest."""
        return self.log_text().count(b'"type":"JobQueued"')

    def victims(self, role: str) -> tuple[int, ...]:
        """Return who can be hurt in this role now."""
        if role == "sentinel":
            return (self.sentinel,) if is_alive(self.sentinel) else ()
        roles = self.roles()
        found = {"executor": roles.executors, "guest parent": roles.guest_parents, "guest": roles.guests}
        return found[role]

    def follow(self, files: Sequence[Path]) -> subprocess.Popen[bytes]:
        """Hand a run over from one more terminal."""
        return self.begin(files, workers=self.workers)

    def heard(self, run: subprocess.Popen[bytes]) -> Done:
        """Wait for the end of a run and keep what its terminal was told."""
        out, err = run.communicate(timeout=RUN_SECONDS_MAX)
        done = Done(subprocess.CompletedProcess(run.args, run.returncode, out, err))
        if done.code != -signal.SIGKILL:
            assert done.code in CODES, done.err
            self.told.run(done)
        return done

    def cancel(self, job: int) -> Done:
        """Cancel a job and keep the answer."""
        done = self.casparian("job", "cancel", str(job), "--json")
        self.told.cancel(done)
        return done

    def said(self) -> str:
        """Return all that the sentinels of this home have said."""
        log = self.home / "tmp" / "sentinel.log"
        return log.read_text() if log.exists() else ""

    def check_told(self) -> None:
        """Assert that what terminals were told stands in the log, and that what was stopped left nothing."""
        with closing(open_reader(self.home, self.home / "log")) as reader:

            def rows(query: str) -> list[tuple[Any, ...]]:
                return reader.connection.execute(query).fetchall()

            jobs = {
                job: (status, how) for job, status, how in rows("select job_id, status, completion_status from cf_jobs")
            }
            made = {
                job for (job,) in rows("select job_id from cf_materializations union select job_id from cf_quarantine")
            }
        assert self.told.broken(jobs) == []
        stopped = {job for job, (status, _how) in jobs.items() if status == "aborted"}
        assert stopped & made == set()
        assert {status for status, _how in jobs.values()} <= {"completed", "failed", "aborted"}, jobs
        assert "Traceback" not in self.said(), self.said()


class Told:
    """What terminals were told of jobs: how each ended."""

    def __init__(self) -> None:
        self._ends: list[tuple[int, str, str]] = []  # a job, its end, and the words
        self.refusals: list[str] = []

    def __len__(self) -> int:
        return len(self._ends)

    def run(self, done: Done) -> None:
        """Keep how a run's files ended. Those that had not ended when it was told are no promise."""
        if "error" in done.json:
            assert done.json["error"]["code"] in TURNED_AWAY, done.out
            self.refusals.append(done.json["error"]["code"])
            return
        for file in done.json["files"]:
            end = "completed" if file["action"] in ("run", "reused") else file["status"]
            if end in ("completed", "aborted"):
                self._ends.append((file["job"], end, f"run: {file}"))

    def cancel(self, done: Done) -> None:
        """Keep the answer to a cancel: with exit code 0 the job has ended as it says, with 4 it is published."""
        answer = done.json
        if "error" in answer:
            assert answer["error"]["code"] in TURNED_AWAY | {"not_found", "sentinel_silent"}, done.out
            self.refusals.append(answer["error"]["code"])
        elif done.code == 0:
            self._ends.append((answer["job"], answer["state"], done.out))
        elif done.code == 4:
            self._ends.append((answer["job"], "completed", done.out))

    def broken(self, jobs: dict[int, tuple[str, str]]) -> list[str]:
        """Return what was told and is not so."""
        return [
            f"job {job} is {jobs.get(job)}, told: {words}"
            for job, end, words in self._ends
            if jobs.get(job, ("", ""))[0] != end
        ]


def hurt(pids: Collection[int], number: signal.Signals) -> list[int]:
    """Send a signal to those that still live; return which did."""
    met = []
    for pid in pids:
        try:
            os.kill(pid, number)
            met.append(pid)
        except ProcessLookupError:
            continue
    return met


def freeze(pids: Collection[int], seconds: float) -> list[int]:
    """Stop processes and let them go on after a while, whoever lives then."""
    met = hurt(pids, signal.SIGSTOP)
    time.sleep(seconds)
    hurt(met, signal.SIGCONT)
    return met


def heeds_signals(pid: int) -> bool:
    """Say whether a command has begun to heed signals in its own way; before, an interrupt is Python's."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
