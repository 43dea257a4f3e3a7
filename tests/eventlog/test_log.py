"""Tests of appending and replaying."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import threading
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eventlog.log
from eventlog.errors import (
    ForkedLogError,
    FrameTooLargeError,
    InvalidRecordError,
    LogClosedError,
    LogCorruptError,
    LogStorageError,
    UnknownEventError,
)
from eventlog.events import (
    AbandonJob,
    CancelAccepted,
    CancelJob,
    CommandRefused,
    Event,
    FilesRefused,
    RefusedFile,
    RunInterrupted,
    RunStarted,
    StartRun,
    WriterOpened,
)
from eventlog.frames import FRAME_EVENTS_MAX, Frame, FrameDraft
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Instant, JobId, ParserName, PathText, RunId
from eventlog.reader import read_frames
from eventlog.sealed import Closed
from eventlog.verify import verify
from tests.eventlog.support import (
    LOG_ID,
    NOW,
    SEGMENT,
    StoppedError,
    abandon,
    append,
    draft,
    event,
    flip_bit,
    frame_of_lines,
    frames_of,
    genesis_hash,
    open_log,
    stdlib_frame,
)

HOSTILE = [
    'line\nbreak\r\n"hash":"' + "0" * 64 + '"}\n',
    '{"commit":1,"first":1,"last":1,"bytes":10',
    "\u2028\u2029\u0085\ufeff\x00\x1f\x7f",
    "𝄞 é \\ \" ' `</script>",
    '"}\n{"seq":1,"type":"WriterOpened","data":{}}\n',
]


def cancel_draft() -> FrameDraft:
    return FrameDraft(
        events=(CancelAccepted(job=JobId(7), reason="asked", accepted_at=NOW),),
        actor="cli:root",
        command=CancelJob(job=JobId(7), reason="asked", now=NOW),
        command_id="0b1f1d8e-5f0c-4d2a-9c0a-0123456789ab",
        cause=1,
        corr=1,
    )


def test_frame_bytes_are_those_of_the_description(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    before = log.head
    log.commit([cancel_draft()])
    data = (tmp_path / "log" / SEGMENT).read_bytes()[before.bytes :]
    lines = (
        b'{"seq":2,"type":"CancelJob","id":"0b1f1d8e-5f0c-4d2a-9c0a-0123456789ab",'
        b'"data":{"job":7,"reason":"asked","now":"2026-01-22T10:11:12.123456Z","by":""}}\n'
        b'{"seq":3,"type":"CancelAccepted",'
        b'"data":{"job":7,"reason":"asked","accepted_at":"2026-01-22T10:11:12.123456Z"}}\n'
    )
    start = (
        f'{{"commit":2,"first":2,"last":3,"bytes":{len(lines)},"ts":"{NOW}","actor":"cli:root","cause":1,"corr":1,'
        f'"epoch":1,"durable":1,"prev":"{before.hash}",'
    ).encode()
    digest = hashlib.sha256(b"casparian.log.v1\0" + bytes.fromhex(LOG_ID) + lines + start).hexdigest()
    assert data == lines + start + b'"hash":"' + digest.encode() + b'"}\n'
    assert (log.head.seq, log.head.commit, log.head.hash) == (3, 2, digest)
    log.close()


def test_first_frame_links_to_the_genesis_file(tmp_path: Path) -> None:
    open_log(tmp_path / "log").close()
    genesis = (tmp_path / "log" / "GENESIS.json").read_bytes()
    fields = json.loads(genesis)
    assert list(fields) == ["format", "log_id", "created_at", "alg", "compat", "incompat", "hash"]
    assert (fields["format"], fields["log_id"], fields["alg"]) == ("casparian.log.v1", LOG_ID, "sha256")
    sealed = genesis[: genesis.index(b'"hash"')]
    assert fields["hash"] == hashlib.sha256(b"casparian.genesis.v1\0" + sealed).hexdigest()
    first = (tmp_path / "log" / SEGMENT).read_bytes()
    assert f'"prev":"{hashlib.sha256(genesis).hexdigest()}"'.encode() in first.split(b"\n")[1]


def test_first_frame_opens_the_first_epoch(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    (frame,) = log.replay()
    opened = frame.records[0].data
    assert isinstance(opened, WriterOpened)
    assert (opened.epoch, log.epoch, opened.pid, frame.durable) == (1, 1, os.getpid(), 0)
    log.close()


def test_command_is_the_first_record_and_not_an_event(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    (frame,) = log.commit([cancel_draft()])
    assert [record.type for record in frame.records] == ["CancelJob", "CancelAccepted"]
    assert [record.id for record in frame.records] == [cancel_draft().command_id, ""]
    assert [record.type for record in frame.events] == ["CancelAccepted"]
    log.close()


def test_a_command_may_stand_alone(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    (frame,) = log.commit(
        [FrameDraft(events=(), actor="a", command=CancelJob(job=JobId(1), reason="", now=NOW), command_id="x")]
    )
    assert (frame.first, frame.last, frame.events) == (2, 2, ())
    log.close()


def test_replay_returns_what_commit_returned(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    (opened,) = log.replay()
    frames = log.commit([draft(event(1)), cancel_draft(), draft(event(2), event(3))])
    assert list(log.replay()) == [opened, *frames]
    log.close()
    again = open_log(tmp_path / "log")
    assert [frame for frame in again.replay() if frame.records][:-1] == [opened, *frames]
    again.close()


def test_replay_starts_at_the_frame_that_holds_the_seq(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1), event(2)), draft(event(3), event(4))])
    assert [frame.first for frame in log.replay(from_seq=3)] == [2, 4]
    assert [frame.first for frame in log.replay(from_seq=4)] == [4]
    assert list(log.replay(from_seq=6)) == []
    log.close()


def test_replay_from_a_waypoint_equals_the_end_of_a_whole_replay(quick: Path) -> None:
    log = open_log(quick / "log")
    log.commit([draft(event(number)) for number in range(2500)])
    log.close()
    log = open_log(quick / "log")
    whole = list(log.replay())
    for from_seq in (1, 2, 999, 1000, 1001, 1002, 2000, 2400, 2502):
        assert list(log.replay(from_seq)) == [frame for frame in whole if frame.last >= from_seq]
    log.close()


def test_durable_of_a_frame_is_the_end_of_the_batch_before(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    frames = log.commit([draft(event(1)), draft(event(2))])
    assert [frame.durable for frame in frames] == [1, 1]
    assert [frame.durable for frame in log.commit([draft(event(3))])] == [3]
    log.close()


def test_mark_is_an_empty_frame_and_written_once(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    log.mark()
    marked = log.head
    log.mark()
    assert log.head == marked
    frame = list(log.replay())[-1]
    assert (frame.first, frame.last, frame.durable, frame.records) == (3, 2, 2, ())
    assert log.commit([draft(event(2))])[0].first == 3
    log.close()


def test_close_marks_the_end_and_refuses_more(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    log.close()
    log.close()
    data = (tmp_path / "log" / "CLOSED").read_bytes()
    closed = json.loads(data)
    size = (tmp_path / "log" / SEGMENT).stat().st_size
    assert closed | {"sha256": ""} == {
        "seq": 2, "hash": log.head.hash, "commit": 3, "segment": SEGMENT, "bytes": size, "sha256": "",
    }  # fmt: skip
    sealed = data[: data.index(b'"sha256"')]
    assert closed["sha256"] == hashlib.sha256(b"casparian.closed.v1\0" + sealed).hexdigest()
    with pytest.raises(LogClosedError):
        log.commit([draft(event(2))])
    with pytest.raises(LogClosedError):
        log.mark()


def test_opening_removes_the_clean_close_mark_before_it_appends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_log(tmp_path / "log").close()

    def refuse(fd: int, data: bytes, offset: int, *, fs: FsPort) -> None:
        assert not (tmp_path / "log" / "CLOSED").exists()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(eventlog.log, "write_all_at", refuse)
    with pytest.raises(StoppedError):
        open_log(tmp_path / "log")


def test_each_opening_is_a_new_epoch(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        log = open_log(tmp_path / "log")
        assert log.epoch == epoch
        assert log.recovered is None
        log.close()
    assert verify(tmp_path / "log").epochs == 3


def test_a_new_folder_and_its_files_are_private(tmp_path: Path) -> None:
    open_log(tmp_path / "home" / "log").close()
    assert (tmp_path / "home" / "log").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "home" / "log").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path


# --- refusals before a seq is given ---


@pytest.mark.parametrize(
    "refused",
    [
        draft(),
        FrameDraft(events=(event(1),), actor=""),
        FrameDraft(events=(event(1),), actor="two\nlines"),
        FrameDraft(events=(event(1),), actor="a" * 201),
        FrameDraft(events=(event(1),), actor="a", command_id="id without a command"),
        FrameDraft(events=(), actor="a", command=CancelJob(job=JobId(1), reason="", now=NOW)),
        FrameDraft(events=(event(1),), actor="a", cause=3),
        FrameDraft(events=(event(1),), actor="a", corr=-1),
        draft(event(1, "half a pair: \ud800")),
        draft(cast(Event, CancelJob(job=JobId(1), reason="", now=NOW))),
        draft(RunInterrupted(run=RunId(cast(int, float("nan"))), reason="", interrupted_at=NOW)),
        draft(RunInterrupted(run=RunId(cast(int, float("inf"))), reason="", interrupted_at=NOW)),
        draft(CommandRefused(code="x", why=cast(str, None))),
        draft(FilesRefused(run=RunId(1), files=cast(tuple[RefusedFile, ...], []))),
    ],
    ids=lambda refused: f"{refused.actor[:10]}-{refused.events}"[:50].encode("ascii", "replace").decode(),
)
def test_a_draft_that_would_not_read_back_is_refused_before_anything_is_written(
    tmp_path: Path, refused: FrameDraft
) -> None:
    log = open_log(tmp_path / "log")
    before = log.head
    with pytest.raises(InvalidRecordError) as error:
        log.commit([draft(event(1)), refused] if refused.cause == 0 else [refused])
    assert error.value.next_step
    assert log.head == before
    assert (tmp_path / "log" / SEGMENT).stat().st_size == before.bytes
    assert log.commit([draft(event(1))])[0].first == 2
    log.close()


@pytest.mark.parametrize(
    "refused",
    [
        draft(*[event(1)] * (FRAME_EVENTS_MAX + 1)),
        draft(event(1, "x" * 1024 * 1024)),
        draft(*[event(1, "x" * 1000 * 1000)] * 5),
    ],
    ids=["events", "line", "frame"],
)
def test_a_frame_over_a_bound_is_refused_before_anything_is_written(tmp_path: Path, refused: FrameDraft) -> None:
    log = open_log(tmp_path / "log")
    before = log.head
    with pytest.raises(FrameTooLargeError):
        log.commit([draft(event(1)), refused])
    assert log.head == before
    assert (tmp_path / "log" / SEGMENT).stat().st_size == before.bytes
    log.close()


def test_frames_at_the_bounds_are_taken(quick: Path) -> None:
    log = open_log(quick / "log")
    overhead = len(b'{"seq":4098,"type":"RunInterrupted","data":{"run":1,"reason":"","interrupted_at":""}}\n') + len(
        NOW
    )
    full_line = event(1, "x" * (1024 * 1024 - overhead))
    frames = log.commit([draft(*[event(1)] * FRAME_EVENTS_MAX), draft(*[full_line] * 4)])
    assert list(log.replay(from_seq=2)) == frames
    log.close()
    assert verify(quick / "log").verdict == "OK"


@pytest.mark.parametrize(
    ("drafts", "syncs"),
    [([draft(event(1))] * 512, 1), ([draft(event(1))] * 513, 2), ([draft(*[event(1, "x" * 900_000)] * 3)] * 4, 2)],
    ids=["a full batch", "one frame more", "more bytes"],
)
def test_a_commit_is_one_sync_for_each_batch(
    quick: Path, monkeypatch: pytest.MonkeyPatch, drafts: list[FrameDraft], syncs: int
) -> None:
    log = open_log(quick / "log")
    calls: list[int] = []

    monkeypatch.setattr(OS_FS, "sync_data", calls.append)
    frames = log.commit(drafts)
    assert len(calls) == syncs
    assert len({frame.durable for frame in frames}) == syncs
    assert list(log.replay(2)) == frames
    log.close()


def test_an_empty_commit_writes_nothing(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    before = log.head
    assert log.commit([]) == []
    assert log.head == before
    log.close()


# --- payloads ---


@pytest.mark.parametrize("text", HOSTILE)
def test_27_hostile_text_round_trips(tmp_path: Path, text: str) -> None:
    log = open_log(tmp_path / "log")
    started = RunStarted(
        run=RunId(2**53 + 1),
        parser=ParserName(text),
        inputs=(PathText(text), PathText(text * 2)),
        inputs_total=1,
        inputs_digest="",
        sink_uri=text,
        sink_mode="append",
        settings={"commit": "1", text: text, "__proto__": text},
        workers=-(2**63),
        started_at=NOW,
    )
    log.commit([draft(started, event(1, text)), draft(event(2, text))])
    log.close()
    assert verify(tmp_path / "log").verdict == "OK"
    log = open_log(tmp_path / "log")
    events = [record.data for frame in log.replay(2) for record in frame.events]
    assert events[:3] == [started, event(1, text), event(2, text)]
    assert (tmp_path / "log" / SEGMENT).read_bytes().count(b"\n") == 4 + 1 + 5  # records, then commit lines
    log.close()


def _interrupted(run: str = "1", reason: bytes = b'"x"', rest: str = "") -> bytes:
    """Return the line of record 3 with these JSON texts in it, whatever they are."""
    head, tail = (
        f'{{"seq":3,"type":"RunInterrupted","data":{{"run":{run},"reason":',
        f',"interrupted_at":"{NOW}"{rest}}}}}',
    )
    return head.encode() + reason + tail.encode()


READABLE = {
    "a line separator": _interrupted(reason='"\u2028\u0085"'.encode()),
    "an escaped line break": _interrupted(reason=b'"\\n{\\"commit\\":1"'),
    "an escaped NUL": _interrupted(reason=b'"\\u0000"'),
    "an integer past 2^53": _interrupted(run=str(2**53 + 1)),
}
UNREADABLE = {
    "invalid UTF-8": _interrupted(reason=b'"\xff"'),
    "half an UTF-8 character": _interrupted(reason=b'"\xf0\x9d"'),
    "half a surrogate pair": _interrupted(reason=b'"\\ud800"'),
    "not a number": _interrupted(run="NaN"),
    "1e400": _interrupted(run="1e400"),
    "a number of 300,000 digits": _interrupted(run="9" * 300_000),
    "nesting 200,000 deep": _interrupted(reason=b"[" * 200_000),
    "another field": _interrupted(rest=',"__proto__":1').replace(b'"data"', b'"x":1,"data"'),
    "a raw NUL": _interrupted(reason=b'"\x00"'),
    "a carriage return as the line's end": _interrupted()[:-1] + b"\r",
}


@pytest.mark.parametrize(
    ("line", "readable"),
    [*((line, True) for line in READABLE.values()), *((line, False) for line in UNREADABLE.values())],
    ids=[*READABLE, *UNREADABLE],
)
def test_27_a_hostile_line_in_a_frame_that_fits_is_read_or_stops_at_its_seq(
    tmp_path: Path, line: bytes, readable: bool
) -> None:
    folder = tmp_path / "log"
    log = open_log(folder)
    log.commit([draft(event(1))])
    frame, _ = frame_of_lines([line], prev=log.head.hash, commit=3, first=3, durable=2)
    abandon(log)
    append(folder / SEGMENT, frame)
    assert verify(folder).verdict == ("OK" if readable else "UNKNOWN-TYPE")
    if readable:
        again = open_log(folder)
        assert [record.seq for frame in again.replay(3) for record in frame.records] == [3, 4]
        again.close()
    else:
        with pytest.raises(UnknownEventError) as error:
            list(open_log(folder).replay())
        assert error.value.next_step


ACTORS = {
    'a"b\\c': True, "../../etc/passwd": True, '","hash":"' + "0" * 64 + '"}': True, '{"commit":1,"first":1': True,
    "a\nb": False, "a\rb": False, "a\0b": False, "a\x1b[2Jb": False, "a\u2028b": False, "\ud800": False, "": False,
    "x" * 10_000_000: False,
}  # fmt: skip


@pytest.mark.parametrize(("actor", "taken"), ACTORS.items(), ids=[repr(actor)[:20] for actor in ACTORS])
def test_28_a_hostile_name_is_refused_before_it_gets_a_seq_or_comes_back_as_it_was(
    tmp_path: Path, actor: str, taken: bool
) -> None:
    log = open_log(tmp_path / "log")
    before = log.head
    hostile = FrameDraft(events=(event(1),), actor=actor)
    if taken:
        frames = log.commit([hostile])
        assert [frame.actor for frame in log.replay(2)] == [actor]
        assert list(log.replay(2)) == frames
    else:
        with pytest.raises(InvalidRecordError) as error:
            log.commit([hostile])
        assert len(str(error.value)) < 1000, "ten megabytes are not repeated"
        assert log.head == before
    log.close()
    assert verify(tmp_path / "log").verdict == "OK"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log"], "no name led anywhere"


# --- time ---


CLOCKS = {
    "an hour back": ["2026-01-22T10:11:12.000000Z", "2026-01-22T09:11:12.000000Z"],
    "ten years on and back": [NOW, "2036-01-22T10:11:12.000000Z", "2026-01-22T10:11:13.000000Z"],
    "frozen": ["2026-01-22T10:11:12.000000Z"],
    "a leap second": ["2016-12-31T23:59:60.500000Z", "2017-01-01T00:00:00.000000Z"],
}  # fmt: skip


@pytest.mark.parametrize("times", CLOCKS.values(), ids=CLOCKS.keys())
def test_34_whatever_the_clock_does_order_is_that_of_the_seqs_and_times_are_kept_as_they_were(
    tmp_path: Path, times: list[str]
) -> None:
    clock = itertools.cycle([Instant(time) for time in times])
    committed: list[Frame] = []
    for _ in range(2):  # lives
        log = open_log(tmp_path / "log", clock=lambda: next(clock), segment_bytes=900)
        for number in range(4):
            committed += log.commit([draft(event(number)), draft(event(number + 100))])
        log.close()
    shown = list(read_frames(tmp_path / "log"))
    assert [frame for frame in shown if frame.actor != "log"] == committed
    seqs = [record.seq for frame in shown for record in frame.records]
    assert seqs == list(range(1, len(seqs) + 1))
    assert {frame.ts for frame in committed} <= set(times)
    assert len(times) == 1 or len({frame.ts for frame in committed}) > 1
    assert verify(tmp_path / "log").verdict == "OK"


def test_settings_are_written_in_one_order(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    for settings_ in ({"b": "1", "a": "2"}, {"a": "2", "b": "1"}):
        command = StartRun(
            parser=ParserName("evtx"),
            inputs=(),
            inputs_total=1,
            inputs_digest="",
            sink_uri="",
            sink_mode="",
            settings=settings_,
            workers=1,
            now=NOW,
        )
        log.commit([FrameDraft(events=(), actor="a", command=command, command_id="x")])
    lines = [line for line in (tmp_path / "log" / SEGMENT).read_bytes().split(b"\n") if b"StartRun" in line]
    assert lines[0].split(b"data")[1] == lines[1].split(b"data")[1]
    log.close()


def test_a_callers_dictionary_is_not_shared_with_the_frame(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    settings_ = {"a": "1"}
    command = StartRun(
        parser=ParserName("evtx"),
        inputs=(),
        inputs_total=1,
        inputs_digest="",
        sink_uri="",
        sink_mode="",
        settings=settings_,
        workers=1,
        now=NOW,
    )
    (frame,) = log.commit([FrameDraft(events=(), actor="a", command=command, command_id="x")])
    settings_["a"] = "changed later"
    assert list(log.replay(2)) == [frame]
    log.close()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
instants = st.just(NOW)
events = st.one_of(
    st.builds(RunInterrupted, run=st.integers(0, 2**63), reason=texts, interrupted_at=instants),
    st.builds(CommandRefused, code=texts, why=texts),
    st.builds(CancelAccepted, job=st.integers(-(2**60), 2**60), reason=texts, accepted_at=instants),
    st.builds(
        RunStarted,
        run=st.integers(0, 9),
        parser=texts,
        inputs=st.lists(texts, max_size=3).map(tuple),
        inputs_total=st.integers(0, 9),
        inputs_digest=texts,
        sink_uri=texts,
        sink_mode=texts,
        settings=st.dictionaries(texts, texts, max_size=3),
        workers=st.integers(0, 9),
        started_at=instants,
    ),
)
drafts_with_command = st.builds(
    FrameDraft,
    events=st.lists(events, max_size=3).map(tuple),
    actor=st.just("cli:a \"b\\c' é"),
    command=st.one_of(
        st.builds(CancelJob, job=st.integers(0, 9), reason=texts, now=instants, by=texts),
        st.builds(
            AbandonJob,
            job=st.integers(0, 9),
            commit_key=texts,
            sink_answer=st.sampled_from(["withdrawn", "unreachable", "not_asked"]),
            sink_said=texts,
            reason=texts,
            by=texts,
            now=instants,
        ),
    ),
    command_id=st.uuids().map(str),
    cause=st.integers(0, 1),
)
drafts_of_events = st.builds(
    FrameDraft, events=st.lists(events, min_size=1, max_size=4).map(tuple), actor=st.just("sentinel")
)


@given(batches=st.lists(st.lists(st.one_of(drafts_of_events, drafts_with_command), max_size=4), max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_committed_in_whatever_batches_is_replayed(quick: Path, batches: list[list[FrameDraft]]) -> None:
    folder = quick / f"log-{len(list(quick.iterdir()))}"
    log = open_log(folder)
    frames = [frame for batch in batches for frame in log.commit(batch)]
    assert list(log.replay(2)) == frames
    log.close()
    wanted = [drafted for batch in batches for drafted in batch]
    assert [tuple(record.data for record in frame.events) for frame in frames] == [d.events for d in wanted]
    assert [frame.actor for frame in frames] == [d.actor for d in wanted]
    assert [record.seq for frame in frames for record in frame.records] == list(range(2, log.head.seq + 1))
    result = verify(folder)
    assert (result.verdict, result.head_seq, result.commits) == ("OK", log.head.seq, len(frames) + 2)


# --- the world ---


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(tmp_path / "log")
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: write(fd, bytes(data[:7]), offset))
    frames = log.commit([draft(event(1), event(2))])
    monkeypatch.undo()
    assert list(log.replay(2)) == frames
    log.close()


def test_a_failed_sync_is_never_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(tmp_path / "log")
    before = log.head
    calls: list[int] = []

    def fail_once(fd: int) -> None:
        calls.append(fd)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(OS_FS, "sync_data", fail_once)
    with pytest.raises(StoppedError, match="Input/output error"):
        log.commit([draft(event(1))])
    with pytest.raises(LogClosedError):
        log.commit([draft(event(2))])
    log.close()
    assert (len(calls), log.head) == (1, before)
    assert "Input/output error" in (tmp_path / "log" / "POISON").read_text()
    assert not (tmp_path / "log" / "CLOSED").exists()


def test_20_a_foreign_append_is_noticed_before_the_next_write(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    append(tmp_path / "log" / SEGMENT, b"x")
    size = (tmp_path / "log" / SEGMENT).stat().st_size
    with pytest.raises(StoppedError, match="somebody else wrote"):
        log.commit([draft(event(1))])
    assert (tmp_path / "log" / SEGMENT).stat().st_size == size
    log.close()


@pytest.mark.parametrize("name", [SEGMENT, "LOCK"])
def test_20_a_replaced_file_is_noticed_before_the_next_write(tmp_path: Path, name: str) -> None:
    log = open_log(tmp_path / "log")
    path = tmp_path / "log" / name
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(StoppedError):
        log.commit([draft(event(1))])
    assert path.read_bytes() == data
    log.close()


def test_a_removed_segment_is_noticed_before_the_next_write(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    (tmp_path / "log" / SEGMENT).unlink()
    with pytest.raises(StoppedError):
        log.commit([draft(event(1))])
    log.close()


def test_20_a_forked_child_is_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (lambda: log.commit([draft(event(1))]), log.mark, log.close):
            try:
                use()
            except ForkedLogError:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert log.commit([draft(event(1))])[0].first == 2
    log.close()
    assert verify(tmp_path / "log").verdict == "OK"


def test_threads_get_one_gapless_order(quick: Path) -> None:
    log = open_log(quick / "log")
    seqs: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            (frame,) = log.commit([draft(event(number), event(number))])
            seqs.extend(record.seq for record in frame.records)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(seqs) == list(range(2, 2 + 8 * 20 * 2))
    log.close()
    assert verify(quick / "log").verdict == "OK"


def test_replay_reports_bytes_that_changed_since_the_opening(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log")
    log.commit([draft(event(1))])
    log.commit([draft(event(2))])
    flip_bit(tmp_path / "log" / SEGMENT, byte=log.head.bytes - 300, bit=0)
    with pytest.raises(LogCorruptError, match="no longer"):
        list(log.replay())
    log.close()


def test_a_clock_that_gives_no_instant_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    times = iter([NOW, NOW, NOW, Instant("yesterday")])
    log = open_log(tmp_path / "log", clock=lambda: next(times))
    before = log.head
    with pytest.raises(InvalidRecordError, match="yesterday"):
        log.commit([draft(event(1))])
    assert (tmp_path / "log" / SEGMENT).stat().st_size == before.bytes


@pytest.mark.parametrize(
    ("record", "tag"),
    [
        (("JobTeleported", {"job": 1}), "JobTeleported"),
        (("RunInterrupted", {"run": "one", "reason": "", "interrupted_at": NOW}), "RunInterrupted"),
    ],
)
def test_a_record_of_another_version_stops_at_its_seq(
    tmp_path: Path, record: tuple[str, dict[str, object]], tag: str
) -> None:
    folder = tmp_path / "log"
    log = open_log(folder)
    log.commit([draft(event(1))])
    good = ("RunInterrupted", {"run": 1, "reason": "", "interrupted_at": NOW})
    frame, _ = stdlib_frame(prev=log.head.hash, commit=3, first=3, records=[good, record], durable=2)
    abandon(log)
    append(folder / SEGMENT, frame)
    size = (folder / SEGMENT).stat().st_size
    with pytest.raises(UnknownEventError) as error:
        list(open_log(folder).replay())
    assert (error.value.seq, error.value.tag) == (4, tag)
    result = verify(folder)
    assert result.verdict == "UNKNOWN-TYPE"
    assert [(finding.seq, tag in finding.actual) for finding in result.findings] == [(4, True)]
    assert "Casparian 0.0.test, which wrote it, or newer" in error.value.next_step
    assert result.findings[0].what_to_do == error.value.next_step
    if tag == "JobTeleported":
        assert (folder / SEGMENT).stat().st_size == size, "a log that is not understood is not written to"


def test_lines_that_are_not_where_their_commit_says_stop_the_replay(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder)
    log.commit([draft(event(1))])
    abandon(log)
    good = ("RunInterrupted", {"run": 1, "reason": "", "interrupted_at": NOW})
    frame, _ = stdlib_frame(
        prev=log.head.hash, commit=3, first=3, first_line_seq=7, records=[good, good], durable=log.head.seq
    )
    append(folder / SEGMENT, frame)
    again = open_log(folder)
    with pytest.raises(LogCorruptError, match="commit 3 of the log: its lines are not the records 3 to 4"):
        list(again.replay())
    abandon(again)


def test_stdlib_frames_are_frames(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log(folder)
    log.close()
    frames = list(frames_of((folder / SEGMENT).read_bytes()))
    opened = json.loads(frames[0].split(b"\n")[0])["data"]
    rebuilt, digest = stdlib_frame(
        prev=genesis_hash(folder), commit=1, first=1, records=[("WriterOpened", opened)], actor="log"
    )
    mark, _ = stdlib_frame(prev=digest, commit=2, first=2, records=[], durable=1, actor="log")
    assert [rebuilt, mark] == frames


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(LogStorageError, match="log") as error:
        open_log(tmp_path / "log")
    assert error.value.next_step


def test_a_clean_close_that_cannot_be_written_still_gives_the_log_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path / "log")

    def refuse(folder: Path, closed: Closed, *, fs: FsPort) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(eventlog.log, "write_closed", refuse)
    with pytest.raises(LogStorageError, match="No space left"):
        log.close()
    monkeypatch.undo()
    again = open_log(tmp_path / "log")
    assert again.epoch == 2
    again.close()


def test_a_copy_by_hard_links_is_not_written_to_and_neither_is_what_it_is_of(tmp_path: Path) -> None:
    """Both names lead to one file: a frame that is written to one log would be damage in the other."""
    log, copy = tmp_path / "log", tmp_path / "copy"
    open_log(log).close()
    shutil.copytree(log, copy, copy_function=os.link)
    before = (log / SEGMENT).read_bytes()
    for folder in (copy, log):
        with pytest.raises(LogStorageError, match="second name"):
            open_log(folder)
    assert (log / SEGMENT).read_bytes() == before
    shutil.rmtree(copy)
    open_log(log).close()


def test_a_name_that_a_recovery_has_kept_here_is_no_copy(tmp_path: Path) -> None:
    log = tmp_path / "log"
    open_log(log).close()
    kept = log / "quarantine" / "fork-1"
    kept.mkdir(parents=True)
    (kept / SEGMENT).hardlink_to(log / SEGMENT)
    open_log(log).close()
    (tmp_path / "elsewhere").hardlink_to(log / SEGMENT)
    with pytest.raises(LogStorageError, match="second name"):
        open_log(log)
