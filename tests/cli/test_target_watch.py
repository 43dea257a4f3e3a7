"""A sentinel's own words about its targets."""

from __future__ import annotations

from cli.target_watch import TargetWatch


def test_a_target_is_told_of_once_when_it_is_lost_and_once_when_it_is_back() -> None:
    watch, lost = TargetWatch(), {"parquet:///out": "its disk is not mounted"}
    assert watch.look({}) == []
    (told,) = watch.look(lost)
    assert told.startswith("parquet:///out cannot be used: its disk is not mounted; ")
    assert watch.look(lost) == []
    assert watch.look({}) == ["parquet:///out can be used again"]
    assert watch.look({}) == []
    assert len(watch.look(lost)) == 1
