"""What a start says of what it found."""

from __future__ import annotations

from cli.report import Recovery


def test_a_sentinel_that_lasts_goes_on_with_what_waits_for_any_target() -> None:
    found = Recovery(requeued=1, waiting=2)
    assert found.sentences() == [
        "resumed from an earlier run: 1 job waiting, 0 being published",
        "left by an earlier run, not for this command: 2 jobs waiting",
    ]
    assert found.for_all().sentences() == ["resumed from an earlier run: 3 jobs waiting, 0 being published"]
    assert Recovery().for_all().sentences() == []
