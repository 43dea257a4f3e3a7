"""Tests of the files of keys: whole or not at all, never over another, private ones private."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import pytest

from eventlog.errors import BadNoteError, KeyFileError
from eventlog.files import temporary
from eventlog.keyfiles import read_signing_key, read_verifying_key, write_key_files
from eventlog.note import SigningKey

KEY: Final = SigningKey("casparian/log/x", bytes(range(32)))


def test_both_files_read_back(tmp_path: Path) -> None:
    private, public = tmp_path / "keys" / "case.key", tmp_path / "keys" / "case.pub"
    write_key_files(KEY, private=private, public=public)
    assert read_signing_key(private).verifying == KEY.verifying == read_verifying_key(public)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert sorted(path.name for path in private.parent.iterdir()) == ["case.key", "case.pub"]


@pytest.mark.parametrize("there", ["case.key", "case.pub"])
def test_nothing_is_written_where_one_of_them_is(tmp_path: Path, there: str) -> None:
    (tmp_path / there).symlink_to(tmp_path / "nowhere")
    with pytest.raises(KeyFileError, match=f"{there} exists"):
        write_key_files(KEY, private=tmp_path / "case.key", public=tmp_path / "case.pub")
    assert [path.name for path in tmp_path.iterdir()] == [there]


def test_a_leftover_of_a_crash_gives_its_rights_to_no_key(tmp_path: Path) -> None:
    leftover = temporary(tmp_path / "case.key")
    leftover.write_bytes(b"old")
    leftover.chmod(0o666)
    write_key_files(KEY, private=tmp_path / "case.key", public=tmp_path / "case.pub")
    assert read_signing_key(tmp_path / "case.key").verifying == KEY.verifying


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    write_key_files(KEY, private=tmp_path / "case.key", public=tmp_path / "case.pub")
    for mode in (0o640, 0o604, 0o644, 0o660):
        (tmp_path / "case.key").chmod(mode)
        with pytest.raises(KeyFileError, match=f"mode {mode:04o}"):
            read_signing_key(tmp_path / "case.key")


def test_what_is_no_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no such file"):
        read_signing_key(tmp_path / "nowhere")
    assert read_verifying_key(tmp_path / "nowhere") is None
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    (tmp_path / "binary").chmod(0o600)
    with pytest.raises(BadNoteError, match="private key"):
        read_signing_key(tmp_path / "binary")
    with pytest.raises(BadNoteError, match="public key"):
        read_verifying_key(tmp_path / "binary")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_verifying_key(tmp_path / "pipe")
