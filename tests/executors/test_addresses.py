"""Where the sockets of a home lie: private, short enough, and the same under all spellings of the home."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors import addresses
from executors.addresses import SOCKET_PATH_BYTES_MAX, remove_socket, socket_address
from executors.errors import TransportError
from executors.nng_transport import NngClient, NngServer

SECONDS = 5.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for a socket, unlike tmp_path."""
    with tempfile.TemporaryDirectory(prefix="wire-") as name:
        yield Path(name)


@pytest.fixture
def runtime(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def path_of(address: str) -> Path:
    return Path(address.removeprefix("ipc://"))


def test_a_home_has_one_private_address_under_all_its_spellings(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home")
    address = socket_address(tmp_path / "home")
    assert path_of(address).parent == runtime / "casparian"
    assert stat.S_IMODE(path_of(address).parent.stat().st_mode) == 0o700
    assert address == socket_address(tmp_path / "link") == socket_address(tmp_path / "home/../link")
    assert address != socket_address(tmp_path / "other")
    assert address != socket_address(tmp_path / "home", purpose="control")


def test_a_server_and_a_client_meet_at_a_homes_address(runtime: Path, tmp_path: Path) -> None:
    server = NngServer(socket_address(tmp_path))
    server.serve(lambda message, reply: reply(message))
    client = NngClient(socket_address(tmp_path))
    assert client.request(b"x", timeout_seconds=SECONDS) == b"x"
    client.close()
    server.close()
    assert list((runtime / "casparian").iterdir()) == []


@pytest.mark.parametrize("value", [None, "", "relative", "/nonexistent"])
def test_without_a_usable_runtime_folder_the_temporary_folder_is_taken(
    value: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert path_of(socket_address(Path("/home"))).parent == folder / f"casparian-{os.geteuid()}"


def test_a_runtime_folder_with_too_long_a_name_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = folder / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    path = path_of(socket_address(Path("/home")))
    assert path.parent.parent == folder
    assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX


def test_a_temporary_folder_with_too_long_a_name_is_passed_over_for_the_systems_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / ("x" * 100)))
    address = socket_address(folder / "home")
    assert address.startswith("ipc:///tmp/casparian-")


def test_a_socket_folder_that_others_may_enter_is_refused(runtime: Path) -> None:
    (runtime / "casparian").mkdir()
    (runtime / "casparian").chmod(0o750)
    with pytest.raises(TransportError, match="others may enter it; run `chmod 700 "):
        socket_address(Path("/home"))


def test_a_socket_folder_that_is_a_link_is_refused(runtime: Path, tmp_path: Path) -> None:
    (runtime / "casparian").symlink_to(tmp_path)
    with pytest.raises(TransportError, match="it belongs to somebody else"):
        socket_address(Path("/home"))


def test_a_socket_folder_of_another_user_is_refused(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_socket_folders", lambda: [runtime / "casparian"])
    (runtime / "casparian").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(TransportError, match="it belongs to somebody else"):
        socket_address(Path("/home"))


def test_a_socket_folder_that_cannot_be_made_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    with pytest.raises(TransportError, match=r"make the socket folder .*: No such file or directory"):
        socket_address(Path("/home"))


def test_remove_socket_removes_a_socket_twice_and_nothing_else(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(folder / "socket"))
    for _ in range(2):
        remove_socket(f"ipc://{folder}/socket")
        assert not (folder / "socket").exists()
    (folder / "evidence").write_bytes(b"keep me")
    with pytest.raises(TransportError, match="it is not a socket"):
        remove_socket(f"ipc://{folder}/evidence")
    assert (folder / "evidence").read_bytes() == b"keep me"
