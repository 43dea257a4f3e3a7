"""A lease of several inputs: what each of them costs, and whom."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from eventlog.ids import JobId, path_bytes
from executors import lease_attempt as module
from executors import leased_input, shared_stages
from executors.attempt import Attempt
from executors.errors import ServerGoneError
from executors.executor_loop import Worker
from executors.guest.host import GuestTimes
from executors.guest.parents import GuestParents
from executors.lease_attempt import LeaseAttempt, LeaseReceipts
from executors.protocol import Aborted, Declined, Failed, Receipt, Share, Succeeded
from sinks.memory import MemorySink, Step
from tests.executors.jobs import IDENTITY, TIMES, FakeSentinel, is_alive, make_lease, wait_until

TIMES_OF_GUESTS = GuestTimes(silence_seconds=20)


@pytest.fixture(scope="module")
def parents() -> Iterator[GuestParents]:
    warm = GuestParents()
    yield warm
    warm.close()


class Lease:
    """A lease over sources that say what is to be done with them, in a sink in memory."""

    def __init__(self, folder: Path, parents: GuestParents, *modes: str) -> None:
        self.sink = MemorySink()
        self.dispatch = make_lease(folder, *modes)
        self.parents = parents
        self.pids: list[int] = []
        self.attempt = LeaseAttempt(
            JobId(1),
            self.dispatch,
            sink_factory=lambda _uri: self.sink,
            parents=parents,
            times=TIMES_OF_GUESTS,
        )
        self.told: LeaseReceipts | None = None

    def run(self) -> list[Receipt]:
        self.told = self.attempt.run(self.pids.append)
        assert self.told is not None
        assert [each.job for each in self.told.receipts] == list(range(1, len(self.told.receipts) + 1))
        return [each.receipt for each in self.told.receipts]

    def words(self) -> list[str]:
        """Run, and return a word for each job."""
        return [receipt.kind if isinstance(receipt, Failed) else type(receipt).__name__ for receipt in self.run()]

    def during(self, job: int, act: Callable[[], object]) -> None:
        """Act while the guest is at work on a job."""

        def wait() -> None:
            assert wait_until(lambda: self._is_at(job), seconds=20)
            act()

        threading.Thread(target=wait).start()

    def _is_at(self, job: int) -> bool:
        current = self.attempt._current
        return current is not None and current.job == job and current.rows > 0

    def shared(self) -> dict[str, pa.Table]:
        """Return the shared artifacts by output; nothing else may be staged for those jobs."""
        assert self.told is not None
        return {
            artifact.output: pa.ipc.open_stream(self.sink.staged[artifact.staged]).read_all()
            for artifact in self.told.shared
        }

    def alone(self, number: int) -> Receipt | None:
        """Return what becomes of a job's file without the others."""
        dispatch = self.dispatch if number == 1 else self.dispatch.of(self.dispatch.further[number - 2])
        one = msgspec.structs.replace(dispatch, further=())
        sink = MemorySink()
        return Attempt(JobId(number), one, sink_factory=lambda _uri: sink, parents=self.parents).run(lambda _pid: None)


def shares(receipt: Receipt) -> list[tuple[int, int]]:
    assert isinstance(receipt, Succeeded), receipt
    return [(share.row_first, share.rows) for share in receipt.shares]


@pytest.mark.parametrize("rows_at_once", [1, 3, 100_000])
def test_the_rows_of_all_inputs_lie_in_one_artifact_each_with_its_own_lineage(
    tmp_path: Path, parents: GuestParents, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(shared_stages, "ROWS_AT_ONCE_MAX", rows_at_once)
    lease = Lease(tmp_path, parents, "normal", "two_outputs_interleaved", "normal")
    receipts = lease.run()
    tables = lease.shared()
    assert sorted(tables) == ["lines", "notes"]
    lines = tables["lines"]
    assert Counter(lines["_cf_job_id"].to_pylist()) == {"1": 2, "2": shares(receipts[1])[0][1], "3": 2}
    jobs = list(map(str, lines["_cf_job_id"].to_pylist()))
    assert jobs == sorted(jobs)
    hashes = [lease.dispatch.source_hash, *(other.source_hash for other in lease.dispatch.further)]
    for number, receipt in enumerate(receipts):
        first, rows = shares(receipt)[0]
        mine = lines.slice(first, rows)
        assert set(mine["_cf_source_hash"].to_pylist()) == {hashes[number]}
        assert mine["_cf_row_seq"].to_pylist() == list(range(rows))
    assert set(tables["notes"]["_cf_job_id"].to_pylist()) == {"2"}
    assert isinstance(receipts[0], Succeeded)
    assert receipts[0].empty == ("notes",)
    assert len(lease.sink.staged) == 2
    assert len(lease.pids) == 1
    assert not is_alive(lease.pids[0])


def test_an_input_becomes_what_it_would_become_alone(tmp_path: Path, parents: GuestParents) -> None:
    modes = (
        *("normal", "error", "permanent", "transient", "null", "crash", "vanish", "empty", "drops_one", "normal"),
        *("bad_shape", "wrong_statement", "no_statement", "silent_skip", "damaged", "unknown_output", "normal", "once"),
        *("raw", "disk", "refused_memory", "once"),
    )
    lease = Lease(tmp_path, parents, *modes)
    told = lease.run()
    for number, (mode, receipt) in enumerate(zip(modes, told, strict=True), start=1):
        alone = lease.alone(number)
        match alone:
            case Succeeded() if not alone.evidence and not unbalanced(alone):
                assert isinstance(receipt, Succeeded), (mode, receipt)
                assert (receipt.sheet, receipt.further, receipt.empty) == (alone.sheet, alone.further, alone.empty)
                assert [share.rows for share in receipt.shares] == [artifact.rows for artifact in alone.outputs]
            case Succeeded() if alone.evidence:
                assert receipt == alone, mode
            case Succeeded():
                assert isinstance(receipt, Failed), (mode, receipt)
                assert (receipt.failure, receipt.sheet) == ("accounting", alone.sheet)
            case _:
                assert without_trace(receipt) == without_trace(alone), mode


def unbalanced(receipt: Succeeded) -> bool:
    sheet = receipt.sheet
    accounted = sheet.written + sheet.quarantined + sheet.skipped + sheet.unreadable
    return sheet.found != accounted or sum(skip.count for skip in sheet.skips) != sheet.skipped


def without_trace(receipt: Receipt | None) -> Receipt | None:
    return msgspec.structs.replace(receipt, log_tail="") if isinstance(receipt, Failed) else receipt


def test_shares_are_all_rows_of_their_artifact_once(tmp_path: Path, parents: GuestParents) -> None:
    lease = Lease(tmp_path, parents, "normal", "error", "two_outputs_interleaved", "null", "empty", "normal")
    receipts = lease.run()
    assert lease.told is not None
    pieces: dict[str, list[Share]] = {}
    for receipt in receipts:
        if isinstance(receipt, Succeeded):
            for share in receipt.shares:
                pieces.setdefault(share.staged, []).append(share)
    assert pieces.keys() == {artifact.staged for artifact in lease.told.shared}
    for artifact in lease.told.shared:
        row = 0
        for share in pieces[artifact.staged]:
            assert share.row_first == row
            row += share.rows
        assert row == artifact.rows


@pytest.mark.parametrize("mode", ["error", "crash", "vanish", "drops_one", "corrupt_arrow"])
def test_an_input_that_fails_costs_only_itself(tmp_path: Path, parents: GuestParents, mode: str) -> None:
    lease = Lease(tmp_path, parents, "normal", mode, "normal")
    first, second, third = lease.run()
    assert isinstance(second, Failed)
    assert (shares(first), shares(third)) == ([(0, 2)], [(2, 2)])
    assert set(lease.shared()["lines"]["_cf_job_id"].to_pylist()) == {"1", "3"}


def test_a_failure_of_a_used_process_is_not_believed(tmp_path: Path, parents: GuestParents) -> None:
    assert Lease(tmp_path, parents, "normal", "once", "once", "once").words() == ["Succeeded"] * 4


def test_inputs_share_a_process_as_long_as_none_fails(tmp_path: Path, parents: GuestParents) -> None:
    lease = Lease(tmp_path, parents, "remembers", "remembers", "error", "remembers")
    lease.run()
    texts = lease.shared()["lines"]["text"].to_pylist()
    assert [text for text in texts if str(text).startswith("uses")] == ["uses 1", "uses 2", "uses 1"]


def test_rejected_rows_keep_an_input_out_of_the_shared_artifact(tmp_path: Path, parents: GuestParents) -> None:
    lease = Lease(tmp_path, parents, "normal", "null", "normal")
    _first, second, _third = lease.run()
    assert isinstance(second, Succeeded)
    assert (len(second.outputs), len(second.evidence), second.shares) == (1, 1, ())
    assert set(lease.shared()["lines"]["_cf_job_id"].to_pylist()) == {"1", "3"}
    assert len(lease.sink.staged) == 3


def test_a_source_that_changed_costs_only_its_own_job(tmp_path: Path, parents: GuestParents) -> None:
    lease = Lease(tmp_path, parents, "normal", "normal", "normal")
    Path(path_bytes(lease.dispatch.further[0].path).decode()).write_text("other\n")
    assert lease.words() == ["Succeeded", "source_changed", "Succeeded"]


# --- stopping -------------------------------------------------------------------------------------------------------


def test_a_job_that_has_not_begun_is_left_out_when_it_is_stopped(tmp_path: Path, parents: GuestParents) -> None:
    lease = Lease(tmp_path, parents, "normal", "normal", "normal")
    assert lease.attempt.stop(JobId(2), "cancelled", lease=False)
    assert lease.words() == ["Succeeded", "Aborted", "Succeeded"]
    assert lease.attempt.stopped == (2,)
    assert set(lease.shared()["lines"]["_cf_job_id"].to_pylist()) == {"1", "3"}


def test_the_job_at_work_is_killed_when_it_is_stopped_and_the_others_go_on(
    tmp_path: Path, parents: GuestParents
) -> None:
    lease = Lease(tmp_path, parents, "normal", "hang", "normal")
    lease.during(2, lambda: lease.attempt.stop(JobId(2), "cancelled", lease=False))
    assert lease.words() == ["Succeeded", "Aborted", "Succeeded"]
    assert set(lease.shared()["lines"]["_cf_job_id"].to_pylist()) == {"1", "3"}


@pytest.mark.parametrize("mode", ["normal", "null"])
def test_the_rows_of_a_job_that_is_done_are_left_out_when_it_is_stopped(
    tmp_path: Path, parents: GuestParents, mode: str
) -> None:
    lease = Lease(tmp_path, parents, mode, "slow_start", "normal")
    lease.during(2, lambda: lease.attempt.stop(JobId(1), "cancelled", lease=False))
    assert lease.words() == ["Aborted", "Succeeded", "Succeeded"]
    assert set(lease.shared()["lines"]["_cf_job_id"].to_pylist()) == {"2", "3"}
    assert len(lease.sink.staged) == 1


@pytest.mark.parametrize(("job", "mode"), [(1, "normal"), (1, "null"), (2, "slow_start"), (3, "normal")])
def test_nothing_is_left_of_a_stopped_job_although_its_lease_goes_on(
    tmp_path: Path, parents: GuestParents, job: int, mode: str
) -> None:
    modes = ["normal", "slow_start", "normal"]
    modes[job - 1] = mode
    lease = Lease(tmp_path, parents, *modes)
    seen: list[tuple[tuple[JobId, ...], list[str]]] = []

    def stop() -> None:
        lease.attempt.stop(JobId(job), "cancelled", lease=False)
        seen.append((lease.attempt.gone, list(lease.sink.staged)))

    lease.during(2, stop)
    lease.run()
    assert seen == [((job,), [])]


def test_what_has_joined_others_is_not_said_to_be_gone(
    tmp_path: Path, parents: GuestParents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_HELD_BYTES_MAX", 1)
    lease = Lease(tmp_path, parents, "normal", "slow_start")
    lease.during(2, lambda: lease.attempt.stop(JobId(1), "cancelled", lease=False))
    lease.run()
    assert (lease.attempt.stopped, lease.attempt.gone) == ((1,), ())


def test_a_job_of_another_lease_is_not_stopped(tmp_path: Path, parents: GuestParents) -> None:
    assert not Lease(tmp_path, parents, "normal", "normal").attempt.stop(JobId(9), "cancelled", lease=False)


@pytest.mark.parametrize("report", [True, False])
def test_ending_the_lease_ends_every_job_and_leaves_nothing(
    tmp_path: Path, parents: GuestParents, report: bool
) -> None:
    lease = Lease(tmp_path, parents, "null", "normal", "hang", "normal")
    end = lease.attempt.abort if report else lease.attempt.drop
    lease.during(3, lambda: end("the run was interrupted"))
    told = lease.attempt.run(lease.pids.append)
    assert lease.sink.staged == {}
    assert not is_alive(lease.pids[0])
    if report:
        assert told is not None
        assert [each.receipt for each in told.receipts] == [Aborted(reason="the run was interrupted")] * 4
    else:
        assert told is None


def test_what_acknowledging_raises_ends_the_lease_and_leaves_nothing(tmp_path: Path, parents: GuestParents) -> None:
    lease = Lease(tmp_path, parents, "null", "normal")

    def refuse(_pid: int) -> None:
        raise ServerGoneError("the sentinel is gone")

    with pytest.raises(ServerGoneError, match="gone"):
        lease.attempt.run(refuse)
    assert lease.sink.staged == {}


def test_discarding_removes_all_that_was_staged(tmp_path: Path, parents: GuestParents) -> None:
    lease = Lease(tmp_path, parents, "normal", "null", "two_outputs_interleaved")
    lease.run()
    assert len(lease.sink.staged) == 4
    lease.attempt.discard()
    lease.attempt.discard()
    assert lease.sink.staged == {}


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_an_input_that_becomes_too_much_is_given_back_and_costs_only_itself(
    tmp_path: Path, parents: GuestParents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased_input, "INPUT_HELD_BYTES_MAX", 10_000)
    lease = Lease(tmp_path, parents, "normal", "much", "normal")
    receipts = lease.run()
    assert isinstance(receipts[1], Declined)
    assert "10,000 bytes" in receipts[1].reason
    assert (shares(receipts[0]), shares(receipts[2])) == ([(0, 2)], [(2, 2)])


def test_rows_that_are_much_together_are_written_before_the_end(
    tmp_path: Path, parents: GuestParents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_HELD_BYTES_MAX", 1)
    lease = Lease(tmp_path, parents, "normal", "slow_start", "normal")
    lease.during(2, lambda: lease.attempt.stop(JobId(1), "cancelled", lease=False))
    receipts = lease.run()
    # Too late to leave it out: it is told as it is, and the sentinel refuses the lease's commits.
    assert [shares(receipt)[0][0] for receipt in receipts] == [0, 2, 3]
    assert lease.shared()["lines"].num_rows == 5


@pytest.mark.parametrize(("name", "value"), [("LEASE_SECONDS_MAX", -1.0), ("RECEIPTS_BYTES_MAX", -1)])
def test_what_a_lease_has_no_room_for_is_given_back_unstarted(
    tmp_path: Path, parents: GuestParents, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.setattr(module, name, value)
    lease = Lease(tmp_path, parents, "normal", "normal")
    assert lease.words() == ["Declined", "Declined"]
    assert lease.told is not None
    assert [each.begun_ago for each in lease.told.receipts] == [None, None]


# --- the sink -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["open_stage", "write", "finish"])
def test_a_sink_that_gives_out_fails_those_that_share_and_nobody_else(
    tmp_path: Path, parents: GuestParents, step: Step
) -> None:
    lease = Lease(tmp_path, parents, "normal", "error", "normal", "empty")
    lease.sink.raise_next(step, OSError(errno.ENOSPC, "No space left on device"))
    first, second, third, fourth = lease.run()
    for receipt in (first, third):
        assert isinstance(receipt, Failed)
        assert (receipt.failure, receipt.kind) == ("transient", "sink_unavailable")
        assert "No space left on device" in receipt.reason
    assert isinstance(second, Failed)
    assert second.kind == "parser_error"
    assert isinstance(fourth, Succeeded)
    assert lease.sink.staged == {}
    assert lease.told is not None
    assert lease.told.shared == ()


class BrokenSink(MemorySink):
    """Fails in a way that no disk does."""

    def raise_if_told(self, step: Step) -> None:
        if step == "finish":
            raise ValueError("not as declared")


def test_an_error_of_ours_gives_those_that_share_back(tmp_path: Path, parents: GuestParents) -> None:
    lease = Lease(tmp_path, parents, "normal", "error", "normal")
    lease.sink = BrokenSink()
    first, second, third = lease.run()
    assert isinstance(first, Aborted)
    assert "not as declared" in first.reason
    assert isinstance(third, Aborted)
    assert isinstance(second, Failed)
    assert lease.sink.staged == {}


# --- by way of a worker ---------------------------------------------------------------------------------------------


def run_worker(sentinel: FakeSentinel, sink: MemorySink) -> None:
    Worker(identity=IDENTITY, client_factory=lambda: sentinel, sink_factory=lambda _uri: sink, times=TIMES).run()


def test_a_worker_tells_all_receipts_of_a_lease_in_one_message(tmp_path: Path) -> None:
    sink, sentinel = MemorySink(), FakeSentinel(make_lease(tmp_path, "normal", "error", "normal"))
    run_worker(sentinel, sink)
    (conclude,) = sentinel.conclusions.values()
    assert [type(receipt) for receipt in sentinel.receipts.values()] == [Succeeded, Failed, Succeeded]
    assert [artifact.staged for artifact in conclude.shared] == list(sink.staged)
    assert conclude.begun_ago is not None
    assert [each.begun_ago is not None for each in conclude.further] == [True, True]


def test_a_refused_conclusion_removes_what_the_lease_has_staged(tmp_path: Path) -> None:
    sink, sentinel = MemorySink(), FakeSentinel(make_lease(tmp_path, "normal", "null", "normal"))
    sentinel.discard_receipts = True
    run_worker(sentinel, sink)
    assert len(sentinel.receipts) == 3
    assert sink.staged == {}


def test_a_worker_stops_one_job_of_its_lease_when_told_and_says_that_it_knows(tmp_path: Path) -> None:
    sink, sentinel = MemorySink(), FakeSentinel(make_lease(tmp_path, "normal", "hang", "normal"))
    sentinel.abort_after_beats, sentinel.abort_job, sentinel.abort_rows_min = 1, 2, 3
    run_worker(sentinel, sink)
    assert [type(receipt) for receipt in sentinel.receipts.values()] == [Succeeded, Aborted, Succeeded]


def test_a_dead_lease_is_dropped_as_a_whole(tmp_path: Path) -> None:
    sink, sentinel = MemorySink(), FakeSentinel(make_lease(tmp_path, "slow", "normal"))
    sentinel.discard_acks = True
    run_worker(sentinel, sink)
    assert (sentinel.receipts, sink.staged) == ({}, {})
