"""Owns the bounds of the stream between a guest and its host, and the reserved lengths that mark its frames.

The shim runs without our packages and so repeats those that it needs; a test holds the two lists equal.
"""

from __future__ import annotations

from typing import Final

ROWS_PER_BATCH_MAX: Final = 50_000
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
JSON_BYTES_MAX: Final = 1_000_000  # orders, error and metrics frames
LOG_LINE_BYTES_MAX: Final = 64 * 1024
LOG_JOB_BYTES_MAX: Final = 10 * 1024 * 1024  # what comes after is counted, not kept, and is no sign of life
LOG_TAIL_BYTES_MAX: Final = 64 * 1024

# A frame is a 4-byte big-endian length and that many bytes of one Arrow stream. These lengths are marks instead: END
# stands alone, the others are followed by a length and a payload. 0xFFFFFFFC is never used.
FRAME_END: Final = 0
FRAME_METRICS: Final = 0xFFFFFFFB
FRAME_SELECT: Final = 0xFFFFFFFD
FRAME_LOG: Final = 0xFFFFFFFE
FRAME_ERROR: Final = 0xFFFFFFFF

# Of one job, unless it is dispatched with others. Memory is what a guest may write to (RLIMIT_DATA), by process.
MEMORY_BYTES_MAX: Final = 4 * 1024**3
SECONDS_MAX: Final = 3600.0

PARENTS_MAX: Final = 4  # parsers that one executor keeps warm; the one that was idle longest makes room
PARENT_READY_SECONDS_MAX: Final = 30.0  # to load Python, pyarrow and the parser
FORK_SECONDS_MAX: Final = 10.0  # from the wish to the number of the guest
PARENT_LEAVE_SECONDS_MAX: Final = 2.0  # from its closed socket to its end, before it is killed
HELLO_SECONDS_MAX: Final = 30.0  # from the fork to the guest's first frame
SILENCE_SECONDS_MAX: Final = 300.0  # without a batch, a statement or a log line
EXIT_SECONDS_MAX: Final = 2.0  # from a closed stream to the end of the process
KILL_SECONDS_MAX: Final = 10.0  # from SIGKILL to a reaped process

# What of a guest's words enters the event log: a line of the log holds 1 MiB, and a guest must not overflow it.
REASON_CHARS_MAX: Final = 4_000
RANGE_REASON_CHARS_MAX: Final = 200
KIND_CHARS_MAX: Final = 64
