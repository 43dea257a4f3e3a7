"""Owns where a case's home is and what lies where inside it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from cli.errors import EXIT_USAGE, CliError
from eventlog.ids import LogId

if TYPE_CHECKING:  # every verb imports this file, and only those that hold the log need to read it
    from eventlog.recovery import Witness

TABLES = "write tables to"
HOME_VARIABLE = "CASPARIAN_HOME"
DEFAULT_HOME = "~/.casparian_flow"
OUR_NAMES = frozenset({"readmodel", "snapshots", "blobs", "tmp", "output", "keys", "parsers", "config.toml"})


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
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def scratch(self) -> Path:
        return self.root / "tmp"

    @property
    def parsers(self) -> Path:
        """Where the copies of people's own parsers are that run here."""
        return self.root / "parsers"

    @property
    def control(self) -> Path:
        """Where a sentinel says at which address it can be asked."""
        return self.scratch / "control.address"

    @property
    def private_key(self) -> Path:
        from eventlog.keyfiles import PRIVATE_NAME

        return self.root / "keys" / PRIVATE_NAME

    @property
    def public_key(self) -> Path:
        from eventlog.keyfiles import PUBLIC_NAME

        return self.root / "keys" / PUBLIC_NAME

    @property
    def output(self) -> Path:
        return self.root / "output"


def find_home(option: str | None) -> Home:
    """Return the home named by the option, else by CASPARIAN_HOME, else the default; always absolute."""
    named = Path(option) if option else Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).expanduser()
    return Home(Path(os.path.normpath(Path.cwd() / named)), named=option is not None)


def newest_witness(home: Home, log_id: LogId) -> Witness | None:
    """Return who has seen the most of the log: its read model or its ANCHOR; what fits the later one fits the other."""
    from eventlog.checkpoint import anchor_witness

    seen = [witness for witness in (read_model_witness(home, log_id), anchor_witness(home.log, log_id)) if witness]
    return max(seen, key=lambda witness: witness.seq, default=None)


def read_model_witness(home: Home, log_id: LogId) -> Witness | None:
    """Return what the home's read model has seen: a log that ends before it has lost records, or was exchanged."""
    from eventlog.recovery import Witness
    from projections.witness import peek_checkpoint

    at = peek_checkpoint(home.root)
    if at is None:
        return None
    if at.log_id == log_id:
        return Witness(name="the read model", seq=at.seq, hash=at.hash)
    if any(segment.stat().st_size for segment in home.log.glob("*.ndjson*")):
        return None  # this log has a history of its own: the read model came here from elsewhere
    return Witness(name=f"the read model, which is of log {at.log_id},", seq=at.seq, hash=at.hash)


def prepare_home(home: Home) -> None:
    """Make a new home's folder, for its owner alone; an existing folder keeps its rights.

    Raises CliError for a folder that is neither empty nor a home: nothing of it may be touched.
    """
    if not home.root.exists():
        home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not home.root.is_dir() or home.log.is_dir():
        return  # a file in its place is told of by whoever opens the log
    strangers = sorted(entry.name for entry in home.root.iterdir() if entry.name not in OUR_NAMES)
    if strangers:
        raise CliError(
            "not_a_home",
            f"use {home.root} as a home: it holds other things ({', '.join(strangers[:3])}) and no log",
            "name a new or empty folder: --home ./home",
        )


def refuse_own_folder(home: Home, target: Path, *, what: str = TABLES) -> None:
    """Raise CliError for a target inside the folders that the home keeps for itself, whatever leads there."""
    target = target.resolve()
    kept_for_itself = (
        home.log,
        home.blobs,
        home.snapshots,
        home.scratch,
        home.parsers,
        home.private_key.parent,
        home.root / "readmodel",
    )
    for kept in kept_for_itself:
        if target == kept.resolve() or kept.resolve() in target.parents:
            raise CliError(
                "bad_sink_uri",
                f"{what} {target}: {kept} is the home's own folder",
                "name a place outside of it" + (", such as --sink parquet://./out" if what == TABLES else ""),
                exit_code=EXIT_USAGE,
            )
