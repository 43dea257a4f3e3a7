"""Completion in the shell: a script that works offline, and answers that load nothing slow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.terminal import COMMAND, Terminal

pytestmark = pytest.mark.acceptance
SLOW = ("duckdb", "pyarrow", "pynng", "evtx")  # 0.1 to 0.3 s each


def complete(terminal: Terminal, line: str) -> list[str]:
    """Return what bash is told for the end of a line."""
    words = line.split(" ")
    asked = {"_CASPARIAN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([COMMAND], env=terminal.env | asked, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.split()


def in_bash(terminal: Terminal, script: str) -> str:
    environment = terminal.env | {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("casparian ru", ["run"]),
        ("casparian job ", ["show"]),
        ("casparian run ev", ["evtx"]),
        ("casparian run --wor", ["--workers"]),
        ("casparian jobs --status fa", ["failed"]),
    ],
)
def test_verbs_options_choices_and_parsers_are_completed(terminal: Terminal, line: str, told: list[str]) -> None:
    assert set(told) <= set(complete(terminal, line))


def test_show_completion_prints_a_script_with_which_bash_completes(terminal: Terminal) -> None:
    # Typed in bash: the shell is found by looking at the parent process.
    script = in_bash(terminal, "casparian --show-completion bash; true")
    assert "complete -o default -F _casparian_completion casparian" in script
    ask = "COMP_WORDS=(casparian ru); COMP_CWORD=1; _casparian_completion casparian; echo ${COMPREPLY[@]}"
    assert in_bash(terminal, f"{script}\n{ask}") == "run\n"


def test_install_completion_writes_into_the_persons_own_files(terminal: Terminal) -> None:
    in_bash(terminal, "casparian --install-completion; true")
    user = Path(terminal.env["HOME"])
    assert (user / ".bash_completions" / "casparian.sh").read_text().startswith("_casparian_completion()")
    assert str(user / ".bash_completions" / "casparian.sh") in (user / ".bashrc").read_text()


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "#compdef casparian"), ("fish", "complete --command casparian")])
def test_zsh_and_fish_have_their_scripts(terminal: Terminal, shell: str, begins: str) -> None:
    asked = {"_CASPARIAN_COMPLETE": f"source_{shell}"}
    done = subprocess.run([COMMAND], env=terminal.env | asked, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.lstrip().startswith(begins)
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=done.stdout, text=True, check=True, timeout=30)


def test_a_completion_loads_nothing_slow(terminal: Terminal) -> None:
    asked = {"_CASPARIAN_COMPLETE": "complete_bash", "COMP_WORDS": "casparian run ev", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", COMMAND],
        env=terminal.env | asked,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.split("\n") if "|" in line}
    assert done.stdout.split() == ["evtx"]
    assert "typer" in loaded
    assert loaded & set(SLOW) == set()
