"""The tables as they are sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from parsers.fix import parser
from parsers.fix.tables import FOUND_COLUMNS
from tests.parsers.fix.reading import MESSAGES, order, read, sent


def test_what_the_host_is_to_read_is_handed_over_as_text(tmp_path: Path) -> None:
    done = read(sent(order()), tmp_path)
    ((_, batch),) = done.batches
    declared: Any = parser.outputs["fix_order_lifecycle"]["columns"]
    assert batch.schema.names == [column["name"] for column in declared] + ["__cf_row_id"]
    as_text = {column["name"] for column in declared if "format" in column or isinstance(column["type"], dict)}
    assert {"price", "msg_seq_num", "sending_time"} <= as_text
    assert all(batch.schema.field(name).type == pa.string() for name in as_text)


def test_what_was_found_out_stands_behind_the_fields_in_each_table_of_messages() -> None:
    for output in MESSAGES:
        names = parser.TABLES.schemas[output].names
        fields = [name for name in names if name != "lifecycle_event"][:-FOUND_COLUMNS]
        assert fields == parser.TABLES.column_names[output]
        assert names[-FOUND_COLUMNS] == "body_length_ok"
