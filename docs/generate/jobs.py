"""Writes JOBS.md from the table of moves in reducers/job.py: the diagram and the table are that table."""

from __future__ import annotations

from collections.abc import Iterator

from docs.generate import markdown
from reducers import job

INTRODUCTION = """
A job is one file, read by one parser. This is every state that it can be in, and every event that moves it. What the
events carry is in [EVENTS.md](EVENTS.md); `casparian job show ID` lists what happened to one job.
"""
Move = tuple[str, str, str]  # from, event, to; "" is before the beginning and after the end


def page() -> str:
    """Return the page."""
    moves = list(_moves())
    return markdown.page("The life of a job", INTRODUCTION, _diagram(moves), _states(), _table(moves))


def _moves() -> Iterator[Move]:
    for state, row in job.MOVES.items():
        for event, following in row.items():
            yield _name(state), event.__name__, _name(following)


def _name(state: type | None) -> str:
    return state.__name__ if state is not None else ""


def _diagram(moves: list[Move]) -> str:
    """Return the diagram: one arrow for each pair of states, with all its events."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for before, event, after in moves:
        arrows.setdefault((before, after), []).append(event)
    lines = [
        f"    {before or '[*]'} --> {after or '[*]'}: {', '.join(events)}" for (before, after), events in arrows.items()
    ]
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```"


def _states() -> str:
    rows = [(state.__name__, markdown.prose(state.__doc__)) for state in job.MOVES if state is not None]
    return "## States\n\n" + markdown.table(("state", "meaning"), rows)


def _table(moves: list[Move]) -> str:
    rows = [
        (before or "(new)", f"[{event}](EVENTS.md#{event.lower()})", _following(before, after))
        for before, event, after in moves
    ]
    return "## Moves\n\n" + markdown.table(("from", "event", "to"), rows)


def _following(before: str, after: str) -> str:
    return "(ended)" if not after else "the same" if after == before else after
