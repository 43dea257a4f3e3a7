"""A terminal for acceptance tests: the installed command, real processes, a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sinks.folder import MARK_NAME

COMMAND = Path(sys.executable).with_name("casparian")
RUN_SECONDS_MAX = 90
WAIT_SECONDS_MAX = 30
POLL_SECONDS = 0.05


class Done:
    """A command that has ended."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.code = done.returncode
        self.out = done.stdout.decode()
        self.err = done.stderr.decode()
        assert "Traceback" not in self.err, self.err

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)


class Terminal:
    """Runs `casparian` with a home, a folder for tables, and an empty HOME."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.out = folder / "out"
        self.command: Sequence[str | Path] = (COMMAND,)
        user = folder / "user"
        user.mkdir(parents=True, exist_ok=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(user),
            "CASPARIAN_HOME": str(self.home),
            "TMPDIR": str(folder),  # long on purpose: a socket needs a short one and must find it
            "LANG": "C.UTF-8",
        }

    def casparian(self, *words: str | bytes | Path, stdin: str = "") -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            [*self.command, *words],
            env=self.env,
            cwd=self.folder,
            input=stdin.encode(),
            capture_output=True,
            timeout=RUN_SECONDS_MAX,
            check=False,
        )
        return Done(done)

    def start(self, *words: str | bytes | Path) -> subprocess.Popen[bytes]:
        """Start a command and leave it running, in a session of its own."""
        return subprocess.Popen(
            [*self.command, *words],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run_evtx(self, *paths: str | bytes | Path, options: Sequence[str] = ()) -> Done:
        """Run the evtx parser into the folder for tables, with --json."""
        words = [path if isinstance(path, bytes) else str(path) for path in paths]
        return self.casparian("run", "evtx", *words, "--sink", f"parquet://{self.out}", "--json", *options)

    def sql(self, query: str) -> list[list[Any]]:
        """Return the rows of a query."""
        done = self.casparian("sql", query, "--json")
        assert done.code == 0, done.err
        rows: list[list[Any]] = done.json["rows"]
        return rows

    def processes(self) -> list[tuple[int, list[str]]]:
        """Return the live processes that belong to this terminal's home: pid and command line."""
        mine = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes()
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            text = "\0".join(words)
            ours = str(self.folder).encode() in environment or str(self.folder) in text
            if ours and state != "Z" and int(entry.name) != os.getpid():
                mine.append((int(entry.name), words))
        return mine

    def listed(self) -> list[str]:
        """Return the names in the folder for tables besides its mark, sorted."""
        return sorted(path.name for path in self.out.iterdir() if path.name != MARK_NAME)

    def staged(self) -> list[str]:
        """Return the names of staged artifacts that were left behind."""
        return sorted(path.name for path in self.out.glob(".*.stage")) if self.out.exists() else []


def eventually(condition: Callable[[], bool], *, seconds: float = WAIT_SECONDS_MAX, what: str) -> None:
    """Wait until the condition holds; fail, saying what was waited for, if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(POLL_SECONDS)


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C in the terminal of a started command."""
    os.kill(process.pid, signal.SIGINT)
