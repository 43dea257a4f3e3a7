"""Owns the closed lists of words that stand in records, for whoever speaks them and needs no record."""

from __future__ import annotations

from typing import Literal

JobStatus = Literal["success", "partial_success"]
FailureClass = Literal["permanent", "transient", "unknown", "accounting", "promotion", "policy"]
TrustedHow = Literal["asked", "command", "dev", "signed"]
