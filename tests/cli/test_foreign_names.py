"""A conclusion that names what another job has staged or published: it must not reach what is not its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from eventlog.events import MaterializationRecorded, OutputsCommitted
from eventlog.ids import OutputName
from executors import protocol
from executors.errors import ExecutorRefusedError
from executors.executor_loop import Worker
from executors.memory_transport import MemoryClient, MemoryHub
from executors.protocol import Conclude, OpCode, Succeeded
from sinks.uri import open_sink
from tests.acceptance.terminal import eventually
from tests.cli.test_dead_leases import VICTIM, Case
from tests.executors.jobs import IDENTITY, TIMES


class Liar:
    """A client whose second conclusion claims the artifact of the first, and one that nobody has staged."""

    def __init__(self, client: MemoryClient, first: dict[str, Succeeded], published: threading.Event) -> None:
        self._client, self._first, self._published = client, first, published

    def request(self, message: bytes, *, timeout_seconds: float) -> bytes:
        said = protocol.decode(message)
        if said.op is OpCode.CONCLUDE:
            message = self._reworded(said, protocol.payload(said, Conclude))
        return self._client.request(message, timeout_seconds=timeout_seconds)

    def _reworded(self, said: protocol.Message, conclude: Conclude) -> bytes:
        receipt = conclude.receipt
        assert isinstance(receipt, Succeeded)
        if said.job != VICTIM:
            self._first["receipt"] = receipt
        else:
            self._published.wait(10)
            (theirs,) = self._first["receipt"].outputs
            missing = msgspec.structs.replace(
                theirs, output=OutputName("notes"), staged=".no.stage", final="no.parquet"
            )
            receipt = msgspec.structs.replace(receipt, outputs=(theirs, missing), empty=())
        return protocol.encode(OpCode.CONCLUDE, msgspec.structs.replace(conclude, receipt=receipt), job=said.job)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.close()


def test_a_conclusion_cannot_have_the_published_artifact_of_another_job_withdrawn(case: Case) -> None:
    hub, published, first = MemoryHub(), threading.Event(), dict[str, Succeeded]()
    server = hub.server()
    server.serve(case.dispatcher.receive)
    worker = Worker(
        identity=IDENTITY,
        client_factory=lambda: Liar(hub.client(), first, published),
        sink_factory=open_sink,
        times=msgspec.structs.replace(TIMES, request=8),
    )
    refusals: list[str] = []

    def work() -> None:
        try:
            worker.run()
        except ExecutorRefusedError as refused:
            refusals.append(str(refused))

    working = threading.Thread(target=work)
    working.start()
    eventually(lambda: any(isinstance(each, MaterializationRecorded) for each in case.events), what="job 1 to be done")
    published.set()
    working.join(timeout=20)
    server.close()
    assert not working.is_alive()
    first_commit, *others = [event for event in case.events if isinstance(event, OutputsCommitted)]
    assert [file.name for file in case.out.glob("*.parquet")] == [first_commit.outputs[0].final]
    assert not others
    assert "BadPayload" in refusals[0]
