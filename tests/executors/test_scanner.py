"""The scanner reports every name once: read, refused with a reason, or passed over."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.events import RefusedFile, SeenFile
from eventlog.ids import Sha256, SourceHash, path_bytes, path_text
from executors.scanner import READ_BYTES, Found, PassedOver, batches, claimed, scan

NOBODY = 65534


def never() -> bool:
    return False


def found(*inputs: Path | bytes, patterns: Sequence[str] = (), stop: Callable[[], bool] = never) -> list[Found]:
    return list(scan([os.fsencode(name) for name in inputs], patterns=patterns, stop=stop))


def short(results: list[Found], root: Path) -> list[tuple[str, str]]:
    """Return (path below root, kind or reason) for each result."""
    words = []
    for result in results:
        name = os.fsdecode(os.path.relpath(path_bytes(result.path), os.fsencode(root)))
        match result:
            case SeenFile():
                words.append((name, "seen"))
            case PassedOver():
                words.append((name, "passed over"))
            case RefusedFile(reason=reason):
                words.append((name, reason))
    return words


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def only(results: list[Found]) -> Found:
    assert len(results) == 1
    return results[0]


def reason(results: list[Found]) -> str:
    result = only(results)
    assert isinstance(result, RefusedFile)
    return result.reason


# --- what is seen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES])
def test_both_hashes_are_of_the_same_whole_content(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    path = tmp_path / "evidence.bin"
    path.write_bytes(content)
    facts = path.stat()
    assert only(found(path)) == SeenFile(
        path=path_text(os.fsencode(path)),
        size=size,
        mtime_ns=facts.st_mtime_ns,
        file_uid=f"unix:{facts.st_dev}:{facts.st_ino}",
        source_hash=SourceHash(blake3.blake3(content).hexdigest()),
        sha256=Sha256(hashlib.sha256(content).hexdigest()),
    )


def test_walk_is_depth_first_with_names_in_byte_order(tmp_path: Path) -> None:
    make(tmp_path, "b", "a/z", "a/B", "a/ä", "a.txt", "C/x/y", "a/b/c")
    assert [name for name, _ in short(found(tmp_path), tmp_path)] == [
        "C/x/y",
        "a/B",
        "a/b/c",
        "a/z",
        "a/ä",
        "a.txt",
        "b",
    ]


def test_names_that_are_not_utf8_are_read_and_reported_reversibly(tmp_path: Path) -> None:
    name = os.path.join(os.fsencode(tmp_path), b"System\xff\\%4.evtx")  # noqa: PTH118  pathlib has no bytes
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    result = only(found(tmp_path, patterns=["*.evtx"]))
    assert isinstance(result, SeenFile)
    assert path_bytes(result.path) == name


def test_paths_are_made_absolute_and_normal_without_following_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "real/file")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert only(found(b"link//./file")).path == str(tmp_path / "link/file")
    assert only(found(b"/" + os.fsencode(tmp_path) + b"/real/../real/file")).path == str(tmp_path / "real/file")


# --- patterns --------------------------------------------------------------------------------------------------------


def test_patterns_claim_names_without_regard_to_case_and_the_rest_is_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "A.EVTX", "b.evtx", "c.evtx.bak", "d/e.Evtx", "d/.evtx", "notes.txt")
    assert short(found(tmp_path, patterns=["*.evtx"]), tmp_path) == [
        ("A.EVTX", "seen"),
        ("b.evtx", "seen"),
        ("c.evtx.bak", "passed over"),
        ("d/.evtx", "seen"),
        ("d/e.Evtx", "seen"),
        ("notes.txt", "passed over"),
    ]


def test_any_of_several_patterns_claims_a_name(tmp_path: Path) -> None:
    make(tmp_path, "x1.log", "x2.log", "y.fix")
    assert short(found(tmp_path, patterns=["x[1].log", "*.fix"]), tmp_path) == [
        ("x1.log", "seen"),
        ("x2.log", "passed over"),
        ("y.fix", "seen"),
    ]


def test_a_file_named_as_an_input_is_always_taken(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt")
    assert short(found(tmp_path / "notes.txt", patterns=["*.evtx"]), tmp_path) == [("notes.txt", "seen")]


# --- overlapping inputs ----------------------------------------------------------------------------------------------


def test_a_path_reached_through_overlapping_inputs_comes_out_once(tmp_path: Path) -> None:
    make(tmp_path, "a/one.evtx", "a/b/two.evtx", "a/b/readme")
    inputs = [tmp_path / "a/b", tmp_path / "a", tmp_path / "a/b/readme", tmp_path / "a/b/", tmp_path / "a/one.evtx"]
    assert short(found(*inputs, patterns=["*.evtx"]), tmp_path) == [
        ("a/b/two.evtx", "seen"),
        ("a/b/readme", "seen"),
        ("a/one.evtx", "seen"),
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["", "a", "a/b", "a/b/2", "a/1", "c", "c/3", "missing"]), max_size=6))
def test_every_list_of_inputs_reports_each_path_below_it_exactly_once(inputs: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, "a/1", "a/b/2", "c/3")
        names = [name for name, _ in short(found(*[root / name for name in inputs]), root)]
        beneath = [name for name in ("a/1", "a/b/2", "c/3") if any(Path(name).is_relative_to(i) for i in inputs)]
        assert sorted(names) == sorted([*beneath, *(["missing"] if "missing" in inputs else [])])


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_is_claimed_is_what_a_scan_reads_and_nothing_is_opened(tmp_path: Path) -> None:
    make(tmp_path, "a/b.csv", "a/c.txt", "d.CSV", "z.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "z.csv").chmod(0)
    (tmp_path / "link.csv").symlink_to(tmp_path / "d.CSV")
    inputs = [os.fsencode(tmp_path), os.fsencode(tmp_path / "a/c.txt"), os.fsencode(tmp_path / "pipe.csv")]
    scanned = scan(inputs, patterns=["*.csv"], opener=lambda path, flags: os.open("/dev/null", flags))
    read = [path_bytes(item.path) for item in scanned if isinstance(item, RefusedFile) and "device" in item.reason]
    names = claimed(inputs, patterns=["*.csv"])
    assert names == [path for path in read if not path.endswith(b"pipe.csv")]
    assert [Path(os.fsdecode(name)).name for name in names] == ["b.csv", "d.CSV", "z.csv", "c.txt"]


def test_what_is_not_a_regular_file_is_refused_with_its_kind(tmp_path: Path) -> None:
    make(tmp_path, "real", "folder/inside")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "link_to_folder").symlink_to("folder")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert short(found(tmp_path), tmp_path) == [
            ("folder/inside", "seen"),
            ("link", "is a symbolic link; not followed"),
            ("link_to_folder", "is a symbolic link; not followed"),
            ("pipe", "is a named pipe; only regular files are read"),
            ("real", "seen"),
            ("socket", "is a socket; only regular files are read"),
        ]


def test_what_is_not_a_regular_file_and_not_claimed_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    assert short(found(tmp_path, patterns=["*.evtx"]), tmp_path) == [("link", "passed over"), ("pipe", "passed over")]


def test_a_link_named_as_an_input_is_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/file")
    (tmp_path / "to_file").symlink_to("real/file")
    (tmp_path / "to_folder").symlink_to("real")
    assert short(found(tmp_path / "to_file", tmp_path / "to_folder"), tmp_path) == [
        ("to_file", "seen"),
        ("to_folder/file", "seen"),
    ]


def test_a_device_or_pipe_named_as_an_input_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert reason(found(tmp_path / "pipe")) == "is a named pipe; only regular files are read"
    assert reason(found(Path("/dev/null"))) == "is a character device; only regular files are read"


def test_an_input_that_does_not_exist_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    make(tmp_path, "real")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert short(found(tmp_path / "missing", tmp_path / "dangling", tmp_path / "real"), tmp_path) == [
        ("missing", "does not exist"),
        ("dangling", "is a symbolic link to something that does not exist"),
        ("real", "seen"),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"", "does not exist"),
        (b"/tmp/a\0b", "holds a zero byte, which no path can"),
        (b"/" + b"x" * 300, "cannot be examined: file name too long"),
        (b"/dev/null/x", "cannot be examined: not a directory"),
    ],
)
def test_an_input_that_cannot_be_a_path_is_refused(name: bytes, expected: str) -> None:
    assert reason(found(name)) == expected


@contextmanager
def without_privileges() -> Iterator[None]:
    """Give up root for a moment: root is allowed to read what nobody may."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike tmp_path."""
    folder = Path(tempfile.mkdtemp(prefix="scanner-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_unreadable_files_and_folders_are_refused_and_the_walk_goes_on(open_folder: Path) -> None:
    make(open_folder, "a/closed", "b/inside", "c/open")
    (open_folder / "a/closed").chmod(0)
    (open_folder / "b").chmod(0)
    with without_privileges():
        results = found(open_folder)
    assert short(results, open_folder) == [
        ("a/closed", "cannot be opened: permission denied"),
        ("b", "cannot be listed: permission denied"),
        ("c/open", "seen"),
    ]


def test_a_file_that_vanishes_before_it_is_opened_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")

    asked = []

    def stop() -> bool:
        asked.append(True)
        if len(asked) == 2:  # the folder has been listed
            (tmp_path / "b").unlink()
        return False

    assert short(found(tmp_path, stop=stop), tmp_path) == [
        ("a", "seen"),
        ("b", "cannot be examined: no such file or directory"),
    ]


def test_a_read_error_refuses_the_file_and_closes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a", "b")
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208  a count of descriptors, not of files

    def broken(_file: int, _blocks: Sequence[memoryview]) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "readv", broken)
    expected = "cannot be read to its end: input/output error"
    assert short(found(tmp_path), tmp_path) == [("a", expected), ("b", expected)]
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_link_or_pipe_that_takes_a_files_place_after_the_listing_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "target")

    def swapping(path: bytes, flags: int) -> int:
        if path.endswith(b"/a"):
            (tmp_path / "a").unlink()
            (tmp_path / "a").symlink_to("target")
        if path.endswith(b"/b"):
            (tmp_path / "b").unlink()
            os.mkfifo(tmp_path / "b")
        return os.open(path, flags)

    assert short(list(scan([os.fsencode(tmp_path)], patterns=[], opener=swapping)), tmp_path) == [
        ("a", "is a symbolic link; not followed"),
        ("b", "is a named pipe; only regular files are read"),
        ("target", "seen"),
    ]


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def cut(path: Path) -> None:
    os.truncate(path, 10)


def rewritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [appended, cut, rewritten])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "live.log"
    path.write_bytes(b"x" * (2 * READ_BYTES))
    asked = []

    def stop() -> bool:
        asked.append(True)
        if len(asked) == 3:  # before the input, before the first read, before the second
            change(path)
        return False

    assert reason(found(path, stop=stop)) == "changed while it was being read; run again when nothing writes to it"


def test_a_file_that_grows_for_ever_is_not_read_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "live.log"
    path.write_bytes(b"x" * READ_BYTES)
    asked = []

    def stop() -> bool:
        asked.append(True)
        with path.open("ab") as file:
            file.write(b"x" * READ_BYTES)
        return False

    assert reason(found(path, stop=stop)).startswith("changed while")
    assert len(asked) < 10


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(8))
def test_stop_ends_the_iteration_with_whole_results_only(tmp_path: Path, after: int) -> None:
    make(tmp_path, "a", "b", "c")
    answers = iter([False] * after + [True] * 100)
    results = short(found(tmp_path, stop=lambda: next(answers)), tmp_path)
    # Asked once for the input, then for each name, and for each of the two reads of a small file.
    expected = [("a", "seen"), ("b", "seen"), ("c", "seen")]
    assert results == expected[: max(0, after - 1) // 3]


# --- batches ---------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=50)), st.integers(1, 7), st.integers(0, 60))
def test_batches_keep_order_and_bounds_and_are_as_large_as_allowed(
    sizes: list[int], count_max: int, bytes_max: int
) -> None:
    made = list(batches(sizes, size_of=lambda size: size, count_max=count_max, bytes_max=bytes_max))
    assert [size for batch in made for size in batch] == sizes
    assert all(batch for batch in made)
    assert all(len(batch) <= count_max and (len(batch) == 1 or sum(batch) <= bytes_max) for batch in made)
    for batch, following in pairwise(made):
        assert len(batch) == count_max or sum(batch) + following[0] > bytes_max


def test_batches_of_files_hold_a_thousand_by_default() -> None:
    assert [len(batch) for batch in batches(range(2500), size_of=lambda _item: 1)] == [1000, 1000, 500]
