"""Bad input from the first day: each a sentence, the other files are still done, the exit code is right."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import write_log
from tests.acceptance.terminal import COMMAND, Terminal, eventually

pytestmark = pytest.mark.acceptance


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder with one good log; tests put something bad beside it."""
    write_log(tmp_path / "logs" / "good.evtx", records=5)
    return tmp_path / "logs"


def by_name(report: Any) -> dict[str, Any]:
    return {file["path"].rsplit("/", 1)[-1]: file for file in report["files"]}


def assert_good_one_was_done(report: Any) -> None:
    good = by_name(report)["good.evtx"]
    assert (good["action"], good["written"]) == ("run", 5)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.evtx", b"", "empty"),
        ("text.evtx", b"this is a text file, whatever its name says\n" * 200, "ElfFile"),
        ("short.evtx", b"ElfFile\0" + bytes(100), "4,096"),
    ],
)
def test_a_file_that_is_no_event_log_fails_alone(
    terminal: Terminal, logs: Path, name: str, content: bytes, words: str
) -> None:
    (logs / name).write_bytes(content)
    done = terminal.run_evtx(logs)
    assert done.code == 1
    assert_good_one_was_done(done.json)
    bad = by_name(done.json)[name]
    assert bad["action"] == "failed"
    assert words in bad["reason"]
    assert bad["next_step"]
    assert bad["job"] is not None
    shown = terminal.casparian("job", "show", str(bad["job"]))
    assert words in shown.out


def test_a_log_cut_in_the_middle_gives_its_whole_chunks_and_names_the_rest(terminal: Terminal, logs: Path) -> None:
    whole = write_log(logs / "cut.evtx", records=400).read_bytes()
    cut_at = 4096 + 65536 + 1000
    (logs / "cut.evtx").write_bytes(whole[:cut_at])
    done = terminal.run_evtx(logs)
    assert done.code == 3
    assert_good_one_was_done(done.json)
    cut = by_name(done.json)["cut.evtx"]
    assert 0 < cut["written"] < 400
    last = max(cut["ranges"], key=lambda place: place["offset"])
    assert last["offset"] + last["length"] == cut_at  # whole records before the cut are rows; the rest is named
    assert last["offset"] >= 4096 + 65536


@pytest.mark.slow
def test_names_with_spaces_newlines_and_stray_bytes_are_carried(terminal: Terminal, logs: Path) -> None:
    names = [
        b"with space.evtx",
        b"with\nnewline.evtx",
        b"stray\xff\xfebytes.evtx",
        b"back\\slash.evtx",
        b"\x1b[31mred.evtx",
    ]
    for number, name in enumerate(names):
        path = logs / f"tmp{number}.evtx"
        write_log(path, records=3 + number)
        path.rename(logs / os.fsdecode(name))
    done = terminal.run_evtx(logs)
    assert done.code == 0, done.err
    assert {file["action"] for file in done.json["files"]} == {"run"}
    assert len(done.json["files"]) == 6
    stray = next(file for file in done.json["files"] if "stray" in file["path"])
    assert stray["path"].endswith("stray\\xff\\xfebytes.evtx")
    assert terminal.sql("select count(*) from scout_files") == [[6]]
    human = terminal.casparian("files")
    assert "\x1b" not in human.out  # a file name must not move the cursor
    assert human.out.count("\n") == 6 + 2
    # An explicitly named file with such a name works as well.
    assert terminal.run_evtx(logs / os.fsdecode(names[2])).json["files"][0]["action"] == "reused"


def test_a_link_inside_a_folder_is_refused_and_not_followed(terminal: Terminal, logs: Path, tmp_path: Path) -> None:
    outside = write_log(tmp_path / "elsewhere" / "secret.evtx", records=2)
    (logs / "link.evtx").symlink_to(outside)
    done = terminal.run_evtx(logs)
    assert done.code == 1
    assert_good_one_was_done(done.json)
    assert "symbolic link" in by_name(done.json)["link.evtx"]["reason"]


def test_a_pipe_named_like_a_log_does_not_hang_the_run(terminal: Terminal, logs: Path) -> None:
    os.mkfifo(logs / "pipe.evtx")
    done = terminal.run_evtx(logs)
    assert done.code == 1
    assert_good_one_was_done(done.json)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user to be denied")
def test_a_file_without_permission_fails_alone(logs: Path, tmp_path: Path) -> None:
    secret = write_log(logs / "secret.evtx", records=2)
    secret.chmod(0)
    for folder in [tmp_path, *tmp_path.parents]:  # nobody must be able to walk here
        if folder.owner() == "root" and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o005)
    home = tmp_path / "nobody"
    home.mkdir()
    os.chown(home, 65534, 65534)
    words = [COMMAND, "run", "evtx", str(logs), "--sink", f"parquet://{home}/out", "--home", f"{home}/home", "--json"]
    code = "import os,sys; os.setgid(65534); os.setuid(65534); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)},
        cwd=home,
        timeout=90,
        check=False,
    )
    if b"Permission denied" in done.stderr and not done.stdout:
        pytest.skip("the interpreter cannot be reached by another user here")

    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert_good_one_was_done(report)
    assert "permission denied" in by_name(report)["secret.evtx"]["reason"].lower()


def test_an_unknown_parser_is_a_usage_error_that_names_the_known_ones(terminal: Terminal, logs: Path) -> None:
    done = terminal.casparian("run", "evxt", str(logs), "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == "unknown_parser"
    assert "evtx" in done.json["error"]["next_step"]


@pytest.mark.parametrize(
    "uri", ["ftp://x", "parquet://", "out", "parquet:///a/b.parquet", "parquet:///tmp/x?mode=replace"]
)
def test_a_bad_sink_is_a_usage_error(terminal: Terminal, logs: Path, uri: str) -> None:
    done = terminal.casparian("run", "evtx", str(logs), "--sink", uri, "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == "bad_sink_uri"
    assert not terminal.home.exists()


def test_a_file_where_the_sink_folder_should_be_is_told(terminal: Terminal, logs: Path, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file")
    done = terminal.casparian("run", "evtx", str(logs), "--sink", f"parquet://{tmp_path}/occupied/out", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "sink_unwritable"
    assert "occupied" in done.json["error"]["message"]


def test_a_sink_that_cannot_be_written_is_told(terminal: Terminal, logs: Path) -> None:
    done = terminal.casparian("run", "evtx", str(logs), "--sink", "parquet:///proc/casparian", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "sink_unwritable"


def test_a_file_where_the_home_should_be_is_told(terminal: Terminal, logs: Path, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file")
    done = terminal.casparian("run", "evtx", str(logs), "--home", str(tmp_path / "occupied"), "--json")
    assert done.code == 1
    assert "occupied" in done.json["error"]["message"]
    assert done.json["error"]["next_step"]


def test_an_input_that_does_not_exist_is_told(terminal: Terminal) -> None:
    done = terminal.casparian("run", "evtx", "./nothing here", "--json")
    assert done.code == 1
    assert "nothing here" in done.json["error"]["message"]


def test_one_missing_input_does_not_stop_the_others(terminal: Terminal, logs: Path, tmp_path: Path) -> None:
    done = terminal.run_evtx(logs, tmp_path / "gone")
    assert done.code == 1
    assert_good_one_was_done(done.json)
    assert "does not exist" in by_name(done.json)["gone"]["reason"]


def test_a_folder_without_any_log_does_not_look_like_success(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "notes.txt").write_text("nothing to parse")
    done = terminal.run_evtx(tmp_path / "papers")
    assert done.code == 1
    assert done.json["files"] == []
    assert done.json["passed_over"] == 1


def test_a_damaged_log_of_the_house_is_refused_and_not_touched(terminal: Terminal, logs: Path) -> None:
    terminal.run_evtx(logs)
    segment = terminal.home / "log" / "00000000000000000001.ndjson"
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    verified = terminal.casparian("log", "verify", "--json")
    assert verified.code == 5
    assert verified.json["verdict"] == "CORRUPT"
    done = terminal.run_evtx(logs)
    assert done.code == 5
    assert done.json["error"]["next_step"]
    assert segment.read_bytes() == content


@pytest.mark.slow
def test_a_log_that_was_cut_after_a_clean_end_is_refused(terminal: Terminal, logs: Path) -> None:
    terminal.run_evtx(logs)
    segment = terminal.home / "log" / "00000000000000000001.ndjson"
    whole = segment.read_bytes()
    lines = whole.splitlines(keepends=True)
    for kept in (len(lines) // 2, len(lines) - 4):
        segment.write_bytes(b"".join(lines[:kept]))
        assert terminal.casparian("log", "verify").code == 5
        assert terminal.run_evtx(logs).code == 5
    segment.write_bytes(whole)
    assert terminal.run_evtx(logs).code == 0


def test_15a_an_older_log_under_a_newer_read_model_is_refused_and_not_changed(
    terminal: Terminal, logs: Path, tmp_path: Path
) -> None:
    terminal.run_evtx(logs)
    older = tmp_path / "older"
    shutil.copytree(terminal.home / "log", older)
    write_log(logs / "more.evtx", records=9)
    terminal.run_evtx(logs)
    shutil.rmtree(terminal.home / "log")
    shutil.copytree(older, terminal.home / "log")
    before = {path.name: path.read_bytes() for path in (terminal.home / "log").iterdir() if path.name != "LOCK"}
    for _ in range(2):
        done = terminal.run_evtx(logs)
        assert done.code == 5
        assert done.json["error"]["code"] == "log_regressed"
        verified = terminal.casparian("log", "verify", "--json")
        assert (verified.code, verified.json["verdict"]) == (5, "REGRESSED")
    assert {p.name: p.read_bytes() for p in (terminal.home / "log").iterdir() if p.name != "LOCK"} == before


def test_a_folder_with_other_things_is_never_taken_for_a_home(terminal: Terminal, logs: Path, tmp_path: Path) -> None:
    (tmp_path / "evidence" / "tmp").mkdir(parents=True)
    kept = tmp_path / "evidence" / "tmp" / "notes.txt"
    kept.write_text("do not touch")
    (tmp_path / "evidence" / "disk.dd").write_text("an image")
    done = terminal.casparian("run", "evtx", logs, "--home", tmp_path / "evidence", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "not_a_home"
    assert kept.read_text() == "do not touch"
    assert sorted(path.name for path in (tmp_path / "evidence").iterdir()) == ["disk.dd", "tmp"]


@pytest.mark.parametrize("inside", ["tmp", "log", "blobs/x", "readmodel"])
def test_tables_never_go_into_the_homes_own_folders(terminal: Terminal, logs: Path, inside: str) -> None:
    done = terminal.casparian("run", "evtx", logs, "--sink", f"parquet://{terminal.home}/{inside}", "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == "bad_sink_uri"


def test_a_file_that_changes_after_it_was_hashed_gives_no_rows_under_the_old_hash(
    terminal: Terminal, many_logs: Path
) -> None:
    victim = many_logs / "log29.evtx"
    before = victim.stat()
    alone = ("--workers", "1", "--jobs-per-lease", "1")  # so that the victim is read after the first table is there
    run = terminal.start("run", "evtx", many_logs, "--sink", f"parquet://{terminal.out}", *alone, "--json")
    eventually(lambda: terminal.out.exists() and bool(list(terminal.out.glob("*.parquet"))), what="the first table")
    os.kill(run.pid, signal.SIGSTOP)  # the executor goes on with what it has been given, which is not all
    content = bytearray(victim.read_bytes())
    content[9000:9100] = bytes(100)
    victim.write_bytes(content)  # in place, same size
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.kill(run.pid, signal.SIGCONT)
    out, _ = run.communicate(timeout=90)
    assert run.returncode == 1
    changed = by_name(json.loads(out))["log29.evtx"]
    assert changed["action"] == "failed"
    assert "other bytes" in changed["reason"]


@pytest.mark.slow
def test_very_long_paths_and_many_inputs_fit_the_log(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    for _ in range(12):
        folder = folder / os.fsdecode(b"\xff" * 200)
    folder.mkdir(parents=True)
    template = write_log(tmp_path / "template.evtx", records=1).read_bytes()
    for number in range(60):
        (folder / f"{number}.evtx").write_bytes(template)
    done = terminal.run_evtx(tmp_path / "deep")
    assert done.code == 0, done.err
    assert len(done.json["files"]) == 60
    one = write_log(tmp_path / "one.evtx", records=2)
    many = terminal.run_evtx(*[one] * 300, *[tmp_path / f"missing {n} {'x' * 200}" for n in range(3000)])
    assert many.code == 1
    assert by_name(many.json)["one.evtx"]["written"] == 2


@pytest.mark.slow
def test_a_read_model_of_another_log_is_told_of_and_made_anew(terminal: Terminal, logs: Path, tmp_path: Path) -> None:
    terminal.run_evtx(logs)
    other = Terminal(tmp_path / "other")
    other.run_evtx(logs)
    shutil.rmtree(terminal.home / "log")
    shutil.copytree(other.home / "log", terminal.home / "log")
    done = terminal.run_evtx(logs)
    assert done.code == 0, done.err
    assert "read model: rebuilt from the log" in done.err
    assert terminal.casparian("replay", "--check").code == 0
