"""Puts processes under strace, which tells their system calls and makes chosen ones fail, or be the last."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import pytest

PROBE_SECONDS_MAX: Final = 60
KILL: Final = "signal=KILL"  # as a fault that is injected: the call does not return


def traced(arguments: Sequence[str], *options: str) -> list[str]:
    """Return a command under strace, or skip where that cannot be done.

    It stops for traced calls only, which is three times as fast, unless it injects a signal: strace 6.1 would lose it.
    """
    if why := _untraceable():
        pytest.skip(why)
    return [
        "strace",
        "-f",
        *([] if any(KILL in option for option in options) else ["--seccomp-bpf"]),
        *options,
        *arguments,
    ]


def was_hit(trace: str, call: str, fault: str) -> bool:
    """Return whether the fault happened that was to be injected into such a call, by what strace -f -o has written."""
    if KILL not in fault:
        return "(INJECTED)" in trace
    inside = re.findall(rf"^(\d+) +{call}\(.*(?:= \?|<unfinished \.\.\.>)$", trace, re.MULTILINE)
    killed = re.findall(r"^(\d+) +\+\+\+ killed by SIGKILL", trace, re.MULTILINE)
    return not set(inside).isdisjoint(killed)


@lru_cache(maxsize=1)
def _untraceable() -> str:
    """Return why nothing can be traced here, "" if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed: failing system calls cannot be injected"
    probe = ["strace", "-f", "--seccomp-bpf", "-e", "trace=none", "true"]
    done = subprocess.run(probe, capture_output=True, check=False, timeout=PROBE_SECONDS_MAX)
    return f"strace may not trace here: {done.stderr.decode().strip()}" if done.returncode else ""
