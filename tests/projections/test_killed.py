"""A read model whose writer is killed in any of its writes is the fold of the log up to its checkpoint, and goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import duckdb
import pytest

from eventlog.frames import Frame
from eventlog.reader import read_frames
from projections.projector import Projector, create_tables, table_digests
from projections.readmodel import open_writer
from projections.witness import readmodel_path
from tests.projections import histories as h
from tests.projections.logs import LOG_ID, write_log
from tests.strace import traced

ROOT = Path(__file__).parents[2]
JOBS = 12
SECONDS_MAX = 60

# A transaction for each frame and a checkpoint of DuckDB's own after every third: its two ways to the disk, in turns.
# With one thread, because strace counts the calls of each thread for itself.
WRITES = """
import sys
from pathlib import Path
from projections.readmodel import open_writer
from tests.projections.logs import LOG_ID
from tests.projections.test_killed import frames_of_log
home = Path(sys.argv[1])
frames = frames_of_log(home)
writer = open_writer(home, LOG_ID)
writer.projector.connection.execute("SET threads TO 1")
print("open", flush=True)
for number, frame in enumerate(frames):
    if frame.first > writer.projector.checkpoint.seq:
        writer.projector.apply([frame])
    if number % 3 == 2:
        writer.projector.connection.execute("CHECKPOINT")
writer.close()
"""


def make_home(home: Path) -> Path:
    """Make a home whose log holds a frame for each of some jobs, and no read model."""
    write_log(home, [h.deployed(), h.joined()], [h.run_started()], *(h.whole_job(job) for job in range(1, JOBS + 1)))
    return home


def frames_of_log(home: Path) -> list[Frame]:
    return [frame for frame in read_frames(home / "log") if frame.records]


def right_digests(frames: Sequence[Frame]) -> dict[int, dict[str, str]]:
    """Return what the tables must be at each position where a frame ends."""
    digests: dict[int, dict[str, str]] = {}
    with duckdb.connect(":memory:") as connection:
        create_tables(connection, LOG_ID)
        projector = Projector(connection)
        digests[0] = table_digests(connection)
        for frame in frames:
            projector.apply([frame])
            digests[frame.last] = table_digests(connection)
    return digests


def is_right_and_goes_on(home: Path, frames: Sequence[Frame], right: dict[int, dict[str, str]]) -> int:
    """Prove that the read model is the fold up to its checkpoint, then that it catches up; return the checkpoint."""
    before = (home / "log" / "00000000000000000001.ndjson").read_bytes()
    writer = open_writer(home, LOG_ID)
    found = writer.projector.checkpoint.seq
    assert table_digests(writer.projector.connection) == right[found], f"at event {found}: {writer.doubt}"
    writer.projector.apply([frame for frame in frames if frame.first > found])
    assert table_digests(writer.projector.connection) == right[frames[-1].last]
    writer.close()
    assert (home / "log" / "00000000000000000001.ndjson").read_bytes() == before
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def right(home: Path) -> dict[int, dict[str, str]]:
    return right_digests(frames_of_log(home))


def killed_at(home: Path, call: str, when: int) -> bool:
    """Write a new read model and kill its writer at a call on its files; return whether it came that far."""
    path = readmodel_path(home)
    for name in path.parent.glob("*"):
        name.unlink()
    only = [part for each in (path, path.with_name(path.name + ".wal")) for part in ("-P", str(each))]
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")
    arguments = traced([sys.executable, "-c", WRITES, str(home)], *only, *inject)
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, check=False, timeout=SECONDS_MAX)
    assert done.returncode in (0, -9), done.stderr[-500:]
    return done.returncode == -9


CALLS = {"write": 22, "pwrite64": 34, "fdatasync": 32, "unlink": 6}  # of a life that nothing interrupts


def test_41_a_read_model_whose_writer_is_killed_in_a_checkpoint_is_the_fold_up_to_it(
    home: Path, right: dict[int, dict[str, str]]
) -> None:
    assert killed_at(home, "pwrite64", 12)
    assert is_right_and_goes_on(home, frames_of_log(home), right) > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("call", CALLS)
def test_41_a_read_model_whose_writer_is_killed_at_any_call_is_the_fold_up_to_its_checkpoint(
    home: Path, right: dict[int, dict[str, str]], call: str
) -> None:
    kills = [killed_at(home, call, when) and is_right_and_goes_on(home, frames_of_log(home), right) >= 0
             for when in range(1, CALLS[call] + 1)]  # fmt: skip
    assert sum(kills) > CALLS[call] * 3 // 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_16_a_projector_killed_at_any_moment_again_and_again_is_the_fold_up_to_its_checkpoint(
    tmp_path: Path, right: dict[int, dict[str, str]]
) -> None:
    home, chance, stood = make_home(tmp_path), Random(16), set[int]()
    frames = frames_of_log(home)
    for _ in range(100):
        readmodel_path(home).unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", WRITES, str(home)], cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"open\n"
            time.sleep(chance.random() * 0.3)
            child.kill()
        stood.add(is_right_and_goes_on(home, frames, right))
    assert len(stood) > 5, stood


# --- a write-ahead log that is not what it was ----------------------------------------------------------------------


def _left(wal: Path) -> None:
    assert wal.stat().st_size > 1000


def _removed(wal: Path) -> None:
    wal.unlink()


def _garbled(wal: Path) -> None:
    wal.write_bytes(os.urandom(wal.stat().st_size))


def _halved(wal: Path) -> None:
    os.truncate(wal, wal.stat().st_size // 2)


def _flipped(wal: Path) -> None:
    data = bytearray(wal.read_bytes())
    data[len(data) // 3] ^= 4
    wal.write_bytes(data)


def _orphaned(wal: Path) -> None:
    wal.with_suffix("").unlink()


def _of_an_earlier_life(wal: Path) -> None:
    wal.write_bytes(wal.read_bytes() * 2)


@pytest.fixture(scope="module")
def killed_in_a_commit(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose read model was left in the middle of a commit, with two whole ones before it in its WAL."""
    assert killed_at(home, "fdatasync", 12)
    image = tmp_path_factory.mktemp("image") / "home"
    shutil.copytree(home, image)
    assert readmodel_path(image).with_suffix(".duckdb.wal").stat().st_size > 1000
    return image


@pytest.mark.parametrize("spoil", [_left, _removed, _garbled, _halved, _flipped, _orphaned, _of_an_earlier_life])
def test_41_whatever_became_of_the_write_ahead_log_the_read_model_is_a_fold_of_the_log(
    killed_in_a_commit: Path, tmp_path: Path, right: dict[int, dict[str, str]], spoil: Callable[[Path], None]
) -> None:
    home = shutil.copytree(killed_in_a_commit, tmp_path / "home")
    spoil(readmodel_path(home).with_suffix(".duckdb.wal"))
    is_right_and_goes_on(home, frames_of_log(home), right)
