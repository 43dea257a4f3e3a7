"""Owns the port on which a sentinel tells its metrics: 127.0.0.1 only, `GET /metrics` and nothing else.

Whoever connects has REQUEST_SECONDS and HEAD_BYTES_MAX for all that they ask, and there are CONNECTIONS_MAX of them at
once; the next one is turned away. Nothing that comes in reaches anything but the comparison with `/metrics`.
"""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from cli.errors import CliError

ADDRESS: Final = "127.0.0.1"
PORT_MAX: Final = 65_535
HEAD_BYTES_MAX: Final = 8 * 1024
REQUEST_SECONDS: Final = 5.0
CONNECTIONS_MAX: Final = 8
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HEAD_END: Final = b"\r\n\r\n"

logger = logging.getLogger("casparian.metrics")


class MetricsPort:
    """A port that is taken at once and answers from `serve` on."""

    def __init__(self, port: int) -> None:
        """Take the port; 0 takes a free one. Raises CliError if somebody has it, or it may not be had."""
        try:
            self._server = _Server((ADDRESS, port), _Handler)
        except OSError as error:
            why = f"serve metrics on {ADDRESS}:{port}: {error.strerror or error}"
            raise CliError(
                "port_in_use", why, "name another one: --metrics-port P, or end who listens there"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics port", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self._server.server_port}/metrics"

    def serve(self, text_of: Callable[[], str]) -> None:
        """Answer with what `text_of` says; it may be called by several threads at once."""
        self._server.text_of = text_of
        self._thread.start()

    def close(self) -> None:
        """Answer nothing more; requests under way end by themselves."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


@contextmanager
def metrics_port(port: int | None) -> Iterator[MetricsPort | None]:
    """Give a port to serve metrics on, None where none is wanted."""
    if port is None:
        yield None
        return
    taken = MetricsPort(port)
    try:
        yield taken
    finally:
        taken.close()


Request = socket.socket | tuple[bytes, socket.socket]  # as the base class has it; here a socket


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.text_of: Callable[[], str] = str
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without asking who is called 127.0.0.1, as the base class would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def verify_request(self, request: object, client_address: object) -> bool:
        """Turn away whom we have no thread for; the base class closes the connection."""
        return self._free.acquire(blocking=False)

    def process_request_thread(self, request: Request, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say in a line what became of a request; the base class prints a stack trace."""
        logger.info("a request for metrics was not answered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "casparian"
    sys_version = ""

    def setup(self) -> None:
        """Read all of what is asked, within the bounds, before any of it is looked at."""
        super().setup()
        self.rfile = io.BytesIO(_head(self.connection))
        self.connection.settimeout(REQUEST_SECONDS)

    def do_GET(self) -> None:
        if self.headers.get("Host", "").split(":")[0] not in (ADDRESS, "localhost"):  # a page that rebinds a name
            self._answer(HTTPStatus.FORBIDDEN, b"ask by the name 127.0.0.1\n")
        elif self.path != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, b"there is /metrics and nothing else\n")
        else:
            try:
                text = self.server.text_of()
            except Exception as error:  # whatever it is concerns this request; the asker is told and others are served
                logger.exception("tell the metrics")
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"not now: {type(error).__name__}\n".encode())
                return
            self._answer(HTTPStatus.OK, text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Say nothing of each request."""

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE if status == HTTPStatus.OK else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _head(connection: socket.socket) -> bytes:
    """Return the request without a body; nothing if it is too long or did not come in time."""
    head = b""
    deadline = time.monotonic() + REQUEST_SECONDS
    try:
        while HEAD_END not in head and len(head) <= HEAD_BYTES_MAX:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            part = connection.recv(HEAD_BYTES_MAX)
            if not part or time.monotonic() > deadline:
                return b""
            head += part
    except OSError:
        return b""
    return head if len(head) <= HEAD_BYTES_MAX else b""
