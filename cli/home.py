"""Owns where a case's home is and what lies where inside it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from msgspec import Struct

from eventlog.ids import LogId
from eventlog.recovery import Witness

HOME_VARIABLE = "CASPARIAN_HOME"
DEFAULT_HOME = "~/.casparian_flow"


class Home(Struct, frozen=True):
    """The folders of one home. Nothing is created by naming them."""

    root: Path
    named: bool = False  # by --home: then every command that we tell people to type must name it too

    def hint(self, text: str) -> str:
        """Return a next step with the --home that it needs, if it is a command of ours."""
        if not self.named or not text.startswith("casparian "):
            return text
        return f"{text} --home {shlex.quote(os.fsdecode(bytes(self.root)))}"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def scratch(self) -> Path:
        return self.root / "tmp"

    @property
    def output(self) -> Path:
        return self.root / "output"


def find_home(option: Path | None) -> Home:
    """Return the home named by the option, else by CASPARIAN_HOME, else the default; always absolute."""
    named = option or Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser()
    return Home(Path(os.path.normpath(Path.cwd() / named)), named=option is not None)


def read_model_witness(home: Home, log_id: LogId) -> Witness | None:
    """Return what the home's read model has seen of the log: a log that ends before it has lost records."""
    from projections.readmodel import peek_checkpoint

    at = peek_checkpoint(home.root, log_id)
    return None if at is None else Witness(name="the read model", seq=at.seq, hash=at.hash)
