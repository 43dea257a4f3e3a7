"""Owns the fold: the state of all hot nouns, and the one way in which an event reaches each of them.

The same fold serves decisions, replay and every explanation. It reads no clock, no environment and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from eventlog import events
from eventlog.events import JobCompleted, JobFailed, OutputsCommitted, Record, WriterOpened
from eventlog.ids import ArtifactHash, ExecutorId, ParserName, RunId, Seq, TargetKey
from eventlog.records import LogRecord
from reducers import executor, file, job, key, output, parser, run, trust
from reducers.receipts import Receipts

NOUNS = {
    "parser": parser,
    "trust": trust,
    "key": key,
    "run": run,
    "file": file,
    "executor": executor,
    "job": job,
    "output": output,
}

# Which nouns fold an event, in the order in which they do: a job ends after those that look at what it was of. There is
# a row for every event, so that who adds one says whom it concerns, also where that is nobody; a test holds the rows
# against what each noun handles.
TABLE: dict[type[Record], tuple[str, ...]] = {
    events.WriterOpened: (),
    events.LogRecovered: (),
    events.LogRepaired: (),
    events.LogForked: (),
    events.ClockStepped: (),
    events.CommandRefused: (),
    events.ParserDeployed: ("parser",),
    events.ParserTrusted: ("trust",),
    events.ParserRevoked: ("trust", "key"),
    events.KeyTrusted: ("key",),
    events.KeyRevoked: ("key",),
    events.ParserPaused: ("parser",),
    events.ParserResumed: ("parser",),
    events.RunStarted: ("run",),
    events.RunPlanned: ("run",),
    events.OutputsReused: (),
    events.OutputsLost: (),
    events.RunFinished: ("run", "file"),
    events.RunInterrupted: ("run", "file"),
    events.FilesSeen: ("file",),
    events.FilesRefused: ("file",),
    events.ExecutorJoined: ("executor",),
    events.ExecutorDraining: ("executor",),
    events.ExecutorLost: ("executor",),
    events.JobQueued: ("run", "job"),
    events.JobDispatched: ("job",),
    events.JobStarted: ("job",),
    events.JobDeclined: ("job",),
    events.JobRequeued: ("job",),
    events.JobPrioritySet: ("job",),
    events.CommitRefused: ("job",),
    events.OutputsCommitted: ("parser", "job"),
    events.MaterializationRecorded: ("job", "output"),
    events.QuarantineRecorded: ("job",),
    events.QuarantineDeleted: (),
    events.SchemaMismatchFound: ("job",),
    events.JobCompleted: ("parser", "run", "job"),
    events.JobFailed: ("parser", "run", "job"),
    events.CancelAccepted: ("job",),
    events.JobAborted: ("run", "job"),
    events.PromotionAbandoned: ("job",),
}


class State:
    """What is known at `seq`: the hot nouns. `changed` says at which seq each noun last changed."""

    def __init__(self) -> None:
        self.seq = Seq(0)
        self.epoch = 0
        self.changed: dict[str, Seq] = {}
        self.parsers: dict[ParserName, parser.Parser] = {}
        self.trust: dict[ArtifactHash, trust.Trust] = {}
        self.keys: dict[str, key.Key] = {}
        self.runs: dict[RunId, run.Run] = {}
        self.next_run = RunId(1)
        self.files: dict[RunId, file.RunFiles] = {}
        self.executors: dict[ExecutorId, executor.Executor] = {}
        self.jobs = job.JobTable()
        self.outputs: dict[TargetKey, output.Output] = {}
        self.recorded = output.Recorded()
        self.receipts = Receipts()  # folded from frames, not from events: the stamp is the frame's


def apply(state: State, seq: Seq, event: Record) -> None:
    """Fold one event into the state, in place, in the order of the log. A command in the log changes no noun."""
    state.seq = seq
    for noun, put in _STEPS.get(type(event), ()):
        put(state, event)
        state.changed[noun] = seq
    if type(event) is WriterOpened:
        state.epoch = event.epoch


def fold(state: State, records: Iterable[LogRecord]) -> State:
    """Fold records of the log, in its order, into the state and return it."""
    steps, changed = _STEPS, state.changed
    for record in records:  # as `apply` does, without a call for each event: this is all of a replay
        seq, event = record.seq, record.data
        state.seq = seq
        for noun, put in steps.get(type(event), ()):
            put(state, event)
            changed[noun] = seq
        if type(event) is WriterOpened:
            state.epoch = event.epoch
    return state


def _put(table: dict[Any, Any], which: object, new: object | None) -> None:
    if new is None:
        table.pop(which, None)
    else:
        table[which] = new


# What a job may come to that says something of its parser.
_ENDS: frozenset[type[Record]] = frozenset({OutputsCommitted, JobCompleted, JobFailed})


# Any below is what TABLE promises: a noun only ever sees the events that it handles.
def _parser(state: State, event: Any) -> None:
    if type(event) in _ENDS:
        _parser_of_job(state, event)
    else:
        _put(state.parsers, event.parser, parser.evolve(state.parsers.get(event.parser), event))


def _parser_of_job(state: State, event: parser.JobEnd) -> None:
    """Let a parser know how a job of its current artifact ended: the job is open until its own noun has folded this."""
    ended = state.jobs.get(event.job)
    known = state.parsers.get(ended.spec.parser) if ended is not None else None
    if ended is not None and known is not None and known.deployed.artifact_hash == ended.spec.artifact_hash:
        state.parsers[ended.spec.parser] = parser.after_job(known, event, ended.spec.source_hash)


def _trust(state: State, event: Any) -> None:
    _put(state.trust, event.artifact_hash, trust.evolve(state.trust.get(event.artifact_hash), event))


def _key(state: State, event: Any) -> None:
    _put(state.keys, event.key, key.evolve(state.keys.get(event.key), event))


def _run(state: State, event: Any) -> None:
    _put(state.runs, event.run, run.evolve(state.runs.get(event.run), event))
    if event.run >= state.next_run:
        state.next_run = RunId(event.run + 1)


def _file(state: State, event: Any) -> None:
    _put(state.files, event.run, file.evolve(state.files.get(event.run), event))


def _executor(state: State, event: Any) -> None:
    _put(state.executors, event.executor, executor.evolve(state.executors.get(event.executor), event))


def _job(state: State, event: Any) -> None:
    before = state.jobs.get(event.job)
    after = job.evolve(before, event)
    if after is not before:
        state.jobs.put(event.job, after)


def _output(state: State, event: Any) -> None:
    state.outputs[event.target_key] = output.evolve(state.outputs.get(event.target_key), event)
    state.recorded.put(state.seq, event.materialization_key)


_APPLY: dict[str, Callable[[State, Any], None]] = {
    "parser": _parser,
    "trust": _trust,
    "key": _key,
    "run": _run,
    "file": _file,
    "executor": _executor,
    "job": _job,
    "output": _output,
}

_STEPS = {shape: tuple((noun, _APPLY[noun]) for noun in nouns) for shape, nouns in TABLE.items()}
