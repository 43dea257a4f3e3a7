"""Rules of the house that are worth having are tests: layers, wheel names, purity, every event handled by name."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
import typing
import zipfile
from pathlib import Path

import pytest

from eventlog import events
from reducers.fold import NOUNS, TABLE
from tests.purity import imports, impurities

ROOT = Path(__file__).parent.parent
PACKAGES = {"eventlog", "reducers", "commands", "sinks", "executors", "projections", "cli"}
SHELL = {"handle.py", "inbox.py"}  # the deciding thread and the ways to it: neither decides nor evolves
PURE = sorted((ROOT / "reducers").glob("*.py")) + sorted(
    path for path in (ROOT / "commands").glob("*.py") if path.name not in SHELL
)


@pytest.mark.parametrize("path", PURE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_decide_and_evolve_are_pure(path: Path) -> None:
    assert impurities(path.read_text()) == []


# One line in a fold, each with what two machines, or two runs of one, would differ in.
IMPURE_LINES = {
    "time": ("import time; now = time.time()", "imports time"),
    "time from inside a package": ("from datetime import datetime", "imports datetime"),
    "environment": ("import os; zone = os.environ['TZ']", "imports os"),
    "environment by another name": ("zone = __import__('os').environ", "calls __import__"),
    "randomness": ("from random import random", "imports random"),
    "the hash seed": ("shard = hash(event.executor) % 2", "calls hash"),
    "an address": ("key = id(event)", "calls id"),
    "a file": ("text = open('/etc/hostname').read()", "calls open"),
    "the order of a set": ("names = [each for each in {event.executor, 'other'}]", "goes through a set"),
    "the order of a set in a loop": ("for each in set(event.executor) | {'x'}: executor = each", "goes through a set"),
    "the order of a set in a list": ("first = list(frozenset(event.executor))[0]", "goes through a set"),
    "a sum of floats": ("mean = sum([0.1, event.capacity])", "reckons with floats"),
    "a division": ("mean = event.capacity / 3", "reckons with floats"),
    "a change of the event": ("event.settings['seen'] = '1'", "changes event"),
    "a change of what the event holds": ("event.settings.update(seen='1')", "changes event"),
    "an attribute of the event": ("event.capacity += 1", "changes event"),
}


@pytest.mark.parametrize(("line", "said"), IMPURE_LINES.values(), ids=IMPURE_LINES.keys())
def test_36_an_impurity_in_a_fold_is_found_in_its_line(line: str, said: str) -> None:
    source = (ROOT / "reducers" / "executor.py").read_text()
    before = source.index("    match event:\n", source.index("def evolve("))
    spoiled = f"{source[:before]}    {line}\n{source[before:]}"
    found = [each for each in impurities(spoiled) if said in each]
    assert found
    assert "imports" in said or found[0].startswith(f"line {source[:before].count(chr(10)) + 1}:")


def test_every_event_is_folded_by_the_nouns_that_handle_it_or_by_none_in_so_many_words() -> None:
    assert TABLE.keys() == set(typing.get_args(events.Event))
    for name, noun in NOUNS.items():
        assert {event for event, nouns in TABLE.items() if name in nouns} == noun.HANDLES, name


def test_every_shape_of_the_log_has_its_own_tag() -> None:
    shapes = [*typing.get_args(events.Event), *typing.get_args(events.LoggedCommand)]
    assert len({shape.__name__ for shape in shapes}) == len(shapes)


def test_the_layers_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_host_never_imports_guest_code() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert not any(name.split(".")[0] == "parsers" for name in imports(ast.parse(path.read_text()))), path


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_our_packages_and_nothing_else(wheel_names: list[str]) -> None:
    top = {name.split("/")[0] for name in wheel_names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES | {"parsers", "casparian.py"}


def test_the_wheel_carries_what_is_read_at_run_time(wheel_names: list[str]) -> None:
    needed = {
        "parsers/evtx/parser.py",
        "parsers/evtx/casparian.toml",
        "executors/guest/shim.py",
        "executors/guest/loader.py",
        "executors/guest/forker.py",
        "eventlog/standalone/verify.py",
    }
    needed |= {f"projections/{path.name}" for path in (ROOT / "projections").glob("*.sql")}
    assert needed <= set(wheel_names)


def test_no_dependency_owns_one_of_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in PACKAGES | {"parsers"}:
        assert set(owners.get(name, [])) <= {"casparian"}, name


def test_every_test_folder_is_a_package() -> None:
    # Without it `tests/commands` shadows `commands`.
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


# What the log asks of a file system goes through FsPort, or a simulated disk would miss it.
THROUGH_THE_PORT = (
    "backup", "chain", "files", "lock", "log", "reader", "recovery", "repair", "repair_note",
    "repair_plan", "reserve", "sealed", "verify",
)  # fmt: skip
FILE_CALLS = {
    "fdatasync", "fsync", "ftruncate", "fstat", "iterdir", "flock", "glob", "is_dir", "is_file", "lexists",
    "listdir", "lstat", "mkdir", "pread", "pwrite", "read_bytes", "rmdir", "samefile", "scandir", "stat", "statvfs",
    "symlink_to", "touch", "truncate", "write_bytes", "write_text",
}  # fmt: skip


@pytest.mark.parametrize("module", THROUGH_THE_PORT)
def test_the_log_touches_files_through_the_port_only(module: str) -> None:
    tree = ast.parse((ROOT / "eventlog" / f"{module}.py").read_text())
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    direct = [call for call in calls if isinstance(call, ast.Attribute) and not _is_port(call.value)]
    named = {ast.unparse(call) for call in direct if call.attr in FILE_CALLS}
    named |= {ast.unparse(call) for call in direct if ast.unparse(call.value) in ("os", "fcntl")}
    builtin = {call.id for call in calls if isinstance(call, ast.Name)} & {"open"}
    allowed = {"os._exit", "os.getpid", "os.uname", "os.fspath", "os.register_at_fork"}
    assert (named - allowed) | builtin == set()


def _is_port(value: ast.expr) -> bool:
    return ast.unparse(value).split(".")[-1] in ("fs", "_fs")
