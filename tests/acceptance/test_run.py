"""A folder of event logs becomes tables, through the installed command."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.conftest import Case, write_log
from tests.acceptance.crashes import FixtureTerminal, stopped_guest
from tests.acceptance.terminal import Terminal, eventually, interrupt

pytestmark = pytest.mark.acceptance


def test_a_case_becomes_tables_and_every_number_agrees(terminal: Terminal, case: Case) -> None:
    done = terminal.run_evtx(case.folder)
    assert done.code == 3  # one log of the case is cut in the middle
    report = done.json
    assert set(report) >= {"run", "exit", "files"}
    assert report["exit"] == 3
    expected = {str(case.folder / file.path): file for file in case.files}
    by_path = {file["path"]: file for file in report["files"]}
    assert set(by_path) == set(expected)
    for path, file in by_path.items():
        assert file["written"] == expected[path].records_expected, path
        assert file["found"] == file["written"] + file["quarantined"] + file["skipped"] + file["unreadable"]
        assert bool(file["ranges"]) == (expected[path].damage is not None), path
    contents = {file["source_hash"]: file["written"] for file in by_path.values()}
    assert terminal.sql("select count(*) from evtx_events") == [[sum(contents.values())]]
    assert terminal.casparian("log", "verify").code == 0


def test_each_file_of_the_report_has_the_promised_fields(terminal: Terminal, case: Case) -> None:
    for file in terminal.run_evtx(case.folder).json["files"]:
        assert set(file) >= {
            "path", "source_hash", "sha256", "action", "job", "found", "written", "quarantined", "skipped",
            "unreadable", "ranges", "outputs",
        }  # fmt: skip
        for output in file["outputs"]:
            assert set(output) == {"name", "rows", "bytes", "path", "row_first"}
            assert output["path"] is None or Path(output["path"]).stat().st_size == output["bytes"]


def test_a_second_run_reuses_every_file_and_says_why(terminal: Terminal, case: Case) -> None:
    first = terminal.run_evtx(case.folder).json
    before = terminal.listed()
    again = terminal.run_evtx(case.folder)
    assert again.code == 3  # the code states what is, not what was redone
    assert {file["action"] for file in again.json["files"]} == {"reused"}
    assert all("same content" in file["reason"] for file in again.json["files"])
    assert [file["written"] for file in again.json["files"]] == [file["written"] for file in first["files"]]
    assert terminal.listed() == before


def test_a_copy_is_parsed_once_and_both_paths_are_accounted_for(terminal: Terminal, tmp_path: Path) -> None:
    one = write_log(tmp_path / "logs" / "one.evtx", records=7)
    (tmp_path / "logs" / "two.evtx").write_bytes(one.read_bytes())
    files = terminal.run_evtx(tmp_path / "logs").json["files"]
    assert [file["written"] for file in files] == [7, 7]
    assert len({file["job"] for file in files}) == 1
    assert terminal.sql("select count(*) from evtx_events") == [[7]]


@pytest.mark.slow
def test_rows_carry_where_they_came_from(terminal: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    (file,) = terminal.run_evtx(tmp_path / "logs").json["files"]
    query = (
        "select _cf_source_hash, _cf_job_id, _cf_parser_version, _cf_row_seq, _cf_contract, _cf_processed_at is null"
    )
    rows = terminal.sql(f"{query} from evtx_events order by _cf_row_seq")
    assert rows == [[file["source_hash"], str(file["job"]), "0.2.0", n, None, False] for n in range(3)]
    dispatched = terminal.sql("select dispatched_at from cf_jobs")
    assert terminal.sql("select distinct _cf_processed_at from evtx_events") == dispatched


@pytest.mark.slow
def test_the_work_is_done_by_other_processes_over_an_nng_socket(terminal: Terminal, many_logs: Path) -> None:
    run = terminal.start("run", "evtx", str(many_logs), "--sink", f"parquet://{terminal.out}", "--workers", "2")
    try:
        roles: dict[str, set[int]] = {"executor": set(), "guest": set(), "socket": set()}

        def look() -> bool:
            for pid, words in terminal.processes():
                if "executors.worker" in words:
                    roles["executor"].add(pid)
                    address = words[words.index("--connect") + 1]
                    if Path(address.removeprefix("ipc://")).is_socket():
                        roles["socket"].add(pid)
                elif any(word.endswith("shim.py") for word in words):
                    roles["guest"].add(pid)
            return len(roles["executor"]) >= 2 and bool(roles["guest"]) and bool(roles["socket"])

        eventually(look, what="two executors, a guest and the socket")
        eventually(lambda: sum(map(_is_connected, roles["executor"])) >= 2, what="the executors to be connected")
    finally:
        run.communicate(timeout=90)
    assert run.returncode == 0
    executors = {row[0] for row in terminal.sql("select pid from cf_executors")}
    assert len(executors) == 2
    assert executors <= roles["executor"]
    assert run.pid not in executors | roles["guest"]
    assert not executors & roles["guest"]
    eventually(lambda: terminal.processes() == [], what="all processes to be gone")


def _is_connected(pid: int) -> bool:
    """Say whether a process holds a socket: an executor has no other than the one to its sentinel."""
    try:
        links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return True  # it has left by now: nothing to look at
    return any(link.startswith("socket:") for link in links)


def test_reading_verbs_answer_while_a_run_is_going_on(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path)
    with stopped_guest(terminal, logs=3, workers=2) as (run, guest):

        def some_done() -> bool:
            done = terminal.casparian("jobs", "--status", "completed", "--json")
            return done.code == 0 and len(done.json["jobs"]) > 0

        eventually(some_done, what="a completed job to be listed")
        assert terminal.casparian("files", "--json").code == 0
        assert terminal.casparian("log", "verify").code == 0
        assert terminal.sql("select count(*) > 0 from lines") == [[True]]
        assert run.poll() is None
        os.kill(guest, signal.SIGCONT)
        _, err = run.communicate(timeout=90)
        assert run.returncode == 0, err


@pytest.mark.slow
def test_a_second_run_on_the_same_home_is_refused_by_name(terminal: Terminal, many_logs: Path) -> None:
    run = terminal.start("run", "evtx", str(many_logs), "--sink", f"parquet://{terminal.out}", "--workers", "1")
    try:
        eventually((terminal.home / "log" / "GENESIS.json").exists, what="the first run to open the log")
        os.kill(run.pid, signal.SIGSTOP)  # else it may be over before the second has started
        second = terminal.run_evtx(many_logs)
        assert second.code == 1
        assert second.json["error"]["code"] == "home_in_use"
        assert str(run.pid) in second.err
    finally:
        os.kill(run.pid, signal.SIGCONT)
        run.communicate(timeout=90)
    assert run.returncode == 0


def test_a_run_that_is_killed_is_finished_by_the_next(terminal: Terminal, many_logs: Path) -> None:
    run = terminal.start("run", "evtx", str(many_logs), "--sink", f"parquet://{terminal.out}", "--workers", "2")

    def some_published() -> bool:
        return terminal.out.exists() and len(list(terminal.out.glob("*.parquet"))) >= 4

    eventually(some_published, what="the first tables")
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=90)
    eventually(lambda: terminal.processes() == [], what="the executors to notice and leave")
    again = terminal.run_evtx(many_logs)
    assert again.code == 0, again.err
    assert [file["written"] for file in again.json["files"]] == [5 + n for n in range(30)]
    assert terminal.sql("select count(*), count(distinct event_record_id) from evtx_events") == [[585, 585]]
    assert terminal.sql("select count(*) from evtx_files") == [[30]]
    assert terminal.staged() == []
    assert terminal.casparian("log", "verify").code == 0


def test_ctrl_c_stops_the_run_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    terminal = FixtureTerminal(tmp_path)
    with stopped_guest(terminal, logs=3, workers=2) as (run, _):
        interrupt(run)
        _, err = run.communicate(timeout=90)
        assert run.returncode == 130, err
    assert b"Traceback" not in err
    eventually(lambda: terminal.processes() == [], what="all processes to be gone")
    assert terminal.staged() == []
    assert terminal.sql("select count(*) from cf_jobs where status in ('queued', 'dispatched', 'running')") == [[0]]
    again = terminal.finish(tmp_path / "logs")
    assert again.code == 0
    assert terminal.sql("select count(*) from lines") == [[30 + 5 + 6]]


def test_outputs_are_visible_only_when_they_are_recorded(terminal: Terminal, many_logs: Path) -> None:
    terminal.run_evtx(many_logs)
    recorded = {row[0] for row in terminal.sql("select file from cf_materializations where file <> ''")}
    assert set(terminal.listed()) == recorded
    (terminal.out / "evtx_events_0000000000000000.parquet").write_bytes(b"a stranger")
    assert terminal.sql("select count(*) from evtx_events") == [[585]]  # views list recorded files, never a pattern


def test_every_step_is_in_the_log(terminal: Terminal, tmp_path: Path) -> None:
    write_log(tmp_path / "logs" / "one.evtx", records=3)
    terminal.run_evtx(tmp_path / "logs")
    shown = [json.loads(line) for line in terminal.casparian("log", "show", "--json").out.splitlines()]
    assert [record["seq"] for record in shown] == list(range(1, len(shown) + 1))
    order = [record["type"] for record in shown]
    wanted = [
        "WriterOpened", *["ParserDeployed"] * 4, "StartRun", "RunStarted", "FilesSeen", "RunPlanned", "JobQueued",
        "JobDispatched", "JobStarted", "OutputsCommitted", *["MaterializationRecorded"] * 5,
        "JobCompleted", "RunFinished",
    ]  # fmt: skip
    assert [name for name in order if name in wanted] == wanted
    # The first run of a home has its executor start beside it: that joins when it is ready.
    assert order.index("ParserDeployed") - 1 <= order.index("ExecutorJoined") < order.index("JobDispatched")


def test_real_logs_yield_what_other_parsers_count(terminal: Terminal, real_evtx: Path) -> None:
    truth = {}
    for line in (real_evtx.parent / "evtx.truth.ndjson").read_text().splitlines():
        entry = json.loads(line)
        truth[str(real_evtx.parent / entry["file"])] = entry["truth"]
    done = terminal.run_evtx(real_evtx)
    assert done.code == 3
    files = {file["path"]: file for file in done.json["files"]}
    assert set(files) == set(truth)
    for path, file in files.items():
        low, high = truth[path]["accept_records"]
        assert low <= file["written"] <= high, path
        damaged = truth[path]["unparsable_records"] + truth[path]["unreadable_chunks"] > 0
        assert (file["status"] == "partial_success") == damaged, path
    assert terminal.casparian("log", "verify").code == 0
    again = terminal.run_evtx(real_evtx)
    assert {file["action"] for file in again.json["files"]} == {"reused"}
    assert again.code == 3


@pytest.mark.slow
def test_a_setting_reads_on_behind_damage_and_is_another_job(terminal: Terminal, real_evtx: Path) -> None:
    damaged = real_evtx / "dirty" / "sample-with-zero-data-size-event.evtx"
    (stopped,) = terminal.run_evtx(damaged).json["files"]
    (recovered,) = terminal.run_evtx(damaged, options=("--set", "recover=true")).json["files"]
    assert (stopped["written"], recovered["written"]) == (335, 449)
    assert recovered["action"] == "run"
    (again,) = terminal.run_evtx(damaged, options=("--set", "recover=false")).json["files"]  # said aloud, the default
    assert (again["action"], again["job"]) == ("reused", stopped["job"])
    refused = terminal.run_evtx(damaged, options=("--set", "recovery=true"))
    assert refused.code == 2
    assert "recover" in refused.json["error"]["next_step"]
