"""What a guest loads is what was compared: the bytes are read once, sealed, and come out as they went in."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.guest import code, loader
from executors.guest.code import ParserCode, sealed_code
from executors.guest.errors import ParserChangedError

NAMES = st.sampled_from(["a.py", "b.py", "deep/a.py", "deep/__init__.py", "über.py"])


def code_of(folder: Path, files: dict[str, bytes]) -> ParserCode:
    """Write the files and return them as code whose entrypoint is `parser.py`."""
    for name, content in files.items():
        path = folder / PurePosixPath(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    digests = {name: blake3.blake3(content).hexdigest() for name, content in files.items()}
    return ParserCode(file=str(folder / "parser.py"), digests=digests)


@given(st.dictionaries(NAMES, st.binary(max_size=200)), st.binary(max_size=200))
def test_the_guest_reads_every_byte_that_was_compared(
    tmp_path_factory: pytest.TempPathFactory, others: dict[str, bytes], entrypoint: bytes
) -> None:
    files = {"parser.py": entrypoint, **others}
    told = code_of(tmp_path_factory.mktemp("code"), files)
    read = loader.read_code(sealed_code(told), told.file)
    assert (read.file, read.files) == (told.file, files)


def test_nobody_can_change_it_on_its_way(tmp_path: Path) -> None:
    descriptor = sealed_code(code_of(tmp_path, {"parser.py": b"import os\n"}))
    try:
        with pytest.raises(PermissionError):
            os.write(descriptor, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        with (
            pytest.raises(PermissionError),
            Path(f"/proc/self/fd/{descriptor}").open("r+b", buffering=0) as again,
        ):
            again.write(b"x")
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("name", ["parser.py", "beside.py"])
def test_a_file_with_another_byte_is_refused_by_name(tmp_path: Path, name: str) -> None:
    told = code_of(tmp_path, {"parser.py": b"import beside\n", "beside.py": b"WORD = 1\n"})
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1] + b" ")
    with pytest.raises(ParserChangedError, match=f"its file {tmp_path / name} has other bytes") as refused:
        sealed_code(told)
    assert "the same command again" in refused.value.hint


def test_a_file_that_is_gone_or_has_grown_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = code_of(tmp_path, {"parser.py": b"", "beside.py": b"1"})
    monkeypatch.setattr(code, "SOURCE_BYTES_MAX", 3)
    (tmp_path / "beside.py").write_bytes(b"1" * 100_000)
    with pytest.raises(ParserChangedError, match=r"beside\.py has other bytes"):
        sealed_code(told)
    (tmp_path / "beside.py").unlink()
    with pytest.raises(ParserChangedError, match=r"beside\.py cannot be read any more: No such file"):
        sealed_code(told)


def test_an_entrypoint_that_was_not_trusted_is_refused(tmp_path: Path) -> None:
    told = code_of(tmp_path, {"beside.py": b""})
    (tmp_path / "parser.py").write_bytes(b"import os\n")
    with pytest.raises(ParserChangedError, match="is no file of the parser that was trusted"):
        sealed_code(told)


def test_another_digest_is_another_code(tmp_path: Path) -> None:
    one = code_of(tmp_path, {"parser.py": b"1", "beside.py": b"2"})
    two = code_of(tmp_path, {"parser.py": b"1", "beside.py": b"3"})
    assert one.identity() == code_of(tmp_path, {"beside.py": b"2", "parser.py": b"1"}).identity()
    assert one.identity() != two.identity()
