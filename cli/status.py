"""The verb `status`: whether a sentinel runs, what it does, and how the queue stands."""

from __future__ import annotations

from cli.home import find_home
from cli.options import HomeOption, JsonOption
from cli.standing import show_status


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show whether a sentinel runs, what it does, and how many jobs stand how.

    Example: `casparian status`

    Exit codes: 0 it was told, 1 nothing was run there yet.
    """
    show_status(find_home(home), as_json=as_json)
