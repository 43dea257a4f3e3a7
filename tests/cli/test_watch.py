"""Which jobs the runs wait for."""

from __future__ import annotations

from cli.watch import Watches
from eventlog.ids import JobId

ONE, TWO = JobId(1), JobId(2)


def test_a_run_that_is_being_stopped_waits_for_nothing() -> None:
    watches = Watches()
    with watches.watching() as first, watches.watching() as second:
        first.expect([ONE])
        second.expect([ONE, TWO])
        assert watches.waited_for() == {ONE, TWO}
        second.leave()
        assert watches.waited_for() == {ONE}
        assert second.wait(0) == {ONE, TWO}, "what it stops is still told to it"
        first.settle(set())
        assert watches.waited_for() == set()
    assert watches.waited_for() == set()
