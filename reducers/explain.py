"""Owns explanations: which records of the log made an object what it is, and why a file was or was not processed.

Pure: facts in, lines out. The components of a key are those declared in eventlog/keys.py and no others, so an
explanation cannot name a component that did not decide, nor forget one that did.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from eventlog.events import (
    Event,
    FilesRefused,
    FilesSeen,
    JobQueued,
    LoggedCommand,
    MaterializationRecorded,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
    ParserRevoked,
    ParserTrusted,
    RunPlanned,
    SeenFile,
    Target,
)
from eventlog.frames import Frame
from eventlog.ids import ArtifactHash, Instant, JobId, OutputName, PathText, RunId, Seq, SourceHash
from eventlog.keys import MaterializationComponents, TargetComponents, materialization_key, target_key
from reducers.say import say

LINES_MAX = 10_000  # of one explanation; a larger object is told of by its newest


class Fact(Struct, frozen=True, kw_only=True):
    """One record of the log with what its frame says of it. `cause` is the seq of the command behind it, 0 if none."""

    seq: Seq
    ts: Instant
    actor: str
    cause: int
    record: Event | LoggedCommand


class Line(Struct, frozen=True, kw_only=True):
    """One sentence and the position in the log that it cites; `facts` holds the same for programs."""

    seq: Seq
    type: str
    said: str
    facts: dict[str, Any]


class Explanation(Struct, frozen=True, kw_only=True):
    subject: str
    answer: str
    lines: tuple[Line, ...]


# --- choosing the facts ---------------------------------------------------------------------------------------------


def facts_of(frames: Iterable[Frame]) -> Iterator[Fact]:
    """Yield every record of the frames with its circumstances, in order."""
    for frame in frames:
        command = frame.records[0].seq if frame.records and frame.records[0].id else 0
        for record in frame.records:
            cause = command if record.seq != command else 0
            yield Fact(seq=record.seq, ts=frame.ts, actor=frame.actor, cause=cause or frame.cause, record=record.data)


class Interest:
    """What an explanation is about. Widened by a first pass over the log, then asked for each fact by a second."""

    def __init__(
        self,
        *,
        jobs: Iterable[JobId] = (),
        runs: Iterable[RunId] = (),
        paths: Iterable[PathText] = (),
        file: str = "",
    ) -> None:
        self.jobs = set(jobs)
        self.runs = set(runs)
        self.paths = set(paths)
        self.sources: set[SourceHash] = set()
        self.artifacts: set[ArtifactHash] = set()
        self._asked_jobs = frozenset(self.jobs)
        self._asked_paths = frozenset(self.paths)
        self._file = file

    def widen(self, fact: Fact) -> None:
        """Take in what the fact leads to: a path to its contents and jobs, a job to its path, run and parser."""
        match fact.record:
            case FilesSeen(files=files):
                self.sources.update(file.source_hash for file in files if file.path in self._asked_paths)
                if any(file.path in self._asked_paths for file in files):
                    self.runs.add(fact.record.run)
            case FilesRefused(files=files) if any(file.path in self._asked_paths for file in files):
                self.runs.add(fact.record.run)
            case JobQueued() as queued if self._is_asked(queued):
                self._take(queued)
            case MaterializationRecorded() as made if self._file and self._file in (made.file, made.digest):
                self.jobs.add(made.job)
            case _:
                pass

    def _is_asked(self, queued: JobQueued) -> bool:
        by_content = bool(self._asked_paths) and queued.source_hash in self.sources
        return queued.job in self._asked_jobs or queued.path in self._asked_paths or by_content

    def _take(self, queued: JobQueued) -> None:
        self.jobs.add(queued.job)
        self.runs.add(queued.run)
        self.paths.add(queued.path)
        self.artifacts.add(queued.artifact_hash)

    def wants(self, fact: Fact) -> bool:
        """Say whether the fact belongs into the explanation."""
        record: Any = fact.record
        match record:
            case FilesSeen() | FilesRefused():
                return record.run in self.runs and any(file.path in self.paths for file in record.files)
            case ParserDeployed() | ParserTrusted() | ParserRevoked():
                return record.artifact_hash in self.artifacts
            case OutputsReused() | OutputsLost():
                return record.run in self.runs or not self.jobs.isdisjoint(record.jobs)
            case _:
                job, run = getattr(record, "job", None), getattr(record, "run", None)
                return job in self.jobs if job is not None else run in self.runs


def collect(interest: Interest, frames: Sequence[Frame] | Iterable[Frame]) -> list[Fact]:
    """Return the facts of an interest that has been widened, the commands behind them included, in order.

    At most LINES_MAX, the newest.
    """
    kept: dict[Seq, Fact] = {}
    commands: dict[int, Fact] = {}
    for fact in facts_of(frames):
        if isinstance(fact.record, LoggedCommand):
            commands[fact.seq] = fact
        elif interest.wants(fact):
            if fact.cause in commands:
                kept[Seq(fact.cause)] = commands[fact.cause]
            kept[fact.seq] = _only(fact, interest.paths)
    return [kept[seq] for seq in sorted(kept)][-LINES_MAX:]


def _only(fact: Fact, paths: set[PathText]) -> Fact:
    """Leave out of a batch of files those that the explanation is not about."""
    match fact.record:
        case FilesSeen() as seen:
            files = tuple(file for file in seen.files if file.path in paths)
            return msgspec.structs.replace(fact, record=msgspec.structs.replace(seen, files=files))
        case FilesRefused() as refused:
            gone = tuple(file for file in refused.files if file.path in paths)
            return msgspec.structs.replace(fact, record=msgspec.structs.replace(refused, files=gone))
        case _:
            return fact


def lines(facts: Iterable[Fact]) -> list[Line]:
    """Return one line a fact, in order."""
    return [line(fact) for fact in facts]


def line(fact: Fact) -> Line:
    """Return the sentence of one fact: who, if a person did it, and what."""
    said = say(fact.record)
    if isinstance(fact.record, LoggedCommand):
        said = f"{fact.actor} {said}"
    facts: dict[str, Any] = {"ts": fact.ts, "actor": fact.actor, "cause": fact.cause}
    return Line(
        seq=fact.seq, type=type(fact.record).__name__, said=said, facts=facts | msgspec.to_builtins(fact.record)
    )


# --- why a file was processed or reused -----------------------------------------------------------------------------


class Component(Struct, frozen=True, kw_only=True):
    """One declared component of a key: its value now, the value it was compared with, and where both stand.

    `before` is None, and `before_seq` 0, where nothing was recorded to compare with.
    """

    name: str
    value: str
    seq: Seq
    before: str | None
    before_seq: Seq

    @property
    def same(self) -> bool:
        return self.value == self.before


class Decision(Struct, frozen=True, kw_only=True):
    """Why one output of one file was made or reused, at one plan.

    `lost_seq` is where what it is compared with was declared lost before the plan, 0 where it was not.
    """

    output: OutputName
    action: str  # "reused" | "run"
    at_seq: Seq
    key: str
    compared_with: MaterializationRecorded | None
    compared_seq: Seq
    lost_seq: Seq
    components: tuple[Component, ...]


class _Key(Struct, frozen=True, kw_only=True):
    """The components of one key, by name, and where each was recorded."""

    values: dict[str, str]
    seqs: dict[str, Seq]


def components_of(target: Target, planned: RunPlanned, source: SourceHash) -> dict[str, str]:
    """Return every declared component of a materialization key, the target's in place of its hash, in order."""
    where = TargetComponents(
        output_name=target.output,
        sink_uri=planned.sink_uri,
        sink_mode=planned.sink_mode,
        table_name=target.table_name,
        schema_hash=target.schema_hash,
    )
    what = MaterializationComponents(
        output_target_key=target_key(where),
        source_hash=source,
        artifact_hash=planned.artifact_hash,
        env_hash=planned.env_hash,
        config_hash=planned.config_hash,
    )
    named = msgspec.structs.asdict(what)
    del named["output_target_key"]  # its own components stand in its place
    return msgspec.structs.asdict(where) | named


def decisions(path: PathText, facts: Sequence[Fact]) -> list[Decision]:
    """Return why each output of a file was made or reused by the newest plan that saw it; empty if none did."""
    plans = {fact.record.run: fact for fact in facts if isinstance(fact.record, RunPlanned)}
    seen = [
        (fact, file)
        for fact in facts
        if isinstance(fact.record, FilesSeen) and fact.record.run in plans
        for file in fact.record.files
        if file.path == path
    ]
    if not seen:
        return []
    fact, file = seen[-1]
    assert isinstance(fact.record, FilesSeen)
    plan = plans[fact.record.run]
    assert isinstance(plan.record, RunPlanned)
    return [_decision(target, plan, fact, file, facts, plans) for target in plan.record.targets]


def _decision(
    target: Target, plan: Fact, seen: Fact, file: SeenFile, facts: Sequence[Fact], plans: dict[RunId, Fact]
) -> Decision:
    planned = plan.record
    assert isinstance(planned, RunPlanned)
    values = components_of(target, planned, file.source_hash)
    key = materialization_key(
        MaterializationComponents(
            output_target_key=target.target_key,
            source_hash=file.source_hash,
            artifact_hash=planned.artifact_hash,
            env_hash=planned.env_hash,
            config_hash=planned.config_hash,
        )
    )
    made = [
        each
        for each in facts
        if isinstance(each.record, MaterializationRecorded)
        and each.record.output == target.output
        and each.seq <= planned.at_seq
    ]
    exact = [each for each in made if getattr(each.record, "materialization_key", "") == key]
    earlier = (exact or made)[-1] if made else None
    lost_seq = _lost_seq(earlier, facts, until=planned.at_seq)
    before = _recorded_components(earlier, target.output, facts, plans) if earlier else None
    components = tuple(
        Component(
            name=name,
            value=value,
            seq=seen.seq if name == "source_hash" else plan.seq,
            before=before.values[name] if before else None,
            before_seq=before.seqs[name] if before else Seq(0),
        )
        for name, value in values.items()
    )
    record = earlier.record if earlier else None
    assert record is None or isinstance(record, MaterializationRecorded)
    return Decision(
        output=target.output,
        action="reused" if exact and not lost_seq else "run",
        at_seq=planned.at_seq,
        key=key,
        compared_with=record,
        compared_seq=earlier.seq if earlier else Seq(0),
        lost_seq=lost_seq,
        components=components,
    )


def _lost_seq(made: Fact | None, facts: Sequence[Fact], *, until: Seq) -> Seq:
    """Return where a recorded output was declared lost, up to a position; 0 if it was not."""
    job = getattr(made.record, "job", None) if made else None
    lost = (each for each in facts if isinstance(each.record, OutputsLost) and job in each.record.jobs)
    return next((each.seq for each in lost if each.seq <= until), Seq(0))


def _recorded_components(
    made: Fact, output: OutputName, facts: Sequence[Fact], plans: dict[RunId, Fact]
) -> _Key | None:
    """Return the components of a recorded output, from the plan and the job that it came from."""
    record = made.record
    assert isinstance(record, MaterializationRecorded)
    queued = next((f for f in facts if isinstance(f.record, JobQueued) and f.record.job == record.job), None)
    plan = plans.get(record.run)
    if queued is None or plan is None:
        return None
    assert isinstance(plan.record, RunPlanned)
    target = next(target for target in plan.record.targets if target.output == output)
    values = components_of(target, plan.record, record.source_hash)
    seqs = {name: queued.seq if name == "source_hash" else plan.seq for name in values}
    return _Key(values=values, seqs=seqs)
