from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cli import session


def test_only_what_is_surely_no_file_any_more_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    names = ("file", "link", "folder", "no", "file/x")
    there = {name: not session._is_gone(os.fsencode(tmp_path / name)) for name in names}
    assert there == {"file": True, "link": True, "folder": False, "no": False, "file/x": False}
    for reason in (errno.EACCES, errno.EIO, errno.ESTALE):

        def refuse(_name: bytes, reason: int = reason) -> os.stat_result:
            raise OSError(reason, os.strerror(reason))

        monkeypatch.setattr("os.lstat", refuse)
        assert not session._is_gone(b"/case/file")
