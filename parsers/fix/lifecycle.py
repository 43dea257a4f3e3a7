"""Owns the word for what an order message says."""

import re
from typing import Final

EVENT_COLUMNS: Final = ("msg_type", "exec_trans_type", "exec_type", "ord_status", "leaves_qty")

_REQUESTS: Final = {
    "D": "new_order",
    "F": "cancel_request",
    "G": "replace_request",
    "9": "cancel_reject",
    "H": "status_request",
}

_STATES: Final = {  # of OrdStatus, and of ExecType, which has some words more
    "0": "ack",
    "1": "partial_fill",
    "2": "fill",
    "3": "done_for_day",
    "4": "cancel",
    "5": "replace",
    "6": "pending_cancel",
    "7": "stopped",
    "8": "reject",
    "9": "suspended",
    "A": "pending_new",
    "B": "calculated",
    "C": "expired",
    "E": "pending_replace",
}

_EXECUTIONS: Final = _STATES | {
    "D": "restated",
    "G": "trade_correct",
    "H": "trade_cancel",
    "I": "order_status",
    "J": "trade_in_clearing_hold",
    "K": "trade_released_to_clearing",
    "L": "triggered",
}

_NO_REJECTS: Final = frozenset("GHI")  # they speak of another event than the one that made the status

_TRANSACTIONS: Final[dict[str | None, str]] = {
    "1": "trade_cancel",
    "2": "trade_correct",
    "3": "order_status",
}  # ExecTransType, up to FIX 4.2


def lifecycle_event(
    kind: str, transaction: str | None, execution: str | None, status: str | None, leaves: str | None
) -> str:
    """Return the word for what an order message says, by MsgType, ExecTransType, ExecType, OrdStatus and LeavesQty."""
    if kind != "8":
        return _REQUESTS[kind]
    if transaction in _TRANSACTIONS:
        return _TRANSACTIONS[transaction]
    if execution == "F":
        return _trade(status, leaves or "")
    if status == "8" and execution not in _NO_REJECTS:
        return "reject"
    known = _EXECUTIONS if execution else _STATES
    return known.get(execution or status or "", "exec_report")


def _trade(status: str | None, leaves: str) -> str:
    """Return what a trade made of its order; `trade` if neither the status nor the rest says it."""
    if status in {"1", "2"}:
        return _STATES[status]
    if re.fullmatch(r"\d+(\.\d+)?", leaves) is None:
        return "trade"
    return "partial_fill" if leaves.strip("0.") else "fill"
