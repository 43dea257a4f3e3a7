"""Owns what a run finds where it was pointed at: every file read, hashed and recorded, or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from cli.halt import Halt
from cli.progress import Talk
from cli.run_commands import RunCommands
from commands.file import FILES_MAX, RecordFiles
from eventlog.events import RefusedFile, SeenFile
from eventlog.ids import RunId
from executors.scanner import PassedOver, batches, scan

FILES_BYTES_MAX = 256 * 1024  # of one RecordFiles


class RunScan:
    """The scan of one run: the files `seen`, those `refused`, how many names the parser does not claim."""

    def __init__(self, run: RunId, *, commands: RunCommands, talk: Talk, halt: Halt) -> None:
        self._run = run
        self._commands = commands
        self._talk = talk
        self._halt = halt
        self.seen: list[SeenFile] = []
        self.refused: list[RefusedFile] = []
        self.passed_over = 0

    def record(self, inputs: Sequence[bytes], patterns: Sequence[str]) -> None:
        """Read and hash every file, recording batch by batch. Raises HaltedError."""
        bytes_ = 0
        met = self._met(inputs, patterns)
        for batch in batches(met, count_max=FILES_MAX, bytes_max=FILES_BYTES_MAX, size_of=_event_bytes):
            files = tuple(item for item in batch if isinstance(item, SeenFile))
            refused = tuple(item for item in batch if isinstance(item, RefusedFile))
            self._commands.call(RecordFiles(run=self._run, seen=files, refused=refused))
            self.seen.extend(files)
            self.refused.extend(refused)
            bytes_ += sum(file.size for file in files)
            self._talk.scanning(len(self.seen), bytes_)
        self._halt.heed()

    def _met(self, inputs: Sequence[bytes], patterns: Sequence[str]) -> Iterator[SeenFile | RefusedFile]:
        for item in scan(inputs, patterns=patterns, stop=self._halt.is_asked):
            if isinstance(item, PassedOver):
                self.passed_over += 1
            else:
                yield item


def _event_bytes(item: SeenFile | RefusedFile) -> int:
    return len(msgspec.json.encode(item))
