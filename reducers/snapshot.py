"""Owns the state as bytes: what a snapshot holds, from which the fold goes on as if it had begun at record 1.

The order of every table is part of it, because decisions go by it: which job waits longest, which is dispatched next.
The bytes are deterministic: the same history gives the same ones, however often it was frozen and thawed in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eventlog.ids import ArtifactHash, ExecutorId, JobId, MaterializationKey, ParserName, RunId, Seq, TargetKey
from reducers.executor import Executor
from reducers.file import RunFiles
from reducers.fold import State
from reducers.job import Job, JobTable
from reducers.key import Key
from reducers.output import Output, Recorded
from reducers.parser import Parser
from reducers.receipts import Receipt, RequestKey
from reducers.run import Run
from reducers.trust import Trust


class _Jobs(Struct, frozen=True, kw_only=True):
    """The open jobs in the order of their table; `indexed` are their ids in the order of each index, by state."""

    jobs: tuple[msgspec.Raw, ...]  # each a Job, read one by one: what they have in common is kept once
    indexed: tuple[JobId, ...]
    by_key: tuple[tuple[MaterializationKey, JobId], ...]
    next_id: JobId


class _Recorded(Struct, frozen=True, kw_only=True):
    keys: tuple[tuple[Seq, MaterializationKey], ...]
    forgotten: Seq


class _Frozen(Struct, frozen=True, kw_only=True):
    """The fields of State; a table is the pairs of its keys and values, in its order."""

    seq: Seq
    epoch: int
    changed: dict[str, Seq]
    parsers: tuple[tuple[ParserName, Parser], ...]
    trust: tuple[tuple[ArtifactHash, Trust], ...]
    keys: tuple[tuple[str, Key], ...]
    runs: tuple[tuple[RunId, Run], ...]
    next_run: RunId
    files: tuple[tuple[RunId, RunFiles], ...]
    executors: tuple[tuple[ExecutorId, Executor], ...]
    jobs: _Jobs
    outputs: tuple[tuple[TargetKey, Output], ...]
    recorded: _Recorded
    receipts: tuple[tuple[RequestKey, Receipt], ...]


# What the jobs of a run have in common, beside their settings.
SHARED: Final = ("parser", "parser_version", "artifact_hash", "sink_uri", "sink_mode", "quarantine")

_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")
_decoder: Final = msgspec.msgpack.Decoder(_Frozen)
_job_decoder: Final[msgspec.msgpack.Decoder[Job]] = msgspec.msgpack.Decoder(Job)


def freeze(state: State) -> bytes:
    """Return the state as msgpack."""
    return _encoder.encode(
        _Frozen(
            seq=state.seq,
            epoch=state.epoch,
            changed=state.changed,
            parsers=tuple(state.parsers.items()),
            trust=tuple(state.trust.items()),
            keys=tuple(state.keys.items()),
            runs=tuple(state.runs.items()),
            next_run=state.next_run,
            files=tuple(state.files.items()),
            executors=tuple(state.executors.items()),
            jobs=_frozen_jobs(state.jobs),
            outputs=tuple(state.outputs.items()),
            recorded=_Recorded(keys=tuple(state.recorded), forgotten=state.recorded.forgotten),
            receipts=state.receipts.all(),
        )
    )


def thaw(body: bytes) -> State:
    """Return the state that was frozen. Raises msgspec.DecodeError for bytes of another shape."""
    frozen = _decoder.decode(body)
    jobs = frozen.jobs
    state = State()
    state.seq = frozen.seq
    state.epoch = frozen.epoch
    state.changed = frozen.changed
    state.parsers = dict(frozen.parsers)
    state.trust = dict(frozen.trust)
    state.keys = dict(frozen.keys)
    state.runs = dict(frozen.runs)
    state.next_run = frozen.next_run
    state.files = dict(frozen.files)
    state.executors = dict(frozen.executors)
    state.jobs = JobTable.of(_sharing(jobs.jobs), indexed=jobs.indexed, by_key=dict(jobs.by_key), next_id=jobs.next_id)
    state.outputs = dict(frozen.outputs)
    state.recorded = Recorded(frozen.recorded.keys, forgotten=frozen.recorded.forgotten)
    for key, receipt in frozen.receipts:
        state.receipts.put(key, receipt)
    return state


def _sharing(jobs: Iterable[msgspec.Raw]) -> Iterator[Job]:
    """Return the jobs, those of a run having its settings and names in common, as when they were queued.

    Read back, each has copies of its own: a kilobyte and a half of a long queue's every job.
    """
    seen: dict[Any, Any] = {}

    def share(value: Any) -> Any:
        return seen.setdefault(value, value)

    for raw in jobs:
        job = _job_decoder.decode(raw)
        spec = job.spec
        keys = tuple(replace(key, output=share(key.output), target_key=share(key.target_key)) for key in spec.keys)
        shared = {name: share(getattr(spec, name)) for name in SHARED}
        settings = seen.setdefault(tuple(spec.settings.items()), spec.settings)
        yield replace(job, spec=replace(spec, keys=keys, settings=settings, **shared))


def _frozen_jobs(table: JobTable) -> _Jobs:
    return _Jobs(
        jobs=tuple(msgspec.Raw(_encoder.encode(job)) for job in table.open_jobs()),
        indexed=(*table.queued, *table.leased, *table.promoting),
        by_key=tuple(table.by_key.items()),
        next_id=table.next_id,
    )
