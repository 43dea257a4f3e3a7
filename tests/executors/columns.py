"""Outputs made of columns, for tests."""

from __future__ import annotations

from eventlog.ids import OutputName
from eventlog.schema import Column, OutputSchema


def schema_of(*columns: Column) -> OutputSchema:
    return OutputSchema(output=OutputName("rows"), columns=columns)
