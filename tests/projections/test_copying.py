"""A copy of an open read model has all that it has; one that cannot be written leaves its writer as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb

from projections.copying import copy_read_model

FULL = """
import resource, signal, sys
from pathlib import Path
import duckdb
from projections.copying import copy_read_model

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
connection = duckdb.connect(str(folder / "model.duckdb"))
connection.execute("CREATE TABLE t AS SELECT i, md5(i::VARCHAR) AS m FROM range(60_000) r(i)")
connection.execute("CHECKPOINT")
limits = range(0, 5_000_000, 250_001)
failed = 0
for turn, limit in enumerate(limits, start=1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        copy_read_model(connection, folder / f"copy-{limit}")
    except duckdb.Error:
        failed += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    connection.execute("INSERT INTO t VALUES (1, 'x')")
    assert connection.execute("SELECT count(*) FROM t").fetchall() == [(60_000 + turn,)]
    assert len(connection.execute("SHOW DATABASES").fetchall()) == 1
assert 3 < failed < len(limits), failed
"""


def test_a_copy_has_all_tables_rows_and_views(tmp_path: Path) -> None:
    connection = duckdb.connect(str(tmp_path / "it's.duckdb"))
    connection.execute("CREATE TABLE t AS SELECT i, i::VARCHAR AS words FROM range(1000) r(i)")
    connection.execute("CREATE VIEW even AS SELECT * FROM t WHERE i % 2 = 0")
    connection.execute("INSERT INTO t VALUES (1000, 'not yet in the file')")
    copy_read_model(connection, tmp_path / "it's a copy")
    connection.execute("INSERT INTO t VALUES (1001, 'too late')")
    with duckdb.connect(str(tmp_path / "it's a copy"), read_only=True) as copy:
        assert copy.execute("SELECT count(*), max(i) FROM t").fetchall() == [(1001, 1000)]
        assert copy.execute("SELECT count(*) FROM even").fetchall() == [(501,)]
    connection.close()


def test_a_copy_for_which_there_is_no_room_leaves_its_writer_as_it_was(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FULL, tmp_path], check=True, timeout=60)
