"""Owns where a home's read model is and how far it has come, told without opening it here; imports no database."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from projections.probe import probed_checkpoint
from projections.rows import CheckpointRow
from projections.voucher import vouched_checkpoint

FILE_NAME: Final = "casparian_flow.duckdb"


def readmodel_path(home: Path) -> Path:
    """Return where the read model of a home is."""
    return home / "readmodel" / FILE_NAME


def peek_checkpoint(home: Path) -> CheckpointRow | None:
    """Return how far the home's read model has come; None where nobody can say. A child is asked without a voucher."""
    path = readmodel_path(home)
    if not path.exists():
        return None
    return vouched_checkpoint(path) or probed_checkpoint(path, thorough=False)
