from __future__ import annotations

from cli.question import Question
from eventlog.ids import LeaseId, LogId
from executors import protocol
from executors.protocol import LogHead, OpCode, Stop
from tests.support import LOG_ID

HEAD = LogHead(log_id=LogId(LOG_ID), seq=1, hash="0" * 64)


def test_a_question_is_answered_once() -> None:
    said: list[bytes] = []
    question = Question(said.append, lease=LeaseId("l"), head=lambda: HEAD, with_receipt=True)
    question.answer(OpCode.HEARTBEAT, protocol.Carry())
    question.answer(OpCode.ABORT, Stop(reason="too late"))
    assert said == []  # what became of the receipt is not known yet
    question.settle(discard=True)
    assert [(protocol.decode(each).op, protocol.decode(each).discard) for each in said] == [(OpCode.HEARTBEAT, True)]
