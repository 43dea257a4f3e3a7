from __future__ import annotations

from cli.roster import STRANGERS_MAX, Roster
from eventlog.ids import ExecutorId
from executors.protocol import Stop

E = ExecutorId("executor-9")
STRANGER = ExecutorId("stranger")


def test_strangers_take_nobody_s_place_that_we_start() -> None:
    roster = Roster()
    roster.expect(E)
    for number in range(STRANGERS_MAX):
        assert not roster.is_full_for(STRANGER)
        assert roster.join(ExecutorId(f"stranger-{number}"), 0.0)
    assert roster.is_full_for(STRANGER)
    assert not roster.is_full_for(ExecutorId("stranger-0"))  # it is here
    assert not roster.is_full_for(E)
    assert not roster.join(E, 0.0)


def test_only_who_is_here_and_not_draining_gets_work() -> None:
    roster = Roster()
    assert roster.farewell(E) == Stop(reason="the sentinel has given this executor up", again=True)
    roster.join(E, 0.0)
    assert roster.farewell(E) is None
    roster.drain(E, "its host is needed")
    assert roster.farewell(E) == Stop(reason="its host is needed")


def test_who_was_removed_is_not_wanted_again_when_it_is_forgotten() -> None:
    roster = Roster()
    roster.join(E, 0.0)
    roster.remove(E)
    roster.forget(E)
    assert E not in roster
    assert roster.farewell(E) == Stop(reason="the sentinel has given this executor up", again=False)


def test_our_own_absence_makes_nobody_heard_in_the_future() -> None:
    roster = Roster()
    roster.join(E, 1.0)
    roster.forgive(30.0, 20.0)
    assert roster.heard() == {E: 20.0}
