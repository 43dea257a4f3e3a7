"""The home's copies of people's own parsers: the artifact that was trusted, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import CliError
from cli.home import Home
from cli.kept_parsers import keep, kept_parser
from cli.parser_signature import FOLDER_SIGNATURE, read_signature, sign, signer
from eventlog.events import ParserDeployed
from eventlog.ids import Instant
from eventlog.note import SigningKey
from executors.parser_catalog import ParserPackage, as_dev, load_parser

SOURCE = 'name = "lines"\nversion = "1"\noutputs = {"a": {"columns": [{"name": "b", "type": "string"}]}}\n'
MANIFEST = """
name = "lines"
version = "1"
protocol_version = "0.1"
runtime_kind = "python_shim"
entrypoint = "code/parser.py"
patterns = ["*"]
"""


def write_file(folder: Path) -> Path:
    path = folder / "renamed.py"
    path.write_text(SOURCE)
    return path


def write_folder(folder: Path) -> Path:
    path = folder / "mine"
    (path / "code").mkdir(parents=True)
    (path / "casparian.toml").write_text(MANIFEST)
    (path / "code" / "parser.py").write_text(SOURCE)
    (path / "notes.txt").write_text("not a part of it")
    return path


def deployed(package: ParserPackage) -> ParserDeployed:
    return ParserDeployed(
        parser=package.name,
        version=package.version,
        artifact_hash=package.artifact_hash,
        env_hash=package.env_hash,
        builtin=False,
        outputs=package.outputs,
        settings=package.settings,
        components=package.components,
        deployed_at=Instant("2026-01-20T00:00:00.000000Z"),
    )


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("dev", [False, True])
def test_a_copy_is_the_same_parser_in_the_home(tmp_path: Path, write: object, dev: bool) -> None:
    original = write(tmp_path)  # type: ignore[operator]  # one of the two functions above
    package = as_dev(load_parser(original)) if dev else load_parser(original)
    home = Home(tmp_path / "home")
    kept = keep(home, package, original)
    assert (kept.artifact_hash, kept.version, kept.outputs) == (package.artifact_hash, package.version, package.outputs)
    assert home.parsers in Path(kept.file).parents
    assert not list(home.parsers.rglob("notes.txt"))
    assert kept_parser(home, deployed(package)) == kept


def test_a_copy_that_was_changed_is_none_and_is_made_again(tmp_path: Path) -> None:
    original, home = write_file(tmp_path), Home(tmp_path / "home")
    package = load_parser(original)
    kept = keep(home, package, original)
    Path(kept.file).write_text(SOURCE + "import os\n")
    assert kept_parser(home, deployed(package)) is None
    assert keep(home, package, original) == kept
    assert Path(kept.file).read_text() == SOURCE


def test_a_copy_that_is_gone_is_none(tmp_path: Path) -> None:
    assert kept_parser(Home(tmp_path / "home"), deployed(load_parser(write_file(tmp_path)))) is None


def test_a_file_that_changed_since_it_was_read_is_refused_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    original, home = write_file(tmp_path), Home(tmp_path / "home")
    package = load_parser(original)
    original.write_text(SOURCE + "# changed\n")
    with pytest.raises(CliError) as refused:
        keep(home, package, original)
    assert refused.value.code == "parser_changed"
    assert list(home.parsers.iterdir()) == []


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_the_signature_lies_with_the_copy_and_says_whose_it_is(tmp_path: Path, write: object) -> None:
    """The log names the key; whoever doubts that needs what the key has signed, when the original is gone."""
    original, home = write(tmp_path), Home(tmp_path / "home")  # type: ignore[operator]  # one of the two functions above
    package = load_parser(original)
    keep(home, package, original)
    key = SigningKey("ada", bytes(32))
    sign(package, original, key)
    kept = keep(home, package, original)  # signed since it was kept
    (copy,) = [path for path in (home.parsers / package.artifact_hash).rglob("*") if path.suffix == ".sig"]
    parser = copy.parent if copy.name == FOLDER_SIGNATURE else copy.with_suffix("")
    note = read_signature(kept, parser)
    assert note is not None
    assert signer(note, [key.verifying], parser) == key.verifying


def test_a_signature_of_something_else_is_not_kept_and_keeps_nobody(tmp_path: Path) -> None:
    original, home = write_file(tmp_path), Home(tmp_path / "home")
    package = load_parser(original)
    sign(package, original, SigningKey("ada", bytes(32)))
    original.write_text(SOURCE + "# another one\n")
    changed = load_parser(original)
    assert keep(home, changed, original).artifact_hash == changed.artifact_hash
    assert not list(home.parsers.rglob("*.sig"))
