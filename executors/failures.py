"""Owns the closed list of causes for which a failed job may go better next time, and of those that nobody knows.

A job's key fixes its input, its parser and its settings, so a failure repeats unless it came from the machine. The one
cause that is not ours to judge is the parser's own word: a `TransientError` is transient under whatever kind it names,
and a `PermanentError` permanent (see shim.py, `describe`). Where a process just died, or a parser raised what it does
not declare, neither of us knows: such a cause is unknown. How often each class is tried is the log's rule.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from eventlog.events import FailureClass


class TransientKind(StrEnum):
    """What the host itself calls transient: memory, disks, processes and sinks of this machine."""

    OUT_OF_MEMORY = "out_of_memory"  # of the job's limit or of the machine: another moment may have more
    GUEST_KILLED = "guest_killed"  # SIGKILL from outside, mostly the kernel's when memory runs out
    GUEST_NOT_STARTED = "guest_not_started"  # no process, descriptor or folder could be had
    GUEST_PARENT_DIED = "guest_parent_died"  # with it every guest; the next job gets another
    IO_ERROR = "io_error"  # the disk under the source
    SINK_UNAVAILABLE = "sink_unavailable"  # full, read-only or unreachable


# What tells nothing of its cause. A parser's exception that it does not declare is unknown as well (frames.py).
UNKNOWN_KINDS: Final = frozenset({"guest_died", "executor_error"})
TRANSIENT_KINDS: Final = frozenset(kind.value for kind in TransientKind)


def failure_class(kind: str) -> FailureClass:
    """Return whether a failure of this kind, found by the host, is worth another attempt."""
    if kind in TRANSIENT_KINDS:
        return "transient"
    return "unknown" if kind in UNKNOWN_KINDS else "permanent"
