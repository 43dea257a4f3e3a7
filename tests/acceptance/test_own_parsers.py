"""A parser of one's own: refused until somebody trusts exactly its bytes, kept, tried out, revoked, begun anew."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import RUN_SECONDS_MAX, Done, Terminal, eventually, interrupt

pytestmark = pytest.mark.acceptance

LENIENT = ("--allow-quarantine", "--quarantine-threshold", "100")
BUILT_IN = ["csv", "evtx", "fix", "jsonl"]

PARSER = """
import time
import pyarrow as pa

name = "lines"
version = "0.1"
settings = {"rest_ms": "0"}
outputs = {"lines": {"columns": [{"name": "text", "type": "string"}]}}

def parse(path, settings):
    with open(path) as source:
        texts = source.read().splitlines()
    time.sleep(int(settings["rest_ms"]) / 1000)
    yield "lines", pa.record_batch([pa.array(texts, pa.string())], names=["text"])
    return {"unit": "lines", "output": "lines", "found": len(texts)}
"""


@pytest.fixture
def parser(tmp_path: Path) -> Path:
    path = tmp_path / "lines.py"
    path.write_text(PARSER)
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    return path


def run(terminal: Terminal, parser: Path | str, *more: str) -> Done:
    return terminal.casparian("run", str(parser), "a.txt", "--json", *more)


def trust(terminal: Terminal, parser: Path | str) -> Done:
    return terminal.casparian("parser", "trust", str(parser), "--reason", "wrote it", "--json")


def error(done: Done) -> dict[str, Any]:
    said: dict[str, Any] = done.json["error"]
    return said


def logged(terminal: Terminal, *types: str) -> list[dict[str, Any]]:
    shown = terminal.casparian("log", "show", "--json").out.splitlines()
    records = [json.loads(line) for line in shown]
    return [record for record in records if record.get("type") in types]


def answered(terminal: Terminal, words: tuple[str, ...], keys: bytes) -> tuple[int, str]:
    """Type a command on a terminal, and `keys` when it asks (none is Ctrl-C); its exit code and all that was shown."""
    leader, follower = pty.openpty()
    started = subprocess.Popen(
        [*terminal.command, *words], env=terminal.env, cwd=terminal.folder, stdin=follower, stdout=follower,
        stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    shown, asked = b"", False
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the last process that had the terminal is gone
            break
        if not piece:
            break
        shown += piece
        if b"[y/N]" in shown and not asked:
            asked = True
            os.write(leader, keys) if keys else interrupt(started)
    os.close(leader)
    return started.wait(RUN_SECONDS_MAX), shown.decode("utf-8", "replace")


# --- trust ------------------------------------------------------------------------------------------------------------


def test_without_a_terminal_it_is_refused_and_the_command_that_trusts_it_is_named(
    terminal: Terminal, parser: Path
) -> None:
    refused = run(terminal, "./lines.py")
    assert refused.code == 4
    assert error(refused)["code"] == "untrusted_parser"
    assert error(refused)["next_step"] == 'casparian parser trust ./lines.py --reason "..."'
    assert not terminal.out.exists()


def test_trusted_by_command_it_runs_and_a_changed_byte_is_refused_again(terminal: Terminal, parser: Path) -> None:
    said = trust(terminal, parser)
    assert (said.code, said.json["already"]) == (0, False)
    done = run(terminal, parser)
    assert (done.code, done.json["parser_version"], done.json["processed"]) == (0, "0.1", 1)
    assert run(terminal, parser).json["reused"] == 1
    parser.write_text(PARSER.replace('"0.1"', '"0.2"'))
    assert error(run(terminal, parser))["code"] == "untrusted_parser"
    assert [each["data"]["how"] for each in logged(terminal, "TrustParser", "ParserTrusted")] == ["command"] * 2


def test_on_a_terminal_it_asks_once_and_records_the_answer(terminal: Terminal, parser: Path) -> None:
    words = ("run", "./lines.py", "a.txt")
    code, shown = answered(terminal, words, b"n\n")
    assert code == 4
    assert "Run the code of ./lines.py (lines 0.1, artifact" in " ".join(shown.split())
    assert logged(terminal, "ParserTrusted") == []
    code, _shown = answered(terminal, words, b"y\n")
    assert code == 0
    (said,) = logged(terminal, "ParserTrusted")
    assert (said["data"]["how"], said["data"]["parser"]) == ("asked", "lines")
    assert run(terminal, parser).json["reused"] == 1


@pytest.mark.parametrize("keys", [b"\n", b"\x04", b"nonsense\n"], ids=["return", "end of file", "nonsense"])
def test_only_yes_is_yes(terminal: Terminal, parser: Path, keys: bytes) -> None:
    code, _shown = answered(terminal, ("run", "./lines.py", "a.txt"), keys)
    assert code == 4
    records = logged(terminal, "ParserTrusted", "ParserDeployed", "RunStarted")
    assert [each for each in records if not each["data"].get("builtin")] == []


def test_ctrl_c_at_the_question_is_no_answer(terminal: Terminal, parser: Path) -> None:
    code, shown = answered(terminal, ("run", "./lines.py", "a.txt"), b"")
    assert code == 130, shown
    assert logged(terminal, "ParserTrusted") == []


def test_columns_that_come_and_go_are_for_trying_out(terminal: Terminal, parser: Path) -> None:
    loose = PARSER.replace('"type": "string"}]', '"type": "string"}], "mode": "allow_extra"')
    parser.write_text(loose.replace('names=["text"])', 'names=["text"]).append_column("more", pa.array([1, 2]))'))
    trust(terminal, parser)
    assert error(run(terminal, parser))["code"] == "loose_output"
    tried = run(terminal, parser, "--dev")
    assert (tried.code, tried.json["processed"]) == (0, 1)


@pytest.mark.slow
def test_a_version_means_one_source_also_for_who_trusts_both(terminal: Terminal, parser: Path) -> None:
    trust(terminal, parser)
    assert run(terminal, parser).code == 0
    parser.write_text(PARSER + "\n# changed\n")
    trust(terminal, parser)
    refused = run(terminal, parser)
    assert (refused.code, error(refused)["code"]) == (4, "version_taken")
    assert "new version" in error(refused)["next_step"]


@pytest.mark.slow
def test_tried_out_nothing_is_asked_and_nothing_of_it_counts_for_its_version(terminal: Terminal, parser: Path) -> None:
    tried = run(terminal, parser, "--dev")
    assert (tried.code, tried.json["processed"]) == (0, 1)
    assert tried.json["parser_version"].startswith("0.1+dev.")
    assert error(run(terminal, parser))["code"] == "untrusted_parser"
    trust(terminal, parser)
    assert run(terminal, parser).json["processed"] == 1
    assert run(terminal, parser, "--dev").json["reused"] == 1


def test_a_name_of_ours_is_refused(terminal: Terminal, parser: Path) -> None:
    parser.write_text(PARSER.replace('name = "lines"', 'name = "evtx"'))
    for done in (run(terminal, parser), trust(terminal, parser), run(terminal, parser, "--dev")):
        assert (done.code, error(done)["code"]) == (4, "builtin_name")


def test_its_bare_name_is_refused_because_its_file_may_be_another_by_now(terminal: Terminal, parser: Path) -> None:
    trust(terminal, parser)
    run(terminal, parser)
    refused = run(terminal, "lines")
    assert (refused.code, error(refused)["code"]) == (2, "parser_needs_path")
    assert str(parser) in error(refused)["next_step"]


@pytest.mark.parametrize("dev", [(), ("--dev",)], ids=["", "--dev"])
def test_the_bare_name_of_a_parser_in_this_folder_is_answered_with_its_file(
    terminal: Terminal, dev: tuple[str, ...]
) -> None:
    assert terminal.casparian("parser", "new", "access_log").code == 0
    refused = terminal.casparian("run", *dev, "access_log", "some.log", "--json")
    assert (refused.code, error(refused)["code"]) == (2, "parser_needs_path")
    assert error(refused)["next_step"] == " ".join(("casparian run", *dev, f"{terminal.folder}/access_log.py FILE"))
    (terminal.folder / "csv.py").write_text("")
    built_in = terminal.casparian("run", "csv", "nothing.csv", "--json")
    assert error(built_in)["code"] != "parser_needs_path"


def test_a_parser_that_is_named_behind_its_files_is_answered_with_the_right_order(terminal: Terminal) -> None:
    (terminal.folder / "my case").mkdir()
    swapped = terminal.casparian("run", "./my case", "evtx", "--json")
    assert (swapped.code, error(swapped)["code"]) == (2, "usage")
    assert error(swapped)["next_step"] == "casparian run evtx './my case'"
    assert not terminal.home.exists()


def test_a_file_that_is_no_parser_says_why_and_a_name_cannot_be_tried_out(terminal: Terminal, parser: Path) -> None:
    parser.write_text("outputs = {}\n")
    assert (run(terminal, parser).code, error(run(terminal, parser))["code"]) == (1, "bad_parser")
    assert "does not say its name" in error(run(terminal, parser))["message"]
    assert run(terminal, "evtx", "--dev").code == 2
    assert not terminal.home.exists()


# --- what runs --------------------------------------------------------------------------------------------------------


def test_what_runs_is_what_was_trusted_even_if_the_file_changes_during_the_run(
    terminal: Terminal, parser: Path
) -> None:
    trust(terminal, parser)
    started = terminal.start("run", str(parser), "a.txt", "--set", "rest_ms=1500", "--json")
    eventually(lambda: any((terminal.home / "parsers").glob("*/lines.py")), what="the copy that runs")
    parser.write_text(PARSER.replace("texts, pa", "['forged'], pa"))
    assert ended(started) == 0
    assert terminal.sql("select text from lines order by 1") == [["one"], ["two"]]


@pytest.mark.slow
def test_a_crash_leaves_jobs_that_the_next_run_of_any_parser_finishes_from_the_copy(
    terminal: Terminal, parser: Path, tmp_path: Path
) -> None:
    trust(terminal, parser)
    kill_during_a_job(terminal, parser)
    parser.unlink()
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    assert terminal.casparian("run", "evtx", "logs", "--workers", "1", "--json").code == 0  # it comes after what waits
    assert jobs(terminal) == ["completed", "completed"]
    assert terminal.sql("select text from lines order by 1") == [["one"], ["two"]]


@pytest.mark.slow
def test_jobs_of_a_parser_whose_copy_is_gone_end_with_a_reason(
    terminal: Terminal, parser: Path, tmp_path: Path
) -> None:
    trust(terminal, parser)
    kill_during_a_job(terminal, parser)
    shutil.rmtree(terminal.home / "parsers")
    (tmp_path / "none").mkdir()
    terminal.casparian("run", "evtx", "none", "--json")
    (job,) = terminal.casparian("jobs", "--json").json["jobs"]
    assert job["status"] == "aborted"
    assert "its parser is not the one it was queued for" in job["error_reason"]


def kill_during_a_job(terminal: Terminal, parser: Path) -> None:
    started = terminal.start("run", str(parser), "a.txt", "--set", "rest_ms=3000", "--json")
    eventually(lambda: "dispatched" in jobs(terminal) or "running" in jobs(terminal), what="the job at work")
    os.killpg(started.pid, signal.SIGKILL)
    ended(started)
    eventually(lambda: not [pid for pid, _words in terminal.processes()], what="the processes of the run to end")


def ended(started: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a command; its exit code."""
    started.communicate(timeout=RUN_SECONDS_MAX)
    return started.returncode


def jobs(terminal: Terminal) -> list[str]:
    listed = terminal.casparian("jobs", "--json")
    return [job["status"] for job in listed.json["jobs"]] if listed.code == 0 else []


@pytest.mark.slow
def test_revoked_during_a_run_its_jobs_end_and_it_runs_no_more(terminal: Terminal, parser: Path) -> None:
    trust(terminal, parser)
    started = terminal.start("run", str(parser), "a.txt", "--set", "rest_ms=20000", "--json")
    eventually(lambda: "running" in jobs(terminal) or "dispatched" in jobs(terminal), what="the job at work")
    revoked = terminal.casparian("parser", "revoke", "lines", "--reason", "loses a line", "--json")
    assert (revoked.code, len(revoked.json["artifacts"])) == (0, 1)
    assert ended(started) == 1
    assert jobs(terminal) == ["aborted"]
    assert error(run(terminal, parser))["code"] == "untrusted_parser"
    again = terminal.casparian("parser", "revoke", "lines", "--reason", "loses a line", "--json")
    assert (again.code, again.json["already"]) == (0, True)


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_list_shows_who_trusts_what_and_a_new_home_has_the_built_in_ones(terminal: Terminal, parser: Path) -> None:
    assert [each["parser"] for each in terminal.casparian("parser", "ls", "--json").json["parsers"]] == BUILT_IN
    assert not terminal.home.exists()
    trust(terminal, parser)
    listed = {each["parser"]: each for each in terminal.casparian("parser", "ls", "--json").json["parsers"]}
    assert (listed["evtx"]["trusted"], listed["lines"]["trusted"]) == ("builtin", "command")
    terminal.casparian("parser", "revoke", "lines", "--reason", "no", "--json")
    assert [each["parser"] for each in terminal.casparian("parser", "ls", "--json").json["parsers"]] == BUILT_IN


@pytest.mark.slow
def test_a_parser_is_shown_by_its_name_and_by_its_file(terminal: Terminal, parser: Path) -> None:
    by_file = terminal.casparian("parser", "show", str(parser), "--json").json
    assert (by_file["trusted"], by_file["settings"]) == (None, {"rest_ms": "0"})
    assert by_file["outputs"][0]["columns"] == [{"name": "text", "type": "string", "nullable": True, "format": ""}]
    trust(terminal, parser)
    run(terminal, parser)
    by_name = terminal.casparian("parser", "show", "lines", "--json").json
    assert (by_name["artifact_hash"], by_name["outputs"]) == (by_file["artifact_hash"], by_file["outputs"])
    assert terminal.casparian("parser", "show", "nobody", "--json").code == 1


# --- beginning --------------------------------------------------------------------------------------------------------


def test_a_parser_that_is_begun_is_a_parser_and_nothing_is_written_over(terminal: Terminal, tmp_path: Path) -> None:
    made = terminal.casparian("parser", "new", "access_log", "--json")
    assert (made.code, made.json["path"]) == (0, "access_log.py")
    shown = terminal.casparian("parser", "show", "./access_log.py", "--json").json
    assert (shown["parser"], [each["output"] for each in shown["outputs"]]) == ("access_log", ["access_log_lines"])
    (tmp_path / "access_log.py").write_text("mine")
    again = terminal.casparian("parser", "new", "access_log", "--json")
    assert (again.code, error(again)["code"]) == (1, "exists")
    assert (tmp_path / "access_log.py").read_text() == "mine"
    assert terminal.casparian("parser", "new", "Access-Log").code == 2


def test_a_parser_that_is_begun_with_the_helper_is_a_folder_whose_hash_covers_it(
    terminal: Terminal, tmp_path: Path
) -> None:
    made = terminal.casparian("parser", "new", "bookings", "--with-sdk", "--dir", "mine", "--json")
    assert (made.code, made.json["path"]) == (0, "mine/bookings")
    folder = tmp_path / "mine" / "bookings"
    before = terminal.casparian("parser", "show", "mine/bookings", "--json").json["artifact_hash"]
    with (folder / "casparian_sdk.py").open("a") as helper:
        helper.write("# changed\n")
    assert terminal.casparian("parser", "show", "mine/bookings", "--json").json["artifact_hash"] != before
    again = terminal.casparian("parser", "new", "bookings", "--with-sdk", "--dir", "mine", "--json")
    assert (again.code, error(again)["code"]) == (1, "exists")


def test_a_parser_that_is_begun_runs_at_once(terminal: Terminal, tmp_path: Path) -> None:
    terminal.casparian("parser", "new", "access_log")
    (tmp_path / "README.md").write_text("paid 12.50 on 2026-01-31\n\nthe 2026-02-31 is no day\n")
    done = terminal.casparian("run", "--dev", "./access_log.py", "README.md", *LENIENT, "--json")
    (file,) = done.json["files"]
    assert (file["found"], file["written"], file["quarantined"], file["skipped"]) == (3, 1, 1, 1)
    assert terminal.sql("select line, amount, day from access_log_lines") == [[1, "12.500000", "2026-01-31"]]


def test_a_parser_that_is_begun_with_the_helper_names_times_that_never_were(terminal: Terminal, tmp_path: Path) -> None:
    terminal.casparian("parser", "new", "bookings", "--with-sdk")
    lines = [
        "account,amount,booked_at",
        "a,1.5,2026-01-01 10:00:00",
        "b,2,2026-03-29 02:30:00",
        "c,2,2026-10-25 02:30:00",
    ]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    done = terminal.casparian("run", "--dev", "./bookings", "table.csv", *LENIENT, "--json")
    (file,) = done.json["files"]
    assert (file["found"], file["written"], file["quarantined"]) == (3, 1, 2)
    assert terminal.sql("select account, booked_at from bookings_rows") == [["a", "2026-01-01T09:00:00.000000Z"]]
    said = " ".join(str(row) for row in terminal.sql("select * from bookings_rows_quarantine"))
    assert "never was in Europe/Berlin" in said
    assert "was twice in Europe/Berlin" in said


CHANCE = """
import os
import time
import pyarrow as pa

name = "lines"
version = "0.1"
outputs = {"lines": {"columns": [{"name": "text", "type": "string"}]}}

def parse(path, settings):
    while not os.path.exists(path + ".go"):
        time.sleep(0.02)
    raise RuntimeError("nobody knows why, so that it is tried once more")
    yield
"""


@pytest.mark.slow
def test_a_job_that_is_tried_again_is_not_made_by_the_version_that_came_meanwhile(tmp_path: Path) -> None:
    """Its rows would be recorded as those of a parser that never made them."""
    terminal, parser = Terminal(tmp_path), tmp_path / "lines.py"
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("two\n")
    assert terminal.casparian("start", "--workers", "1").code == 0
    try:
        parser.write_text(CHANCE)
        assert trust(terminal, parser).code == 0
        old = terminal.start("run", str(parser), "a.txt")
        eventually(lambda: b'"JobDispatched"' in log_bytes(terminal), what="the job of the old version to begin")
        parser.write_text(PARSER.replace('"0.1"', '"0.2"'))
        assert trust(terminal, parser).code == 0
        new = terminal.start("run", str(parser), "b.txt")
        eventually(lambda: log_bytes(terminal).count(b'"JobQueued"') == 2, what="the job of the new version to wait")
        (tmp_path / "a.txt.go").touch()
        new.communicate(timeout=RUN_SECONDS_MAX)
        old.communicate(timeout=RUN_SECONDS_MAX)
        assert (new.returncode, old.returncode) == (0, 1)
    finally:
        terminal.casparian("stop")
    assert terminal.sql("select text, _cf_parser_version from lines_all") == [["two", "0.2"]]
    assert terminal.sql("select job_id, status from cf_jobs order by job_id") == [[1, "aborted"], [2, "completed"]]


def log_bytes(terminal: Terminal) -> bytes:
    return b"".join(each.read_bytes() for each in (terminal.home / "log").glob("*.ndjson"))
