"""Run the commands of documents again and compare, or write, the outputs: `python -m docs.rerun [--write] [FILE...]`.

A block is rewritten only where it differs by more than what may differ. One with `...` cannot be rewritten by a
program, which does not know what to omit: it gets the whole output, and a person shortens it.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from docs.console import ROOT, Step, files, masked, run, same, steps

DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "docs" / "CLI-JSON.md",
    ROOT / "docs" / "PARSERS.md",
    ROOT / "docs" / "TUTORIAL.md",
)


def differences(document: Path) -> list[tuple[Step, list[str]]]:
    """Run a document's commands and return those whose output is not what is shown, each with its real output."""
    text = document.read_text(encoding="utf-8")
    wanted = steps(text)
    real = run([step.command for step in wanted], present=files(text))
    return [(step, output) for step, output in zip(wanted, real, strict=True) if not same(list(step.shown), output)]


def told(step: Step, real: list[str]) -> str:
    """Return a difference for people: the command, and what is shown against what came."""
    shown = [masked(line) for line in step.shown]
    lines = difflib.unified_diff(shown, [masked(line) for line in real], "shown", "real", lineterm="", n=1)
    return "\n".join([f"$ {step.command}", *lines])


def rewritten(text: str, found: list[tuple[Step, list[str]]]) -> str:
    """Return a document with the real outputs in place of the shown ones."""
    lines = text.split("\n")
    for step, real in reversed(found):
        lines[step.line : step.line + len(step.shown)] = real
    return "\n".join(lines)


def main() -> int:
    """Compare or write. 0 all outputs are as shown (or are now), 1 some are not."""
    parser = argparse.ArgumentParser(prog="python -m docs.rerun", description="Run the commands of documents again.")
    parser.add_argument("files", nargs="*", type=Path, default=DOCUMENTS, help="documents; default: all")
    parser.add_argument("--write", action="store_true", help="put the real outputs into the documents")
    options = parser.parse_args()
    differing = 0
    for document in options.files:
        found = differences(document)
        differing += len(found)
        sys.stdout.write("".join(f"{document}:{step.line}\n{told(step, real)}\n\n" for step, real in found))
        if options.write and found:
            document.write_text(rewritten(document.read_text(encoding="utf-8"), found), encoding="utf-8")
    return 1 if differing and not options.write else 0


if __name__ == "__main__":
    sys.exit(main())
