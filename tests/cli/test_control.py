"""The control protocol: one table of routes, ids that are carried out once, bounds."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from cli import messages, routes
from cli.client import connect
from cli.home import Home
from cli.messages import (
    Accepted,
    Asked,
    CancelJob,
    GetJob,
    JobSeen,
    KeyTold,
    ParserTold,
    Ping,
    Pong,
    Refusal,
    RevokeKey,
    RevokeParser,
    TrustKey,
    TrustParser,
    ask,
    decode_asked,
)
from cli.sentinel import Sentinel
from eventlog.events import ParserTrusted
from tests.support import deploy_own, enqueue, plan, planned_run, record, start, trust


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Sentinel]:
    """A sentinel that holds two waiting jobs and hires nobody."""
    with Sentinel(Home(tmp_path / "home"), purpose="test") as started:
        for command in planned_run(1, 2):
            outcome = started.handler.call(command, actor="test")
            assert outcome.refused is None, outcome.refused
        yield started


def test_every_request_has_a_route() -> None:
    assert routes.ROUTES.keys() == set(get_args(messages.Request))


def test_a_client_finds_the_sentinel_by_its_home(sentinel: Sentinel) -> None:
    client = connect(sentinel.home.control)
    assert client is not None
    with client:
        pong = client.ask(ask(Ping()))
        assert pong == Pong(log_id=sentinel.log_id, purpose="test", pid=os.getpid(), lasting=False)
        assert client.ask(ask(GetJob(job=1))) == JobSeen(job=1, state="queued", reason="", outputs=())
        assert client.ask(ask(CancelJob(job=1, reason="asked"))) == Accepted(job=1)
        seen = client.ask(ask(GetJob(job=1)))
        assert isinstance(seen, JobSeen)
        assert seen.state == "aborted"
        assert seen.reason.endswith(": asked")


def test_nobody_listens_after_the_end(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with Sentinel(home, purpose="test"):
        pass
    assert connect(home.control) is None
    home.control.write_text("ipc:///nowhere/at/all\n")  # as a crash leaves it
    assert connect(home.control) is None


def test_a_command_is_logged_under_its_request_with_who_asked(sentinel: Sentinel) -> None:
    asked = Asked(version=1, id="request-1", actor="cli:ada", request=CancelJob(job=1, reason="asked"))
    assert sentinel.control.answer(asked) == Accepted(job=1)
    frames = [frame for frame in sentinel.log.replay() if frame.records and frame.records[0].type == "CancelJob"]
    (frame,) = frames
    assert (frame.actor, frame.records[0].id) == ("cli:ada", "request-1")


def test_a_command_that_comes_again_gets_its_old_answer_and_is_not_logged_again(sentinel: Sentinel) -> None:
    asked = ask(CancelJob(job=1, reason="asked"))
    first = sentinel.control.answer(asked)
    head = sentinel.log.head.seq
    assert sentinel.control.answer(asked) == first == Accepted(job=1)
    assert sentinel.log.head.seq == head
    other = msgspec.structs.replace(asked, request=CancelJob(job=2, reason="asked"))
    reused = sentinel.control.answer(other)
    assert isinstance(reused, Refusal)
    assert reused.code == "id_reused"


def test_a_second_cancel_is_refused_by_the_state_and_kept_in_the_log(sentinel: Sentinel) -> None:
    sentinel.control.answer(ask(CancelJob(job=1, reason="asked")))
    again = sentinel.control.answer(ask(CancelJob(job=1, reason="asked again")))
    assert isinstance(again, Refusal)
    assert again.code == "already_completed"
    types = [record.type for frame in sentinel.log.replay() for record in frame.records]
    assert types[-2:] == ["CancelJob", "CommandRefused"]


def test_a_command_that_comes_again_to_a_later_sentinel_gets_its_old_answer(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    done, refused = ask(CancelJob(job=1, reason="asked")), ask(CancelJob(job=9, reason="asked"))
    answers, heads = [], []
    for life in range(3):
        with Sentinel(home, purpose="test") as sentinel:
            if life == 0:
                for command in planned_run(1, 2):
                    sentinel.handler.call(command, actor="test")
            answers.append([sentinel.control.answer(done), sentinel.control.answer(refused)])
            types = [record.type for frame in sentinel.log.replay() for record in frame.records]
            heads.append(types.count("CancelJob"))
    assert answers[0][0] == Accepted(job=1)
    assert isinstance(answers[0][1], Refusal)
    assert answers == [answers[0]] * 3
    assert heads == [2, 2, 2]


ONE = "1" * 64
TRUST = TrustParser(parser="lines", version="0.1", artifact_hash=ONE, reason="read it")


def test_trust_is_logged_with_who_gives_it_and_given_again_it_changes_nothing(sentinel: Sentinel) -> None:
    asked = Asked(version=1, id="request-1", actor="cli:ada", request=TRUST)
    assert sentinel.control.answer(asked) == ParserTold(parser="lines", artifacts=(ONE,))
    assert sentinel.control.answer(ask(TRUST)) == ParserTold(parser="lines", artifacts=())
    records = [record.data for frame in sentinel.log.replay() for record in frame.records]
    (trusted,) = [each for each in records if isinstance(each, ParserTrusted)]
    assert (trusted.by, trusted.how, trusted.reason) == ("cli:ada", "command", "read it")


def test_revoking_ends_the_jobs_that_wait_and_no_others(sentinel: Sentinel) -> None:
    sentinel.control.answer(ask(TRUST))
    for command in (
        deploy_own(),
        start("lines"),
        record(7, run=2),
        plan(1, 1, run=2, artifact="1" * 64),
        enqueue(7, run=2),
    ):
        outcome = sentinel.handler.call(command, actor="test")
        assert outcome.refused is None, outcome.refused
    told = sentinel.control.answer(ask(RevokeParser(parser="lines", reason="loses a line")))
    assert told == ParserTold(parser="lines", artifacts=(ONE,))
    seen = [sentinel.control.answer(ask(GetJob(job=job))) for job in (1, 2, 3)]
    assert [each.state for each in seen if isinstance(each, JobSeen)] == ["queued", "queued", "aborted"]
    assert isinstance(seen[2], JobSeen)
    assert "its parser is not trusted any more" in seen[2].reason


def test_revoking_a_key_ends_the_jobs_of_what_runs_by_it(sentinel: Sentinel) -> None:
    key = "ada+11111111+AQ=="
    assert sentinel.control.answer(ask(TrustKey(key=key, reason="met her"))) == KeyTold(changed=True)
    assert sentinel.control.answer(ask(TrustKey(key=key, reason="met her"))) == KeyTold(changed=False)
    signed = trust(ONE, how="signed", key=key)
    planned = plan(1, 1, run=2, artifact=ONE)
    for command in (signed, deploy_own(), start("lines"), record(7, run=2), planned, enqueue(7, run=2)):
        outcome = sentinel.handler.call(command, actor="test")
        assert outcome.refused is None, outcome.refused
    told = sentinel.control.answer(ask(RevokeKey(key=key, reason="it was stolen")))
    assert told == KeyTold(changed=True, artifacts=(ONE,))
    seen = sentinel.control.answer(ask(GetJob(job=3)))
    assert isinstance(seen, JobSeen)
    assert (seen.state, "its parser is not trusted any more" in seen.reason) == ("aborted", True)
    again = sentinel.control.answer(ask(RevokeKey(key=key, reason="it was stolen")))
    assert isinstance(again, Refusal)
    assert again.code == "not_found"


def test_what_is_built_in_or_unknown_cannot_be_revoked(sentinel: Sentinel) -> None:
    for name, code in (("evtx", "builtin_name"), ("nobody", "not_found")):
        refused = sentinel.control.answer(ask(RevokeParser(parser=name, reason="no")))
        assert isinstance(refused, Refusal)
        assert refused.code == code


def test_the_same_command_at_once_from_many_threads_is_carried_out_once(sentinel: Sentinel) -> None:
    asked = ask(CancelJob(job=1, reason="asked"))
    answers: list[object] = []
    threads = [threading.Thread(target=lambda: answers.append(sentinel.control.answer(asked))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert answers == [Accepted(job=1)] * 8


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b"[" * 100_000, "bad_request"),
        (b'{"version":2,"id":"a","actor":"b","what":{}}', "version"),
        (b'{"version":1,"id":"a","actor":"b","request":{"type":"DropEverything"}}', "bad_request"),
        (b'{"version":1,"id":"a","actor":"b","request":{"type":"CancelJob","job":0,"reason":""}}', "bad_request"),
        (b'{"version":1,"id":"an id","actor":"b","request":{"type":"Ping"}}', "bad_request"),
        (b'{"version":1,"id":"","actor":"b","request":{"type":"Ping"}}', "bad_request"),
    ],
)
def test_what_is_not_understood_is_refused_with_a_word(data: bytes, code: str) -> None:
    refused = decode_asked(data)
    assert isinstance(refused, Refusal)
    assert refused.code == code


def test_a_fault_of_ours_is_told_to_the_asker(sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> messages.Reply:
        raise RuntimeError("no luck")

    monkeypatch.setitem(routes.ROUTES, Ping, broken)
    refused = sentinel.control.answer(ask(Ping()))
    assert refused == Refusal(code="failed", message="carry out Ping: RuntimeError: no luck")
