"""The word for what an order message says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parsers.fix.reading import order, read, sent


@pytest.mark.parametrize(
    ("fields", "event"),
    [
        ("150=0|39=0", "ack"),
        ("150=1|39=1", "partial_fill"),
        ("150=2|39=2", "fill"),
        ("150=3|39=3", "done_for_day"),
        ("150=4|39=4", "cancel"),
        ("150=5|39=5", "replace"),
        ("150=6|39=6", "pending_cancel"),
        ("150=8|39=8", "reject"),
        ("150=0|39=8", "reject"),
        ("150=A|39=A", "pending_new"),
        ("150=C|39=C", "expired"),
        ("150=E|39=E", "pending_replace"),
        ("150=D|39=0", "restated"),
        ("150=F|39=1|151=50", "partial_fill"),
        ("150=F|39=2|151=0", "fill"),
        ("150=F|39=6|151=0.00", "fill"),
        ("150=F|39=6|151=0.5", "partial_fill"),
        ("150=F|39=6", "trade"),
        ("150=G|39=2", "trade_correct"),
        ("150=H|39=0", "trade_cancel"),
        ("150=I|39=8", "order_status"),
        ("20=1|150=2|39=2", "trade_cancel"),
        ("20=0|150=2|39=2", "fill"),
        ("39=2", "fill"),
        ("150=?|39=2", "exec_report"),
        ("37=O1", "exec_report"),
    ],
)
def test_an_execution_says_what_happened(tmp_path: Path, fields: str, event: str) -> None:
    body = order().replace("35=D", "35=8") + "|" + fields
    assert read(sent(body), tmp_path).only["lifecycle_event"] == event


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("D", "new_order"),
        ("F", "cancel_request"),
        ("G", "replace_request"),
        ("9", "cancel_reject"),
        ("H", "status_request"),
    ],
)
def test_a_request_is_called_by_its_type(tmp_path: Path, kind: str, event: str) -> None:
    assert read(sent(order().replace("35=D", f"35={kind}")), tmp_path).only["lifecycle_event"] == event
