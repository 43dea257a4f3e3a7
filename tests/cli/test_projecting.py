"""The read model's thread: whoever asks is answered, also when the rows cannot be written."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import cast

import duckdb
import pytest

from cli.projecting import ProjectionThread
from eventlog.frames import Frame
from projections.errors import ProjectorFailedError
from projections.readmodel import Writer
from tests.acceptance.terminal import eventually


class BrokenProjector:
    """A projector whose disk is full."""

    checkpoint = SimpleNamespace(seq=0)

    def __init__(self) -> None:
        self.connection = duckdb.connect(":memory:")

    def apply(self, frames: list[Frame]) -> None:
        raise ProjectorFailedError(f"write {len(frames)} frames: no space left")


class BrokenWriter:
    """All that the thread asks of a writer."""

    doubt = ""

    def __init__(self) -> None:
        self.projector = BrokenProjector()

    def close(self) -> None:
        self.projector.connection.close()

    abandon = close


class OneRecord:
    """All that the thread asks of a frame."""

    records = (1,)
    last = 1


@pytest.mark.timeout(20)
def test_a_question_behind_rows_that_cannot_be_written_is_answered_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cli.projecting.Frame", OneRecord)
    thread = ProjectionThread(cast(Writer, BrokenWriter()), head=1)
    thread.feed(cast(Frame, OneRecord()))
    answers: list[object] = []

    def ask() -> None:
        try:
            thread.ask(lambda connection: answers.append("asked of a read model that has failed"))
        except ProjectorFailedError as error:
            answers.append(str(error))

    asker = threading.Thread(target=ask)
    asker.start()  # its question now waits behind the frame, to be taken out together with it
    eventually(lambda: thread._queue.qsize() == 2, what="the question to wait")
    thread.start()
    asker.join(timeout=10)
    assert answers == ["write 1 frames: no space left"]
    thread.stop()


def test_a_question_that_the_read_model_cannot_answer_is_told_as_its_failure() -> None:
    thread = ProjectionThread(cast(Writer, BrokenWriter()), head=0)
    thread.start()
    with pytest.raises(ProjectorFailedError, match=r"(?s)ask the read model: .* the log is not affected"):
        thread.ask(lambda connection: connection.execute("select * from nowhere"))
    thread.stop()
