"""Owns the plan of a repair: of which bytes, ours and the copy's, each segment is to be made. Writes nothing.

Positions are the same in both, because a log is only appended to: of each segment the result has the copy's bytes for
what the copy has, and ours behind them, and only where ours alone do not fit.

Sealed segments come before raw ones: where one can be had raw only, those behind it are unsealed, to be sealed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from eventlog.chain import ChainScan, Link, Segment, Waypoint, find_segment, list_segments, segment_path, without_zeros
from eventlog.errors import LogCorruptError, LogError, OtherLogError
from eventlog.files import exists, file_sha256, read_small
from eventlog.frames import FRAME_SPAN_BYTES_MAX, FrameHash, find_commit_line, hashed_end, read_commit_line
from eventlog.fsport import FsPort
from eventlog.ids import LogId
from eventlog.lineage import Lineage, lineage_of
from eventlog.lock import LOCK_NAME
from eventlog.note import VerifyingKey
from eventlog.overlay import Content, Overlay, Part, Spliced, opened_spliced
from eventlog.recovery import commit_lines
from eventlog.sealed import CLOSED_NAME, GENESIS_NAME, WITNESS_NAME, Genesis, read_claim, read_closed, read_genesis


class Change(Struct, frozen=True, kw_only=True):
    """What a name in the log's folder is to hold, and how many bytes of it are the copy's and ours."""

    name: str
    content: Content
    copied_bytes: int = 0
    own_bytes: int = 0
    reason: str


class _Option(Struct, frozen=True, kw_only=True):
    """A way to have one segment, with the changes that it takes; `sealed` is the digest of its manifest, "" if raw."""

    changes: tuple[Change, ...] = ()
    sealed: str = ""
    raw_bytes: int


class _Reach(Struct, frozen=True, kw_only=True):
    """How far the chain goes with an option, and why it goes no further in its segment."""

    option: _Option
    link: Link
    gap: str


class Plan:
    """The result of a repair: `changes`, and `view`, which shows the folder as it would be after them."""

    def __init__(self, folder: Path, copy: Path, key: VerifyingKey | None, *, fs: FsPort) -> None:
        self.fs = fs
        self.folder = folder
        self.copy = copy
        self._key = key
        self.view = Overlay(folder, fs=fs)
        self.changes: list[Change] = []
        self._ours = {segment.first: segment for segment in list_segments(folder, fs=fs)}
        self._theirs = {segment.first: segment for segment in list_segments(copy, fs=fs)}
        self._sealed_so_far: str | None = ""  # the digest of the last manifest; None behind a raw segment
        self._gap = "nothing is there"
        self.view.put(LOCK_NAME, None)  # it is ours, and to an audit it would be that of a writer at work

    def make(self, copied: Genesis, copied_hash: str) -> None:
        """Choose what every segment is to be. Raises OtherLogError, LogCorruptError if the chain has a hole."""
        self._genesis(copied, copied_hash)
        self._notes(copied.log_id)
        self.lineage = lineage_of(copied, copied_hash)
        link = self.lineage.begin
        chosen: set[int] = set()
        while (first := link.seq + 1) in (self._ours.keys() | self._theirs.keys()) - chosen:  # each once
            chosen.add(first)
            reach = self._best(first, link)
            self._take(reach.option)
            link = reach.link
            if reach.gap:
                self._gap = reach.gap
                break
        self._strays(chosen, link)

    def whole_commits(self) -> Iterator[tuple[int, str]]:
        """Yield number and hash of each commit of ours that fits its own hash, in raw segments that go."""
        replaced = {change.name for change in self.changes}
        for segment in self._ours.values():
            if segment.path.name not in replaced or segment.manifest is not None or segment.problem:
                continue
            try:
                with opened_spliced(_whole(segment), fs=self.fs) as read:
                    data = read(segment.size, 0)
            except OSError:
                continue  # what cannot be read speaks against nothing
            for line, match in commit_lines(data, 0):
                start = match.start() - line.bytes
                hasher = FrameHash(self.lineage.life_of(line.commit).log_id)
                if start >= 0 and hasher.of(memoryview(data)[start : hashed_end(match)]) == line.hash:
                    yield line.commit, line.hash

    def uncovered(self, seq: int, why: str) -> LogCorruptError:
        """Return the error of a copy that lacks what is damaged here: with it, the records up to `seq` are provable."""
        provable = f"records 1 to {seq} are provable" if seq else "no record is provable"
        return LogCorruptError(
            f"Repair the log in {self.folder} from {self.copy}: the copy does not cover the damage: {why}. With it, "
            f"{provable}; nothing was changed.",
            next_step=f"Find a newer copy, or go on from there: `casparian log fork --from {seq} --reason TEXT`.",
        )

    def _take(self, option: _Option) -> None:
        self._sealed_so_far = option.sealed or None
        for change in option.changes:
            self._change(change)

    def _change(self, change: Change) -> None:
        self.changes.append(change)
        self.view.put(change.name, change.content)

    def _genesis(self, copied: Genesis, copied_hash: str) -> None:
        what = f"Repair the log in {self.folder} from {self.copy}"
        try:
            ours, ours_hash = read_genesis(self.folder, fs=self.fs)
        except (LogCorruptError, FileNotFoundError) as error:
            if self._named_by_first_frame(lineage_of(copied, copied_hash)) != copied_hash:
                raise OtherLogError(
                    f"{what}: {GENESIS_NAME} cannot be read here, and the first commit does not name that of the copy.",
                    next_step="Keep the folder, and restore the whole copy instead.",
                ) from error
            size = len(read_small(self.copy / GENESIS_NAME, fs=self.fs))
            change = Change(
                name=GENESIS_NAME, content=self.copy / GENESIS_NAME, copied_bytes=size, reason="It did not read back."
            )
            self._change(change)
            return
        if (ours.log_id, ours_hash) != (copied.log_id, copied_hash):
            raise OtherLogError(
                f"{what}: that is log {copied.log_id}, this is log {ours.log_id}.", next_step="Name a copy of this log."
            )

    def _named_by_first_frame(self, lineage: Lineage) -> str:
        """Return the hash of the genesis that the first commit of our present life names, "" if that cannot be read.

        Forks of one log share their first life, so only where the copy's present one begins can tell ours from another.
        """
        earlier = lineage.lives[-2].end if len(lineage.lives) > 1 else None
        segment = self._ours.get(earlier.seq + 1 if earlier is not None else 1)
        if segment is None or segment.problem:
            return ""
        try:
            with opened_spliced(_whole(segment), fs=self.fs) as read:
                match = find_commit_line(read(FRAME_SPAN_BYTES_MAX, 0), 0)
        except (LogCorruptError, OSError):
            return ""
        return read_commit_line(match).prev if match is not None else ""

    def _notes(self, log_id: LogId) -> None:
        """Put a damaged CLOSED or WITNESS away: it is a witness of nothing. An undamaged one is heard by the audit."""
        try:
            read_closed(self.folder, fs=self.fs)
        except LogCorruptError as error:
            self._change(Change(name=CLOSED_NAME, content=None, reason=error.message))
        try:
            read_claim(self.folder, log_id, fs=self.fs)
        except LogCorruptError as error:
            self._change(Change(name=WITNESS_NAME, content=None, reason=error.message))

    def _strays(self, chosen: set[int], link: Link) -> None:
        """Put away segments that are no part of the chain. Raises LogCorruptError if one of them is behind its end."""
        strays = sorted(self._ours.keys() - chosen)
        if strays and strays[-1] > link.seq:
            raise self.uncovered(link.seq, f"{self._gap}, and segments follow from record {strays[-1]} on")
        for first in strays:
            for change in self._gone(first, reason="It is no part of the chain."):
                self._change(change)

    def _gone(self, first: int, *, reason: str, but: str = "") -> Iterator[Change]:
        """Yield the removal of every form of a segment but one that is here."""
        for path in _forms(self.folder, first):
            if path.name != but and exists(path, fs=self.fs):
                yield Change(name=path.name, content=None, reason=reason)

    # --- one segment ---

    def _best(self, first: int, link: Link) -> _Reach:
        """Return how far the chain goes in this segment: the first option that a next segment continues, else the one
        that goes furthest and has no less than what is here."""
        own = self._own(first)
        reached = None if own is None else self._walk(own, first, link, through=link)
        through = link if reached is None else reached.link
        best = None
        for option in self._options(first, own):
            reach = reached if option is own else self._walk(option, first, link, through=through)
            if reach is None:
                continue
            if not reach.gap and self._is_continued(first, reach.link):
                return reach
            longer = best is None or reach.link.commit > best.link.commit
            best = reach if longer and (option is own or self._is_no_loss(first, option)) else best
        if best is None:
            name = segment_path(self.folder, first=first).name
            raise self.uncovered(link.seq, f"{name} cannot be read here, and the copy has nothing that fits")
        return best

    def _is_continued(self, first: int, link: Link) -> bool:
        return link.seq >= first and (link.seq + 1 in self._ours or link.seq + 1 in self._theirs)

    def _is_no_loss(self, first: int, option: _Option) -> bool:
        """Return whether an option has as many raw bytes as we have: what it lacks might be well, behind the damage."""
        ours = self._ours.get(first)
        return ours is None or option.raw_bytes >= ours.size

    def _walk(self, option: _Option, first: int, link: Link, *, through: Link) -> _Reach | None:
        """Walk one segment as the option has it; None if that has another history than what fits here."""
        view = Overlay(self.folder, fs=self.fs)
        for change in option.changes:
            view.put(change.name, change.content)
        segment = find_segment(self.folder, first=first, fs=view)
        if first == max(self._ours.keys() | self._theirs.keys()):
            segment = without_zeros(segment, fs=view)
        start = Waypoint(link=link, index=0, offset=0)
        scan = ChainScan(lineage=self.lineage, segments=[segment], start=start, fs=view)
        came, gap = link.commit == through.commit, ""
        try:
            for raw in scan.frames():
                came = came or (raw.line.commit, raw.line.hash) == (through.commit, through.hash)
        except OSError as error:  # a disk that gives bytes back no more: what is damaged is here to be replaced
            gap = f"it cannot be read ({error})"
        if scan.gap is not None and scan.gap.check != "segment":
            gap = f"{scan.gap.expected} was expected, {scan.gap.actual} was found"
        return _Reach(option=option, link=scan.link, gap=gap) if came else None

    def _own(self, first: int) -> _Option | None:
        """Return the way to have a segment of our bytes alone, None if none of them can be read."""
        ours = self._ours.get(first)
        if ours is None or ours.problem:
            return None
        digest = self._seal_digest(ours)
        if ours.manifest is None or digest:
            return _Option(sealed=digest, raw_bytes=ours.size)
        return self._written(first, _whole(ours), "It is unsealed: its seal fits nothing before it.")

    def _options(self, first: int, own: _Option | None) -> Iterator[_Option]:
        """Yield the ways to have a segment, the one that changes least first."""
        if own is not None and not own.changes:
            yield own
        theirs = self._theirs.get(first)
        if theirs is not None and (digest := self._seal_digest(theirs)):
            yield self._sealed_copy(theirs, digest)
        if own is not None and own.changes:
            yield own
        if theirs is None or theirs.problem:
            return
        yield self._written(first, _whole(theirs), self._reason(first))
        ours = self._ours.get(first)
        if own is not None and ours is not None and ours.size > theirs.size > 0:
            parts = (*_whole(theirs).parts, Part(segment=ours, start=theirs.size, end=ours.size))
            yield self._written(first, Spliced(parts=parts), self._reason(first))

    def _reason(self, first: int) -> str:
        return "Its bytes did not fit the chain." if first in self._ours else "It was missing."

    def _seal_digest(self, segment: Segment) -> str:
        """Return the digest of a sealed segment's manifest if it fits its bytes and the manifest before it, else ""."""
        if segment.manifest is None or segment.manifest.before != self._sealed_so_far:
            return ""
        from eventlog.compressed import read_manifest
        from eventlog.manifest import manifest_digest

        try:
            manifest, data = read_manifest(segment.path.parent, first=segment.first, key=self._key, fs=self.fs)
            fits = file_sha256(segment.path, fs=self.fs) == manifest.zst_sha256
        except (LogError, OSError):
            return ""  # another form of the segment may do
        return manifest_digest(data) if fits else ""

    def _sealed_copy(self, theirs: Segment, digest: str) -> _Option:
        raw, sealed, seal = _forms(self.folder, theirs.first)
        reason = self._reason(theirs.first)
        changes = [
            Change(name=path.name, content=self.copy / path.name, copied_bytes=size, reason=reason)
            for path in (seal, sealed)
            if (size := self.fs.lstat(self.copy / path.name).st_size)
            and not _same_file(path, self.copy / path.name, self.fs)
        ]
        if exists(raw, fs=self.fs):
            changes.append(Change(name=raw.name, content=None, reason=reason))
        return _Option(changes=tuple(changes), sealed=digest, raw_bytes=theirs.size)

    def _written(self, first: int, spliced: Spliced, reason: str) -> _Option:
        name = segment_path(self.folder, first=first).name
        copied = sum(part.end - part.start for part in spliced.parts if part.segment.path.parent == self.copy)
        change = Change(name=name, content=spliced, copied_bytes=copied, own_bytes=spliced.size - copied, reason=reason)
        gone = self._gone(first, reason=reason, but=name)
        return _Option(changes=(change, *gone), raw_bytes=spliced.size)


def _whole(segment: Segment) -> Spliced:
    return Spliced(parts=(Part(segment=segment, start=0, end=segment.size),))


def _forms(folder: Path, first: int) -> tuple[Path, Path, Path]:
    """Return the names of a segment raw and sealed, and of its manifest."""
    from eventlog.compressed import manifest_path, sealed_path

    return segment_path(folder, first=first), sealed_path(folder, first=first), manifest_path(folder, first=first)


def _same_file(path: Path, other: Path, fs: FsPort) -> bool:
    try:
        return file_sha256(path, fs=fs) == file_sha256(other, fs=fs)
    except OSError:
        return False  # not there, or no regular file
