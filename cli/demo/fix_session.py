"""Owns one made-up FIX session: two sides, their clock and sequence numbers, what they say and what they say again.

Knows nothing of files and dirt. A session holds a bounded number of open orders and of messages to send again.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from cli.demo import fix_orders
from cli.demo.fix_orders import Desk, Step
from cli.demo.fix_writer import Draft, fields

BROKER: Final = "BROKER"
OPEN_ORDERS_MAX: Final = 20
RESENT_MESSAGES_MAX: Final = 5

# Shares of the messages that belong to no order.
ADMIN_SHARE: Final = 0.02
MARKET_DATA_SHARE: Final = 0.08
TRADE_REPORT_SHARE: Final = 0.01
REJECT_SHARE: Final = 0.005
NEWS_SHARE: Final = 0.0005
RESEND_SHARE: Final = 0.0005  # of requests to send again

_DAYS: Final = ("20260120", "20260121")
_OPENING_NS: Final = 8 * 3600 * 10**9
_TRADING_NS: Final = 9 * 3600 * 10**9
_DAY_NS: Final = 24 * 3600 * 10**9
_NEXT_DAY_FROM: Final = 0.95  # of the session's messages; the rest belongs to the next morning


class Said(Struct, frozen=True, kw_only=True):
    """A message of a session, not yet written. `time` is when it was logged, `date` the day of its log."""

    draft: Draft
    date: str
    time: str
    incoming: bool  # as the broker sees it
    groups: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()


class Session:
    """One session, from its first logon to the morning after. `messages` is read once."""

    def __init__(
        self, *, number: int, begin: str, fraction_digits: int, with_data: bool, messages_expected: int, seed: str
    ) -> None:
        self.number = number
        self.begin = begin
        self.client = f"CLIENT{number:02}"
        self.chance = random.Random(seed)
        self.done = 0.0  # the share of its messages that is written; the writer says so
        self._desk = Desk(number=number, begin=begin, chance=self.chance)
        self._fraction_digits = fraction_digits
        self._with_data = with_data
        self._step_rate = messages_expected / _TRADING_NS
        self._now_ns = _OPENING_NS
        self._day = 0
        self._sequence = {True: 0, False: 0}  # by whether the client sends
        self._sent: dict[bool, deque[Said]] = {side: deque(maxlen=RESENT_MESSAGES_MAX) for side in (True, False)}
        self._open: list[Iterator[Step]] = []
        self._tick()

    def messages(self) -> Iterator[Said]:
        """Yield what is said until `done` reaches 1: bounded by whoever writes it."""
        yield from self._logon()
        while self.done < 1.0:  # every message written brings it nearer
            if self._day == 0 and self.done > _NEXT_DAY_FROM:
                yield from self._next_day()
            draw = self.chance.random()
            if draw < RESEND_SHARE:
                yield from self._resend(from_client=self.chance.random() < 0.5)
            else:
                yield self._say(self._step(draw - RESEND_SHARE))

    def _step(self, draw: float) -> Step:
        """Return what comes next: `draw` decides which kind."""
        for share, make in (
            (ADMIN_SHARE, fix_orders.admin),
            (MARKET_DATA_SHARE, fix_orders.market_data),
            (0.0 if self._desk.is_old else TRADE_REPORT_SHARE, fix_orders.trade_report),
            (NEWS_SHARE if self._with_data else 0.0, fix_orders.news_with_data),
        ):
            if 0 <= draw < share:
                return make(self._desk)
            draw -= share
        if 0 <= draw < REJECT_SHARE:
            return fix_orders.reject(self._desk, max(1, self._sequence[True]))
        return self._order_step()

    def _order_step(self) -> Step:
        """Return the next message of some open order, or the first of a new one."""
        if len(self._open) >= OPEN_ORDERS_MAX:
            place = self.chance.randrange(len(self._open))
            step = next(self._open[place], None)
            if step is not None:
                return step
            del self._open[place]
        order = fix_orders.order_life(self._desk)
        self._open.append(order)
        return next(order)

    def _say(self, step: Step) -> Said:
        self._tick()
        said = self._stamped(step.from_client, step.msg_type, step.body, groups=step.groups, notes=step.notes)
        if step.msg_type not in ("0", "1"):
            self._sent[step.from_client].append(said)
        return said

    def _stamped(
        self,
        from_client: bool,
        msg_type: str,
        body: str,
        *,
        groups: tuple[tuple[int, int], ...] = (),
        notes: tuple[str, ...] = (),
    ) -> Said:
        """Return a message with the next number of its side, sent now."""
        self._sequence[from_client] += 1
        time = self._desk.time
        draft = Draft(
            begin=self.begin,
            msg_type=msg_type,
            sender=self.client if from_client else BROKER,
            target=BROKER if from_client else self.client,
            seq=self._sequence[from_client],
            sending_time=time,
            body=body,
        )
        return Said(draft=draft, date=_DAYS[self._day], time=time, incoming=from_client, groups=groups, notes=notes)

    def _logon(self) -> Iterator[Said]:
        body = fields((98, 0), (108, 30)) + (fields((1137, 9)) if self.begin == "FIXT.1.1" else "")
        for from_client in (True, False):
            self._tick()
            yield self._stamped(from_client, "A", body)

    def _next_day(self) -> Iterator[Said]:
        """Log out and on again the next morning: numbers begin with 1, and open orders are gone."""
        for from_client in (True, False):
            self._tick()
            yield self._stamped(from_client, "5", "")
        self._day = 1
        self._now_ns = _OPENING_NS
        self._desk.begin_next_day()
        self._sequence = {True: 0, False: 0}
        for sent in self._sent.values():
            sent.clear()
        self._open.clear()
        yield from self._logon()

    def _resend(self, *, from_client: bool) -> Iterator[Said]:
        """Let the other side ask for what this one sent last, and send it again: the same numbers, 43=Y, 122."""
        kept = list(self._sent[from_client])
        self._tick()
        first = kept[0].draft.seq if kept else self._sequence[from_client]
        yield self._stamped(not from_client, "2", fields((7, first), (16, 0)))
        for said in kept:
            self._tick()
            header = fields((43, "Y"), (122, said.draft.sending_time))
            draft = replace(said.draft, sending_time=self._desk.time, header=header)
            yield replace(said, draft=draft, time=self._desk.time, notes=("resent", *said.notes))

    def _tick(self) -> None:
        """Let some time pass, at most to the end of the day."""
        passed = int(self.chance.expovariate(self._step_rate))
        self._now_ns = min(self._now_ns + passed, _DAY_NS - 1)
        seconds, fraction = divmod(self._now_ns, 10**9)
        minutes, second = divmod(seconds, 60)
        digits = f"{fraction:09}"[: self._fraction_digits]
        self._desk.time = f"{_DAYS[self._day]}-{minutes // 60:02}:{minutes % 60:02}:{second:02}.{digits}"
