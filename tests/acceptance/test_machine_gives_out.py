"""Disks fill, limits are met, folders vanish while a run is at work: it says so, and the next run ends as it should."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from tests.acceptance import driver
from tests.acceptance.crashes import FixtureTerminal, Outcome, wait_for, write_source
from tests.acceptance.terminal import Done, eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

RUN_SECONDS_MAX = 150  # a target that stays away is tried again after 4, 16 and 64 s
MIDDLE_SECONDS_MAX = 40.0
KIB = 1024


class Calm(Struct, frozen=True):
    """A folder and what an undisturbed run over it leaves."""

    files: list[Path]
    outcome: Outcome


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("machine")
    files = [
        write_source(folder / "case" / "first.txt", "normal", lines=10),
        write_source(folder / "case" / "paced.txt", "paced rest_ms=150", lines=40),
        write_source(folder / "case" / "wide.txt", "normal", lines=20_000),
    ]
    terminal = FixtureTerminal(folder / "calm")
    return Calm(files, terminal.outcome(terminal.finish(files)))


@pytest.fixture
def terminal(tmp_path: Path) -> FixtureTerminal:
    return FixtureTerminal(tmp_path / "t")


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bytes_max", [3 * KIB, pytest.param(100, marks=pytest.mark.slow), pytest.param(24 * KIB, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_a_limit_on_the_size_of_files_ends_the_run_with_a_sentence(
    terminal: FixtureTerminal, calm: Calm, bytes_max: int
) -> None:
    run = subprocess.Popen(
        ["prlimit", f"--fsize={bytes_max}", "--", *terminal.command, *terminal.words(calm.files)],
        env=terminal.env,
        cwd=terminal.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    done = _ended(run)
    assert done.code in (1, 70), done.err
    assert "too large" in done.err.lower(), done.err
    _next_run_is_whole(terminal, calm)


def test_a_log_that_meets_a_limit_in_the_middle_of_a_write_is_exit_code_70(
    terminal: FixtureTerminal, calm: Calm
) -> None:
    run = terminal.begin(calm.files, workers=1)
    _in_the_middle(terminal, run)
    limit = terminal.log_bytes() + 100  # inside the zeros that are written ahead
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (limit, limit))
    done = _ended(run)
    assert done.code == 70, done.err
    assert "Nothing of this batch was acknowledged" in done.err
    _next_run_is_whole(terminal, calm)


@pytest.mark.slow
def test_an_output_that_meets_a_limit_is_tried_again_and_finished_when_the_limit_is_gone(
    terminal: FixtureTerminal, calm: Calm
) -> None:
    run = terminal.begin(calm.files, workers=1)
    assert wait_for(lambda: bool(terminal.roles().executors), run=run, seconds=MIDDLE_SECONDS_MAX)
    (executor,) = terminal.roles().executors
    resource.prlimit(executor, resource.RLIMIT_FSIZE, (8 * KIB, resource.RLIM_INFINITY))
    _wait_for_setback(terminal, run)
    resource.prlimit(executor, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _run_is_whole(terminal, calm, run, said="File too large")


# --- disks and folders ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_home_whose_disk_fills_in_the_middle_is_finished_when_there_is_room(
    terminal: FixtureTerminal, calm: Calm
) -> None:
    with _tmpfs(terminal.home, mebibytes=24):
        run = terminal.begin(calm.files, workers=1)
        _in_the_middle(terminal, run)
        undo = _fill(terminal.home)
        done = _ended(run)
        assert done.code in (1, 70), done.err
        assert "No space left on device" in done.err
        undo()
        _next_run_is_whole(terminal, calm)


def _fill_out(terminal: FixtureTerminal) -> Callable[[], None]:
    return _fill(terminal.out)


def _make_read_only(terminal: FixtureTerminal) -> Callable[[], None]:
    """Remount the folder; a disk with a file open for writing cannot be, so that several attempts may be needed."""

    def remounted() -> bool:
        words = ["mount", "-o", "remount,ro", str(terminal.out)]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    eventually(remounted, what="a moment without a file open for writing")
    return lambda: _mount("-o", "remount,rw", str(terminal.out))


def _move_away(terminal: FixtureTerminal) -> Callable[[], None]:
    """Take the folder away; it comes back with what was in it."""
    away = terminal.out.with_name("away")
    terminal.out.rename(away)
    return lambda: _put_back(away, terminal.out)


def _put_back(away: Path, place: Path) -> None:
    if place.exists():  # it was made anew meanwhile, and may be empty only
        place.rmdir()
    away.rename(place)


FAILURES: dict[str, tuple[Callable[[FixtureTerminal], Callable[[], None]], str]] = {
    "full": (_fill_out, "No space left on device"),
    "read-only": (_make_read_only, "Read-only file system"),
    "moved": (_move_away, "No such file or directory"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.slow
def test_an_output_folder_that_fails_for_a_while_delays_the_run_only(
    terminal: FixtureTerminal, calm: Calm, failure: str
) -> None:
    fail, said = FAILURES[failure]
    with contextlib.ExitStack() as mounts:
        _target(mounts, terminal, failure)
        run = terminal.begin(calm.files, workers=1)
        _in_the_middle(terminal, run)
        undo = fail(terminal)
        _wait_for_setback(terminal, run)
        undo()
        _run_is_whole(terminal, calm, run, said=said)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_output_folder_that_fails_for_good_ends_the_run_and_the_next_one_finishes_it(
    tmp_path: Path, calm: Calm
) -> None:
    """All failures at once, because each run waits for its retries."""
    with contextlib.ExitStack() as mounts:
        runs = []
        for failure, (fail, said) in FAILURES.items():
            terminal = FixtureTerminal(tmp_path / failure)
            terminal.env[driver.SHORT_WAITS] = "yes"
            _target(mounts, terminal, failure)
            run = terminal.begin(calm.files, workers=1)
            _in_the_middle(terminal, run)
            runs.append((terminal, run, fail(terminal), said))
        for terminal, run, undo, said in runs:
            done = _ended(run)
            assert done.code in (1, 5), done.err  # 5: what was published before is not there to be counted
            assert said in done.out
            undo()
            _next_run_is_whole(terminal, calm)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_outputs_that_were_removed_for_good_are_told_as_lost_and_made_again_elsewhere(
    terminal: FixtureTerminal, calm: Calm
) -> None:
    terminal.env[driver.SHORT_WAITS] = "yes"
    run = terminal.begin(calm.files, workers=1)
    _in_the_middle(terminal, run)
    gone = terminal.out.rename(terminal.folder / "gone")
    shutil.rmtree(gone, ignore_errors=True)  # what is at work there may still remove something itself
    done = _ended(run)
    assert done.code == 5, done.err
    assert "it is not there" in done.out
    refused = terminal.finish(calm.files)  # not silently parsed again into the same place
    assert refused.json["error"]["code"] == "target_without_mark"
    terminal.out = terminal.folder / "elsewhere"
    _next_run_is_whole(terminal, calm, recorded_here=False)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _in_the_middle(terminal: FixtureTerminal, run: subprocess.Popen[bytes]) -> None:
    """Wait until something is published and something is not."""
    came = wait_for(lambda: any(terminal.out.glob("*.parquet")), run=run, seconds=MIDDLE_SECONDS_MAX)
    assert came, run.communicate(timeout=RUN_SECONDS_MAX)


def _wait_for_setback(terminal: FixtureTerminal, run: subprocess.Popen[bytes]) -> None:
    """Wait until an attempt has failed and is to be made again, or a commit waits for its target."""
    came = wait_for(lambda: b'"type":"JobRequeued"' in terminal.log_text(), run=run, seconds=MIDDLE_SECONDS_MAX)
    assert came, run.communicate(timeout=RUN_SECONDS_MAX)


def _ended(run: subprocess.Popen[bytes]) -> Done:
    out, err = run.communicate(timeout=RUN_SECONDS_MAX)
    return Done(subprocess.CompletedProcess(run.args, run.returncode, out, err))


def _run_is_whole(terminal: FixtureTerminal, calm: Calm, run: subprocess.Popen[bytes], *, said: str) -> None:
    """Assert that the disturbed run itself ended as an undisturbed one, and told what it met."""
    done = _ended(run)
    assert said in done.err
    terminal.check_whole(done, calm.outcome)


def _next_run_is_whole(terminal: FixtureTerminal, calm: Calm, *, recorded_here: bool = True) -> None:
    eventually(lambda: terminal.processes() == [], what="the executors to notice and leave")
    done = terminal.finish(calm.files)
    assert done.code == 0, (done.out, done.err)
    if recorded_here:
        terminal.check_whole(done, calm.outcome)
    else:
        assert terminal.outcome(done) == calm.outcome
        assert terminal.left_behind() == []


def _target(mounts: contextlib.ExitStack, terminal: FixtureTerminal, failure: str) -> None:
    """Give the run a folder of its own kind for tables: a small disk, save where the folder itself is taken away."""
    if failure != "moved":
        mounts.enter_context(_tmpfs(terminal.out, mebibytes=4))


@contextlib.contextmanager
def _tmpfs(folder: Path, *, mebibytes: int) -> Iterator[None]:
    """Mount a small disk; the test is skipped where that is not allowed."""
    folder.mkdir(mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    tried = subprocess.run(words, capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"mounting a tmpfs needs root: {tried.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _fill(folder: Path) -> Callable[[], None]:
    """Write a file until the disk is full; return what removes it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for piece in (1024 * KIB, 4 * KIB, 1):  # to the last byte
            with contextlib.suppress(OSError):
                while file.write(os.urandom(piece)):
                    pass
    return filler.unlink
