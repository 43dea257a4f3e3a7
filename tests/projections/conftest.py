"""Fixtures for the tests of read models."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from eventlog.ids import LogId
from projections.projector import Projector, create_tables

LOG_ID = LogId("0" * 32)


@pytest.fixture
def projector() -> Iterator[Projector]:
    """Return a projector on an empty read model in memory."""
    connection = duckdb.connect(":memory:")
    create_tables(connection, LOG_ID)
    yield Projector(connection)
    connection.close()
