"""Requests that come again: decided once, answered the same, across restarts; mistakes with stamps are named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from commands.handle import Handler, Outcome
from eventlog.errors import InvalidRecordError
from eventlog.frames import COUNT_LIMIT, Frame, FrameDraft, Stamp, request_digest, stamp_once
from eventlog.ids import ExecutorId, LogId
from eventlog.log import Log
from eventlog.verify import verify
from reducers import receipts
from reducers.receipts import Receipt, Receipts
from tests.projections.histories import joined
from tests.support import J1, LOG_ID, NOW, cancel, join, planned_run, started

ROOT = Path(__file__).parents[2]
ONE, TWO = ExecutorId("executor-1"), ExecutorId("executor-2")


def stamp(sequence: int, *, producer: str = "executor-1", epoch: int = 7, content: bytes = b"") -> Stamp:
    return Stamp(producer, epoch, sequence, request_digest(content))


@contextmanager
def deciding(folder: Path) -> Iterator[Handler]:
    """Run a handler on the log, for one life."""
    log = Log.open(folder, clock=lambda: NOW, new_log_id=lambda: LogId(LOG_ID), version="test", purpose="test")
    handler = Handler(log, manager=lambda _: (), actor="manager")
    handler.replay(lambda _: None)
    handler.start()
    try:
        yield handler
    finally:
        handler.stop()
        log.close()


def types(handler: Handler) -> list[str]:
    return [record.type for frame in handler._log.replay() for record in frame.records]


def test_a_report_that_comes_again_is_answered_with_its_old_outcome_across_restarts(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    for life in range(4):
        with deciding(tmp_path) as handler:
            if life == 0:
                for command in planned_run(1):
                    handler.call(command, actor="test")
            outcomes.append(handler.submit(join(ONE), actor="executor", stamp=stamp(1)).result(10))
            assert types(handler).count("ExecutorJoined") == 1
    assert outcomes[0].events
    assert outcomes == [outcomes[0]] * 4
    assert verify(tmp_path).verdict == "OK"


_KILLED = """
import os, sys
from pathlib import Path
from tests.commands.test_receipts import ONE, deciding, join, stamp
with deciding(Path(sys.argv[1])) as handler:
    handler.subscribe(lambda frames: os.kill(os.getpid(), 9))  # they are durable, and nobody was told
    print(handler.submit(join(ONE), actor="executor", stamp=stamp(1)).result(10), flush=True)
"""


def test_23_a_process_killed_between_the_sync_and_the_answer_has_its_request_answered_when_it_comes_again(
    tmp_path: Path,
) -> None:
    child = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], cwd=ROOT, check=False, capture_output=True)
    assert (child.returncode, child.stdout) == (-9, b""), child.stderr
    with deciding(tmp_path) as handler:
        assert types(handler).count("ExecutorJoined") == 1, "it was durable"
        (durable,) = [
            record for frame in handler._log.replay() for record in frame.records if record.type == "ExecutorJoined"
        ]
        again = handler.submit(join(ONE), actor="executor", stamp=stamp(1)).result(10)
        assert (again.seq, again.events, again.refused) == (durable.seq, (durable.data,), None)
        assert types(handler).count("ExecutorJoined") == 1
    assert verify(tmp_path).verdict == "OK"


def test_a_refused_command_of_a_person_is_refused_again_in_the_same_words(tmp_path: Path) -> None:
    once = stamp_once("id-1", b"cancel")
    with deciding(tmp_path) as handler:
        first = handler.submit(cancel(J1), actor="cli:ada", stamp=once).result(10)
    with deciding(tmp_path) as handler:
        again = handler.submit(cancel(J1), actor="cli:ada", stamp=once).result(10)
        assert types(handler).count("CancelJob") == 1
    assert first.refused is not None
    assert again == first


def test_the_first_and_the_second_may_wait_in_one_batch(tmp_path: Path) -> None:
    with deciding(tmp_path) as handler:
        answers: list[Future[Outcome]] = []

        def ask_twice(_state: object) -> None:  # while the deciding thread looks, both are put into its inbox
            answers.extend(handler.submit(join(ONE), actor="executor", stamp=stamp(1)) for _ in range(2))

        handler.inspect(ask_twice)
        first, second = (answer.result(10) for answer in answers)
        assert first == second
        assert types(handler).count("ExecutorJoined") == 1


def test_the_same_stamp_with_other_bytes_is_a_mistake_and_changes_nothing(tmp_path: Path) -> None:
    with deciding(tmp_path) as handler:
        handler.submit(join(ONE), actor="executor", stamp=stamp(1, content=b"one")).result(10)
        head = handler._log.head.seq
        other = handler.submit(join(TWO), actor="executor", stamp=stamp(1, content=b"two")).result(10)
        assert other.refused is not None
        assert other.refused.code == "id_reused"
        assert handler._log.head.seq == head


def test_a_producer_that_falls_back_into_an_earlier_epoch_is_refused(tmp_path: Path) -> None:
    with deciding(tmp_path) as handler:
        handler.submit(join(ONE), actor="executor", stamp=stamp(1, epoch=8)).result(10)
    with deciding(tmp_path) as handler:
        late = handler.submit(join(TWO), actor="executor", stamp=stamp(5, epoch=7)).result(10)
        assert late.refused is not None
        assert late.refused.code == "stale_epoch"
        assert "ExecutorJoined" in types(handler)
        assert types(handler).count("ExecutorJoined") == 1


def test_a_request_that_changed_nothing_needs_no_receipt(tmp_path: Path) -> None:
    with deciding(tmp_path) as handler:
        for sequence in (1, 2, 2):
            outcome = handler.submit(started(J1), actor="executor", stamp=stamp(sequence)).result(10)
            assert not outcome.events
        assert not any("Job" in each for each in types(handler))


@pytest.mark.parametrize("seed", range(20))
def test_however_requests_are_repeated_and_reordered_each_is_carried_out_once(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    random = Random(seed)
    names = [f"executor-{number}" for number in range(6)]
    sends = [name for name in names for _ in range(random.randint(1, 4))]
    random.shuffle(sends)
    lives = random.randint(1, 3)
    answers: dict[str, set[int]] = {name: set() for name in names}
    for life in range(lives):
        with deciding(tmp_path) as handler:
            for name in sends[life::lives]:
                sent = stamp(names.index(name), producer="nng", content=name.encode())
                outcome = handler.submit(join(ExecutorId(name)), actor="executor", stamp=sent).result(10)
                answers[name].add(outcome.seq)
            if life == lives - 1:
                assert types(handler).count("ExecutorJoined") == len(names)
    assert all(len(seqs) == 1 for seqs in answers.values())


def test_the_receipts_are_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "RECEIPTS_MAX", 3)
    kept = Receipts()
    for number in range(1, 6):
        kept.keep(stamp(number, producer=f"executor-{number}"), last=number)
    found = [kept.find(stamp(number, producer=f"executor-{number}")) for number in range(1, 6)]
    assert found == [None, None, *(Receipt(request_digest(b""), last) for last in (3, 4, 5))]


@pytest.mark.parametrize(
    "bad",
    [
        Stamp("", 1, 1, "0" * 32),
        Stamp('a"b', 1, 1, "0" * 32),
        Stamp("a\nb", 1, 1, "0" * 32),
        Stamp("é", 1, 1, "0" * 32),
        Stamp("a" * 101, 1, 1, "0" * 32),
        Stamp("a", -1, 1, "0" * 32),
        Stamp("a", 1, COUNT_LIMIT, "0" * 32),
        Stamp("a", True, 1, "0" * 32),
        Stamp("a", 1, 1, "0" * 31),
        Stamp("a", 1, 1, "G" * 32),
    ],
)
def test_a_stamp_that_a_commit_line_cannot_carry_is_refused_before_anything_is_written(
    tmp_path: Path, bad: Stamp
) -> None:
    log = Log.open(tmp_path, clock=lambda: NOW, new_log_id=lambda: LogId(LOG_ID), version="test", purpose="test")
    size = log.head.bytes
    with pytest.raises(InvalidRecordError, match="stamp"):
        log.commit([FrameDraft(events=(joined(),), actor="executor", stamp=bad)])
    assert log.head.bytes == size
    log.close()


def test_a_frame_comes_back_with_its_stamp(tmp_path: Path) -> None:
    log = Log.open(tmp_path, clock=lambda: NOW, new_log_id=lambda: LogId(LOG_ID), version="test", purpose="test")
    most = Stamp("A.z_9:@+-" + "x" * 91, COUNT_LIMIT - 1, COUNT_LIMIT - 1, "f" * 32)
    (frame,) = log.commit([FrameDraft(events=(joined(),), actor="é" * 200, stamp=most)])
    read: list[Frame] = list(log.replay())
    assert frame.stamp == read[-1].stamp == most
    assert read[0].stamp is None
    log.close()
    assert verify(tmp_path).verdict == "OK"
