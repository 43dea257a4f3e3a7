"""Tests of how our processes end: with their exit code, after all that was to be printed and cleaned up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.eventlog.support import ROOT

HEAD = "import atexit, sys; from casparian import leave\n"
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def end(body: str, *, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HEAD + body]
    return subprocess.run(
        command, cwd=ROOT, env=BUFFERED, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("code", [0, 3, 70])
def test_the_exit_code_is_kept_and_all_that_was_printed_comes_out(code: int) -> None:
    done = end(f"print('x' * 1_000_000); print('said', file=sys.stderr); leave({code})")
    assert (done.returncode, len(done.stdout), done.stderr) == (code, 1_000_001, "said\n")


def test_exit_handlers_run_before_and_what_they_print_comes_out_too() -> None:
    assert end("atexit.register(print, 'cleaned up'); leave(0)").stdout == "cleaned up\n"


def test_nothing_is_taken_apart() -> None:
    assert end("class A:\n def __del__(self): print('apart')\na = A(); a.itself = a; leave(0)").stdout == ""


def test_who_prints_to_nobody_ends_as_every_python_does() -> None:
    read, nobody = os.pipe()
    os.close(read)
    try:
        done = end("print('x'); leave(0)", stdout=nobody)
    finally:
        os.close(nobody)
    assert (done.returncode, "BrokenPipeError" in done.stderr) == (120, True)


@pytest.mark.parametrize("module", ["cli.main", "cli.render"])
def test_who_is_interrupted_while_modules_are_loaded_says_so_in_a_word(module: str) -> None:
    done = end(
        "from casparian import main\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == '{module}': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting()); sys.argv = ['casparian', 'jobs']; main()"
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
