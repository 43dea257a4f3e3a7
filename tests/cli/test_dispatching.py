"""Conversations with executors that the test plays, over the memory transport and a real log."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from cli import dispatching as module
from cli.dispatching import Dispatcher
from cli.lease_terms import JobLimits
from cli.question import Question
from commands.decide import Command
from commands.dispatch import plan_records
from commands.handle import Handler
from eventlog.errors import LogRegressedError
from eventlog.events import BalanceSheet
from eventlog.frames import Frame, FrameDraft
from eventlog.ids import ArtifactHash, ExecutorId, JobId, LeaseId, LogId, ParserName, RunId
from eventlog.log import Log
from eventlog.sealed import WITNESS_NAME, HeadClaim
from executors import protocol
from executors.memory_transport import MemoryClient, MemoryHub
from executors.parser_catalog import ParserPackage, builtin_parsers
from executors.protocol import (
    Aborted,
    Ack,
    Conclude,
    Declined,
    Dispatch,
    Failed,
    Fault,
    FurtherReceipt,
    Identify,
    Idle,
    LogHead,
    OpCode,
    Receipt,
    Share,
    Stop,
    Succeeded,
    Welcome,
    Working,
)
from reducers.fold import State
from tests.support import LOG_ID, NOW, cancel, planned_run

E = ExecutorId("executor-9")
NOTHING = BalanceSheet(unit="records", output="", found=0, written=0, quarantined=0, skipped=0, unreadable=0)
HEAD = LogHead(log_id=LogId(LOG_ID), seq=1, hash="0" * 64)
EMPTY = Succeeded(outputs=(), empty=("evtx_events", "evtx_files"), sheet=NOTHING)
UNBALANCED = Succeeded(outputs=(), empty=EMPTY.empty, sheet=msgspec.structs.replace(NOTHING, unit="records", found=3))


class House:
    """A handler over a real log, with the dispatcher as its manager; keeps the events of each batch."""

    def __init__(self, folder: Path, *, jobs_per_lease: int = 1) -> None:
        self.batches: list[list[str]] = []
        self.log = Log.open(folder, clock=lambda: NOW, new_log_id=lambda: LogId(LOG_ID), version="t", purpose="t")
        self.handler = Handler(self.log, manager=self._manage, actor="test")
        self.dispatcher = Dispatcher(
            self.handler,
            log=self.log,
            packages=packages_as_deployed(),
        )
        self.dispatcher.limit(RunId(1), JobLimits(memory_bytes_max=123, seconds_max=4.5, jobs_per_lease=jobs_per_lease))
        self.handler.replay(lambda _: None)
        self.handler.subscribe(self._note)
        self.handler.subscribe(self.dispatcher.observe)
        self.handler.start()

    @property
    def head(self) -> LogHead:
        """Where the log ends, which has no mark behind its last record."""
        return LogHead(log_id=self.log.log_id, seq=self.log.head.seq, hash=self.log.head.hash)

    def leased(self) -> int:
        return self.handler.inspect(lambda state: len(state.jobs.leased))

    def close(self) -> None:
        self.dispatcher.send_home("the test is over")
        self.handler.stop()
        self.log.close()

    def _manage(self, state: State) -> list[Command]:
        return [*plan_records(state, now=NOW), *self.dispatcher.plan(state)]

    def _note(self, frames: Sequence[Frame]) -> None:
        self.batches.append([type(record.data).__name__ for frame in frames for record in frame.events])


def packages_as_deployed() -> dict[ParserName, ParserPackage]:
    """Return the built-in parsers under the artifact that the histories of tests/support.py deploy."""
    artifact = ArtifactHash("a" * 64)
    return {
        name: msgspec.structs.replace(package, artifact_hash=artifact) for name, package in builtin_parsers().items()
    }


class Played:
    """Speaks as an executor does."""

    def __init__(self, hub: MemoryHub) -> None:
        self._client: MemoryClient = hub.client()
        self.identified = self.identify()

    def identify(self, *heard: LogHead) -> protocol.Message:
        said = Identify(executor=E, pid=os.getpid(), host="h", version="t", capacity=1, heard=heard)
        return self.ask(OpCode.IDENTIFY, said)

    def ask(self, op: OpCode, payload: Struct, job: int = 0) -> protocol.Message:
        data = protocol.encode(op, payload, job=JobId(job))
        return protocol.decode(self._client.request(data, timeout_seconds=8))

    def take_job(self) -> tuple[JobId, Dispatch]:
        answer = self.ask(OpCode.HEARTBEAT, Idle(executor=E))
        assert answer.op is OpCode.DISPATCH
        return answer.job, protocol.payload(answer, Dispatch)

    def conclude(
        self, job: JobId, dispatch: Dispatch, receipt: Receipt, *, begun_ago: float | None = None
    ) -> protocol.Message:
        said = Conclude(executor=E, lease=dispatch.lease, receipt=receipt, begun_ago=begun_ago)
        return self.ask(OpCode.CONCLUDE, said, job)


@contextmanager
def sweeping(dispatcher: Dispatcher) -> Iterator[None]:
    """Sweep again and again meanwhile, as the fleet does."""
    done = threading.Event()

    def sweep() -> None:
        while not done.wait(0.01):
            dispatcher.sweep()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    yield
    done.set()
    sweeper.join()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "log")
    for command in planned_run(1, 2):
        assert made.handler.call(command, actor="test").refused is None
    yield made
    made.close()


@pytest.fixture
def executor(house: House) -> Iterator[Played]:
    hub = MemoryHub()
    server = hub.server()
    server.serve(house.dispatcher.receive)
    yield Played(hub)
    house.dispatcher.send_home("the test is over")
    server.close()


def test_a_dispatch_carries_the_limits_of_the_run(executor: Played) -> None:
    _, dispatch = executor.take_job()
    assert (dispatch.memory_bytes_max, dispatch.seconds_max) == (123, 4.5)


def test_the_end_of_a_short_job_its_start_and_the_next_dispatch_are_one_batch(house: House, executor: Played) -> None:
    job, dispatch = executor.take_job()
    answer = executor.conclude(job, dispatch, EMPTY, begun_ago=0.5)
    assert (answer.op, answer.job, answer.discard) == (OpCode.DISPATCH, job + 1, False)
    assert house.batches[-1] == [
        "JobStarted",
        "OutputsCommitted",
        "MaterializationRecorded",
        "MaterializationRecorded",
        "JobCompleted",
        "JobDispatched",
    ]


def test_a_refused_receipt_is_told_with_the_next_job(house: House, executor: Played) -> None:
    job, dispatch = executor.take_job()
    answer = executor.conclude(job, dispatch, UNBALANCED, begun_ago=0.5)
    assert (answer.op, answer.job, answer.discard) == (OpCode.DISPATCH, job + 1, True)
    assert house.batches[-1] == ["JobStarted", "CommitRefused", "JobFailed", "JobDispatched"]


def test_a_receipt_that_comes_again_is_answered_again(house: House, executor: Played) -> None:
    """Its first answer was lost, and the job that it brought is given back."""
    job, dispatch = executor.take_job()
    first = executor.conclude(job, dispatch, EMPTY, begun_ago=0.5)
    assert (first.op, first.discard, house.leased()) == (OpCode.DISPATCH, False, 1)
    again = executor.conclude(job, dispatch, EMPTY, begun_ago=0.7)
    assert (again.op, again.discard, house.leased()) == (OpCode.DISPATCH, False, 1)
    assert sum(batch.count("OutputsCommitted") for batch in house.batches) == 1


def test_another_receipt_for_a_lease_that_was_concluded_is_a_mistake(house: House, executor: Played) -> None:
    job, dispatch = executor.take_job()
    executor.conclude(job, dispatch, EMPTY, begun_ago=0.5)
    other = executor.conclude(job, dispatch, UNBALANCED, begun_ago=0.5)
    assert other.discard
    assert not any("JobFailed" in batch for batch in house.batches)


def test_a_cancel_between_two_heartbeats_is_heard_with_the_next(house: House, executor: Played) -> None:
    job, dispatch = executor.take_job()
    executor.ask(OpCode.DISPATCH_ACK, Ack(lease=dispatch.lease, guest_pid=1), job)
    assert house.handler.call(cancel(), actor="test").refused is None
    for _ in range(2):  # also when the first answer was lost
        answer = executor.ask(OpCode.HEARTBEAT, Working(executor=E, lease=dispatch.lease, rows=0, bytes_read=0), job)
        assert (answer.op, answer.job) == (OpCode.ABORT, job)
        assert protocol.payload(answer, Stop).reason == "Cancelled by user"


def test_a_cancel_before_the_start_was_told_wins_over_the_receipt(house: House, executor: Played) -> None:
    job, dispatch = executor.take_job()
    assert house.handler.call(cancel(), actor="test").refused is None
    answer = executor.conclude(job, dispatch, EMPTY, begun_ago=0.5)
    assert answer.discard
    assert house.batches[-1][:2] == ["CommitRefused", "JobAborted"]


def test_a_job_that_is_cancelled_before_it_starts_ends_when_its_executor_asks_for_work_again(
    house: House, executor: Played
) -> None:
    job, dispatch = executor.take_job()
    assert house.handler.call(cancel(), actor="test").refused is None
    assert executor.ask(OpCode.DISPATCH_ACK, Ack(lease=dispatch.lease, guest_pid=1), job).op is OpCode.DISCARD
    assert house.leased() == 1
    house.dispatcher.send_home("enough")  # answers the question below at once
    executor.ask(OpCode.HEARTBEAT, Idle(executor=E))
    assert house.handler.inspect(lambda state: state.jobs.get(job)) is None


def test_who_is_sent_home_is_told_when_its_receipt_is_durable(house: House, executor: Played) -> None:
    job, dispatch = executor.take_job()
    house.dispatcher.send_home("enough")
    answer = executor.conclude(job, dispatch, EMPTY, begun_ago=0.5)
    assert (answer.op, answer.discard) == (OpCode.ABORT, False)
    assert house.batches[-1][-1] == "JobCompleted"


def test_a_receipt_without_another_job_is_answered_after_a_while(
    house: House, executor: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "POLL_SECONDS", 0.0)
    job, dispatch = executor.take_job()
    answer = executor.conclude(job, dispatch, EMPTY)
    job, dispatch = answer.job, protocol.payload(answer, Dispatch)
    with sweeping(house.dispatcher):
        last = executor.conclude(job, dispatch, UNBALANCED)
    assert (last.op, last.discard) == (OpCode.HEARTBEAT, True)


def test_an_executor_that_was_not_heard_is_named(
    house: House, executor: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.take_job()
    assert house.dispatcher.sweep() == []
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.01)
    time.sleep(0.02)
    assert house.dispatcher.sweep() == [E]
    house.dispatcher.forget(E)
    assert house.dispatcher.sweep() == []


def test_an_executor_is_not_silent_while_the_sentinel_is_stopped(
    house: House, executor: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.take_job()
    seconds = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: seconds)
    assert house.dispatcher.sweep() == []
    seconds += 2 * module.LEASE_SECONDS
    assert house.dispatcher.sweep() == []
    named_after = 0.0
    while not house.dispatcher.sweep() and named_after < 2 * module.LEASE_SECONDS:
        seconds += 1
        named_after += 1
    assert named_after == module.LEASE_SECONDS - module.LOOK_SECONDS_MAX


# --- leases of several jobs -------------------------------------------------------------------------------------------


@pytest.fixture
def shared_house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "log", jobs_per_lease=200)
    for command in planned_run(1, 2, 3):
        assert made.handler.call(command, actor="test").refused is None
    yield made
    made.close()


@pytest.fixture
def leased(shared_house: House) -> Iterator[Played]:
    hub = MemoryHub()
    server = hub.server()
    server.serve(shared_house.dispatcher.receive)
    yield Played(hub)
    shared_house.dispatcher.send_home("the test is over")
    server.close()


def receipts(*told: Receipt) -> tuple[FurtherReceipt, ...]:
    """Return what is said of jobs 2, 3, ..."""
    return tuple(FurtherReceipt(job=JobId(job), receipt=each, begun_ago=0.1) for job, each in enumerate(told, start=2))


def conclude_all(executor: Played, dispatch: Dispatch, first: Receipt, *others: Receipt) -> protocol.Message:
    said = Conclude(
        executor=E, lease=dispatch.lease, receipt=first, begun_ago=0.2, further=receipts(*others), shared=()
    )
    return executor.ask(OpCode.CONCLUDE, said, 1)


def test_an_executor_gets_all_jobs_of_a_lease_in_one_message(shared_house: House, leased: Played) -> None:
    job, dispatch = leased.take_job()
    assert (job, [(each.job, each.attempt) for each in dispatch.further]) == (1, [(2, 1), (3, 1)])
    assert [each.path for each in dispatch.further] == ["/case/2.evtx", "/case/3.evtx"]
    assert shared_house.batches[-1] == ["JobDispatched"] * 3
    assert shared_house.leased() == 3


def test_a_lease_is_concluded_in_one_batch(shared_house: House, leased: Played) -> None:
    _job, dispatch = leased.take_job()
    failed = Failed(failure="permanent", kind="not_evtx", reason="empty", hint="look")
    with sweeping(shared_house.dispatcher):
        answer = conclude_all(leased, dispatch, EMPTY, failed, Declined(reason="it was not begun"))
    assert (answer.op, answer.job, answer.discard) == (OpCode.DISPATCH, 3, False)
    concluded = next(batch for batch in shared_house.batches if "OutputsCommitted" in batch)
    assert concluded[:6] == ["JobStarted"] * 3 + ["JobFailed", "JobDeclined", "OutputsCommitted"]
    assert concluded[-1] == "JobDispatched"


def test_a_commit_that_is_refused_refuses_the_lease(shared_house: House, leased: Played) -> None:
    _job, dispatch = leased.take_job()
    assert shared_house.handler.call(cancel(2), actor="test").refused is None
    answer = conclude_all(leased, dispatch, EMPTY, EMPTY, EMPTY)
    assert (answer.op, answer.discard) == (OpCode.DISPATCH, True)
    concluded = next(batch for batch in shared_house.batches if "CommitRefused" in batch)
    assert "OutputsCommitted" not in concluded
    assert concluded.count("JobRequeued") == 2


@pytest.mark.slow
def test_each_job_of_a_lease_that_must_stop_is_told_until_it_is_known(shared_house: House, leased: Played) -> None:
    _job, dispatch = leased.take_job()
    for job in (3, 2):
        assert shared_house.handler.call(cancel(job), actor="test").refused is None
    beat = Working(executor=E, lease=dispatch.lease, rows=1, bytes_read=2)
    told: list[int] = []
    for _beat in range(2):
        answer = leased.ask(OpCode.HEARTBEAT, msgspec.structs.replace(beat, stopped=tuple(map(JobId, told))), 1)
        assert (answer.op, protocol.payload(answer, Stop).lease) == (OpCode.ABORT, False)
        told.append(answer.job)
    assert told == [3, 2]
    with sweeping(shared_house.dispatcher):
        done = leased.ask(OpCode.HEARTBEAT, msgspec.structs.replace(beat, stopped=tuple(map(JobId, told))), 1)
    assert done.op is OpCode.HEARTBEAT


def test_a_parked_heartbeat_hears_of_the_job_that_is_cancelled(shared_house: House, leased: Played) -> None:
    _job, dispatch = leased.take_job()
    answers: list[protocol.Message] = []
    beat = Working(executor=E, lease=dispatch.lease, rows=1, bytes_read=2)
    waiting = threading.Thread(target=lambda: answers.append(leased.ask(OpCode.HEARTBEAT, beat, 1)))
    waiting.start()
    while not any(held.parked for held in list(shared_house.dispatcher._held)):
        time.sleep(0.01)
    assert shared_house.handler.call(cancel(2), actor="test").refused is None
    waiting.join(timeout=8)
    assert [(answer.op, answer.job) for answer in answers] == [(OpCode.ABORT, 2)]


def test_an_executor_that_lets_go_of_a_lease_gives_all_its_jobs_back(shared_house: House, leased: Played) -> None:
    leased.take_job()
    leased.take_job()  # it asks for work without a word about the first lease
    requeued = [name for batch in shared_house.batches for name in batch if name == "JobRequeued"]
    assert len(requeued) == 3


def test_a_share_of_an_artifact_that_is_not_described_is_no_message(leased: Played) -> None:
    _job, dispatch = leased.take_job()
    share = Share(staged=".unknown.stage", row_first=0, rows=1)
    lying = Succeeded(outputs=(), empty=("evtx_files",), sheet=NOTHING, shares=(share,))
    answer = conclude_all(leased, dispatch, lying, EMPTY, EMPTY)
    assert answer.op is OpCode.ERR


@pytest.mark.slow
def test_a_cancelled_job_of_which_nothing_is_left_ends_before_its_lease(shared_house: House, leased: Played) -> None:
    _job, dispatch = leased.take_job()
    assert shared_house.handler.call(cancel(2), actor="test").refused is None
    told = (JobId(2),)
    beat = Working(executor=E, lease=dispatch.lease, rows=1, bytes_read=2, stopped=told, gone=(*told, JobId(3)))
    with sweeping(shared_house.dispatcher):
        assert leased.ask(OpCode.HEARTBEAT, beat, 1).op is OpCode.HEARTBEAT
    assert shared_house.batches[-1] == ["JobAborted"]  # job 3 was never cancelled, whatever its executor says
    assert shared_house.leased() == 2
    with sweeping(shared_house.dispatcher):
        answer = conclude_all(leased, dispatch, EMPTY, Aborted(reason="cancelled"), EMPTY)
    assert not answer.discard
    concluded = next(batch for batch in shared_house.batches if "OutputsCommitted" in batch)
    assert concluded.count("OutputsCommitted") == 2


class Asked:
    """A question that is asked without waiting; `answers` holds what came back."""

    def __init__(self, house: House, op: OpCode, payload: Struct, job: int = 0) -> None:
        self.answers: list[protocol.Message] = []
        data = protocol.encode(op, payload, job=JobId(job))
        house.dispatcher.receive(data, lambda answer: self.answers.append(protocol.decode(answer)))

    @property
    def ops(self) -> list[OpCode]:
        return [answer.op for answer in self.answers]


def test_every_question_of_an_executor_that_is_gone_is_answered(house: House, executor: Played) -> None:
    """A question without an answer holds a context of the server for as long as that lives."""
    job, dispatch = executor.take_job()
    working = Asked(house, OpCode.HEARTBEAT, Working(executor=E, lease=dispatch.lease, rows=0, bytes_read=0), job)
    busy, idle = ExecutorId("executor-10"), ExecutorId("executor-11")
    asked = []
    for name in (busy, idle):
        Asked(house, OpCode.IDENTIFY, Identify(executor=name, pid=1, host="h", version="t", capacity=1))
        house.handler.inspect(lambda _: None)
        asked.append(Asked(house, OpCode.HEARTBEAT, Idle(executor=name)))
        house.handler.inspect(lambda _: None)
    assert [working.ops, *(each.ops for each in asked)] == [[], [OpCode.DISPATCH], []]
    for name in (E, busy, idle):
        house.dispatcher.forget(name)
    assert [working.ops, *(each.ops for each in asked)] == [[OpCode.ABORT], [OpCode.DISPATCH], [OpCode.ABORT]]


def test_a_question_that_is_asked_again_does_not_leave_the_first_one_open(house: House, executor: Played) -> None:
    job, dispatch = executor.take_job()
    said = Working(executor=E, lease=dispatch.lease, rows=0, bytes_read=0)
    first, second = (Asked(house, OpCode.HEARTBEAT, said, job) for _ in range(2))
    assert (first.ops, second.ops) == ([OpCode.HEARTBEAT], [])
    house.dispatcher.send_home("enough")
    assert second.ops == [OpCode.ABORT]


def test_a_heartbeat_behind_the_receipt_is_answered_when_the_job_is_over(house: House, executor: Played) -> None:
    job, dispatch = executor.take_job()
    beats: list[Asked] = []
    let_go = house.dispatcher._let_go

    def late(lease: LeaseId) -> None:
        let_go(lease)
        said = Working(executor=E, lease=lease, rows=0, bytes_read=0)
        beats.append(Asked(house, OpCode.HEARTBEAT, said, job))

    house.dispatcher._let_go = late  # type: ignore[method-assign]  # two messages of one executor cross
    executor.conclude(job, dispatch, EMPTY, begun_ago=0.5)
    assert [beat.ops for beat in beats] == [[OpCode.ABORT]]


# --- witnesses of the log ---------------------------------------------------------------------------------------------


def test_an_answer_carries_the_head_of_the_log(house: House, executor: Played) -> None:
    assert protocol.payload(executor.identified, Welcome).head is not None
    _job, dispatch = executor.take_job()
    assert dispatch.head == house.head


def test_what_answers_a_receipt_covers_it(house: House, executor: Played) -> None:
    """Also where the next job was handed out before the receipt was decided."""
    job, dispatch = executor.take_job()
    answer = executor.conclude(job, dispatch, EMPTY, begun_ago=0.5)
    assert protocol.payload(answer, Dispatch).head == house.head
    said: list[bytes] = []
    heads = [HEAD, msgspec.structs.replace(HEAD, seq=2)]
    question = Question(said.append, lease=LeaseId("l"), head=lambda: heads[-1], with_receipt=True)
    question.answer(OpCode.DISPATCH, dispatch, job)
    heads.append(msgspec.structs.replace(HEAD, seq=3))
    question.settle(discard=False)
    assert protocol.payload(protocol.decode(said[0]), Dispatch).head == heads[-1]


def test_a_head_is_told_when_it_is_durable_and_not_before(house: House, executor: Played) -> None:
    """While the disk works on a batch, whoever is answered hears of what was before it."""
    before, told = house.head, []
    commit = house.log.commit

    def slow_commit(drafts: Sequence[FrameDraft]) -> list[Frame]:
        over = Working(executor=E, lease=LeaseId("over"), rows=0, bytes_read=0)
        beat = Asked(house, OpCode.HEARTBEAT, over, 1)
        told.append(protocol.payload(beat.answers[0], Stop).head)
        return commit(drafts)

    house.log.commit = slow_commit  # type: ignore[method-assign]  # what it does takes time, that is all
    executor.take_job()
    assert told == [before]


EARLIER = ExecutorId("executor-of-an-earlier-sentinel")
OLD = LeaseId("an old lease")


@pytest.mark.parametrize(
    ("op", "said", "job"),
    [
        (OpCode.HEARTBEAT, Idle(executor=EARLIER), 0),
        (OpCode.HEARTBEAT, Working(executor=EARLIER, lease=OLD, rows=0, bytes_read=0), 1),
        (OpCode.CONCLUDE, Conclude(executor=EARLIER, lease=OLD, receipt=EMPTY), 1),
    ],
    ids=["idle", "working", "concluding"],
)
def test_one_that_goes_on_with_an_earlier_sentinel_is_not_told_before_it_was_heard(
    executor: Played, op: OpCode, said: Struct, job: int
) -> None:
    """It would forget what it knows, should this log be the one that was put back and has grown since."""
    answer = executor.ask(op, said, job)
    assert (answer.op, protocol.payload(answer, Stop).head) == (OpCode.ABORT, None)


def test_an_executor_that_was_told_what_is_there_is_taken_in(house: House, executor: Played) -> None:
    heads = [house.head]
    job, dispatch = executor.take_job()
    heads.append(house.head)
    executor.conclude(job, dispatch, EMPTY, begun_ago=0.5)
    for head in heads:
        assert executor.identify(head).op is OpCode.IDENTIFY
    other = msgspec.structs.replace(house.head, log_id=LogId("f" * 32), seq=10**6)
    assert executor.identify(other).op is OpCode.IDENTIFY, "what it heard of another log is nothing to us"
    house.handler.refuse_dead()


def ahead(head: LogHead) -> LogHead:
    return msgspec.structs.replace(head, seq=head.seq + 1, hash="a" * 64)


def another_history(head: LogHead) -> LogHead:
    return msgspec.structs.replace(head, hash="a" * 64)


def outgrown(head: LogHead) -> LogHead:
    return msgspec.structs.replace(head, seq=2, hash="a" * 64)


@pytest.mark.parametrize("claim", [ahead, another_history, outgrown])
def test_15b_an_executor_that_was_told_of_more_ends_the_sentinel_before_it_writes_on(
    house: House, executor: Played, claim: Callable[[LogHead], LogHead]
) -> None:
    before, head = len(house.batches), claim(house.head)
    refused = executor.identify(head)
    assert refused.op is OpCode.ERR
    fault = protocol.payload(refused, Fault)
    assert (fault.code, f"executor-9 (process {os.getpid()}) was told of record {head.seq}" in fault.message) == (
        "stopping",
        True,
    )
    with pytest.raises(LogRegressedError, match=f"record {head.seq}"):
        house.handler.call(cancel(), actor="test")
    house.handler.stop()  # whatever was asked has been dealt with now
    assert len(house.batches) == before
    with pytest.raises(LogRegressedError):
        house.handler.refuse_dead()
    with pytest.raises(LogRegressedError):
        house.handler.inspect(lambda state: state.seq)
    assert executor.identify(head).op is OpCode.ERR, "nobody is left who could hear it"
    assert (house.log.folder / WITNESS_NAME).exists()


def test_a_claim_that_is_none_is_counted_and_ends_nothing(house: House, executor: Played) -> None:
    claim = msgspec.structs.replace(house.head, hash="no hash")
    assert protocol.payload(executor.identify(claim), Fault).code == "bad_message"
    assert house.dispatcher.traffic.seen().errors == 1
    house.handler.refuse_dead()


def test_a_log_that_cannot_be_read_is_held_against_nobody(
    house: House, executor: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_claim: HeadClaim) -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr(house.log, "hold_to", fail)
    refused = executor.identify(house.head)
    assert (refused.op, "the disk is away" in protocol.payload(refused, Fault).message) == (OpCode.ERR, True)
    house.handler.refuse_dead()
    monkeypatch.undo()
    assert executor.identify(house.head).op is OpCode.IDENTIFY
