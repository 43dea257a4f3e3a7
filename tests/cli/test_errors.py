"""The one shape in which errors of the layers below are told."""

from __future__ import annotations

import pytest

from cli.errors import as_cli_error
from executors.errors import PeerGoneError, RequestTimedOutError, TransportError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PeerGoneError("ask ipc:///s: the peer has gone"), "sentinel_gone"),
        (RequestTimedOutError("ask ipc:///s: no answer"), "sentinel_silent"),
        (TransportError("choose a socket"), "no_socket"),
    ],
)
def test_what_is_wrong_with_a_connection_is_told_with_what_to_type_next(error: TransportError, code: str) -> None:
    told = as_cli_error(error)
    assert told is not None
    assert told.code == code
    assert told.next_step


def test_a_fault_of_ours_is_nobodys_mistake() -> None:
    assert as_cli_error(KeyError("job")) is None
