"""Owns the clock and the random ids: the one place where they enter the house, from where they travel in commands.

Random bytes are the system's own: `secrets` would hand on the same ones, after loading what every verb does without.
"""

from __future__ import annotations

import getpass
import os
import time
from datetime import UTC, datetime

from eventlog.ids import ExecutorId, Instant, LeaseId, LogId, instant


def now() -> Instant:
    """Return the wall clock in UTC."""
    return instant(datetime.now(UTC))


def steady_us() -> int:
    """Return the microseconds of a clock that nobody sets; where the system has one, sleep of the machine counts."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000


def new_log_id() -> LogId:
    """Return 128 random bits in hex."""
    return LogId(os.urandom(16).hex())


def new_lease() -> LeaseId:
    """Return a fencing token that no other lease ever had."""
    return LeaseId(os.urandom(16).hex())


def new_executor(number: int) -> ExecutorId:
    """Return a name for an executor that no other process of this log had."""
    return ExecutorId(f"executor-{number}-{os.urandom(4).hex()}")


def new_salt() -> bytes:
    """Return the salt of one tape; it is forgotten when the tape is written."""
    return os.urandom(32)


def actor() -> str:
    """Return who gives commands here, as the log names them."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user id without a name: containers and jails
        return "cli:unknown"
