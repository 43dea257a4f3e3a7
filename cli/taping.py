"""Writes tapes: a slice of a home's log on demand, and with `--tape` what one command line asked, did and answered.

A tape never replaces a file. The words of a command line are told by name where they are names of ours (verbs,
options) and hashed otherwise.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from casparian import __version__
from cli import clock
from cli.errors import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_OK, CliError
from cli.home import Home, find_home
from cli.render import talk
from eventlog.errors import LogError, LogMissingError
from eventlog.events import WriterOpened
from eventlog.frames import FORMAT as LOG_FORMAT
from eventlog.frames import Frame
from eventlog.reader import durable_head, read_frames
from eventlog.tape import NOTHING, TapeSlice, TapeWriter

if TYPE_CHECKING:
    from eventlog.ids import Instant

OPTION = "--tape"


def versions() -> dict[str, str]:
    """Return what made the tape."""
    return {"casparian": __version__, "log": LOG_FORMAT, "python": platform.python_version(), "system": sys.platform}


@contextmanager
def new_tape(path: Path) -> Iterator[BinaryIO]:
    """Make the file of a tape, readable for its owner alone. Raises CliError where there is a file of that name."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise CliError(
            "tape_exists", f"write the tape {path}: there is a file of that name", "name another file"
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(descriptor)


def line_writer(file: BinaryIO) -> Callable[[bytes], None]:
    """Return what writes each line of a tape at once, so that what was written stands whatever happens next."""

    def write(line: bytes) -> None:
        file.write(line)
        file.flush()

    return write


def export(place: Home, path: Path, *, first: int, last: int | None) -> TapeSlice:
    """Write the records from `first` to `last` (the end, if None) of a home's log as a tape; return what it shows.

    Raises CliError for positions that the log does not have, LogMissingError and the errors of reading the log.
    """
    head = durable_head(place.log)
    end = head.seq if head is not None else 0
    last = end if last is None else last
    if not first <= last <= end:
        raise CliError(
            "not_found",
            f"export the positions {first} to {last} of the log: it has 1 to {end}",
            "casparian log show --tail 1 shows the last one",
        )
    holder = next(frame for frame in read_frames(place.log, from_seq=last) if frame.records)
    part = TapeSlice(first=first, last=last, head=holder.hash)
    with new_tape(path) as file:
        try:
            tape = TapeWriter(line_writer(file), salt=clock.new_salt())
            tape.start(part, versions=versions(), now=clock.now())
            _write_frames(tape, place, part)
            tape.stop(now=clock.now())
        except BaseException:
            path.unlink(missing_ok=True)  # half an export says nothing that the log does not say again
            raise
    return part


def _write_frames(tape: TapeWriter, place: Home, part: TapeSlice) -> None:
    if part.last == 0:
        return
    for frame in read_frames(place.log, from_seq=part.first):
        if frame.first > part.last:
            return
        tape.frame(frame, last=part.last)


# --- one command line -----------------------------------------------------------------------------------------------


class Spoken(Struct, frozen=True, kw_only=True):
    """A command line by its parts: what is a name of ours, and what the person said."""

    verb: str
    options: tuple[tuple[str, str | None], ...]
    values: tuple[str, ...]

    def value(self, option: str) -> str | None:
        return next((value for name, value in reversed(self.options) if name == option), None)


def spoken(words: Sequence[str], command: Any) -> Spoken:
    """Take a command line apart by the tree of commands; a word that the tree does not know is a value."""
    verbs: list[str] = []
    options: list[tuple[str, str | None]] = []
    values: list[str] = []
    left = list(reversed(words))
    while left:
        word = left.pop()
        name, has_value, value = word.partition("=")
        option = next((each for each in command.params if name in each.opts), None) if name.startswith("-") else None
        if option is not None:
            takes = not option.is_flag
            options.append((name, value if has_value else left.pop() if takes and left else None))
        elif word in getattr(command, "commands", {}):
            command = command.commands[word]
            verbs.append(word)
        elif word == "--help":
            options.append((word, None))
        else:
            values.append(word)
    return Spoken(verb=" ".join(verbs), options=tuple(options), values=tuple(values))


def recorded(
    words: Sequence[str], tree: Any, command: Callable[[], int], explain: Callable[[Exception], CliError | None]
) -> int:
    """Run a command line, with `--tape FILE` before its verb as the tape of FILE, and return its exit code.

    What the command raises is raised again. Raises CliError before anything is done if the file exists, and after it
    if the tape could not be written.
    """
    said = spoken(words, tree)
    path = said.value(OPTION)
    if path is None:
        return command()
    with new_tape(Path(path)) as file:
        recording = _Recording(file, said)
        try:
            code = command()
        except BaseException as error:
            recording.end_failed(*_failure(error, explain))
            raise
        recording.end(code)
    return code


def _failure(error: BaseException, explain: Callable[[Exception], CliError | None]) -> tuple[int, str, str]:
    told = explain(error) if isinstance(error, Exception) else None
    if told is not None:
        return told.exit_code, told.code, told.message
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED, "interrupted", ""
    return EXIT_ERROR, "internal_error", type(error).__name__


class _Recording:
    """The tape of one command line; written at its end, because only then is its part of the log known."""

    def __init__(self, file: BinaryIO, said: Spoken) -> None:
        self._file = file
        self._said = said
        self._home = find_home(said.value("--home") or None)
        self._began = clock.now()
        self._before = _seq_of(self._home)

    def end(self, code: int) -> None:
        """Write the tape of a command that has ended. Raises CliError if it cannot be written."""
        try:
            self._write(lambda tape, now: _answer(tape, code, now))
        except OSError as error:
            raise CliError(
                "tape_unwritable",
                f"write the tape of this command, which ended with exit code {code}: {error.strerror}",
                "make room, or name another file, and tape the next command",
            ) from error

    def end_failed(self, exit_code: int, code: str, message: str) -> None:
        """Write the tape of a command that has failed; its own error matters more than one of the tape."""
        try:
            self._write(lambda tape, now: tape.failed(exit_code=exit_code, code=code, message=message, now=now))
        except OSError as error:
            talk(f"the tape could not be written: {error.strerror}")

    def _write(self, answer: Callable[[TapeWriter, Instant], None]) -> None:
        part = _own_part(self._home, after=self._before)
        tape = TapeWriter(line_writer(self._file), salt=clock.new_salt())
        tape.start(part, versions=versions(), now=self._began)
        said = self._said
        options = [option for option in said.options if option[0] != OPTION]
        tape.verb(said.verb or "unknown", options, said.values, self._began)
        _write_frames(tape, self._home, part)
        now = clock.now()
        answer(tape, now)
        tape.stop(now=now)


def _answer(tape: TapeWriter, code: int, now: Instant) -> None:
    if code == EXIT_OK:
        tape.succeeded(now=now)
    else:
        tape.failed(exit_code=code, code="exit_code", message="", now=now)


def _seq_of(place: Home) -> int | None:
    """Return where the log ends; None if that cannot be read: the command will say so itself."""
    try:
        head = durable_head(place.log)
    except LogMissingError:
        return 0
    except LogError:
        return None
    return head.seq if head is not None else 0


def _own_part(place: Home, *, after: int | None) -> TapeSlice:
    """Return what this process wrote to the log after a position: the epoch that it opened, nothing if it opened none.

    What others write meanwhile is not part of this command.
    """
    if after is None:
        return NOTHING
    try:
        own = _own_frames(place, after)
    except LogError:
        return NOTHING
    if own is None:
        return NOTHING
    first, newest = own
    return TapeSlice(first=first.first, last=newest.last, head=newest.hash)


def _own_frames(place: Home, after: int) -> tuple[Frame, Frame] | None:
    """Return the first and the last frame with records of the epoch that this process opened."""
    first = newest = None
    for frame in read_frames(place.log, from_seq=after + 1):
        if first is None and any(_is_ours(record.data) for record in frame.records):
            first = frame
        if first is not None and frame.epoch == first.epoch and frame.records:
            newest = frame
    return (first, newest) if first is not None and newest is not None else None


def _is_ours(record: object) -> bool:
    return isinstance(record, WriterOpened) and (record.pid, record.host) == (os.getpid(), os.uname().nodename)
