"""Owns what is said on a made-up FIX session: orders from their beginning to their end, prices, trades, rejects.

The quantities of an order add up: 14 + 151 = 38 while it is open, 151 = 0 when it has ended, 14 is the sum of 32, and
6 is the average of 31. Knows nothing of sequence numbers, files and dirt.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from cli.demo.fix_writer import SOH, fields

# Shares of the orders, by how they end. A late cancel is rejected, and the order is filled.
OUTCOMES: Final = {
    "filled": 0.48,
    "late_cancel": 0.07,
    "cancelled": 0.25,
    "replaced": 0.12,
    "rejected": 0.03,
    "cancel_rejected": 0.02,
    "expired": 0.03,
}
PARTIAL_FILLS: Final = (42, 25, 15, 8, 4, 3, 1.5, 1, 0.5)  # weights of 0 to 8 of them
REPLACES_MAX: Final = 4
ENTRIES_MAX: Final = 40  # of one message of market data

_SYMBOLS: Final = ("ACME", "BOLT", "CRUX", "DUNE", "ECHO", "FLUX", "GALE", "HALO", "IRIS", "JUNO", "KELP", "LYNX")
_SPREAD: Final = "CLZ6-CLF7"  # the price of the difference of two months may be negative
_ENDED: Final = frozenset("248C")  # order states: filled, cancelled, rejected, expired
_PARTIAL_COUNTS: Final = tuple(range(len(PARTIAL_FILLS)))
_ACCOUNTS: Final = ("ACC-100", "ACC-200", "ACC-317", "HOUSE")


class Step(Struct, frozen=True, kw_only=True):
    """A message before it has a session. `groups` counts the entries of repeating groups, by their counter's tag."""

    from_client: bool
    msg_type: str
    body: str
    groups: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()  # what is unusual in it, in the words of fix_log.DIRT


class Desk(Struct):
    """What the two sides of a session share. Numbers of orders begin anew each day, so their ClOrdIDs come again."""

    number: int
    begin: str
    chance: random.Random
    time: str = ""  # now, as it is written
    day: int = 0
    orders: int = 0
    orders_before: int = 0  # of the day before
    executions: int = 0

    @property
    def is_old(self) -> bool:
        """Say whether the session speaks FIX 4.2, which knows no parties and another word for a fill."""
        return self.begin == "FIX.4.2"

    def next_order_number(self) -> int:
        self.orders += 1
        return self.orders

    def next_execution(self) -> str:
        self.executions += 1
        return f"E{self.number:02}-{self.executions:08}"

    def begin_next_day(self) -> None:
        self.day += 1
        self.orders_before, self.orders = self.orders, 0


class _Order(Struct):
    """An order as the broker knows it; prices in hundredths."""

    cl_ord_id: str
    order_id: str
    account: str
    symbol: str
    side: int
    quantity: int
    price: int
    status: str = "0"
    filled: int = 0
    value: int = 0  # sum of quantity times price of the fills
    original: str = ""  # the ClOrdID that the last replace or cancel took the place of

    @property
    def leaves(self) -> int:
        return 0 if self.status in _ENDED else self.quantity - self.filled


# --- orders -------------------------------------------------------------------------------------------------------


def order_life(desk: Desk) -> Iterator[Step]:
    """Yield the messages of one order. The desk's time is read anew for each."""
    chance = desk.chance
    (outcome,) = chance.choices(tuple(OUTCOMES), tuple(OUTCOMES.values()))
    number = desk.next_order_number()
    order = _opened(desk, number)
    yield _new_order(desk, order, notes=("reused_cl_ord_id",) if number <= desk.orders_before else ())
    if outcome == "rejected":
        order.status = "8"
        yield _report(desk, order, "8", more=fields((103, 1), (58, "unknown account")))
        return
    yield _report(desk, order, "0")
    if outcome == "replaced":
        yield from _replaces(desk, order)
    yield from _partial_fills(desk, order)
    if outcome in ("late_cancel", "cancel_rejected"):
        yield from _refused_cancel(desk, order)
    yield from _ending(desk, order, outcome)


def _opened(desk: Desk, number: int) -> _Order:
    chance = desk.chance
    spread = chance.random() < 0.05
    return _Order(
        cl_ord_id=f"C{desk.number:02}-{number:07}",
        order_id=f"B{desk.number:02}{desk.day}-{number:07}",
        account=chance.choice(_ACCOUNTS),
        symbol=_SPREAD if spread else chance.choice(_SYMBOLS),
        side=chance.randrange(1, 3),
        quantity=chance.randrange(1, 200) * 50,
        price=chance.randrange(-250, 120) if spread else chance.randrange(1_000, 40_000),
    )


def _ending(desk: Desk, order: _Order, outcome: str) -> Iterator[Step]:
    match outcome:
        case "cancelled":
            yield _cancel_request(desk, order)
            order.status = "4"
            yield _report(desk, order, "4")
        case "expired":
            order.status = "C"
            yield _report(desk, order, "C")
        case "cancel_rejected":  # it stays open past the end of the log
            return
        case _:
            yield _fill(desk, order, order.quantity - order.filled)


def _replaces(desk: Desk, order: _Order) -> Iterator[Step]:
    for _ in range(desk.chance.randrange(1, REPLACES_MAX + 1)):
        order.original = order.cl_ord_id
        order.cl_ord_id = f"C{desk.number:02}-{desk.next_order_number():07}"
        order.quantity += desk.chance.randrange(0, 5) * 50
        order.price += desk.chance.randrange(-20, 20)
        body = fields((41, order.original), (11, order.cl_ord_id), *_terms(desk, order))
        yield Step(from_client=True, msg_type="G", body=body, notes=_notes(order.price))
        yield _report(desk, order, "5")


def _partial_fills(desk: Desk, order: _Order) -> Iterator[Step]:
    for _ in range(*desk.chance.choices(_PARTIAL_COUNTS, PARTIAL_FILLS)):
        left = order.quantity - order.filled
        if left < 2:
            return
        yield _fill(desk, order, desk.chance.randrange(1, left))


def _refused_cancel(desk: Desk, order: _Order) -> Iterator[Step]:
    current, original = order.cl_ord_id, order.original
    request = _cancel_request(desk, order)
    yield request
    body = fields(
        (37, order.order_id), (11, order.cl_ord_id), (41, order.original), (39, order.status), (434, 1), (102, 0),
        (58, "too late to cancel"),
    )  # fmt: skip
    order.cl_ord_id, order.original = current, original
    yield Step(from_client=False, msg_type="9", body=body)


def _cancel_request(desk: Desk, order: _Order) -> Step:
    order.original = order.cl_ord_id
    order.cl_ord_id = f"C{desk.number:02}-{desk.next_order_number():07}"
    body = fields(
        (41, order.original), (37, order.order_id), (11, order.cl_ord_id), (55, order.symbol), (54, order.side),
        (60, desk.time), (38, order.quantity),
    )  # fmt: skip
    return Step(from_client=True, msg_type="F", body=body)


def _new_order(desk: Desk, order: _Order, *, notes: tuple[str, ...]) -> Step:
    count = desk.chance.randrange(1, 4) if not desk.is_old and desk.chance.random() < 0.3 else 0
    parties = "".join(fields((448, f"PARTY{n}"), (447, "D"), (452, n + 1)) for n in range(count))
    body = (
        fields((11, order.cl_ord_id))
        + (fields((453, count)) + parties if count else "")
        + fields((1, order.account), (21, 1), *_terms(desk, order), (15, "USD"))
    )
    groups = ((453, count),) if count else ()
    return Step(from_client=True, msg_type="D", body=body, groups=groups, notes=notes + _notes(order.price))


def _terms(desk: Desk, order: _Order) -> tuple[tuple[int, object], ...]:
    return (
        (55, order.symbol), (54, order.side), (60, desk.time), (38, order.quantity), (40, 2),
        (44, decimal_text(order.price, 2)), (59, 0),
    )  # fmt: skip


def _fill(desk: Desk, order: _Order, quantity: int) -> Step:
    price = order.price + desk.chance.randrange(-3, 4)
    order.filled += quantity
    order.value += quantity * price
    order.status = "2" if order.filled == order.quantity else "1"
    more = fields((32, quantity), (31, decimal_text(price, 2)))
    return _report(desk, order, order.status if desk.is_old else "F", more=more, price=price)


def _report(desk: Desk, order: _Order, exec_type: str, *, more: str = "", price: int = 0) -> Step:
    """Return an execution report on an order as it stands."""
    average = order.value * 10_000 // order.filled if order.filled else 0
    legged = order.symbol == _SPREAD and not desk.is_old
    body = (
        fields((37, order.order_id), (11, order.cl_ord_id))
        + (fields((41, order.original)) if order.original else "")
        + fields((17, desk.next_execution()))
        + (fields((20, 0)) if desk.is_old else "")
        + fields((150, exec_type), (39, order.status), (1, order.account), (55, order.symbol), (54, order.side))
        + fields((38, order.quantity), (40, 2), (44, decimal_text(order.price, 2)), (59, 0))
        + more
        + fields((151, order.leaves), (14, order.filled), (6, decimal_text(average, 6)), (60, desk.time))
        + (_legs() if legged else "")
    )
    groups = ((555, 2),) if legged else ()
    notes = _notes(order.price, price, average)
    return Step(from_client=False, msg_type="8", body=body, groups=groups, notes=notes)


def _legs() -> str:
    return fields((555, 2), (600, "CLZ6"), (623, 1), (624, 1), (600, "CLF7"), (623, 1), (624, 2))


def _notes(*prices: int) -> tuple[str, ...]:
    return ("negative_price",) if min(prices) < 0 else ()


def decimal_text(value: int, digits: int) -> str:
    """Return a whole number of units of 10**-digits as a decimal."""
    sign = "-" if value < 0 else ""
    whole, part = divmod(abs(value), 10**digits)
    return f"{sign}{whole}.{part:0{digits}}"


# --- what is not about an order -----------------------------------------------------------------------------------


def market_data(desk: Desk) -> Step:
    """Return a snapshot (W) or a refresh (X): its entries are a repeating group."""
    chance = desk.chance
    count = min(1 + int(chance.expovariate(0.25)), ENTRIES_MAX)
    symbol = chance.choice(_SYMBOLS)
    base = chance.randrange(1_000, 40_000)
    refresh = chance.random() < 0.5
    entries = "".join(
        (f"279=0\x01269={n % 2}\x0155={symbol}\x01" if refresh else f"269={n % 2}\x01")
        + f"270={decimal_text(base + n, 2)}\x01271={100 + n}\x01"
        for n in range(count)
    )
    head = f"262=MD{desk.number:02}\x01" + ("" if refresh else f"55={symbol}\x01")
    body = f"{head}268={count}\x01{entries}"
    return Step(from_client=False, msg_type="X" if refresh else "W", body=body, groups=((268, count),))


def trade_report(desk: Desk) -> Step:
    """Return a trade capture report of a spread: two legs, one side."""
    chance = desk.chance
    price, quantity = chance.randrange(-250, 120), chance.randrange(1, 90)
    body = (
        fields((571, f"T{desk.next_execution()}"), (570, "N"), (55, _SPREAD))
        + fields((32, quantity), (31, decimal_text(price, 2)), (75, desk.time[:8]))
        + _legs()
        + fields((60, desk.time), (552, 1), (54, chance.randrange(1, 3)), (37, f"B{desk.number:02}-T"))
    )
    groups = ((552, 1), (555, 2))
    return Step(from_client=False, msg_type="AE", body=body, groups=groups, notes=_notes(price))


def reject(desk: Desk, seq: int) -> Step:
    """Return a reject of the client's message `seq`, of the session (3) or of the business (j)."""
    if desk.chance.random() < 0.5:
        body = fields((45, seq), (371, 38), (372, "D"), (373, 5), (58, "Value is incorrect (out of range)"))
        return Step(from_client=False, msg_type="3", body=body)
    body = fields((45, seq), (372, "D"), (380, 3), (58, "Unsupported Message Type"))
    return Step(from_client=False, msg_type="j", body=body)


def news_with_data(desk: Desk) -> Step:
    """Return news whose raw data holds SOH and what looks like fields, a CheckSum among them."""
    data = f"<note>{SOH}58=not a field{SOH}10=000{SOH}{desk.chance.randrange(10**6):06}</note>"
    body = fields((148, "Notice"), (95, len(data)), (96, data))
    return Step(from_client=False, msg_type="B", body=body, notes=("data_field",))


def admin(desk: Desk) -> Step:
    """Return a heartbeat or, now and then, a test request, from either side."""
    from_client = desk.chance.random() < 0.5
    if desk.chance.random() < 0.9:
        return Step(from_client=from_client, msg_type="0", body="")
    return Step(from_client=from_client, msg_type="1", body=fields((112, f"TEST{desk.chance.randrange(10**4)}")))
