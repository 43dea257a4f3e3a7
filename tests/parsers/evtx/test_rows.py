"""Records that wait for their batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.evtx import limits
from parsers.evtx.rows import cuts_of


@given(st.lists(st.integers(0, 50), max_size=30))
def test_cuts_cover_every_record_once_in_order(lengths: list[int]) -> None:
    texts = ["x" * length for length in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BATCH_TEXT_MAX", 40)
        cuts = list(cuts_of(texts))
    assert [position for first, end in cuts for position in range(first, end)] == list(range(len(lengths)))
    assert all(end - first == 1 or sum(lengths[first:end]) <= 40 for first, end in cuts)
