"""Steps with whole columns."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from parsers.fix.arrays import INT32, sums_between


@given(data=st.binary(max_size=100) | st.sampled_from([b"\xff" * 1_000, b""]), bounds=st.data())
def test_sums_between_places_are_those_of_their_bytes(data: bytes, bounds: st.DataObject) -> None:
    places = bounds.draw(st.lists(st.tuples(st.integers(0, len(data)), st.integers(0, len(data))).map(sorted)))
    begins, stops = (pa.array([place[side] for place in places], INT32) for side in (0, 1))
    assert sums_between(data, begins, stops).to_pylist() == [sum(data[begin:stop]) for begin, stop in places]
