"""Owns the control socket: how another process gives a command to the sentinel that holds a home's log.

One request, one answer, as cli/messages.py words them and cli/wire.py carries them, at an address in a folder that only
this user can enter; `<home>/tmp/control.address` names it, because the folder depends on the environment of
whoever made it.

A command is logged under its request's id. A command that comes again, because its answer was lost, gets the outcome
of the first one, from this sentinel or a later one: the log knows it by its stamp (commands/receipts.py).
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Final

import msgspec

from cli.connections import Connections
from cli.errors import as_cli_error
from cli.messages import MESSAGE_BYTES_MAX, VERSION, Answer, Asked, Refusal, Reply, WatchRun, decode_asked
from cli.routes import ROUTES, Authority
from cli.traffic import TrafficCount

REQUESTS_MAX: Final = 32  # under way at once; more wait their turn

logger = logging.getLogger("casparian.control")


class ControlServer:
    """Answers requests, each on its connection's thread: one that waits for a slow disk keeps no other waiting."""

    def __init__(self, authority: Authority, address: str, *, announced_in: Path) -> None:
        self._authority = authority
        self._connections = Connections(address, answer=self._serve, message_bytes_max=MESSAGE_BYTES_MAX)
        self._announced_in = announced_in
        self._places = threading.BoundedSemaphore(REQUESTS_MAX)
        self.traffic = TrafficCount("control")

    def start(self) -> None:
        """Listen, and say where. Raises TransportError, OSError."""
        self._connections.start()
        address = self._connections.address
        self._announced_in.write_text(address + "\n", encoding="utf-8", errors="surrogateescape")

    def close(self) -> None:
        """Answer nothing more."""
        self._announced_in.unlink(missing_ok=True)
        self._connections.close()

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

    def _serve(self, data: bytes) -> bytes:
        self.traffic.received()
        asked = decode_asked(data)
        if isinstance(asked, Refusal):
            self.traffic.error()
        answer = msgspec.json.encode(Answer(version=VERSION, reply=self._reply(asked)))
        self.traffic.sent()
        return answer

    def _reply(self, asked: Asked | Refusal) -> Reply:
        if isinstance(asked, Refusal):
            return asked
        if isinstance(asked.request, WatchRun):  # waits, and works on nothing: any number of them may
            return self.answer(asked)
        with self._places:
            return self.answer(asked)
