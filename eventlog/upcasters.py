"""Owns how records of earlier versions become records of the newest: one entry for each step that was ever released.

The key is the tag as it stands in old lines (`JobQueued` is the first version, `JobQueued.2` the second); the change
takes the data of that version and returns the data of the next. A change is a pure function of plain JSON values: no
clock, no settings. Entries are never removed or edited once released: fixtures/log/ holds a line of every version, and
the tests read them all. To change a shape in a way that a field with a default cannot express, edit the class in
events.py, add the entry for its present tag here, and run `make golden`.
"""

from __future__ import annotations

from typing import Final

from eventlog.registry import Change

UPCASTERS: Final[dict[str, Change]] = {}
