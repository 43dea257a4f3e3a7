"""The port of the metrics: one path, one method, bounds on whoever connects."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from cli import metrics_port
from cli.errors import CliError
from cli.metrics_port import CONNECTIONS_MAX, HEAD_BYTES_MAX, MetricsPort


@pytest.fixture
def port() -> Iterator[MetricsPort]:
    taken = MetricsPort(0)
    taken.serve(lambda: "casparian_x 1\n")
    yield taken
    taken.close()


def number(port: MetricsPort) -> int:
    return int(port.url.split(":")[2].split("/")[0])


def said(port: MetricsPort, request: bytes) -> bytes:
    """Return all that comes back for what is sent."""
    with socket.create_connection(("127.0.0.1", number(port)), timeout=20) as peer:
        answer = b""
        try:
            peer.sendall(request)
            while part := peer.recv(65536):
                answer += part
        except ConnectionResetError:
            return answer
    return answer


def request(path: str = "/metrics", *, method: str = "GET", host: str = "127.0.0.1:9") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def test_it_tells_the_metrics(port: MetricsPort) -> None:
    answer = said(port, request())
    assert status(answer) == 200
    assert b"Content-Type: text/plain; version=0.0.4" in answer
    assert answer.endswith(b"\r\n\r\ncasparian_x 1\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics?x=1", "/../metrics", "http://127.0.0.1/metrics"])
def test_no_other_path_is_there(port: MetricsPort, path: str) -> None:
    assert status(said(port, request(path))) == 404


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_no_other_method_is_known(port: MetricsPort, method: str) -> None:
    assert status(said(port, request(method=method))) == 501


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9090", "", "127.0.0.1.evil.example"])
def test_a_name_that_was_rebound_to_this_machine_is_refused(port: MetricsPort, host: str) -> None:
    assert status(said(port, request(host=host))) == 403


def test_a_request_that_is_too_long_gets_nothing(port: MetricsPort) -> None:
    assert said(port, b"GET /" + b"x" * (HEAD_BYTES_MAX * 4)) == b""


@pytest.mark.parametrize("data", [b"\0" * 100 + b"\r\n\r\n", b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe GET /\r\n\r\n"])
def test_what_is_no_request_ends_itself_alone(port: MetricsPort, data: bytes) -> None:
    answer = said(port, data)  # one that names no version of HTTP gets none
    assert not answer or b"400" in answer
    assert status(said(port, request())) == 200


def test_whoever_says_nothing_is_let_go_and_keeps_nobody_else_for_ever(
    port: MetricsPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_port, "REQUEST_SECONDS", 0.3)
    silent = [socket.create_connection(("127.0.0.1", number(port))) for _ in range(CONNECTIONS_MAX * 4)]
    deadline = time.monotonic() + 20
    while status(said(port, request())) != 200:
        assert time.monotonic() < deadline, "nobody was served while others were silent"
        time.sleep(0.05)
    for each in silent:
        each.close()


def test_a_fault_behind_it_is_told_and_the_next_is_served() -> None:
    port = MetricsPort(0)
    answers = iter([None, "casparian_x 2\n"])

    def text() -> str:
        answer = next(answers)
        if answer is None:
            raise RuntimeError("not now")
        return answer

    port.serve(text)
    try:
        assert status(said(port, request())) == 503
        assert status(said(port, request())) == 200
    finally:
        port.close()


def test_a_busy_port_is_a_clear_error(port: MetricsPort) -> None:
    with pytest.raises(CliError) as error:
        MetricsPort(number(port))
    assert error.value.code == "port_in_use"
    assert f"127.0.0.1:{number(port)}" in error.value.message


def test_it_is_heard_on_this_machine_only(port: MetricsPort) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", number(port)), timeout=1)
