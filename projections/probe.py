"""Owns the asking of a doubtful database file in a process of its own: what DuckDB does with it can end the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from projections.rows import CheckpointRow

PROBE_SECONDS_MAX: Final = 60.0  # for a child to read a file; then it is taken for damaged

# Reads every value of every table, so that whoever opens the file afterwards meets nothing new. A file with a
# write-ahead log is opened for writing: that is where it is replayed, and where damage in it shows.
_PROGRAM: Final = """
import json, sys, duckdb
path, thorough, read_only = sys.argv[1], sys.argv[2] == "thorough", sys.argv[3] == "read only"
connection = duckdb.connect(path, read_only=read_only)
if thorough:
    names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    for (name,) in names:
        connection.execute(f'SELECT bit_xor(hash(t)) FROM "{name}" t').fetchall()
columns = ["log_id", "seq", "commit_no", "hash", "schema_digest"]
row = connection.execute("SELECT " + ", ".join(columns) + " FROM cf_checkpoint").fetchall()[0]
connection.close()
print(json.dumps(dict(zip(columns, row))))
"""


def probed_checkpoint(database: Path, *, thorough: bool) -> CheckpointRow | None:
    """Return the checkpoint of a file as a child reads it; None if the child failed, died, or took too long.

    `thorough`: every value is read, and a write-ahead log is taken into the file.
    """
    read_only = not (thorough and wal_of(database).exists())
    words = [str(database), "thorough" if thorough else "brief", "read only" if read_only else "writing"]
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS_MAX,
            check=False,
        )
        return msgspec.json.decode(child.stdout, type=CheckpointRow) if child.returncode == 0 else None
    except (subprocess.TimeoutExpired, OSError, ValueError, msgspec.MsgspecError):
        return None


def wal_of(database: Path) -> Path:
    """Return the name of DuckDB's write-ahead log of a file."""
    return database.with_name(database.name + ".wal")
