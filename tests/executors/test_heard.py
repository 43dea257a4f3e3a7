from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventlog.ids import LogId
from executors.heard import Heard
from executors.protocol import HEARD_LOGS_MAX, LogHead

logs = st.integers(0, 20).map(lambda number: LogId(f"{number:032x}"))
heads = st.builds(LogHead, log_id=logs, seq=st.integers(1, 9), hash=st.sampled_from(("a" * 64, "b" * 64)))


@given(st.lists(heads | st.none(), max_size=100))
def test_the_newest_head_of_each_log_is_remembered_and_of_the_last_so_many_logs(told: list[LogHead | None]) -> None:
    heard = Heard()
    for head in told:
        heard.hear(head)
    known = [head for head in told if head is not None]
    last = list(dict.fromkeys(head.log_id for head in reversed(known)))[:HEARD_LOGS_MAX]
    assert [head.log_id for head in heard.heads] == last[::-1]
    for head in heard.heads:
        assert head in known


@given(st.permutations(range(1, 8)))
def test_a_head_that_is_behind_what_was_told_before_is_not_taken(order: list[int]) -> None:
    heard = Heard()
    for seq in order:
        heard.hear(LogHead(log_id=LogId("0" * 32), seq=seq, hash=f"{seq:064x}"))
        heard.hear(LogHead(log_id=LogId("0" * 32), seq=seq, hash="f" * 64))  # the first word of a place stands
    assert heard.heads == (LogHead(log_id=LogId("0" * 32), seq=7, hash=f"{7:064x}"),)
