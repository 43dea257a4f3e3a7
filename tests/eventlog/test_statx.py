"""What a name leads to, asked without its times: the same answer as lstat gives, and no new times at the next write."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from eventlog import statx
from eventlog.fsport import OS_FS
from eventlog.statx import place_of


def by_lstat(path: Path) -> tuple[int, int, int]:
    info = os.lstat(path)
    return info.st_dev, info.st_ino, info.st_size


@pytest.fixture(params=["statx", "no statx", "a kernel without it", "a container that forbids it"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand for a system; in all of them the answer is the same."""

    def refusing(*_: object) -> int:
        ctypes.set_errno(errno.ENOSYS if request.param == "a kernel without it" else errno.EPERM)
        return -1

    if request.param == "no statx":
        monkeypatch.setattr(statx, "_statx", lambda: None)
    elif request.param != "statx":
        monkeypatch.setattr(statx, "_statx", lambda: refusing)


@pytest.mark.usefixtures("system")
def test_the_answer_is_that_of_lstat(tmp_path: Path) -> None:
    file, link, odd = tmp_path / "file", tmp_path / "link", tmp_path / os.fsdecode(b"\xff\xfe")
    file.write_bytes(b"x" * 5_000)
    link.symlink_to(file)
    odd.write_bytes(b"")
    for path in (file, link, odd, tmp_path, Path("/dev/null"), Path("/proc/self/stat")):
        assert place_of(path) == OS_FS.place(path) == by_lstat(path)
    os.truncate(file, 5_000_000_000)  # more than 32 bits
    assert place_of(file) == by_lstat(file)


@pytest.mark.usefixtures("system")
def test_a_name_that_leads_nowhere_is_an_error_of_its_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        place_of(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        place_of(tmp_path / "file" / "under")
