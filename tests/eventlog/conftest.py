"""Owns the folders in which logs are tested."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """Give an empty folder where a sync costs nothing, if there is one: for tests that open thousands of logs."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="casparian-test-", dir=MEMORY))
    yield folder
    shutil.rmtree(folder)
