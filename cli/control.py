"""Owns the control socket: how another process gives a command to the sentinel that holds a home's log.

One request, one answer, as cli/messages.py words them, over nng (executors/transport.py), at an address in a folder
that only this user can enter; `<home>/tmp/control.address` names it, because the folder depends on the environment of
whoever made it.

A command is logged under its request's id. A command that comes again, because its answer was lost, gets the outcome
of the first one, from this sentinel or a later one: the log knows it by its stamp (commands/receipts.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from cli.errors import as_cli_error
from cli.messages import VERSION, Answer, Asked, Refusal, Reply, decode_asked
from cli.routes import ROUTES, Authority
from cli.traffic import TrafficCount
from executors.transport import Server

REQUESTS_MAX: Final = 32  # under way at once; more wait their turn

logger = logging.getLogger("casparian.control")


class ControlServer:
    """Answers requests, each on a thread of a small pool: one that waits for a slow disk keeps no other waiting."""

    def __init__(self, authority: Authority, server: Server, *, announced_in: Path) -> None:
        self._authority = authority
        self._server = server
        self._announced_in = announced_in
        self.traffic = TrafficCount("control")
        self._pool = ThreadPoolExecutor(REQUESTS_MAX, thread_name_prefix="control")

    def start(self) -> None:
        """Listen, and say where. Raises TransportError, OSError."""
        self._server.serve(self._take)
        self._announced_in.write_text(self._server.address + "\n", encoding="utf-8", errors="surrogateescape")

    def close(self) -> None:
        """Answer nothing more."""
        self._announced_in.unlink(missing_ok=True)
        self._server.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def answer(self, asked: Asked) -> Reply:
        """Carry out a request; a command that was carried out before is answered with what came of it then."""
        try:
            return ROUTES[type(asked.request)](self._authority, asked)
        except Exception as error:  # whatever it is concerns this request; the asker is told and the others served on
            told = as_cli_error(error)
            if told is not None:
                return Refusal(code=told.code, message=told.message, next_step=told.next_step)
            logger.exception("answer the request %s", asked.id)
            what = type(asked.request).__name__
            return Refusal(code="failed", message=f"carry out {what}: {type(error).__name__}: {error}"[:1000])

    def _take(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        self.traffic.received()
        self._pool.submit(self._serve, data, reply)

    def _serve(self, data: bytes, reply: Callable[[bytes], None]) -> None:
        asked = decode_asked(data)
        if isinstance(asked, Refusal):
            self.traffic.error()
        answer = asked if isinstance(asked, Refusal) else self.answer(asked)
        reply(msgspec.json.encode(Answer(version=VERSION, reply=answer)))
        self.traffic.sent()
