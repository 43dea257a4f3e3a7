from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from eventlog.events import BrokenRule
from eventlog.ids import JobId
from eventlog.schema import LINEAGE_COLUMNS, QUARANTINE_COLUMNS, quarantine_schema, schema_hash
from executors.attempt import Attempt
from executors.errors import ExecutorRefusedError, ServerGoneError
from executors.executor_loop import Worker
from executors.guest.code import ParserCode
from executors.guest.parents import GuestParent, GuestParents
from executors.heard import Heard
from executors.protocol import (
    Aborted,
    Carry,
    Declined,
    Dispatch,
    Failed,
    Fault,
    Identify,
    LogHead,
    OpCode,
    Prepare,
    Receipt,
    Stop,
    Succeeded,
    encode,
    payload,
)
from executors.waits import WorkerTimes
from sinks.memory import MemorySink, Step
from sinks.uri import open_sink
from tests.executors.jobs import (
    IDENTITY,
    LINES,
    LOG_ID,
    TIMES,
    FakeSentinel,
    is_alive,
    make_dispatch,
    make_source,
    with_changes,
)


def make_worker(sentinel: FakeSentinel, sink: MemorySink, times: WorkerTimes = TIMES) -> Worker:
    return Worker(identity=IDENTITY, client_factory=lambda: sentinel, sink_factory=lambda _uri: sink, times=times)


@pytest.fixture
def parents() -> Iterator[GuestParents]:
    warm = GuestParents()
    yield warm
    warm.close()


def run(sentinel: FakeSentinel, sink: MemorySink | None = None) -> str:
    return make_worker(sentinel, sink if sink is not None else MemorySink()).run()


def receipt_of(dispatch: Dispatch, sink: MemorySink | None = None) -> Receipt:
    """Run one job; whatever did not succeed has left nothing in the sink."""
    sentinel = FakeSentinel(dispatch)
    used = sink if sink is not None else MemorySink()
    run(sentinel, used)
    receipt = sentinel.receipts[1]
    if not isinstance(receipt, Succeeded):
        assert used.staged == {}
    return receipt


def failed(receipt: Receipt) -> Failed:
    assert isinstance(receipt, Failed), receipt
    return receipt


def succeeded(receipt: Receipt) -> Succeeded:
    assert isinstance(receipt, Succeeded), receipt
    return receipt


def staged_table(sink: MemorySink, receipt: Succeeded, index: int = 0) -> pa.Table:
    return pa.ipc.open_stream(sink.staged[receipt.outputs[index].staged]).read_all()


# --- what a job becomes ---------------------------------------------------------------------------------------------


def test_a_job_stages_its_rows_with_lineage_and_states_its_balance(tmp_path: Path) -> None:
    sink = MemorySink()
    dispatch = make_dispatch(make_source(tmp_path), "normal")
    receipt = succeeded(receipt_of(dispatch, sink))
    table = staged_table(sink, receipt)
    assert table.column_names == ["n", "text", *(column.name for column in LINEAGE_COLUMNS)]
    assert table["text"].to_pylist() == ["one", "two", "three"]
    assert table["_cf_row_seq"].to_pylist() == [0, 1, 2]
    assert set(table["_cf_source_hash"].to_pylist()) == {dispatch.source_hash}
    assert set(table["_cf_job_id"].to_pylist()) == {"1"}
    assert set(table["_cf_parser_version"].to_pylist()) == {"1.2.3"}
    assert [str(moment) for moment in table["_cf_processed_at"].to_pylist()] == ["2026-01-22 10:11:12.123456+00:00"] * 3
    assert [(artifact.output, artifact.rows) for artifact in receipt.outputs] == [("lines", 3)]
    assert receipt.outputs[0].schema_hash == schema_hash(LINES)
    assert receipt.empty == ("notes",)
    sheet = receipt.sheet
    assert (sheet.unit, sheet.output, sheet.found, sheet.written, sheet.skipped) == ("lines", "lines", 3, 3, 0)


def test_a_parser_that_is_not_what_was_trusted_ends_its_job_for_good(tmp_path: Path) -> None:
    sink = MemorySink()
    dispatch = make_dispatch(make_source(tmp_path), "normal")
    digests = {**dispatch.parser_digests, "fixture_parser.py": "0" * 64}
    receipt = receipt_of(msgspec.structs.replace(dispatch, parser_digests=digests), sink)
    assert isinstance(receipt, Failed)
    assert (receipt.failure, receipt.kind) == ("permanent", "parser_changed")
    assert "fixture_parser.py has other bytes than what was trusted" in receipt.reason
    assert "the same command again" in receipt.hint
    assert sink.staged_names(dispatch.log_id) == []


def test_rows_that_break_a_rule_are_staged_beside_those_that_do_not(tmp_path: Path) -> None:
    sink = MemorySink()
    dispatch = make_dispatch(make_source(tmp_path), "null")
    receipt = succeeded(receipt_of(dispatch, sink))
    assert [(artifact.output, artifact.rows) for artifact in receipt.outputs] == [("lines", 11)]
    assert staged_table(sink, receipt)["_cf_row_seq"].to_pylist() == list(range(11))
    (kept,) = receipt.evidence
    assert (kept.output, kept.rows, kept.accepted) == ("lines", 2, 11)
    assert kept.rules == (BrokenRule(column="n", code="null_not_allowed", rows=2),)
    assert kept.schema_hash == schema_hash(quarantine_schema(LINES))
    assert kept.final.startswith("lines_quarantine_")
    table = pa.ipc.open_stream(sink.staged[kept.staged]).read_all()
    assert table.column_names == ["n", "text", *(column.name for column in QUARANTINE_COLUMNS)]
    assert table["text"].to_pylist() == ["b", "c"]
    assert table["_output_row_index"].to_pylist() == [11, 12]
    assert table["_source_row"].null_count == 2
    assert (receipt.sheet.written, receipt.sheet.quarantined, receipt.sheet.found) == (11, 2, 13)


def test_the_artifact_says_where_it_comes_from(tmp_path: Path) -> None:
    sink = MemorySink()
    dispatch = make_dispatch(make_source(tmp_path), "normal")
    metadata = staged_table(sink, succeeded(receipt_of(dispatch, sink))).schema.metadata
    facts = {name.decode(): value.decode() for name, value in (metadata or {}).items()}
    expected = {
        "source_hash": dispatch.source_hash,
        "path": dispatch.path,
        "parser": "fixture",
        "parser_version": "1.2.3",
        "dispatched_at": dispatch.dispatched_at,
    }
    assert {f"casparian.{name}": value for name, value in expected.items()}.items() <= facts.items()


def test_interleaved_outputs_are_staged_apart_and_numbered_apart(tmp_path: Path) -> None:
    sink = MemorySink()
    receipt = succeeded(receipt_of(make_dispatch(make_source(tmp_path), "two_outputs_interleaved"), sink))
    assert [(artifact.output, artifact.rows) for artifact in receipt.outputs] == [("lines", 10), ("notes", 5)]
    assert staged_table(sink, receipt, 0)["_cf_row_seq"].to_pylist() == list(range(10))
    assert staged_table(sink, receipt, 1)["_cf_row_seq"].to_pylist() == list(range(5))
    assert receipt.empty == ()


def test_an_output_without_rows_is_empty_and_has_no_artifact(tmp_path: Path) -> None:
    sink = MemorySink()
    receipt = succeeded(receipt_of(make_dispatch(make_source(tmp_path), "empty"), sink))
    assert (receipt.outputs, receipt.empty) == ((), ("lines", "notes"))
    assert sink.staged == {}


def test_without_a_statement_the_sheet_is_unaccounted(tmp_path: Path) -> None:
    sheet = succeeded(receipt_of(make_dispatch(make_source(tmp_path), "no_statement"))).sheet
    assert (sheet.unit, sheet.output, sheet.found, sheet.written) == ("", "", 0, 0)


def test_a_wrong_statement_is_reported_beside_what_was_written(tmp_path: Path) -> None:
    sheet = succeeded(receipt_of(make_dispatch(make_source(tmp_path), "wrong_statement"))).sheet
    assert (sheet.found, sheet.written) == (7, 1)


def test_unreadable_ranges_are_kept_up_to_their_bound(tmp_path: Path) -> None:
    sheet = succeeded(receipt_of(make_dispatch(make_source(tmp_path), "damaged"))).sheet
    assert (sheet.unreadable, len(sheet.ranges), sheet.ranges_total) == (1500, 1000, 1500)
    assert len(msgspec.json.encode(sheet)) < 1024 * 1024


@pytest.mark.parametrize(
    ("mode", "failure", "kind", "words"),
    [
        ("error", "unknown", "parser_error", "KeyError"),
        ("permanent", "permanent", "not_lines", "holds no lines"),
        ("transient", "transient", "parser_error", "busy"),
        ("oom", "transient", "out_of_memory", "MemoryError"),
        ("crash", "transient", "guest_killed", "SIGKILL"),
        ("bad_shape", "permanent", "schema_mismatch", "not declared: more"),
        ("reserved", "permanent", "reserved_column", "_cf_source_hash"),
        ("corrupt_arrow", "permanent", "bad_frame", "corrupt"),
        ("foreign_statement", "permanent", "bad_statement", "'elsewhere'"),
        ("unplaced_statement", "permanent", "bad_statement", "neither whose rows they are nor how many it accepted"),
        ("double_statement", "permanent", "bad_statement", "the host counts lines"),
    ],
)
def test_every_failure_is_told_and_leaves_nothing(
    tmp_path: Path, mode: str, failure: str, kind: str, words: str
) -> None:
    receipt = failed(receipt_of(make_dispatch(make_source(tmp_path), mode)))
    assert (receipt.failure, receipt.kind) == (failure, kind)
    assert words in receipt.reason
    assert receipt.hint


def test_what_a_parser_writes_elsewhere_is_no_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    dispatch = make_dispatch(make_source(tmp_path), "writes_elsewhere", sink_uri=f"parquet://{out}", sink=str(out))
    sentinel = FakeSentinel(dispatch)
    Worker(identity=IDENTITY, client_factory=lambda: sentinel, sink_factory=open_sink, times=TIMES).run()
    receipt = succeeded(sentinel.receipts[1])
    assert [(artifact.output, artifact.rows) for artifact in receipt.outputs] == [("lines", 1)]
    assert (out / "lines_forged.parquet").exists()
    assert "lines_forged.parquet" not in (receipt.outputs[0].staged, receipt.outputs[0].final)
    assert list(open_sink(f"parquet://{out}").staged_names(dispatch.log_id)) == [receipt.outputs[0].staged]


def test_the_limits_of_the_dispatch_are_those_of_the_guest(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    receipt = failed(receipt_of(with_changes(make_dispatch(source, "slow"), seconds_max=0.5)))
    assert (receipt.failure, receipt.kind) == ("permanent", "time_limit")
    assert "after 0.5 s" in receipt.reason
    short = with_changes(make_dispatch(source, "oom", mebibytes="2048"), memory_bytes_max=300 * 1024**2)
    receipt = failed(receipt_of(short))
    assert (receipt.failure, receipt.kind) == ("transient", "out_of_memory")
    assert "314,572,800 bytes" in receipt.reason


def test_a_dead_guest_parent_fails_its_job_and_the_next_has_another(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    kill = make_dispatch(source, "escapes", then="kill the parent")
    sentinel = FakeSentinel(kill, make_dispatch(source, "normal"))
    run(sentinel)
    receipt = failed(sentinel.receipts[1])
    assert (receipt.failure, receipt.kind) == ("transient", "guest_parent_died")
    assert "has died" in receipt.reason
    assert isinstance(sentinel.receipts[2], Succeeded)


def test_the_last_words_of_a_guest_are_in_the_receipt(tmp_path: Path) -> None:
    dispatch = make_dispatch(make_source(tmp_path), "crash", signal=str(int(signal.SIGABRT)))
    assert failed(receipt_of(dispatch)).log_tail == "last words"


def test_several_jobs_are_run_one_after_the_other(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    sentinel = FakeSentinel(*(make_dispatch(source, mode) for mode in ("normal", "error", "normal")))
    assert run(sentinel) == "no more work"
    assert [type(sentinel.receipts[job]) for job in (1, 2, 3)] == [Succeeded, Failed, Succeeded]


def test_a_parser_that_is_expected_is_loaded_when_the_executor_is_welcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = GuestParent.start

    def counted(code: ParserCode, *, preload: bool, memory_bytes_max: int) -> GuestParent:
        started.append(code.file)
        return start(code, preload=preload, memory_bytes_max=memory_bytes_max)

    monkeypatch.setattr(GuestParent, "start", counted)
    dispatch = make_dispatch(make_source(tmp_path), "normal")
    sentinel = FakeSentinel(dispatch)
    sentinel.prepare = Prepare(parser_file=dispatch.parser_file, parser_digests=dispatch.parser_digests)
    run(sentinel)
    assert isinstance(sentinel.receipts[1], Succeeded)
    assert started == [dispatch.parser_file]
    idle = FakeSentinel()  # no job comes: what was prepared is ended all the same
    idle.prepare = sentinel.prepare
    assert run(idle) == "no more work"
    assert len(started) == 2


# --- the source -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"), [({"size": 1}, "size"), ({"mtime_ns": 1}, "modification time"), ({"file_uid": "x"}, "identity")]
)
def test_a_source_that_is_not_the_dispatched_one_is_not_parsed(
    tmp_path: Path, change: dict[str, object], word: str
) -> None:
    sentinel = FakeSentinel(with_changes(make_dispatch(make_source(tmp_path), "normal"), **change))
    run(sentinel)
    receipt = failed(sentinel.receipts[1])
    assert (receipt.failure, receipt.kind) == ("permanent", "source_changed")
    assert f"another {word} than" in receipt.reason
    assert "run again" in receipt.hint
    assert sentinel.acks == []


def test_a_source_that_is_gone_is_told(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    dispatch = make_dispatch(source, "normal")
    source.unlink()
    receipt = failed(receipt_of(dispatch))
    assert (receipt.failure, receipt.kind) == ("permanent", "source_changed")
    assert "no longer there" in receipt.reason


@pytest.mark.parametrize("then", ["", "error"])
def test_a_source_that_changes_while_it_is_parsed_has_no_outputs(tmp_path: Path, then: str) -> None:
    receipt = failed(receipt_of(make_dispatch(make_source(tmp_path), "gone_source", then=then)))
    assert (receipt.failure, receipt.kind) == ("permanent", "source_changed")


def test_a_source_that_cannot_be_looked_at_is_permanent(tmp_path: Path) -> None:
    dispatch = make_dispatch(make_source(tmp_path), "normal")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    receipt = failed(receipt_of(with_changes(dispatch, path=str(loop))))
    assert (receipt.failure, receipt.kind) == ("permanent", "source_unreadable")


# --- the sink -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["open_stage", "write", "finish"])
def test_a_sink_that_gives_out_is_transient_and_named(tmp_path: Path, step: Step) -> None:
    sink = MemorySink()
    sink.raise_next(step, OSError(errno.ENOSPC, "No space left on device"))
    receipt = failed(receipt_of(make_dispatch(make_source(tmp_path), "two_outputs_interleaved"), sink))
    assert (receipt.failure, receipt.kind) == ("transient", "sink_unavailable")
    assert "No space left on device" in receipt.reason


class SecondFinishFails(MemorySink):
    """The disk gives out between two outputs of one job."""

    finishes = 0

    def raise_if_told(self, step: Step) -> None:
        self.finishes += step == "finish"
        if step == "finish" and self.finishes == 2:
            raise OSError(errno.EIO, "Input/output error")


def test_a_sink_that_fails_at_the_second_output_leaves_no_first(tmp_path: Path) -> None:
    sink = SecondFinishFails()
    receipt = failed(receipt_of(make_dispatch(make_source(tmp_path), "two_outputs_interleaved"), sink))
    assert (receipt.kind, sink.finishes) == ("sink_unavailable", 2)


def test_discarding_is_idempotent_and_outlives_a_disk_that_refuses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, parents: GuestParents
) -> None:
    sink = MemorySink()
    dispatch = make_dispatch(make_source(tmp_path), "two_outputs_interleaved")
    attempt = Attempt(JobId(1), dispatch, sink_factory=lambda _uri: sink, parents=parents)
    assert isinstance(attempt.run(lambda _pid: None), Succeeded)
    assert len(sink.staged) == 2
    sink.raise_next("discard", OSError(errno.EROFS, "Read-only file system"))
    attempt.discard()
    attempt.discard()
    assert len(sink.staged) == 1
    assert "left for sweeping" in caplog.text


def test_a_sink_that_cannot_be_named_is_permanent(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "normal", sink_uri="nonsense"))
    Worker(identity=IDENTITY, client_factory=lambda: sentinel, sink_factory=open_sink, times=TIMES).run()
    receipt = failed(sentinel.receipts[1])
    assert (receipt.failure, receipt.kind) == ("permanent", "bad_sink")


def test_an_error_of_ours_is_that_job_s_failure_only(tmp_path: Path) -> None:
    def broken(uri: str) -> MemorySink:
        raise RuntimeError("a bug")

    source = make_source(tmp_path)
    sentinel = FakeSentinel(make_dispatch(source, "normal"), make_dispatch(source, "normal"))
    Worker(identity=IDENTITY, client_factory=lambda: sentinel, sink_factory=broken, times=TIMES).run()
    assert [failed(sentinel.receipts[job]).kind for job in (1, 2)] == ["executor_error"] * 2
    assert "RuntimeError: a bug" in failed(sentinel.receipts[1]).reason


# --- the sentinel's word --------------------------------------------------------------------------------------------


def test_the_start_of_a_job_that_lasts_is_told_while_its_guest_works(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "slow"))
    lived: list[bool] = []
    sentinel.on_ack = lambda ack: lived.append(is_alive(ack.guest_pid))
    sentinel.abort_after_beats, sentinel.abort_rows_min = 1, 1
    run(sentinel)
    assert lived == [True]
    order = [said.op for said in sentinel.heard if not (said.op is OpCode.HEARTBEAT and said.job)]
    assert order[:2] == [OpCode.IDENTIFY, OpCode.HEARTBEAT]
    assert order[2:] == [OpCode.DISPATCH_ACK, OpCode.CONCLUDE]
    assert payload(sentinel.heard[0], Identify) == IDENTITY


def test_the_start_of_a_short_job_is_told_with_its_receipt(tmp_path: Path) -> None:
    sentinel = FakeSentinel(*[make_dispatch(make_source(tmp_path), "normal")] * 2)
    make_worker(sentinel, MemorySink(), msgspec.structs.replace(TIMES, pulse_delay=60)).run()
    assert sentinel.acks == []
    for conclude in sentinel.conclusions.values():
        assert conclude.begun_ago is not None and 0 < conclude.begun_ago < 60


def test_a_guest_that_starts_late_is_told_although_a_heartbeat_waits(tmp_path: Path) -> None:
    """The parser takes its time to load, and the first heartbeat is out before there is a guest to tell of."""
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "normal"))
    make_worker(sentinel, MemorySink(), msgspec.structs.replace(TIMES, pulse_delay=0.001)).run()
    first = next(said for said in sentinel.heard if said.job)
    assert first.op is OpCode.HEARTBEAT, "the guest was there at once: this tests nothing"
    assert len(sentinel.acks) == 1


def test_a_job_whose_guest_never_ran_was_not_begun(tmp_path: Path) -> None:
    sentinel = FakeSentinel(with_changes(make_dispatch(make_source(tmp_path), "normal"), size=1))
    run(sentinel)
    assert sentinel.conclusions[1].begun_ago is None


def test_a_dead_lease_at_the_start_kills_the_guest_and_is_not_concluded(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "slow"))
    sentinel.discard_acks = True
    sink = MemorySink()
    run(sentinel, sink)
    assert sentinel.receipts == {}
    assert sink.staged == {}
    assert not is_alive(sentinel.acks[0].guest_pid)


def test_a_dead_lease_ends_a_guest_that_has_nothing_to_say(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "hang", first="nothing"))
    sentinel.discard_acks = True
    began = time.monotonic()
    run(sentinel)
    assert time.monotonic() - began < 15  # its silence is bounded by 20 s
    assert sentinel.receipts == {}
    assert not is_alive(sentinel.acks[0].guest_pid)


def test_a_receipt_is_also_the_wish_for_the_next_job(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    sentinel = FakeSentinel(make_dispatch(source, "normal"), make_dispatch(source, "normal"))
    make_worker(sentinel, MemorySink(), msgspec.structs.replace(TIMES, pulse_delay=60)).run()
    ops = [said.op for said in sentinel.heard]
    assert ops == [OpCode.IDENTIFY, OpCode.HEARTBEAT, OpCode.CONCLUDE, OpCode.CONCLUDE]
    assert [type(sentinel.receipts[job]) for job in (1, 2)] == [Succeeded, Succeeded]


def test_a_conclusion_that_comes_too_late_discards_what_was_staged(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "two_outputs_interleaved"))
    sentinel.discard_receipts = True
    sink = MemorySink()
    run(sentinel, sink)
    assert isinstance(sentinel.receipts[1], Succeeded)
    assert sink.staged == {}


def test_a_conclusion_is_repeated_until_it_is_answered(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "normal"))
    sentinel.silent_requests = 3
    run(sentinel)
    assert isinstance(sentinel.receipts[1], Succeeded)
    assert sum(said.op is OpCode.CONCLUDE for said in sentinel.heard) == 4


def test_a_conclusion_without_any_answer_keeps_what_may_have_been_committed(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "normal"))
    sentinel.silent_requests = 1_000_000
    sink = MemorySink()
    with pytest.raises(ServerGoneError):
        run(sentinel, sink)
    assert len(sink.staged) == 1


def test_progress_is_told_while_the_guest_works_and_an_abort_ends_it(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "slow"))
    sentinel.abort_after_beats, sentinel.abort_rows_min = 3, 2
    sink = MemorySink()
    began = time.monotonic()
    run(sentinel, sink)
    assert time.monotonic() - began < 20  # the job itself takes 30 s
    assert sentinel.receipts[1] == Aborted(reason="cancelled by a person")
    assert sink.staged == {}
    assert not is_alive(sentinel.acks[0].guest_pid)
    assert {beat.lease for beat in sentinel.beats} == {"lease-slow"}
    assert [beat.rows for beat in sentinel.beats] == sorted(beat.rows for beat in sentinel.beats)


def test_an_abort_ends_a_guest_that_hangs(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "hang"))
    sentinel.abort_after_beats = 1
    run(sentinel)
    assert isinstance(sentinel.receipts[1], Aborted)


def test_an_abort_of_no_job_sends_the_executor_home_without_a_receipt(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    sentinel = FakeSentinel(make_dispatch(source, "slow"), make_dispatch(source, "normal"))
    sentinel.abort_after_beats, sentinel.abort_job = 1, 0
    sentinel.abort_rows_min = 1  # the guest runs by then
    sink = MemorySink()
    assert run(sentinel, sink) == "cancelled by a person"
    assert sentinel.receipts == {}
    assert sink.staged == {}
    assert not is_alive(sentinel.acks[0].guest_pid)


def test_leaving_in_the_middle_kills_the_guest_and_reports_nothing(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "hang"))
    sink = MemorySink()
    worker = make_worker(sentinel, sink)
    sentinel.on_ack = lambda _ack: threading.Timer(0.1, worker.leave, ["the parent has ended"]).start()
    assert worker.run() == "the parent has ended"
    assert sentinel.receipts == {}
    assert sink.staged == {}
    assert not is_alive(sentinel.acks[0].guest_pid)


def test_a_sentinel_that_goes_away_ends_the_executor_and_its_guest(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "hang"))

    def die(_ack: object) -> None:
        sentinel.dead = True

    sentinel.on_ack = die
    sink = MemorySink()
    reason = run(sentinel, sink)
    assert "see whether it still runs" in reason
    assert not is_alive(sentinel.acks[0].guest_pid)
    assert sink.staged == {}


def test_a_sentinel_that_was_never_there_is_an_error() -> None:
    sentinel = FakeSentinel()
    sentinel.dead = True
    with pytest.raises(ServerGoneError, match="the sentinel is gone"):
        run(sentinel)


def test_a_sentinel_that_does_not_know_the_executor_is_an_error() -> None:
    sentinel = FakeSentinel()
    sentinel.refuse = Fault(code="version", message="speak version 6")
    with pytest.raises(ExecutorRefusedError, match=r"\(version\): speak version 6"):
        run(sentinel)


def test_a_machine_without_room_declines_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("executors.guest.parents.subprocess.Popen", no_room)
    receipt = receipt_of(make_dispatch(make_source(tmp_path), "normal"))
    assert receipt == Declined(reason="start a guest: Resource temporarily unavailable")


# --- what it hears of the log ----------------------------------------------------------------------------------------


def head(seq: int) -> LogHead:
    return LogHead(log_id=LOG_ID, seq=seq, hash=f"{seq:064x}")


def visit(sentinel: FakeSentinel, heard: Heard) -> tuple[LogHead, ...]:
    """Work for a sentinel until it sends the executor home; return what it was told that was heard before."""
    sink = MemorySink()
    Worker(
        identity=IDENTITY, client_factory=lambda: sentinel, sink_factory=lambda _: sink, times=TIMES, heard=heard
    ).run()
    return payload(sentinel.heard[0], Identify).heard


def told_by_welcome(sentinel: FakeSentinel) -> None:
    sentinel.welcome_head = head(5)


def told_by_carry(sentinel: FakeSentinel) -> None:
    sentinel.idle_answers = [encode(OpCode.HEARTBEAT, Carry(head=head(5)))]


def told_by_dispatch(sentinel: FakeSentinel) -> None:
    sentinel.dispatch_head = head(5)


def told_by_stop(sentinel: FakeSentinel) -> None:
    sentinel.idle_answer = encode(OpCode.ABORT, Stop(reason="no more work", head=head(5)))


@pytest.mark.parametrize("tell", [told_by_welcome, told_by_carry, told_by_dispatch, told_by_stop])
def test_what_any_answer_tells_of_the_log_is_said_to_the_next_sentinel(
    tmp_path: Path, tell: Callable[[FakeSentinel], None]
) -> None:
    first, heard = FakeSentinel(make_dispatch(make_source(tmp_path), "normal")), Heard()
    tell(first)
    assert visit(first, heard) == ()
    assert visit(FakeSentinel(), heard) == (head(5),)


def test_the_pulse_hears_of_the_log_as_well(tmp_path: Path) -> None:
    sentinel = FakeSentinel(make_dispatch(make_source(tmp_path), "hang"))
    sentinel.abort_after_beats = 2
    sentinel.beat_head = head(5)
    heard = Heard()
    visit(sentinel, heard)
    assert heard.heads == (head(5),)
