from __future__ import annotations

import subprocess
import sys

LEAVING = """
import os, signal, sys
from cli.executor import _told_by_signals
told = []
with _told_by_signals(lambda number, frame: told.append(number)):
    os.kill(os.getpid(), signal.SIGTERM)

class Last:  # dies with the interpreter, when handlers of ours have been taken away
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)

sys.last_of_all = Last()
print(told)
"""


def test_an_executor_that_is_leaving_does_not_seem_killed_by_a_signal_that_comes_late() -> None:
    left = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=60, check=False)
    assert (left.returncode, left.stdout, left.stderr) == (0, "[15]\n", "")
