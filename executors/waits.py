"""Owns how long an executor waits: for an answer, for its sentinel, between two questions."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from executors.guest.host import GuestTimes
from executors.protocol import POLL_SECONDS

REQUEST_SECONDS: Final = POLL_SECONDS + 2.0  # the sentinel answers a long poll after POLL_SECONDS
GONE_SECONDS_MAX: Final = 10.0  # without an answer, before the sentinel counts as gone
RETRY_SECONDS: Final = 0.25  # between two attempts to reach it
POLL_GAP_SECONDS: Final = 0.05  # between two polls, should the sentinel answer at once
PULSE_DELAY_SECONDS: Final = 0.1  # a job over by then has no pulse; till then, or twice that, no cancel is heard


class WorkerTimes(Struct, frozen=True, kw_only=True):
    """How long an executor waits, in seconds; tests make it short."""

    request: float = REQUEST_SECONDS
    gone_max: float = GONE_SECONDS_MAX
    retry: float = RETRY_SECONDS
    poll_gap: float = POLL_GAP_SECONDS
    pulse_delay: float = PULSE_DELAY_SECONDS
    guest: GuestTimes = GuestTimes()
