r"""Owns the names of targets and of the artifacts in them: how a sink's URI is read, written and opened.

Grammar: `parquet://<folder>`. The folder is the text form of a path (`eventlog.ids.path_text`), relative or absolute:
spaces, `#`, `%` and anything beyond ASCII stand for themselves, nothing is percent-decoded; a backslash is written
`\\`, a byte that is not UTF-8 `\xHH`. `?` is kept for options, of which Parquet has none, so a folder with a question
mark in its name is written with `\x3f`. The canonical form is absolute and a fixed point of reading; it is part of
the materialization key, so reading it asks no disk: a symbolic link on the way is kept as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from eventlog.ids import PathText, path_bytes, path_text
from sinks.errors import ArtifactNameError, SinkUriError

if TYPE_CHECKING:
    from sinks.sink import Sink

SCHEMES: Final = ("parquet",)
EXAMPLE: Final = "parquet://./output"
# A folder may be called "case.2024", so only the extensions of table files are taken for a file.
FILE_EXTENSIONS: Final = (".parquet", ".pq", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".arrow", ".duckdb", ".db")

_ESCAPED: Final = re.compile(r"(?:[^\\]|\\\\|\\x[0-9a-fA-F]{2})*", re.DOTALL)
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")  # how Python carries such bytes of the command line


class SinkTarget(Struct, frozen=True, kw_only=True):
    """A target as read: its scheme, its folder, and the canonical URI that names it in the log."""

    scheme: str
    path: Path
    uri: str


def parse_sink_uri(text: str, *, base: Path) -> SinkTarget:
    """Read a sink's URI; a relative folder is taken from `base`, which is absolute.

    `..` is understood only in front of a relative folder: after a symbolic link, programs disagree on what it means.
    Raises SinkUriError, a sentence that names the known schemes and shows an example.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        raise _refusal(text, "it does not begin with a known scheme")
    if "?" in rest:
        raise _refusal(text, r"options after `?` are unknown; in a folder's name write \x3f")
    folder = _join(text, _path_of(text, rest), base=os.fsencode(base))
    if folder.lower().endswith(tuple(os.fsencode(extension) for extension in FILE_EXTENSIONS)):
        raise _refusal(text, "it names a file; a parser may have several outputs, so name a folder")
    return SinkTarget(scheme=scheme.lower(), path=Path(os.fsdecode(folder)), uri=_canonical(scheme.lower(), folder))


def target_folder(uri: str) -> Path:
    """Return the folder that a canonical URI names. Raises SinkUriError for any other text."""
    target = parse_sink_uri(uri, base=Path("/"))
    if target.uri != uri:
        raise _refusal(uri, f"it is not in canonical form, which would be {target.uri} if / were the current folder")
    return target.path


def open_sink(uri: str) -> Sink:
    """Return the sink that a canonical URI names; nothing is touched. Raises SinkUriError."""
    from sinks.parquet_file import ParquetSink

    return ParquetSink(uri)


def staged_name_refusal(name: str) -> str | None:
    """Return why a name cannot be that of a staged artifact in a sink's folder, None if it can."""
    if _is_plain(name) and name.startswith(".") and name.endswith(".stage"):
        return None
    return f"{name!r} is not the name of a staged artifact (.….stage, without a folder)"


def final_name_refusal(name: str) -> str | None:
    """Return why a name cannot be that of a published artifact in a sink's folder, None if it can."""
    if _is_plain(name) and not name.startswith("."):
        return None
    return f"{name!r} is not the name of a published artifact (not hidden, without a folder)"


def shown(path: Path) -> str:
    """Return a path as text for sentences and events, which cannot carry the surrogates of Python's own form."""
    return path_text(os.fsencode(path))


def require_name(refusal: str | None, *, doing: str) -> None:
    """Raise ArtifactNameError with the sentence, if there is a refusal."""
    if refusal is not None:
        raise ArtifactNameError(f"{doing}: {refusal}; nothing was touched, look at where the name comes from")


def _path_of(text: str, rest: str) -> bytes:
    escaped = _NOT_UTF8.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", rest)
    if not _ESCAPED.fullmatch(escaped):
        raise _refusal(text, r"a backslash in a folder's name is written \\")
    try:
        path = path_bytes(PathText(escaped))
    except UnicodeEncodeError as error:
        raise _refusal(text, "it holds half a character") from error
    if b"\0" in path:
        raise _refusal(text, "no folder's name holds a NUL")
    return path


def _join(text: str, path: bytes, *, base: bytes) -> bytes:
    """Return the absolute folder, without `.`, `..` or doubled slashes."""
    steps = _steps(path)
    up = 0 if path.startswith(b"/") else _leading_parents(steps)
    if not path:
        raise _refusal(text, "it names no folder")
    if b".." in steps[up:]:
        raise _refusal(text, "`..` is understood only in front of a relative folder; write the folder out")
    if up and up == len(steps):
        raise _refusal(text, "it climbs without naming a folder")
    start = [] if path.startswith(b"/") else _base_steps(text, base)
    if up > len(start):
        raise _refusal(text, "it climbs above the root folder")
    whole = start[: len(start) - up] + steps[up:]
    if not whole:
        raise _refusal(text, "it names the root folder")
    return b"/" + b"/".join(whole)


def _steps(path: bytes) -> list[bytes]:
    return [step for step in path.split(b"/") if step not in (b"", b".")]


def _leading_parents(steps: list[bytes]) -> int:
    return next((index for index, step in enumerate(steps) if step != b".."), len(steps))


def _base_steps(text: str, base: bytes) -> list[bytes]:
    steps = _steps(base)
    if not base.startswith(b"/") or b".." in steps:
        raise _refusal(text, f"it is relative and {os.fsdecode(base)!r} is not an absolute folder without `..`")
    return steps


def _canonical(scheme: str, folder: bytes) -> str:
    return f"{scheme}://{path_text(folder).replace('?', chr(92) + 'x3f')}"


def _refusal(text: str, why: str) -> SinkUriError:
    known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    return SinkUriError(f"read the sink {text!r}: {why}; known schemes: {known}; for example {EXAMPLE}")


def _is_plain(name: str) -> bool:
    return bool(name) and "/" not in name and "\0" not in name
