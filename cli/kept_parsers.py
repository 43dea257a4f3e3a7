"""Owns the copies that a home keeps of people's own parsers: what runs is what was trusted, even if the file changes.

A copy lies in `parsers/<artifact hash>/` and is read anew before each use: one that is not the artifact of its name is
no parser, and is made again by the next run that names the file.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cli.errors import CliError
from cli.home import Home
from eventlog.events import ParserDeployed
from eventlog.ids import ArtifactHash, ParserName
from executors.parser_catalog import MANIFEST, ParserPackage, as_dev, load_parser, source_files
from executors.parser_literals import ParserManifestError


def keep(home: Home, package: ParserPackage, original: Path) -> ParserPackage:
    """Return the parser as it runs from the home's copy. Raises CliError if `original` is another artifact by now."""
    folder = home.parsers / package.artifact_hash
    kept = load_kept(home, package.name, package.artifact_hash)
    if kept is None:
        shutil.rmtree(folder, ignore_errors=True)
        _copy(source_files(original), folder)
        kept = load_kept(home, package.name, package.artifact_hash)
    if kept is None:
        shutil.rmtree(folder, ignore_errors=True)
        why = f"run {original}: it was changed while it was read"
        raise CliError("parser_changed", why, "run the same command again")
    _keep_signature(kept, original, _parser_in(folder, package.name))
    return kept


def kept_parser(home: Home, deployed: ParserDeployed) -> ParserPackage | None:
    """Return a parser that was deployed as it runs from its copy; None where that is not the same artifact here."""
    return load_kept(home, deployed.parser, deployed.artifact_hash)


def load_kept(home: Home, name: ParserName, artifact: ArtifactHash) -> ParserPackage | None:
    """Return an artifact as it runs from its copy; None where what lies there is not that artifact."""
    folder = home.parsers / artifact
    try:
        package = load_parser(_parser_in(folder, name))
    except ParserManifestError:
        return None  # gone, damaged, or in want of a package that is not installed any more: not that artifact
    for candidate in (package, as_dev(package)):
        if candidate.artifact_hash == artifact:
            return candidate
    return None


def _parser_in(folder: Path, name: ParserName) -> Path:
    """Return what is named to run a copy: its folder, or its one file."""
    return folder if (folder / MANIFEST).exists() else folder / f"{name}.py"


def _keep_signature(package: ParserPackage, original: Path, copy: Path) -> None:
    """Have the signature of the original lie with the copy: the log says by whose key it ran, this proves it later.

    One that is not over this source is left where it is; whether a parser may run for it was decided before.
    """
    from cli.parser_signature import read_signature, signature_path
    from eventlog.files import read_small, write_durably

    try:
        if read_signature(package, original) is None:
            return
    except CliError:
        return
    content, place = read_small(signature_path(original)), signature_path(copy)
    if not place.exists() or read_small(place) != content:
        write_durably(place, content)


def _copy(sources: dict[str, bytes], folder: Path) -> None:
    for name, content in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
