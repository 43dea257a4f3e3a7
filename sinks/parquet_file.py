"""Owns Parquet files in a folder: staged hidden, published under their final name by a link, never overwritten.

Sketch of one artifact: two fsyncs to stage it (parquet_stage.py), two to publish it (publishing.py: the folder, after
the link and after the staged name is gone). Nothing is read again unless asked for.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from eventlog.ids import LogId, PathText
from sinks.errors import disk_error, disk_sentence
from sinks.folder import MARK_NAME, Claim, add_claim, claims, exists, make_folder, mark, opened, opened_marked
from sinks.parquet_stage import ParquetStage
from sinks.publishing import probe, promote, withdraw
from sinks.sink import ArtifactIdentity, Conflict, PromoteResult, StagedArtifact, StageWriter, Unavailable
from sinks.uri import final_name_refusal, require_name, shown, staged_name_refusal, target_folder

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetSink:
    """A folder of Parquet files, one per job and output; see `sinks.sink.Sink` for what each method promises."""

    def __init__(self, uri: str) -> None:
        """Take a canonical URI; nothing is touched. Raises SinkUriError."""
        self._uri = uri
        self._folder = target_folder(uri)

    @property
    def uri(self) -> str:
        return self._uri

    def check(self) -> str | None:
        """Create the folder durably, and stage and publish a probe in it; the reason if that cannot be done."""
        try:
            make_folder(self._folder)
            with opened(self._folder) as folder:
                probe(folder)
        except OSError as error:
            return disk_sentence(error, doing=f"prepare the folder {shown(self._folder)}")
        return None

    def is_marked(self) -> bool:
        """Say whether the folder holds MARK_NAME. Raises OSError if it cannot be looked at."""
        try:
            with opened(self._folder) as folder:
                return exists(folder, MARK_NAME)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise disk_error(error, doing=f"look at the folder {shown(self._folder)}") from error

    def mark(self) -> None:
        """Create MARK_NAME, durably. Raises OSError."""
        try:
            with opened(self._folder) as folder:
                mark(folder)
        except OSError as error:
            raise disk_error(error, doing=f"mark the folder {shown(self._folder)}") from error

    def claimed_by(self, log_id: LogId) -> PathText | None:
        """Return what the last line of the mark for this log says. Raises OSError."""
        try:
            with opened(self._folder) as folder:
                return claims(folder).get(log_id)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_error(error, doing=f"look at the mark of {shown(self._folder)}") from error

    def claim(self, log_id: LogId, home: PathText) -> None:
        """Add a line to the mark, in one write: homes of several logs may claim the folder at once. Raises OSError."""
        try:
            with opened_marked(self._folder) as folder:
                add_claim(folder, Claim(log=log_id, home=home))
        except OSError as error:
            raise disk_error(error, doing=f"claim the folder {shown(self._folder)}") from error

    def open_stage(self, identity: ArtifactIdentity, schema: pa.Schema) -> StageWriter:
        """Create the staged file. Raises OSError; FileExistsError if this attempt has staged the output before."""
        return ParquetStage(self._folder, identity, schema)

    def promote(self, artifact: StagedArtifact, *, verify_staged: bool) -> PromoteResult:
        """Link the staged file to its final name. Whatever the disk refuses is Unavailable."""
        refusal = staged_name_refusal(artifact.staged) or final_name_refusal(artifact.final)
        if refusal is not None:
            return Conflict(refusal)
        try:
            with opened_marked(self._folder) as folder:
                return promote(folder, artifact, verify_staged=verify_staged)
        except OSError as error:
            return Unavailable(disk_sentence(error, doing=f"publish {artifact.final} in {shown(self._folder)}"))

    def withdraw(self, artifact: StagedArtifact) -> None:
        """Remove what a promotion made, durably, unless it holds other bytes. Raises OSError.

        A folder that is gone, or has lost its mark, is an error: its disk may come back with the artifact on it. Names
        that `promote` refuses as a Conflict are passed over, because nothing was ever published under them.
        """
        try:
            with opened_marked(self._folder) as folder:
                withdraw(folder, artifact)
        except OSError as error:
            raise disk_error(error, doing=f"withdraw {artifact.final} from {shown(self._folder)}") from error

    def discard(self, staged: str) -> None:
        """Remove a staged file. Raises OSError if it cannot be, ArtifactNameError for what is no staged name."""
        require_name(staged_name_refusal(staged), doing=f"discard from {shown(self._folder)}")
        try:
            # Nothing lies in a folder that is not there.
            with suppress(FileNotFoundError, NotADirectoryError):
                (self._folder / staged).unlink()
        except OSError as error:
            raise disk_error(error, doing=f"discard {staged} from {shown(self._folder)}") from error

    def staged_names(self, log_id: LogId) -> list[str]:
        """Return the staged files of this log, sorted, whether finished or not. Raises OSError if unreadable."""
        ours = re.compile(rf"\.{re.escape(log_id[:8])}-\d+-\d+-[a-z][a-z0-9_]*\.stage", re.ASCII)
        try:
            names = os.listdir(self._folder)  # noqa: PTH208  names, not paths: iterdir would build a Path for each
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise disk_error(error, doing=f"list the folder {shown(self._folder)}") from error
        return sorted(name for name in names if ours.fullmatch(name))

    def locate(self, final: str) -> str:
        """Return the path of a published file. Raises ArtifactNameError for what is no final name."""
        refusal = final_name_refusal(final)
        if refusal is not None:
            require_name(refusal, doing=f"locate in {shown(self._folder)}")
        return f"{self._folder}/{final}"
