"""Owns the copy of an open read model: a file of its own, as it stands now, vouched for like any that was closed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import duckdb

from projections.sql_text import identifier, text_literal

_COPY: Final = "lent"  # the name of the copy inside of the writer's connection, while it is made


def copy_read_model(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write all tables and views of the connection's database into a new file; on the writer's thread.

    Raises duckdb.Error where it cannot be written; the connection goes on as if nothing had been asked.
    """
    (name,) = connection.execute("SELECT current_database()").fetchone() or ("",)
    connection.execute(f"ATTACH {text_literal(str(path))} AS {_COPY}")
    try:
        connection.execute(f"COPY FROM DATABASE {identifier(name)} TO {_COPY}")
    finally:
        connection.execute(f"DETACH {_COPY}")
