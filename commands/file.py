"""Decides what a scan adds to the case: the files that were read and the paths that could not be."""

from __future__ import annotations

from msgspec import Struct

from commands.outcome import Decision, Refused
from eventlog.events import Event, FilesRefused, FilesSeen, RefusedFile, SeenFile
from eventlog.ids import RunId
from reducers.fold import State

FILES_MAX = 1000  # of each kind in one command, so that an event stays one line of at most 256 KiB


class RecordFiles(Struct, frozen=True, kw_only=True):
    """Record one batch of what the scanner met, in its order."""

    run: RunId
    seen: tuple[SeenFile, ...]
    refused: tuple[RefusedFile, ...]


def decide(command: RecordFiles, state: State) -> Decision:
    """Record the batch; an empty one records nothing. Refuses a run that is over or already planned."""
    run = state.runs.get(command.run)
    if run is None:
        return Refused("run_not_open", f"run {command.run} is not open")
    if run.planned is not None:
        return Refused("run_already_planned", f"run {command.run} has its plan; its list of files is closed")
    if max(len(command.seen), len(command.refused)) > FILES_MAX:
        return Refused("batch_too_large", f"a batch of files holds at most {FILES_MAX} of each kind")
    events: list[Event] = []
    if command.seen:
        events.append(FilesSeen(run=command.run, files=command.seen))
    if command.refused:
        events.append(FilesRefused(run=command.run, files=command.refused))
    return events
