"""Owns which questions can be asked of a read model from another process, and how they and their answers travel.

A question is one of the functions of projections/queries.py, by its name; arguments and answer are msgpack of the
types that the function declares. So a verb asks the same function whether the read model is its own or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from inspect import signature
from typing import Any, Final, TypeVar, get_type_hints

import msgspec

from projections import queries
from projections.queries import Connection

T = TypeVar("T")

QUESTIONS: Final[dict[str, Callable[..., Any]]] = {
    question.__name__: question
    for question in (
        queries.executors,
        queries.files,
        queries.job,
        queries.job_counts,
        queries.job_events,
        queries.jobs,
        queries.jobs_of_ids,
        queries.parser_health,
        queries.parsers,
        queries.published_files,
        queries.quarantine,
        queries.recorded_files,
        queries.runs,
        queries.trusted_keys,
        queries.trusted_parsers,
    )
}


class UnknownQuestionError(ValueError):
    """Nobody answers a question of this name, or not with such arguments."""


def answer(connection: Connection, name: str, arguments: Mapping[str, Any]) -> bytes:
    """Return the answer to a question, as msgpack. Raises UnknownQuestionError, duckdb.Error."""
    question = QUESTIONS.get(name)
    if question is None:
        raise UnknownQuestionError(f"ask the read model {name!r}: there is no such question")
    hints = _hints(question)
    try:
        given = {each: msgspec.convert(value, hints[each]) for each, value in arguments.items()}
        signature(question).bind(connection, **given)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise UnknownQuestionError(f"ask the read model {name!r}: {error}") from error
    return msgspec.msgpack.encode(question(connection, **given))


def read_answer(question: Callable[..., T], data: bytes) -> T:
    """Return an answer as the question would have given it. Raises msgspec.DecodeError."""
    answered: T = msgspec.msgpack.decode(data, type=_hints(question)["return"])
    return answered


@cache
def _hints(question: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a question's arguments and of its answer; the connection is nobody's to give."""
    hints = get_type_hints(question)
    return {name: hint for name, hint in hints.items() if name != "connection"}
