"""Small files that travel together end as each would alone: the same rows, the same lineage, the same refusals."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.crashes import (
    FixtureTerminal,
    stopped_guest,
    write_mixed,
    write_source,
)
from tests.acceptance.terminal import Done, Terminal, eventually

pytestmark = pytest.mark.acceptance

TOGETHER = 200
FILES = 150
FILES_SLOW = 2000
POLICY = ("--allow-quarantine", "--quarantine-threshold", "60")
FRESH = """
import pyarrow as pa

name = "fresh"
version = "0.1"
fresh_process = True
outputs = {"rows": {"columns": [{"name": "uses", "type": "int64"}]}}
USES = []


def parse(path, settings):
    USES.append(path)
    yield "rows", pa.record_batch({"uses": pa.array([len(USES)], pa.int64())})
    return {"unit": "files", "output": "rows", "found": 1}
"""


@pytest.fixture
def together(tmp_path: Path) -> FixtureTerminal:
    """A terminal whose runs share leases, as they do by default."""
    terminal = FixtureTerminal(tmp_path / "together")
    terminal.jobs_per_lease = TOGETHER
    return terminal


def write_tables(folder: Path, count: int) -> Path:
    """Write CSV files of one header: most are clean; some have bad rows, no rows, or what another one has."""
    folder.mkdir()
    for number in range(count):
        rows = [f"{number},{row},{row}.25" for row in range(0 if number % 29 == 3 else number % 7 + 1)]
        if number % 31 == 5:
            rows.append(f"{number},not a number,1")
        if number % 37 == 7:
            rows = ["0,0,0.25"]
        (folder / f"t{number:04}.csv").write_text("\n".join(["file,row,amount", *rows, ""]))
    (folder / "schema.json").write_text(
        json.dumps(
            {
                "columns": [
                    {"name": "file", "type": "int64"},
                    {"name": "row", "type": "int64"},
                    {"name": "amount", "type": {"kind": "decimal", "precision": 9, "scale": 2}},
                ]
            }
        )
    )
    return folder


def read_tables(folder: Path, source: Path, jobs_per_lease: int) -> tuple[Terminal, Done]:
    terminal = Terminal(folder)
    options = ("--sink", f"parquet://{terminal.out}", *POLICY, "--jobs-per-lease", str(jobs_per_lease), "--json")
    done = terminal.casparian("run", "csv", source, "--schema", source / "schema.json", *options)
    return terminal, done


def write_modes(folder: Path) -> list[Path]:
    """Write files that end in further ways, fewer than pause a parser of those that speak against it."""
    modes = ("damaged", "permanent", "crash signal=11", "null", "prints", "empty", "no_statement", "unknown_output")
    return [write_source(folder / f"mode{n:02}.txt", line, lines=5) for n, line in enumerate(modes)]


def rows_of(terminal: Terminal, table: str) -> Counter[str]:
    """Return all rows with their lineage, but for the time of their dispatch."""
    return Counter(map(repr, every(terminal, f"select * exclude (_cf_processed_at) from {table}")))


def every(terminal: Terminal, query: str) -> list[list[Any]]:
    """Return all rows of a query, however many."""
    done = terminal.casparian("sql", query, "--json", "--limit", "100000")
    assert done.code == 0, done.err
    rows: list[list[Any]] = done.json["rows"]
    return rows


def told(done: Done) -> dict[str, Any]:
    """Return what a run says of each file, without the names of artifacts and their sizes."""
    files = {}
    for file in done.json["files"]:
        outputs = [(output["name"], output["rows"]) for output in file["outputs"]]
        files[file["path"]] = {**file, "outputs": outputs}
    return files


def assert_same(alone: Terminal, shared: Terminal, one: Done, many: Done) -> None:
    assert (many.code, told(many)) == (one.code, told(one))
    for table in ("csv_rows", "csv_rows_all"):
        assert rows_of(shared, table) == rows_of(alone, table)
    kept = "select * from csv_rows_quarantine"
    assert sorted(map(repr, every(shared, kept))) == sorted(map(repr, every(alone, kept)))
    jobs = "select job_id, path, status, completion_status, found, written, quarantined, rows_total from cf_jobs"
    assert sorted(every(shared, jobs)) == sorted(every(alone, jobs))
    balance = [each.casparian("balance", "--json") for each in (alone, shared)]
    assert (balance[0].code, balance[0].json) == (balance[1].code, balance[1].json)
    assert shared.casparian("log", "verify").code == 0
    assert shared.casparian("replay", "--check").code == 0
    assert shared.casparian("outputs").code == 0
    assert shared.staged() == []


@pytest.mark.slow
def test_files_that_share_leases_become_the_tables_of_files_that_do_not(tmp_path: Path) -> None:
    source = write_tables(tmp_path / "source", FILES)
    alone, one = read_tables(tmp_path / "alone", source, 1)
    shared, many = read_tables(tmp_path / "shared", source, TOGETHER)
    assert_same(alone, shared, one, many)
    files = [len([name for name in each.listed() if "quarantine" not in name]) for each in (alone, shared)]
    assert files[1] < files[0] / 4, files


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_thousand_files_that_share_leases_become_the_same_tables(tmp_path: Path) -> None:
    source = write_tables(tmp_path / "source", FILES_SLOW)
    alone, one = read_tables(tmp_path / "alone", source, 1)
    shared, many = read_tables(tmp_path / "shared", source, TOGETHER)
    assert_same(alone, shared, one, many)


@pytest.mark.timeout(180)
def test_every_mode_of_a_parser_ends_in_a_lease_as_it_does_alone(tmp_path: Path, together: FixtureTerminal) -> None:
    files = [*write_mixed(tmp_path / "case", good=8), *write_modes(tmp_path / "case")]
    alone = FixtureTerminal(tmp_path / "alone")
    calm = alone.outcome(alone.finish(files))
    together.check_whole(together.finish(files), calm)


@pytest.mark.slow
def test_policy_forbids_one_file_of_a_lease_and_publishes_the_others(tmp_path: Path, together: FixtureTerminal) -> None:
    modes = ("normal", "null", "normal")
    files = [write_source(tmp_path / "case" / f"{n}.txt", mode, lines=5) for n, mode in enumerate(modes)]
    done = together.finish(files, workers=1)
    assert done.code == 4
    assert [file["status"] for file in done.json["files"]] == ["success", "policy", "success"]
    assert together.sql("select _cf_job_id, count(*) from lines group by all order by all") == [["1", 5], ["3", 5]]
    assert together.sql("select distinct _cf_job_id from lines_quarantine") == [["2"]]
    assert len(list(together.out.glob("lines_*.parquet"))) == 2  # one that is shared, one of rejected rows


# --- one of many ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_that_waits_for_its_turn_in_a_lease_is_cancelled_alone(together: FixtureTerminal) -> None:
    with stopped_guest(together, logs=4) as (run, guest):
        eventually(lambda: together.has_logged("JobStarted", 1), what="the job before it to be at work")
        cancelled = together.casparian("job", "cancel", "3", "--json")
        assert (cancelled.code, cancelled.json["state"]) == (0, "aborted"), cancelled.out
        os.kill(guest, signal.SIGCONT)
        out, err = run.communicate(timeout=90)
    assert run.returncode == 1, err
    states = {file["job"]: file["status"] for file in json.loads(out)["files"]}
    assert states == {1: "success", 2: "success", 3: "aborted", 4: "success"}
    assert together.sql("select distinct _cf_job_id from lines_all order by 1") == [["1"], ["2"], ["4"]]
    assert_sound(together)


def test_the_job_at_work_in_a_lease_is_cancelled_at_once_and_the_others_go_on(together: FixtureTerminal) -> None:
    with stopped_guest(together, logs=4) as (run, guest):
        eventually(lambda: together.has_logged("JobStarted", 1), what="the job's start")
        cancelled = together.casparian("job", "cancel", "1", "--json")
        assert (cancelled.code, cancelled.json["state"]) == (0, "aborted"), cancelled.out
        assert not is_alive(guest)
        out, _err = run.communicate(timeout=90)
    states = {file["job"]: file["status"] for file in json.loads(out)["files"]}
    assert states == {1: "aborted", 2: "success", 3: "success", 4: "success"}
    assert together.sql("select distinct _cf_job_id from lines_all order by 1") == [["2"], ["3"], ["4"]]
    assert_sound(together)


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_the_jobs_of_an_executor_that_is_killed_are_done_one_by_one(together: FixtureTerminal) -> None:
    with stopped_guest(together, logs=3) as (run, _guest):
        eventually(lambda: together.has_logged("JobStarted", 1), what="the job's start")
        (executor,) = together.roles().executors
        os.kill(executor, signal.SIGKILL)
        out, err = run.communicate(timeout=90)
    assert run.returncode == 0, err
    assert [file["status"] for file in json.loads(out)["files"]] == ["success"] * 3
    assert len(list(together.out.glob("lines_*.parquet"))) == 3
    assert_sound(together)


@pytest.mark.slow
def test_an_interrupted_lease_leaves_nothing_half_done(together: FixtureTerminal) -> None:
    with stopped_guest(together, logs=4) as (run, _guest):
        eventually(lambda: together.has_logged("JobStarted", 1), what="the job's start")
        os.kill(run.pid, signal.SIGINT)
        run.communicate(timeout=90)
    assert run.returncode == 130
    assert together.out.exists()
    assert together.listed() == []
    assert_sound(together)
    again = together.finish(together.folder / "logs")
    assert [file["status"] for file in again.json["files"]] == ["success"] * 4


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def assert_sound(terminal: Terminal) -> None:
    assert terminal.staged() == []
    assert terminal.casparian("log", "verify").code == 0
    assert terminal.casparian("replay", "--check").code == 0


# --- what is said of a file that jobs share ---------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path, together: FixtureTerminal) -> FixtureTerminal:
    """A home with one file of rows of three jobs."""
    for number in range(3):
        write_source(tmp_path / "case" / f"{number}.txt", "normal", lines=4 + number)
    assert together.finish(tmp_path / "case", workers=1).code == 0
    assert len(list(together.out.glob("lines_*.parquet"))) == 1
    return together


def test_each_job_knows_its_rows_in_the_file(shared: FixtureTerminal) -> None:
    made = "select job_id, row_first, rows, file from cf_materializations where output_name = 'lines' order by 1"
    (one, two, three) = shared.sql(made)
    assert [row[:3] for row in (one, two, three)] == [[1, 0, 4], [2, 4, 5], [3, 9, 6]]
    assert one[3] == two[3] == three[3]
    shown = shared.casparian("job", "show", "2").out
    assert "5 rows" in shown
    assert "from its row 4 on" in shown
    (published,) = shared.casparian("outputs", "--all", "--json").json["outputs"]
    assert (published["rows"], published["state"]) == (15, "ok")


def test_a_row_of_a_shared_file_is_explained_by_its_own_job(shared: FixtureTerminal, tmp_path: Path) -> None:
    explained = shared.casparian("explain", "row", "lines", "3:5", "--json").json
    assert explained["answer"] == f"row 5 of lines was made by job 3 from {tmp_path / 'case' / '2.txt'}"
    assert shared.casparian("explain", "row", "lines", "2:5").code == 1
    ((file,),) = shared.sql("select distinct file from cf_materializations where output_name = 'lines'")
    assert shared.casparian("explain", "output", file, "--json").json["answer"].startswith("3 jobs have rows in it")


@pytest.mark.slow
def test_the_rows_of_one_job_are_superseded_and_those_beside_them_stay(shared: FixtureTerminal, tmp_path: Path) -> None:
    again = write_source(tmp_path / "case" / "1.txt", "normal", lines=5)
    words = ["run", "fixture", str(again), "--sink", f"parquet://{shared.folder / 'elsewhere'}", "--json"]
    assert shared.casparian(*words).code == 0
    jobs = "select distinct _cf_job_id from {} order by 1"
    assert shared.sql(jobs.format("lines")) == [["1"], ["3"], ["4"]]
    assert shared.sql(jobs.format("lines_all")) == [["1"], ["2"], ["3"], ["4"]]


@pytest.mark.slow
def test_a_lost_shared_file_is_made_anew_for_all_its_jobs(shared: FixtureTerminal, tmp_path: Path) -> None:
    (file,) = shared.out.glob("lines_*.parquet")
    file.unlink()
    failed = shared.finish(tmp_path / "case")
    assert failed.code == 5
    assert [each["status"] for each in failed.json["files"]] == ["lost"] * 3
    words = [*shared.words(tmp_path / "case"), "--remake-lost"]
    assert shared.casparian(*words).code == 0
    assert shared.sql("select count(*), count(distinct _cf_job_id) from lines_all") == [[15, 3]]
    assert shared.casparian("replay", "--check").code == 0


def test_the_bytes_of_a_row_of_a_shared_file_are_found(tmp_path: Path) -> None:
    from tests.acceptance.conftest import write_log

    terminal = Terminal(tmp_path)
    for number in range(3):
        write_log(tmp_path / "logs" / f"{number}.evtx", records=3, first_id=10 * number + 1)
    assert terminal.run_evtx(tmp_path / "logs", options=("--workers", "1")).code == 0
    assert len(list(terminal.out.glob("evtx_events_*.parquet"))) == 1
    done = terminal.casparian("record", "evtx_events", "2:1", "--json").json
    assert (done["columns"]["event_record_id"], done["differences"], done["source_unchanged"]) == (12, [], True)


# --- who wants no company ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_parser_may_want_a_fresh_process_for_each_file(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    for literal, uses in (("True", 1), ("False", 4)):
        parser = tmp_path / "fresh.py"
        parser.write_text(FRESH.replace("fresh_process = True", f"fresh_process = {literal}"))
        folder = tmp_path / f"case{literal}"
        folder.mkdir()
        for number in range(4):
            (folder / f"{number}.txt").write_text(f"{literal} {number}")
        words = ("run", "--dev", parser, folder, "--workers", "1", "--sink", f"parquet://{terminal.out}", "--json")
        done = terminal.casparian(*words)
        assert done.code == 0, done.err
        jobs = ", ".join(f"'{file['job']}'" for file in done.json["files"])
        assert terminal.sql(f"select max(uses) from rows_all where _cf_job_id in ({jobs})") == [[uses]]


@pytest.mark.parametrize(("config", "words", "uses"), [("1", (), 1), ("2", (), 2), ("1", ("--jobs-per-lease", "4"), 4)])
def test_how_many_share_a_lease_is_said_in_the_home_and_on_the_command_line(
    tmp_path: Path, config: str, words: tuple[str, ...], uses: int
) -> None:
    terminal = Terminal(tmp_path)
    terminal.home.mkdir()
    (terminal.home / "config.toml").write_text(f"[run]\njobs_per_lease = {config}\n")
    (tmp_path / "mine.py").write_text(FRESH.replace("fresh_process = True", ""))
    (tmp_path / "case").mkdir()
    for number in range(4):
        (tmp_path / "case" / f"{number}.txt").write_text(str(number))
    done = terminal.casparian("run", "--dev", tmp_path / "mine.py", tmp_path / "case", "--workers", "1", *words)
    assert done.code == 0, done.err
    assert terminal.sql("select max(uses) from rows") == [[uses]]


def test_a_number_of_jobs_that_no_lease_can_have_is_a_usage_error(terminal: Terminal) -> None:
    for number in ("0", "201"):
        assert terminal.casparian("run", "evtx", ".", "--jobs-per-lease", number).code == 2
    terminal.home.mkdir(exist_ok=True)
    (terminal.home / "config.toml").write_text("[run]\njobs_per_lease = 0\n")
    refused = terminal.casparian("run", "evtx", ".", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (2, "bad_config")
