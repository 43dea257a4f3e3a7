"""The summary of a run: which files failed, which were never tried or were stopped, and what to type."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cli.home import Home
from cli.report import FileReport, Recovery, RunReport
from cli.summary import show_summary


def file(name: str, status: str, reason: str) -> FileReport:
    return FileReport(
        path=f"/case/{name}",
        source_hash=None,
        sha256=None,
        action="failed",
        job=1,
        found=None,
        written=None,
        quarantined=None,
        skipped=None,
        skips=(),
        unreadable=None,
        ranges=(),
        outputs=(),
        accounting=None,
        status=status,
        reason=reason,
        next_step="casparian job show 1",
    )


FILES = (
    file("crashed.txt", "unknown", "it raised"),
    file("held.txt", "held", "parser p is paused: it lied"),
    file("stopped.txt", "aborted", "cancelled by cli:ada"),
)
REPORT = RunReport(
    run=1,
    exit=4,
    files=FILES,
    parser="p",
    parser_version="1",
    sink="parquet:///out",
    home="/home",
    found=3,
    processed=0,
    reused=0,
    failed=3,
    stopped=2,
    superseded=0,
    shown_again=0,
    interrupted="",
    passed_over=0,
    patterns=("*.txt",),
    seconds=1.0,
    resumed=0,
    recovery=Recovery(),
    main_output="p_rows",
)


def shown(report: RunReport, capsys: pytest.CaptureFixture[str]) -> list[str]:
    show_summary(report, Home(Path("/home")), remake="")
    return capsys.readouterr().out.splitlines()


def test_what_a_person_stopped_or_a_pause_holds_back_has_not_failed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(REPORT, capsys)
    assert lines[1] == "files: 3 found, 0 processed, 0 reused, 1 failed, 2 not processed; in /case"
    failed, waiting = lines.index("1 file failed:"), lines.index("2 files not processed:")
    assert "  crashed.txt" in lines[failed:waiting]
    assert {"  held.txt", "  stopped.txt", "    parser p is paused: it lied"} <= set(lines[waiting:])
    assert lines[-1] == "next: casparian parser health"


def test_a_failed_file_names_what_to_do_and_the_job_that_tells_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    hinted = msgspec.structs.replace(FILES[0], next_step="copy it again", job=17)
    lines = shown(msgspec.structs.replace(REPORT, files=(hinted,)), capsys)
    at = lines.index("    it raised")
    assert lines[at + 1 : at + 3] == ["    next: copy it again", "    next: casparian job show 17"]
    lines = shown(REPORT, capsys)
    assert lines.count("    next: casparian job show 1") == 3, "a command is a step as it is"


def test_an_interrupted_run_says_once_what_became_of_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    told = "run 1 was interrupted: 1 job stopped; what had been published stays"
    lines = shown(msgspec.structs.replace(REPORT, interrupted=told), capsys)
    assert told in lines
    assert not any(line.endswith("not processed:") for line in lines)
    assert lines[-1] == "next: run the same command again to go on"
