"""Owns the reading of FIX logs: each message is one row of one of three tables, its repeating groups rows of a fourth.

Guest code: it knows nothing of the host and needs only the standard library and pyarrow (and tzdata, where a time zone
is set). docs/FIX.md says what every column and every note means.

A log is read as lines of bytes. Each line is looked at as Latin-1 text, in which a character is a byte: places and
lengths are those of the file, and nothing fails to decode. Where a message begins and ends, and what separates its
fields, is found message by message; lines that are plain in every way are read together, a block at a time, with the
same result. What a value means is left to the host: numbers, decimals and times are handed over as they were sent, with
a declared type, so that what does not fit is quarantined and never changed.
"""

import gzip
import hashlib
import re
import zlib
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import cached_property, lru_cache, reduce
from itertools import accumulate, chain, zip_longest
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.compute as pc

outputs = {
    "fix_order_lifecycle": {
        "mode": "strict",
        "columns": [
            {"name": "lifecycle_event", "type": "string", "nullable": False},
            {"name": "begin_string", "type": "string", "nullable": False},
            {"name": "msg_type", "type": "string", "nullable": False},
            {"name": "msg_seq_num", "type": "int64", "nullable": False, "format": "text"},
            {"name": "sending_time", "type": "timestamp_utc", "nullable": False, "format": "%Y%m%d-%H:%M:%S.%f%z"},
            {"name": "sending_time_text", "type": "string", "nullable": True},
            {"name": "sender_comp_id", "type": "string", "nullable": False},
            {"name": "target_comp_id", "type": "string", "nullable": False},
            {"name": "body_length", "type": "int64", "nullable": True, "format": "text"},
            {"name": "check_sum", "type": "string", "nullable": True},
            {"name": "poss_dup_flag", "type": "string", "nullable": True},
            {"name": "poss_resend", "type": "string", "nullable": True},
            {"name": "orig_sending_time", "type": "timestamp_utc", "nullable": True, "format": "%Y%m%d-%H:%M:%S.%f%z"},
            {"name": "orig_sending_time_text", "type": "string", "nullable": True},
            {"name": "sender_sub_id", "type": "string", "nullable": True},
            {"name": "target_sub_id", "type": "string", "nullable": True},
            {"name": "sender_location_id", "type": "string", "nullable": True},
            {"name": "target_location_id", "type": "string", "nullable": True},
            {"name": "on_behalf_of_comp_id", "type": "string", "nullable": True},
            {"name": "deliver_to_comp_id", "type": "string", "nullable": True},
            {"name": "appl_ver_id", "type": "string", "nullable": True},
            {"name": "cl_ord_id", "type": "string", "nullable": True},
            {"name": "orig_cl_ord_id", "type": "string", "nullable": True},
            {"name": "order_id", "type": "string", "nullable": True},
            {"name": "exec_id", "type": "string", "nullable": True},
            {"name": "exec_ref_id", "type": "string", "nullable": True},
            {"name": "secondary_cl_ord_id", "type": "string", "nullable": True},
            {"name": "cl_ord_link_id", "type": "string", "nullable": True},
            {"name": "symbol", "type": "string", "nullable": True},
            {"name": "side", "type": "string", "nullable": True},
            {"name": "security_id", "type": "string", "nullable": True},
            {"name": "security_id_source", "type": "string", "nullable": True},
            {"name": "currency", "type": "string", "nullable": True},
            {"name": "ord_type", "type": "string", "nullable": True},
            {"name": "time_in_force", "type": "string", "nullable": True},
            {"name": "order_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "price", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "stop_px", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "transact_time", "type": "timestamp_utc", "nullable": True, "format": "%Y%m%d-%H:%M:%S.%f%z"},
            {"name": "transact_time_text", "type": "string", "nullable": True},
            {"name": "exec_type", "type": "string", "nullable": True},
            {"name": "exec_trans_type", "type": "string", "nullable": True},
            {"name": "ord_status", "type": "string", "nullable": True},
            {"name": "cum_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "leaves_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "last_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "last_px", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "avg_px", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "account", "type": "string", "nullable": True},
            {"name": "acct_id_source", "type": "string", "nullable": True},
            {"name": "account_type", "type": "string", "nullable": True},
            {"name": "text", "type": "string", "nullable": True},
            {"name": "ord_rej_reason", "type": "string", "nullable": True},
            {"name": "cxl_rej_reason", "type": "string", "nullable": True},
            {"name": "business_reject_reason", "type": "string", "nullable": True},
            {"name": "ref_msg_type", "type": "string", "nullable": True},
            {"name": "ref_seq_num", "type": "int64", "nullable": True, "format": "text"},
            {"name": "session_reject_reason", "type": "string", "nullable": True},
            {"name": "body_length_ok", "type": "boolean", "nullable": True},
            {"name": "checksum_ok", "type": "boolean", "nullable": True},
            {"name": "notes", "type": "string", "nullable": True},
            {"name": "prefix", "type": "string", "nullable": True},
            {"name": "prefix_time_text", "type": "string", "nullable": True},
            {"name": "prefix_time", "type": "timestamp_utc", "nullable": True},
            {"name": "suffix", "type": "string", "nullable": True},
            {"name": "delimiter", "type": "string", "nullable": True},
            {"name": "raw_message", "type": "string", "nullable": False},
            {"name": "line_number", "type": "int64", "nullable": False},
            {"name": "message_index", "type": "int64", "nullable": False},
            {"name": "byte_offset", "type": "int64", "nullable": False},
            {"name": "raw_line_hash", "type": "string", "nullable": False},
        ],
    },
    "fix_session_events": {
        "mode": "strict",
        "columns": [
            {"name": "begin_string", "type": "string", "nullable": False},
            {"name": "msg_type", "type": "string", "nullable": False},
            {"name": "msg_seq_num", "type": "int64", "nullable": False, "format": "text"},
            {"name": "sending_time", "type": "timestamp_utc", "nullable": False, "format": "%Y%m%d-%H:%M:%S.%f%z"},
            {"name": "sending_time_text", "type": "string", "nullable": True},
            {"name": "sender_comp_id", "type": "string", "nullable": False},
            {"name": "target_comp_id", "type": "string", "nullable": False},
            {"name": "body_length", "type": "int64", "nullable": True, "format": "text"},
            {"name": "check_sum", "type": "string", "nullable": True},
            {"name": "poss_dup_flag", "type": "string", "nullable": True},
            {"name": "poss_resend", "type": "string", "nullable": True},
            {"name": "orig_sending_time", "type": "timestamp_utc", "nullable": True, "format": "%Y%m%d-%H:%M:%S.%f%z"},
            {"name": "orig_sending_time_text", "type": "string", "nullable": True},
            {"name": "sender_sub_id", "type": "string", "nullable": True},
            {"name": "target_sub_id", "type": "string", "nullable": True},
            {"name": "on_behalf_of_comp_id", "type": "string", "nullable": True},
            {"name": "deliver_to_comp_id", "type": "string", "nullable": True},
            {"name": "appl_ver_id", "type": "string", "nullable": True},
            {"name": "ref_msg_type", "type": "string", "nullable": True},
            {"name": "ref_seq_num", "type": "int64", "nullable": True, "format": "text"},
            {"name": "ref_tag_id", "type": "string", "nullable": True},
            {"name": "business_reject_ref_id", "type": "string", "nullable": True},
            {"name": "business_reject_reason", "type": "string", "nullable": True},
            {"name": "session_reject_reason", "type": "string", "nullable": True},
            {"name": "text", "type": "string", "nullable": True},
            {"name": "heart_bt_int", "type": "int64", "nullable": True, "format": "text"},
            {"name": "encrypt_method", "type": "string", "nullable": True},
            {"name": "test_req_id", "type": "string", "nullable": True},
            {"name": "begin_seq_no", "type": "int64", "nullable": True, "format": "text"},
            {"name": "end_seq_no", "type": "int64", "nullable": True, "format": "text"},
            {"name": "new_seq_no", "type": "int64", "nullable": True, "format": "text"},
            {"name": "gap_fill_flag", "type": "string", "nullable": True},
            {"name": "reset_seq_num_flag", "type": "string", "nullable": True},
            {"name": "default_appl_ver_id", "type": "string", "nullable": True},
            {"name": "cl_ord_id", "type": "string", "nullable": True},
            {"name": "order_id", "type": "string", "nullable": True},
            {"name": "exec_id", "type": "string", "nullable": True},
            {"name": "account", "type": "string", "nullable": True},
            {"name": "symbol", "type": "string", "nullable": True},
            {"name": "side", "type": "string", "nullable": True},
            {"name": "body_length_ok", "type": "boolean", "nullable": True},
            {"name": "checksum_ok", "type": "boolean", "nullable": True},
            {"name": "notes", "type": "string", "nullable": True},
            {"name": "prefix", "type": "string", "nullable": True},
            {"name": "prefix_time_text", "type": "string", "nullable": True},
            {"name": "prefix_time", "type": "timestamp_utc", "nullable": True},
            {"name": "suffix", "type": "string", "nullable": True},
            {"name": "delimiter", "type": "string", "nullable": True},
            {"name": "raw_message", "type": "string", "nullable": False},
            {"name": "line_number", "type": "int64", "nullable": False},
            {"name": "message_index", "type": "int64", "nullable": False},
            {"name": "byte_offset", "type": "int64", "nullable": False},
            {"name": "raw_line_hash", "type": "string", "nullable": False},
        ],
    },
    "fix_other_messages": {
        "mode": "strict",
        "columns": [
            {"name": "begin_string", "type": "string", "nullable": False},
            {"name": "msg_type", "type": "string", "nullable": False},
            {"name": "msg_seq_num", "type": "int64", "nullable": False, "format": "text"},
            {"name": "sending_time", "type": "timestamp_utc", "nullable": False, "format": "%Y%m%d-%H:%M:%S.%f%z"},
            {"name": "sending_time_text", "type": "string", "nullable": True},
            {"name": "sender_comp_id", "type": "string", "nullable": False},
            {"name": "target_comp_id", "type": "string", "nullable": False},
            {"name": "body_length", "type": "int64", "nullable": True, "format": "text"},
            {"name": "check_sum", "type": "string", "nullable": True},
            {"name": "poss_dup_flag", "type": "string", "nullable": True},
            {"name": "poss_resend", "type": "string", "nullable": True},
            {"name": "orig_sending_time", "type": "timestamp_utc", "nullable": True, "format": "%Y%m%d-%H:%M:%S.%f%z"},
            {"name": "orig_sending_time_text", "type": "string", "nullable": True},
            {"name": "sender_sub_id", "type": "string", "nullable": True},
            {"name": "target_sub_id", "type": "string", "nullable": True},
            {"name": "sender_location_id", "type": "string", "nullable": True},
            {"name": "target_location_id", "type": "string", "nullable": True},
            {"name": "on_behalf_of_comp_id", "type": "string", "nullable": True},
            {"name": "deliver_to_comp_id", "type": "string", "nullable": True},
            {"name": "appl_ver_id", "type": "string", "nullable": True},
            {"name": "cl_ord_id", "type": "string", "nullable": True},
            {"name": "orig_cl_ord_id", "type": "string", "nullable": True},
            {"name": "order_id", "type": "string", "nullable": True},
            {"name": "exec_id", "type": "string", "nullable": True},
            {"name": "list_id", "type": "string", "nullable": True},
            {"name": "alloc_id", "type": "string", "nullable": True},
            {"name": "quote_id", "type": "string", "nullable": True},
            {"name": "quote_req_id", "type": "string", "nullable": True},
            {"name": "md_req_id", "type": "string", "nullable": True},
            {"name": "security_req_id", "type": "string", "nullable": True},
            {"name": "trade_report_id", "type": "string", "nullable": True},
            {"name": "symbol", "type": "string", "nullable": True},
            {"name": "side", "type": "string", "nullable": True},
            {"name": "security_id", "type": "string", "nullable": True},
            {"name": "security_id_source", "type": "string", "nullable": True},
            {"name": "security_type", "type": "string", "nullable": True},
            {"name": "currency", "type": "string", "nullable": True},
            {"name": "account", "type": "string", "nullable": True},
            {"name": "ord_status", "type": "string", "nullable": True},
            {"name": "exec_type", "type": "string", "nullable": True},
            {"name": "order_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "price", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "last_qty", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "last_px", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "avg_px", "type": {"kind": "decimal", "precision": 38, "scale": 10}, "nullable": True},
            {"name": "transact_time", "type": "timestamp_utc", "nullable": True, "format": "%Y%m%d-%H:%M:%S.%f%z"},
            {"name": "transact_time_text", "type": "string", "nullable": True},
            {"name": "text", "type": "string", "nullable": True},
            {"name": "body_length_ok", "type": "boolean", "nullable": True},
            {"name": "checksum_ok", "type": "boolean", "nullable": True},
            {"name": "notes", "type": "string", "nullable": True},
            {"name": "prefix", "type": "string", "nullable": True},
            {"name": "prefix_time_text", "type": "string", "nullable": True},
            {"name": "prefix_time", "type": "timestamp_utc", "nullable": True},
            {"name": "suffix", "type": "string", "nullable": True},
            {"name": "delimiter", "type": "string", "nullable": True},
            {"name": "raw_message", "type": "string", "nullable": False},
            {"name": "line_number", "type": "int64", "nullable": False},
            {"name": "message_index", "type": "int64", "nullable": False},
            {"name": "byte_offset", "type": "int64", "nullable": False},
            {"name": "raw_line_hash", "type": "string", "nullable": False},
        ],
    },
    "fix_groups": {
        "mode": "strict",
        "columns": [
            {"name": "line_number", "type": "int64", "nullable": False},
            {"name": "message_index", "type": "int64", "nullable": False},
            {"name": "byte_offset", "type": "int64", "nullable": False},
            {"name": "raw_line_hash", "type": "string", "nullable": False},
            {"name": "msg_type", "type": "string", "nullable": False},
            {"name": "group_tag", "type": "string", "nullable": True},
            {"name": "entries_declared", "type": "string", "nullable": True},
            {"name": "entry_index", "type": "int64", "nullable": False},
            {"name": "tag", "type": "string", "nullable": False},
            {"name": "value", "type": "string", "nullable": False},
            {"name": "position", "type": "int64", "nullable": False},
            {"name": "parent_group_tag", "type": "string", "nullable": True},
            {"name": "parent_entry_index", "type": "int64", "nullable": True},
            {"name": "entry_path", "type": "string", "nullable": True},
        ],
    },
    "fix_parse_errors": {
        "mode": "strict",
        "columns": [
            {"name": "line_number", "type": "int64", "nullable": False},
            {"name": "message_index", "type": "int64", "nullable": False},
            {"name": "byte_offset", "type": "int64", "nullable": False},
            {"name": "raw_line_hash", "type": "string", "nullable": False},
            {"name": "length", "type": "int64", "nullable": False},
            {"name": "error_reason", "type": "string", "nullable": False},
            {"name": "detail", "type": "string", "nullable": True},
            {"name": "raw_line_preview", "type": "string", "nullable": False},
        ],
    },
    "fix_tags": {
        "mode": "strict",
        "columns": [
            {"name": "line_number", "type": "int64", "nullable": False},
            {"name": "message_index", "type": "int64", "nullable": False},
            {"name": "byte_offset", "type": "int64", "nullable": False},
            {"name": "raw_line_hash", "type": "string", "nullable": False},
            {"name": "msg_type", "type": "string", "nullable": False},
            {"name": "tag", "type": "string", "nullable": False},
            {"name": "value", "type": "string", "nullable": False},
            {"name": "position", "type": "int64", "nullable": False},
        ],
    },
}

DEFAULTS: Final = {
    "log_prefix_tz": "",
    "tags": "none",
}  # the same as [settings] in casparian.toml

BATCH_ROWS: Final = 2_000  # messages that wait at most, beside the plain ones of a block
BATCH_TEXT_MAX: Final = 8 * 1024 * 1024  # and their characters, with one message more
READ_BYTES: Final = 1024 * 1024
BLOCK_BYTES: Final = 2 * 1024 * 1024  # whole lines of so many bytes, with one read more, are looked at as one
SCANNED_BYTES_MIN: Final = 64 * 1024  # below, it takes less time to read a block line by line
LINE_BYTES_MAX: Final = 16 * 1024 * 1024  # a longer line is read in pieces
MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024  # a longer one is unreadable: its row would be too large to send
TEXT_AROUND_BYTES_MAX: Final = 64 * 1024  # of the text before a message, and behind it, that goes into its row
PREVIEW_CHARACTERS: Final = 500
DETAIL_CHARACTERS_MAX: Final = 200
JOINED_LINES_MAX: Final = 10_000  # that one message may take up
JOINED_BYTES_MAX: Final = 1024 * 1024  # and their bytes
JOINS_IN_VAIN_BYTES_MAX: Final = (
    64 * 1024 * 1024
)  # looked at for messages that did not go on there; then no more is tried
NOTES_MAX: Final = 50  # of one message; the last says how many more there were
RANGES_MAX: Final = 1_000  # are named in the account, the rest is counted; fix_parse_errors has all of them
GROUP_DEPTH_MAX: Final = 8
FOUND_COLUMNS: Final = 13  # of a message: what is not one of its fields, at the end of its table
SHAPES_MAX: Final = 1_000  # rows of tags that are remembered
SHAPE_TAGS_MAX: Final = 200  # tags in one of them
SHAPE_CHARACTERS_MAX: Final = 1_000  # of all its tags
SHAPE_LAYOUTS_MAX: Final = 8  # of one of them
LAYOUT_CHARACTERS_MAX: Final = 100  # of the type and the counts that make it a layout of its own
SCANNED_COUNTERS_MAX: Final = 16  # groups of a message that is read with its whole block
DELIMITER_TRIES_MAX: Final = 10  # beginnings of messages that are looked at for what separates the fields of a block
SIDE_ROW_CHARACTERS: Final = 100  # what a row of groups, tags or errors counts in BATCH_TEXT_MAX beside its value

_SOH: Final = "\x01"
_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_ARROW_TYPES: Final = {
    "boolean": pa.bool_(),
    "int64": pa.int64(),
    "string": pa.string(),
    "timestamp_utc": _TIMESTAMP,
}

_pa: Any = pa  # what the stubs of pyarrow lack
_pc: Any = pc

Batch = tuple[str, pa.RecordBatch]
Statement = dict[str, Any]
Pair: TypeAlias = tuple[str, str]
Place: TypeAlias = tuple[int, int, int, str]  # line_number, message_index, byte_offset, raw_line_hash
Values: TypeAlias = Sequence[Any]
GroupRow: TypeAlias = tuple[int, tuple[Any, ...]]  # position of a value, and what is to be said of it
Column: TypeAlias = Any  # an array of Arrow, of which the stubs lack most
Rows: TypeAlias = Any  # a record batch, likewise


def _schema(output: str) -> pa.Schema:
    """Return what is sent: text where the host is to read it as the declared type."""
    columns: Any = outputs[output]["columns"]
    fields = [
        pa.field(
            column["name"],
            pa.string() if "format" in column or isinstance(column["type"], dict) else _ARROW_TYPES[column["type"]],
        )
        for column in columns
    ]
    return pa.schema(fields)


_SCHEMAS: Final = {output: _schema(output) for output in outputs}
_INT32: Final = pa.int32()
_ZERO: Final[Any] = pa.array([0], _INT32)
_DIGITS: Final = pa.array(list("0123456789"))
_ENDS_OF_LINE: Final = pa.array(["", "\r"])
_PART_OR_WHOLE: Final = pa.array(["1", "2"])  # of OrdStatus
_ROW_ID: Final = pa.field("__cf_row_id", pa.int64())  # the host's: the source row of what it quarantines

# --- what the protocol says ------------------------------------------------------------------------------------------

_LIFECYCLE_TYPES: Final = frozenset("D8FG9H")
_SESSION_TYPES: Final = frozenset("A012345j")
_TABLE_OF: Final = dict.fromkeys(_LIFECYCLE_TYPES, "fix_order_lifecycle") | dict.fromkeys(
    _SESSION_TYPES, "fix_session_events"
)
_OTHER: Final = "fix_other_messages"

_TAGS: Final = {
    "begin_string": "8",
    "msg_type": "35",
    "msg_seq_num": "34",
    "sending_time": "52",
    "sender_comp_id": "49",
    "target_comp_id": "56",
    "body_length": "9",
    "check_sum": "10",
    "poss_dup_flag": "43",
    "poss_resend": "97",
    "orig_sending_time": "122",
    "sender_sub_id": "50",
    "target_sub_id": "57",
    "sender_location_id": "142",
    "target_location_id": "143",
    "on_behalf_of_comp_id": "115",
    "deliver_to_comp_id": "128",
    "appl_ver_id": "1128",
    "default_appl_ver_id": "1137",
    "cl_ord_id": "11",
    "orig_cl_ord_id": "41",
    "order_id": "37",
    "exec_id": "17",
    "exec_ref_id": "19",
    "secondary_cl_ord_id": "526",
    "cl_ord_link_id": "583",
    "list_id": "66",
    "alloc_id": "70",
    "quote_id": "117",
    "quote_req_id": "131",
    "md_req_id": "262",
    "security_req_id": "320",
    "trade_report_id": "571",
    "symbol": "55",
    "side": "54",
    "security_id": "48",
    "security_id_source": "22",
    "security_type": "167",
    "currency": "15",
    "ord_type": "40",
    "time_in_force": "59",
    "order_qty": "38",
    "price": "44",
    "stop_px": "99",
    "transact_time": "60",
    "exec_type": "150",
    "exec_trans_type": "20",
    "ord_status": "39",
    "cum_qty": "14",
    "leaves_qty": "151",
    "last_qty": "32",
    "last_px": "31",
    "avg_px": "6",
    "account": "1",
    "acct_id_source": "660",
    "account_type": "581",
    "text": "58",
    "ord_rej_reason": "103",
    "cxl_rej_reason": "102",
    "business_reject_reason": "380",
    "business_reject_ref_id": "379",
    "ref_msg_type": "372",
    "ref_seq_num": "45",
    "ref_tag_id": "371",
    "session_reject_reason": "373",
    "heart_bt_int": "108",
    "encrypt_method": "98",
    "test_req_id": "112",
    "begin_seq_no": "7",
    "end_seq_no": "16",
    "new_seq_no": "36",
    "gap_fill_flag": "123",
    "reset_seq_num_flag": "141",
}
_TIMES: Final = frozenset({"sending_time", "orig_sending_time", "transact_time"})
_TYPED_TAGS: Final = frozenset(
    {"6", "7", "9", "14", "16", "31", "32", "34", "36", "38", "44", "45", "52", "60", "99", "108", "122", "151"}
)
# A piece without a tag belongs to the value before it only where that is free text.
_NO_TEXT_TAGS: Final = _TYPED_TAGS | {"8", "10", "35", "49", "56", "39", "40", "54", "59", "150"}

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

# Tags that count the bytes of the tag behind them, whose value may hold anything.
_DATA_OF: Final = {
    "90": "91",
    "93": "89",
    "95": "96",
    "212": "213",
    "348": "349",
    "350": "351",
    "352": "353",
    "354": "355",
    "356": "357",
    "358": "359",
    "360": "361",
    "362": "363",
    "364": "365",
    "445": "446",
    "618": "619",
    "621": "622",
    "1184": "1185",
    "1397": "1398",
    "1401": "1402",
    "1468": "1469",
    "1525": "1527",
}

# The repeating groups: tag that counts the entries, then the message types if the members differ between them, then the
# members. Derived from the public dictionaries of FIX 4.2 and 4.4, and a few groups of FIX 5.0.
_GROUP_LINES: Final = """
33: 58 354-355
73 E: 1 11-13 15 18 21-23 38 40 44 47-48 54-55 58-60 63-65 67 70 75-78 81 99-100 106-107 109-111 114 117 120-121 126
  140 152 160 167-168 192-193 200-207 210-211 218 220-229 231-232 235-236 239-240 255 348-351 354-355 376-377 386
  388-389 401 423 427 432 439-440 453-454 460-461 468-472 479 494 497 516 526 528-529 541 543-544 581-583 589-591
  635 640 660 662-663 667 691 696-699 701 711 761-762 775 835-838 840-844 846-849 854 864 873-876 947
73 J: 11 37-38 66 105 198 526 756 799-800
73 N: 6 11 14 39 58 84 103 151 354-355 526 636
73 AK AS BH: 11 37-38 66 198 526 756 799-800
78 D E G s t: 79-80 467 539 661 736
78 J: 12-13 76 79-81 85 92 109 119-120 136 153-156 159-161 169-172 208-209 360-361 366 467 479 497 539 573 576 661
  736-737 741-742 780
78 P AT: 79 161 360-361 366 467 661 776
78 AB AC: 79-80 467 661 736 948
78 AE AR: 79-80 467 661 736 756
78 AS: 12-13 79-81 85 119-120 136 153-156 161 169-172 208-209 360-361 366 467 479 497 539 573 576 661 736-737
  741-742 780
85: 165 781 787
124 J AS: 17 29 31-32 527 669
124 AX AY AZ BA BB BG: 17
136: 137-139 891
146 B C: 22 46 48 55 65 106-107 167 200-202 205-207 223-228 231 239-240 255 348-351 454 460-461 470-472 541 543 667
  691 762 864 873-876 947
146 R: 1 15 22 38 40 44 48 54-55 60 62-65 106-107 126 140 152 167 192-193 200-202 205-207 218 220-229 231-232
  235-236 239-240 255 303 336 348-351 423 453-454 460-461 468-472 516 537 541 543 555 581 625 640 660 662-663 667
  691-692 696-699 701 711 735 761-762 788 854 864 873-876 898 913-919 947
146 V: 22 48 55 65 106-107 167 200-202 205-207 223-228 231 239-240 255 336 348-351 454 460-461 470-472 541 543 555
  667 691 711 762 864 873-876 947
146 c d: 54 305-319 362-365 435-436
146 y: 15 22 48 55 58 65 106-107 167 200-202 206-207 218 220-228 231-232 235-236 239-240 255 336 348-351 354-355 454
  460-461 470-472 541 543 555 561-562 625 662-663 667-668 691 696-699 701 711 761-762 788 827 864 869-870 873-876
  898 913-919 947
146 AA: 15 22 48 55 58 65 106-107 167 200-202 206-207 223-228 231 239-240 255 336 348-351 354-355 454 460-461
  470-472 541 543 555 625 667-668 691 762 827 864 869-870 873-876 947
146 AG: 1 15 22 38 40 44 48 54-55 60 63-65 106-107 126 140 152 167 192-193 200-202 206-207 218 220-229 231-232
  235-236 239-240 255 303 336 348-351 423 453-454 460-461 468-472 516 537 541 543 555 581 625 640 660 662-663 667
  691-692 696-699 701 711 735 761-762 788 854 864 873-876 898 913-919 947
146 AH: 22 48 55 65 106-107 140 167 200-202 206-207 223-228 231 239-240 255 303 336 348-351 454 460-461 470-472 537
  541 543 555 625 667 691 711 762 864 873-876 947
199: 104
215: 216-217
232: 233-234
267: 269
268 W: 15 18 37 58-59 110 126 269-277 282-284 286-290 299 336 346 354-355 432 546 625 811
268 X: 15 18 22 37 48 55 58-59 65 106-107 110 126 167 200-202 205-207 223-228 231 239-240 255 269-280 282-292 299
  336 346 348-351 354-355 387 432 451 454 460-461 470-472 541 543 546 555 625 667 691 711 762 811 864 873-876 947
295 Z: 22 48 55 65 106-107 167 200-202 205-207 223-228 231 239-240 255 311 348-351 454 460-461 470-472 541 543 555
  667 691 711 762 788 864 873-876 898 913-919 947
295 b: 15 22 40 48 55 60 62 64-65 106-107 132-135 167 188-193 200-202 205-207 223-228 231 239-240 255 299 336
  348-351 368 454 460-461 470-472 541 543 555 625 631-634 642-643 667 691 762 864 873-876 947
295 i: 15 22 40 48 55 60 62 64-65 106-107 132-135 167 188-193 200-202 205-207 223-228 231 239-240 255 299 336
  348-351 454 460-461 470-472 541 543 555 625 631-634 642-643 667 691 762 864 873-876 947
296 b: 241-247 256 295 302 304-318 362-365 435-436 457 462-463 542 592-595 763 810 877-879 882-887 893 941
296 i: 241-247 256 295 302 304-318 362-365 367 435-436 457 462-463 542 592-595 763 810 877-879 882-887 893 941
382: 337 375 437-438 655
384: 372 385
386: 336 625
398: 399-408 441
420 k: 1 54 63-64 66 336 430 625 660
420 l: 12-13 44 54 58 63-64 66 336 354-355 406 421 423 430 479 497 625
428: 11 15 22 44 48 54-55 58 65 106-107 140 167 200-202 205-207 223-228 231 239-240 255 348-351 354-355 454 460-461
  470-472 541 543 667 691 762 864 873-876 947
453: 447-448 452 802
454: 455-456
457: 458-459
473: 474-475 482 486 509 511 522 539
510: 477-478 498-502 512
518: 519-521
534: 41 535-536
539: 524-525 538 804
552 s t: 1 11-13 38 54 58 70 75 77-78 120-121 152 203 229 354-355 377 453 468-469 479 497 516 526 528-529 544
  581-583 589-591 635 659-660 775 854
552 u: 11 38 41 54 58 75 152 229 354-355 376 453 468-469 516 526 583 586
552 AE: 1 11-13 15 18 37 40 54 58 66 70 77-78 81 118-120 136 155-159 198 230 232 237-238 336 354-355 376-377 381 453
  479 483 497 518 526 528-529 575-576 578-579 581-582 591 625 660 738 752 821 825-826 920-922 943
555 6: 248-254 257 556 596-604 607-624 682-683 739-740 764 942 955-956
555 7 B C J Q V W X Z a b c d e f i s t u x AA AD AH AK AL AM AN AO AP AQ AS AW AX AY AZ BA BB BG: 248-254 257 556
  596-604 607-624 739-740 764 942 955-956
555 8 AE AR: 248-254 257 539 556 564-566 587-588 596-604 607-624 637 654 683 687 690 739-740 764 942 955-956
555 R AG: 248-254 257 539 556 587-588 596-604 607-624 676-680 683 687 690 739-740 764 942 955-956
555 S AJ: 248-254 257 539 556 587-588 596-604 607-624 676-681 683-684 686-687 690 739-740 764 942 955-956
555 y: 248-254 257 556 587 596-604 607-624 676-680 683 690 739-740 764 942 955-956
555 AB AC: 248-254 257 539 556 564-566 587-588 596-604 607-624 654 670 683 687 690 739-740 764 942 955-956
555 AI: 248-254 257 539 556 587-588 596-604 607-624 683 687 690 739-740 764 942 955-956
558: 167 460-461 762
576: 577
580: 60 75
604: 605-606
627: 628-630
670: 671-675 756
683: 688-689
702: 539 703-706
711 6 7 8 B C D E F G H J Q R S V W X Z a c d e f s t u x y AB AC AD AE AG AH AI AJ AK AL AM AN AO AQ AS AW BA BB
  BG: 241-247 256 305-313 315-318 362-365 435-436 457 462-463 542 592-595 763 810 877-879 882-887 941
711 m: 11 15 44 54 58 140 241-247 256 305-313 315-318 354-355 362-365 435-436 457 462-463 526 542 592-595 763 810
  877-879 882-887 941
711 AP: 241-247 256 305-313 315-318 362-365 435-436 457 462-463 542 592-595 732-733 763 810 877-879 882-887 941
711 AX AY AZ: 241-247 256 305-313 315-318 362-365 435-436 457 462-463 542 592-595 763 810 877-879 882-887 941 944
735: 695
753: 707-708
756: 757-759 806
768: 769-771
778: 54 85 126 162-163 167-172 214 453 460-461 476 488-492 503-505 779
781: 782-784 801
801: 785-786
802: 523 803
804: 545 805
806: 760 807
816: 817
862: 528-529 863
864: 865-868
870: 871-872
887: 888-889
897: 571 818
936 BC: 283-284 930-931
936 BD: 283-284 928-931
938: 896
948: 949-952
952: 953-954
1018: 1019 1050-1052
1052: 1053-1054
1116: 1117-1120
1120: 1121-1122
1362: 1363-1365 1443
"""


def _read_groups() -> dict[str, dict[str, frozenset[str]]]:
    """Return the members of each group by message type; under "" those of all types, for a type that is not listed."""
    groups: dict[str, dict[str, frozenset[str]]] = {}
    for line in _GROUP_LINES.replace("\n  ", " ").strip().split("\n"):
        head, _, told = line.partition(": ")
        counter, *types = head.split()
        members = frozenset(_numbers(told))
        known = groups.setdefault(counter, {"": frozenset()})
        known[""] |= members
        known.update(dict.fromkeys(types, members))
    return groups


def _numbers(told: str) -> Iterator[str]:
    for part in told.split():
        first, _, last = part.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))


_GROUPS: Final = _read_groups()
_ORDINARY: Final = frozenset(map(str, range(1, 2000))) - _GROUPS.keys() - _DATA_OF.keys()

# Where a message begins: BeginString, what separates its fields, and BodyLength, each of them if it is there.
_START: Final = re.compile(
    r"8=(FIXT?\.\d{1,2}\.\d{1,2})(?:(\^A|<SOH>|\\u0001|\\x01|[^0-9A-Za-z=]{1,4}?)(?:9=(\d{1,9})\2)?(?=\d{1,7}=))?"
)
_VERSION: Final = re.compile(r"FIXT?\.\d{1,2}\.\d{1,2}")
_TAG: Final = re.compile(r"[1-9]\d{0,9}")
_FIELD: Final = re.compile(r"([1-9]\d{0,9})=")
_CHECKSUM_FIELD: Final = re.compile(rb"10=\d{1,3}(?!\d)")


class PermanentError(Exception):
    """Trying again would not help. `kind` is a word for programs, `hint` says what a person can do."""

    def __init__(self, reason: str, *, kind: str, hint: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.hint = hint


_MESSAGE_TABLES: Final = ("fix_order_lifecycle", "fix_session_events", "fix_other_messages")
_EVENT_COLUMNS: Final = ("msg_type", "exec_trans_type", "exec_type", "ord_status", "leaves_qty")
# The columns that hold what was sent, and their tags: a time stands in two of them.
_COLUMN_NAMES: Final = {
    output: [name for name in _SCHEMAS[output].names if name.removesuffix("_text") in _TAGS or name in _TAGS]
    for output in _MESSAGE_TABLES
}
_COLUMN_TAGS: Final = {
    output: [_TAGS[name] if name in _TAGS else _TAGS[name.removesuffix("_text")] for name in names]
    for output, names in _COLUMN_NAMES.items()
}
_NO_TAGS: Final[frozenset[str]] = frozenset()
_NOTHING_AROUND: Final = ("", "")
_NOTHING_FOUND: Final = (None, None, None, None)


def parse(path: str, settings: dict[str, str]) -> Generator[Batch, None, list[Statement]]:
    """Yield the batches of all outputs in file order and return the statements of messages and of lines.

    found = rows of the three message tables + unreadable, in messages; and each line holds a message, or is skipped
    with a reason, or is unreadable. Ranges are bytes of the log as it was before gzip. Memory holds lines of
    BLOCK_BYTES, or one line of at most LINE_BYTES_MAX, and one batch of each output. Raises PermanentError if a setting
    is unknown, OSError if the file cannot be read.
    """
    options = _Options.read(settings)
    with Path(path).open("rb") as stream:
        log = _Log(options, _Lines(stream))
        yield from log.batches()
    return log.statements()


class _Options(NamedTuple):
    prefix_zone: tzinfo | None
    tags: frozenset[str] | None  # to be written to fix_tags; None for all of them

    @classmethod
    def read(cls, given: dict[str, str]) -> "_Options":
        """Return the settings with their defaults. Raises PermanentError for one that cannot be."""
        texts = DEFAULTS | given
        for name in texts:
            if name not in DEFAULTS:
                raise _bad_setting(name, texts[name], f"Use {' or '.join(DEFAULTS)}.")
        return cls(prefix_zone=_zone(texts["log_prefix_tz"]), tags=_tags_wanted(texts["tags"]))


def _zone(name: str) -> tzinfo | None:
    if name in ("", "UTC"):
        return UTC if name else None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _bad_setting("log_prefix_tz", name, "Use a name of the IANA database, such as Europe/Berlin.") from error


def _tags_wanted(told: str) -> frozenset[str] | None:
    if told in ("true", "none", "false"):
        return None if told == "true" else frozenset()
    tags = told.split(",")
    if not all(_TAG.fullmatch(tag) for tag in tags):
        raise _bad_setting("tags", told, "Use none, true, or numbers of tags with commas between: tags=11,37,5001.")
    return frozenset(tags)


def _bad_setting(name: str, text: str, hint: str) -> PermanentError:
    return PermanentError(f"the setting {name}={text!r} is not one of the parser's", kind="bad_setting", hint=hint)


# --- lines -----------------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    number: int  # from 1
    offset: int  # in the log
    data: bytes  # without the newline
    piece: int  # 0 of a whole line; else which piece of a longer one, from 1


class _Block:
    """Lines that follow each other, or one piece of a line that is too long. The first `taken` are done with."""

    def __init__(self, number: int, offset: int, data: bytes, piece: int = 0) -> None:
        self.number = number  # of its first line
        self.offset = offset
        self.data = data  # each line with its newline, a piece without one
        self.piece = piece
        self.lines = [data] if piece else data.split(b"\n")[:-1]
        self.taken = 0

    @cached_property
    def _begins(self) -> list[int]:
        return list(accumulate((len(line) + 1 for line in self.lines), initial=0))

    def take(self, at: int) -> _Line:
        """Return a line of the block; it and all before it are done with."""
        self.taken = at + 1
        return _Line(self.number + at, self.offset + self._begins[at], self.lines[at], self.piece)


class _Lines:
    """The lines of a log, unpacked where it is gzip. `fault` says why it ended early; `position` where it did."""

    def __init__(self, stream: BinaryIO) -> None:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        self._stream: Any = gzip.GzipFile(fileobj=stream) if packed else stream
        self._source = self._read()
        self._held: deque[_Block] = deque()  # the block that is being read, and those looked into ahead of their turn
        self.position = 0
        self.count = 0
        self.fault = ""

    def __iter__(self) -> Iterator[_Block]:
        """Yield the blocks in order. Of one that was looked into before, some lines may be done with."""
        while self._held or self._load():
            yield self._held[0]
            self._held.popleft()

    def following(self) -> _Line | None:
        """Take the line behind those that are done with, out of its turn."""
        for block in self._held:
            if block.taken < len(block.lines):
                return block.take(block.taken)
        return self._held[-1].take(0) if self._load() else None

    def put_back(self, count: int) -> None:
        """Give back the last lines that `following` gave."""
        for block in reversed(self._held):
            given = min(count, block.taken)
            block.taken -= given
            count -= given

    def _load(self) -> bool:
        block = next(self._source, None)
        if block is not None:
            self._held.append(block)
        return block is not None

    def _reads(self) -> Iterator[bytes]:
        while True:  # bounded by the size of the log
            try:
                read: bytes = self._stream.read1(READ_BYTES)  # `read` would keep the last bytes of a cut log to itself
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                self.fault = " ".join(str(error).split())
                return
            if not read:
                return
            yield read

    def _read(self) -> Iterator[_Block]:
        lines: list[bytes] = []  # whole ones, up to BLOCK_BYTES
        waiting: list[bytes] = []  # the beginning of the line behind them
        gathered = held = piece = 0  # bytes of both; pieces of the last line that were given already
        for read in self._reads():
            rest = read
            if piece and (end := read.find(b"\n") + 1):
                yield self._piece(b"".join((*waiting, read[: end - 1])), piece + 1, newline=True)
                waiting, held, piece, rest = [], 0, 0, read[end:]
            if end := rest.rfind(b"\n") + 1:
                lines += (*waiting, rest[:end])
                gathered += held + end
                waiting, held = [], 0
            waiting.append(rest[end:])
            held += len(rest) - end
            if lines and (gathered >= BLOCK_BYTES or held >= LINE_BYTES_MAX):
                yield self._whole(b"".join(lines))
                lines, gathered = [], 0
            if not end and held >= LINE_BYTES_MAX:
                piece += 1
                cut, kept = _cut(b"".join(waiting))
                yield self._piece(cut, piece, newline=False)
                waiting, held = [kept], len(kept)
        if piece:
            yield self._piece(b"".join(waiting), piece + 1, newline=False)
        elif rest := b"".join((*lines, *waiting)):
            yield self._last(rest)

    def _last(self, data: bytes) -> _Block:
        """Return the last lines; the very last may lack its newline."""
        if data.endswith(b"\n"):
            return self._whole(data)
        block = self._whole(data + b"\n")
        self.position -= 1
        return block

    def _whole(self, data: bytes) -> _Block:
        block = _Block(self.count + 1, self.position, data)
        self.count += len(block.lines)
        self.position += len(data)
        return block

    def _piece(self, data: bytes, piece: int, newline: bool) -> _Block:
        self.count += piece < 2
        offset = self.position
        self.position += len(data) + newline
        return _Block(self.count, offset, data, piece)


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """Cut the beginning of a line that is too long where its last message begins, if it holds one before that."""
    at = data.rfind(b"8=FIX", 1)
    while at > 0 and not _START.match(data[at : at + 64].decode("latin-1")):  # moves towards the beginning
        at = data.rfind(b"8=FIX", 1, at)
    return (data[:at], data[at:]) if at > 0 and len(data) - at <= MESSAGE_BYTES_MAX else (data, b"")


# --- what separates the fields of a message --------------------------------------------------------------------------


class _Delimiter:
    """What stands between two fields, and what that makes of a message."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.length = len(text)
        self.excess = sum(text.encode("latin-1")) - 1  # of the checksum as printed over that of the message as sent
        self.single = self.length == 1  # as long as what it stands for
        self.empty = "=" + text
        self.name = "SOH" if text == _SOH else _shown(text)
        self.shape = b"=" + text.encode("latin-1")  # of a plain field, when all else is left away
        self.others = bytes(set(range(256)) - set(self.shape))
        self.mark = _mark(text)


def _mark(delimiter: str) -> re.Pattern[str]:
    """Match what matters between the beginning of a message and its end.

    Groups: value of a CheckSum; length tag, its value and the tag behind it; the beginning of another message. In a log
    with the real delimiter, BeginString, BodyLength and MsgType in a row begin another message even in a value.
    """
    between = re.escape(delimiter)
    start = r"8=FIXT?\.\d{1,2}\.\d{1,2}"
    lengths = "|".join(_DATA_OF)
    pattern = (
        rf"{between}(?:10=(\d{{1,3}}(?!\d)|(?:(?!{between})\S)*)|({lengths})=(\d{{1,9}}){between}(\d+)=|(?=({start})))"
    )
    return re.compile(pattern + rf"|(?={start}\x019=\d{{1,9}}\x0135=)" if delimiter == _SOH else pattern)


@lru_cache(maxsize=64)
def _delimiter(text: str) -> _Delimiter:
    return _Delimiter(text)


class _Span(NamedTuple):
    """Where a message is in its line."""

    start: int
    body: int  # behind BodyLength and its delimiter; -1 without a BodyLength in its place
    told: int  # what BodyLength says; -1 without
    trailer: int  # where CheckSum begins; -1 without
    end: int  # behind the last delimiter, if there is one


def _span(text: str, start: "re.Match[str]", delimiter: _Delimiter) -> _Span:
    """Find the end of a message: where BodyLength says, if a CheckSum stands there; else by looking for it."""
    told = int(start[3]) if start[3] else -1
    behind = start.end()
    if told > 0 and delimiter.single:
        stop = behind + told
        last = stop + 7
        if (
            text[stop - 1 : stop + 3] == delimiter.text + "10="
            and text[stop + 6 : last] == delimiter.text
            and text[stop + 3 : stop + 6].isdigit()
        ):
            return _Span(start.start(), behind, told, stop, last)
    trailer, end = _search_end(text, behind - delimiter.length, delimiter)
    return _Span(start.start(), behind if told >= 0 else -1, told, trailer, end)


def _search_end(text: str, at: int, delimiter: _Delimiter) -> tuple[int, int]:
    while (found := delimiter.mark.search(text, at)) is not None:  # each turn moves on by at least one character
        if found[1] is not None:
            end = found.end()
            trailer = found.start() + delimiter.length
            return trailer, end + delimiter.length if text.startswith(delimiter.text, end) else end
        if found[2] is None:
            return -1, found.end()
        behind = found.end() + int(found[3])
        counted = _DATA_OF[found[2]] == found[4] and text.startswith(delimiter.text, behind)
        at = behind if counted else found.start() + 1
    return -1, len(text)


# --- fields ----------------------------------------------------------------------------------------------------------


def _split(message: str, delimiter: _Delimiter, notes: list[str]) -> tuple[list[Pair], int]:
    """Return the fields of any message and how many delimiters it has.

    What has no tag continues a text, or is counted in the notes.
    """
    fields: list[list[Any]] = []  # tag, where its value begins and where it ends
    between, size = delimiter.text, len(message)
    at = malformed = 0
    while at < size:  # each turn moves on by at least a delimiter
        stop = message.find(between, at)
        stop = size if stop < 0 else stop
        field = _FIELD.match(message, at, stop)
        if field is not None:
            begin = field.end()
            if fields and _DATA_OF.get(fields[-1][0]) == field[1]:
                stop = _data_end(message, begin, stop, fields[-1], between, notes)
            fields.append([field[1], begin, stop])
        elif fields and between != _SOH and fields[-1][0] not in _NO_TEXT_TAGS:
            fields[-1][2] = stop
            notes.append(f"continued_value:{fields[-1][0]}")
        else:
            malformed += 1
        at = stop + delimiter.length
    if malformed:
        notes.append(f"malformed_fields:{malformed}")
    return [(tag, message[begin:end]) for tag, begin, end in fields], len(fields) + malformed


def _data_end(message: str, begin: int, stop: int, length: list[Any], between: str, notes: list[str]) -> int:
    """Return where a value of data ends: behind the bytes that the field before it counts, if that can be."""
    told = message[length[1] : length[2]]
    end = begin + int(told) if told.isdecimal() and len(told) < 10 else -1
    if end >= begin and (end == len(message) or message.startswith(between, end)):
        return end
    notes.append(f"data_length_mismatch:{length[0]}")
    return stop


def _decoded(message: str, pairs: list[Pair], notes: list[str]) -> list[Pair]:
    """Return values as UTF-8 text; as Latin-1, with a note, if the message is not UTF-8."""
    try:
        message.encode("latin-1").decode("utf-8")
        return [(tag, value.encode("latin-1").decode("utf-8")) for tag, value in pairs]
    except UnicodeDecodeError:
        notes.append("encoding_latin1")
        return pairs


def _empty_values(tags: Iterable[str], values: list[Any], typed: Sequence[int]) -> list[str]:
    """Return notes on the empty values. A text column keeps them; a number or a time without a digit is none."""
    empty = dict.fromkeys(tag for tag, value in zip(tags, values, strict=True) if not value)
    for position in typed:
        values[position] = values[position] or None
    return [f"empty_value:{tag}" for tag in empty]


# --- repeating groups ------------------------------------------------------------------------------------------------


class _Group:
    """A group being read. Its entries begin with the tag that stands behind the counter."""

    __slots__ = ("counter", "declared", "entry", "first", "members", "parent", "path", "seen", "told")

    def __init__(self, counter: str, told: str, first: str, members: frozenset[str], parent: "_Group | None") -> None:
        self.entry = -1
        self.path = ""
        self.counter = counter
        self.told = told
        self.declared = int(told) if told.isdecimal() and len(told) < 10 else 0
        self.first = first
        self.members = members
        self.parent: tuple[str | None, int | None, str] = (None, None, "")
        if parent is not None:
            self.parent = (parent.counter, parent.entry, parent.path)
        self.seen: set[str] = set()

    def take(self, tag: str, position: int) -> tuple[Any, ...]:
        """Return what is to be said of a member, which may begin the next entry."""
        outer, entry, path = self.parent
        if tag == self.first:
            self.entry += 1
            self.seen = set()
            self.path = f"{path}.{self.counter}[{self.entry}]" if path else f"{self.counter}[{self.entry}]"
        self.seen.add(tag)
        return self.counter, self.told, self.entry, tag, position + 1, outer, entry, self.path


def _unfold(
    tags: Sequence[str], told: Mapping[int, str], kind: str, notes: list[str]
) -> tuple[dict[str, int], list[GroupRow]]:
    """Return where the tags of the message itself stand, and the places of its groups and of repeated tags.

    `told` are the values of the counters by their position.
    """
    body: dict[str, int] = {}
    rows: list[GroupRow] = []
    repeats: Counter[str] = Counter()
    last = {tag: position for position, tag in enumerate(tags)}
    stack: list[_Group] = []
    for position, tag in enumerate(tags):
        if stack:
            _leave(stack, tag, position, last, notes)
        if stack:
            rows.append((position, stack[-1].take(tag, position)))
        elif tag not in body:
            body[tag] = position
        else:
            repeats[tag] += 1
            rows.append((position, (None, None, repeats[tag], tag, position + 1, None, None, None)))
        if position in told:
            following = tags[position + 1] if position + 1 < len(tags) else ""
            _enter(stack, tag, told[position], kind, following, notes)
    _close(stack, 0, notes)
    notes.extend(f"repeated_tag:{tag}" for tag in repeats)
    return body, rows


def _leave(stack: list[_Group], tag: str, position: int, last: Mapping[str, int], notes: list[str]) -> None:
    """Leave the groups that a tag does not belong to.

    It belongs to a group that has it as a member and not yet in this entry. A tag that no group knows belongs to one
    that has entries to come.
    """
    for depth in range(len(stack) - 1, -1, -1):
        group = stack[depth]
        if tag == group.first or (tag in group.members and tag not in group.seen):
            return _close(stack, depth + 1, notes)
    for depth in range(len(stack) - 1, -1, -1):
        group = stack[depth]
        if group.entry + 1 < group.declared and last[group.first] > position:
            return _close(stack, depth + 1, notes)
    return _close(stack, 0, notes)


def _enter(stack: list[_Group], tag: str, told: str, kind: str, following: str, notes: list[str]) -> None:
    """Begin a group if an entry follows its counter."""
    by_type = _GROUPS[tag]
    members = by_type.get(kind) or by_type[""]
    if following in members and len(stack) < GROUP_DEPTH_MAX:
        stack.append(_Group(tag, told, following, members, stack[-1] if stack else None))
    elif told.strip("0"):
        notes.append(f"group_count:{tag}={_short(told)},found=0")


def _close(stack: list[_Group], depth: int, notes: list[str]) -> None:
    for group in stack[depth:]:
        if str(group.entry + 1) != group.told:
            notes.append(f"group_count:{group.counter}={_short(group.told)},found={group.entry + 1}")
    del stack[depth:]


def _short(text: str) -> str:
    return text if len(text) <= 20 else text[:20] + "..."


class _Layout:
    """Where everything stands in messages with the same tags in the same order, of one type, with the same counts."""

    __slots__ = ("groups", "notes", "output", "places", "row", "sum_at", "typed")

    def __init__(self, tags: tuple[str, ...], told: Mapping[int, str], kind: str) -> None:
        notes: list[str] = []
        body, self.groups = _unfold(tags, told, kind, notes)
        self.notes = tuple(notes)
        self.output = _TABLE_OF.get(kind, _OTHER)
        nothing = len(tags)  # the place behind the values, which holds None; behind it stands what was found out
        self.places = tuple(map(body.get, _COLUMN_TAGS[self.output]))  # of the fields of each column, None without
        fields = (nothing if place is None else place for place in self.places)
        self.row = itemgetter(*fields, *range(nothing + 1, nothing + 1 + FOUND_COLUMNS))
        self.sum_at = body.get("10", nothing)
        self.typed = tuple(position for tag, position in body.items() if tag in _TYPED_TAGS)


class _Shape:
    """What can be said of a row of tags whatever their values are."""

    __slots__ = ("counters", "kind_at", "layouts", "plain", "tags")

    def __init__(self, tags: tuple[str, ...]) -> None:
        self.tags = tags
        self.kind_at = tags.index("35") if "35" in tags else -1
        self.counters = tuple(position for position, tag in enumerate(tags) if tag in _GROUPS)
        self.plain = self.kind_at > 0 and _DATA_OF.keys().isdisjoint(tags) and all(map(_TAG.fullmatch, tags))
        self.layouts: dict[Any, _Layout] = {}


class _Shapes:
    """The shapes and layouts that were met: a log repeats a few. Both are bounded; when full, all are forgotten."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, ...], _Shape] = {}

    def shape(self, tags: tuple[str, ...]) -> _Shape:
        shape = self.known.get(tags)
        if shape is None:
            shape = _Shape(tags)
            if len(tags) <= SHAPE_TAGS_MAX and sum(map(len, tags)) <= SHAPE_CHARACTERS_MAX:
                if len(self.known) >= SHAPES_MAX:
                    self.known.clear()
                self.known[tags] = shape
        return shape

    def layout(self, shape: _Shape, kind: str, values: Sequence[str] | Mapping[int, str]) -> _Layout:
        counters = shape.counters
        key: Any = (kind, *[values[position] for position in counters]) if counters else kind
        layout = shape.layouts.get(key)
        if layout is None:
            layout = _Layout(shape.tags, {position: values[position] for position in counters}, kind)
            if len(kind) + sum(len(values[position]) for position in counters) <= LAYOUT_CHARACTERS_MAX:
                if len(shape.layouts) >= SHAPE_LAYOUTS_MAX:
                    shape.layouts.clear()
                shape.layouts[key] = layout
        return layout


# --- what a message is called and whether it is whole ----------------------------------------------------------------


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


_THREE_DIGITS: Final = tuple(f"{number:03}" for number in range(256))
_SUM_BYTES: Final = 256  # up to here the sum of bytes is below the modulus of Adler-32


def _sum(data: bytes) -> int:
    """Return the sum of the bytes, by a checksum that computes it on its way."""
    if len(data) <= _SUM_BYTES:
        return (zlib.adler32(data) & 0xFFFF) - 1
    pieces = (data[at : at + _SUM_BYTES] for at in range(0, len(data), _SUM_BYTES))
    return sum((zlib.adler32(piece) & 0xFFFF) - 1 for piece in pieces)


def _check_sum(data: bytes, span: _Span, told: str, delimiter: _Delimiter, fields: int, notes: list[str]) -> bool:
    """Compare CheckSum with the bytes of the message as it was sent, with SOH. `fields` stand before it."""
    printed = _sum(data[span.start : span.trailer])
    computed = (printed - fields * delimiter.excess) & 0xFF
    if len(told) != 3 or not told.isdecimal():
        notes.append("checksum_not_3_digits")
    if told.isdecimal() and len(told) < 10 and int(told) == computed:
        return True
    if told == f"{printed & 0xFF:03}":
        notes.append("checksum_ok_over_printed_delimiter")
    else:
        notes.append(f"checksum_mismatch:computed={computed:03}")
    return False


def _checked(
    data: bytes, span: _Span, told: str, delimiter: _Delimiter, count: int, notes: list[str]
) -> tuple[bool | None, bool | None]:
    """Say whether BodyLength and CheckSum are right; None where that cannot be said. `count` fields stand before it."""
    if span.trailer < 0:
        notes.append("checksum_absent")
        return None, None
    length_ok = None if span.told < 0 else _body_length(span, delimiter, count, notes)
    return length_ok, _check_sum(data, span, told, delimiter, count, notes)


def _body_length(span: _Span, delimiter: _Delimiter, fields: int, notes: list[str]) -> bool:
    counted = span.trailer - span.body - max(fields - 2, 0) * (delimiter.length - 1)
    if counted == span.told:
        return True
    notes.append(f"body_length_mismatch:counted={counted}")
    return False


def _joined(notes: Sequence[str]) -> str | None:
    """Return notes as they stand in a row: each once, so many, and none where there is nothing to say."""
    if not notes:
        return None
    different = list(dict.fromkeys(notes))
    more = len(different) - NOTES_MAX
    return "; ".join(different if more <= 0 else [*different[:NOTES_MAX], f"more_notes:{more}"])


def _utc(text: str | None) -> str | None:
    """Return a time of the protocol, which is UTC, with its zone; what is finer than a microsecond is cut."""
    if not text:
        return text
    if len(text) > 24 and text[18:].isdecimal():
        text = text[:24]
    return text + "Z" if text[-1].isdecimal() else text


# --- the text before a message ---------------------------------------------------------------------------------------

_PREFIX_TIME: Final = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[T ](?P<clock>\d\d:\d\d:\d\d(?:[.,]\d{1,9})?)(?: ?(?P<zone>Z|[+-]\d\d:?\d\d))?(?![\d:])"
    r"|(?P<day>\d{8})-(?P<hour>\d\d:\d\d:\d\d(?:[.,]\d{1,9})?)(?![\d:])"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    r"|\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
)


def _prefix_time(prefix: str, zone: tzinfo | None, notes: list[str]) -> tuple[str | None, datetime | None]:
    """Return the time that stands before a message: as it stands there, and as an instant if a zone is set."""
    found = _PREFIX_TIME.search(prefix)
    if found is None:
        return None, None
    date, clock = found["date"] or found["day"], found["clock"] or found["hour"]
    if zone is None or date is None:
        return found[0], None
    fraction = clock[8:].strip(".,")[:6].ljust(6, "0")
    try:
        told = datetime.fromisoformat(f"{date}T{clock[:8]}.{fraction}{found['zone'] or ''}")
        return found[0], told if told.tzinfo else _instant(told, zone, notes)
    except (ValueError, OverflowError):
        notes.append("prefix_time_impossible")
        return found[0], None


def _instant(told: datetime, zone: tzinfo, notes: list[str]) -> datetime | None:
    """Return the instant of a local time; none if the clock showed it twice or never."""
    early, late = told.replace(tzinfo=zone), told.replace(tzinfo=zone, fold=1)
    if early.utcoffset() == late.utcoffset():
        return early.astimezone(UTC)
    notes.append("prefix_time_ambiguous" if early.astimezone(UTC) < late.astimezone(UTC) else "prefix_time_impossible")
    return None


def _shown(text: str) -> str:
    """Return bytes, held as Latin-1, as the text that they are; Latin-1 if they are not UTF-8."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return text


# --- whole blocks ----------------------------------------------------------------------------------------------------
#
# Most lines of most logs are plain: text without an equals sign, then one message that is whole, right and ASCII, then
# the end of the line. They are read together, each step for all lines of a block. Whatever is not plain in every way is
# left to `_Log._line`, which reads anything; of a plain line it would make the same rows.


def _bytes_of(data: bytes) -> Column:
    return _pa.Array.from_buffers(pa.uint8(), len(data), [None, pa.py_buffer(data)])


def _strings(offsets: Column, data: bytes | pa.Buffer) -> Column:
    """Return pieces of text that follow each other, by where the first begins and where each ends."""
    return _pa.Array.from_buffers(pa.string(), len(offsets) - 1, [None, offsets.buffers()[1], pa.py_buffer(data)])


def _count_up(count: int) -> Column:
    return _pa.arange(0, count).cast(_INT32)


def _whole_number(number: int, type_: pa.DataType = _INT32) -> Any:
    """Return a number for Arrow to reckon with. It would guess the type of a plain one, which takes 0.1 ms."""
    return pa.scalar(number, type_)


def _plus(places: Column, number: int) -> Column:
    return _pc.add(places, _whole_number(number))


def _with_zero(ends: Column) -> Column:
    return _pa.concat_arrays([_ZERO, ends])


def _all(masks: Sequence[Column]) -> Column:
    return reduce(_pc.and_, masks)


def _looked_up(values: Iterable[Any], type_: pa.DataType, codes: Column) -> Column:
    return _pa.array(values, type_).take(codes)


def _by_value(column: Column, told: Callable[[Any], Any], type_: pa.DataType) -> Column:
    """Return what is told of each value, asking once for each different one."""
    encoded = column.dictionary_encode()
    return _looked_up(map(told, encoded.dictionary.to_pylist()), type_, encoded.indices)


def _together(columns: Sequence[Column]) -> tuple[Column, list[int]]:
    """Number the different rows of some columns; return the number of each row, and where each number is first met."""
    codes = columns[0].dictionary_encode(null_encoding="encode").indices
    for column in columns[1:]:
        encoded = column.dictionary_encode(null_encoding="encode")
        room = _whole_number(len(encoded.dictionary), pa.int64())
        both = _pc.add(_pc.multiply(codes.cast(pa.int64()), room), encoded.indices.cast(pa.int64()))
        codes = both.dictionary_encode().indices  # or they would grow with each column
    different = _pc.max(codes).as_py() + 1 if len(codes) else 0
    return codes, _pc.index_in(_count_up(different), value_set=codes).to_pylist()


def _cuts(data: bytes | pa.Buffer, *bounds: Column) -> list[Column]:
    """Return the texts between the first and the second bounds, between the second and the third, and so on.

    The bounds of a row are in order, and not before those of the row before.
    """
    rows, width = len(bounds[0]), len(bounds)
    offsets = array("i", bytes(4 * rows * width))
    for at, column in enumerate(bounds):
        begin = 4 * column.offset
        offsets[at::width] = array("i", memoryview(column.buffers()[1])[begin : begin + 4 * rows].tobytes())
    texts = _strings(_pa.Array.from_buffers(_INT32, len(offsets), [None, pa.py_buffer(offsets)]), data)
    return [texts.take(_pa.arange(at, rows * width - width + 1 + at, width)) for at in range(width - 1)]


@lru_cache(maxsize=64)
def _marks(separators: bytes) -> bytes:
    return bytes(byte in separators for byte in range(256))


class _Texts:
    """What stands between the separators of a block: equals signs, delimiters and ends of lines."""

    def __init__(self, data: bytes, delimiter: str) -> None:
        separators = b"=\n" + delimiter.encode("latin-1")
        marked = _pc.equal(_bytes_of(data.translate(_marks(separators))), _whole_number(1, pa.uint8()))
        self.data = data
        self.bytes = _bytes_of(data)
        self.ends = _pc.indices_nonzero(marked).cast(_INT32)
        self.kinds = self.bytes.take(self.ends)  # the separators alone
        offsets = _with_zero(_pc.subtract(self.ends, _count_up(len(self.ends))))
        self._texts = _strings(offsets, data.translate(None, separators))

    def take(self, places: Column) -> Column:
        """Return the texts that end at these separators, by their numbers; none where there is none."""
        return self._texts.take(places)

    def kind(self, sign: str) -> Column:
        """Return for each separator whether it is this one."""
        return _pc.equal(self.kinds, _whole_number(ord(sign), pa.uint8()))

    def tags(self) -> Column:
        """Return what ends with an equals sign, with it."""
        return _strings(_with_zero(_plus(self.ends, 1)), self.data).filter(self.kind("="))


class _Known(NamedTuple):
    """What messages of a block have in common."""

    shape: _Shape
    kind: str
    layout: _Layout


class _Scan:
    """The plain lines of a block. `others` are the indexes of those that are not.

    `rows` has a row for each plain line: its index; where it, its message and its end are; its separators by their
    numbers, the equals sign of BeginString and the end of the line; and which of the layouts that were met it has.
    """

    def __init__(self, block: _Block, delimiter: _Delimiter, shapes: _Shapes, options: _Options) -> None:
        self._block = block
        self._delimiter = delimiter
        self._shapes = shapes
        self._options = options
        self._texts = _Texts(block.data, delimiter.text)
        self._met: list[_Shape | None] = []
        self._known: list[_Known] = []
        self.rows: Rows = self._lines()
        for step in (self._formed, self._framed, self._shaped, self._laid_out, self._tried, self._hashed):
            if self.rows.num_rows:
                self.rows = step(self.rows)

    @property
    def others(self) -> list[int]:
        plain = set(self.rows["line"].to_pylist())
        return [line for line in range(len(self._block.lines)) if line not in plain]

    # Which lines are plain: each step leaves out those that are not.

    def _lines(self) -> Rows:
        texts = self._texts
        last = _pc.indices_nonzero(texts.kind("\n")).cast(_INT32)
        stop = texts.ends.take(last)
        count = len(last)
        return _pa.RecordBatch.from_pydict(
            {
                "line": _count_up(count),
                "begin": _with_zero(_plus(stop, 1)).slice(0, count),
                "stop": stop,
                "first": _with_zero(_plus(last, 1)).slice(0, count),
                "last": last,
            }
        )

    def _formed(self, rows: Rows) -> Rows:
        """Keep lines whose separators are those of one message, behind delimiters that may stand in a prefix."""
        between = re.escape(self._delimiter.text.encode("latin-1"))
        form = re.compile(rb"((?:%b)*)(?:=%b){4,}\n" % (between, between))
        bounds = _with_zero(_plus(rows["last"], 1))
        kinds = _strings(bounds, self._texts.kinds.buffers()[1]).cast(pa.binary())
        leading = _by_value(kinds, lambda signs: len(found[1]) if (found := form.fullmatch(signs)) else None, _INT32)
        rows = rows.set_column(rows.schema.get_field_index("first"), "first", _pc.add(rows["first"], leading))
        data, empty = self._block.data, self._delimiter.empty.encode("latin-1")
        if not data.isascii() or empty in data:
            usual = [line.isascii() and empty not in line for line in self._block.lines]
            rows = rows.filter(pa.array(usual, pa.bool_()))
        return rows.filter(_pc.is_valid(rows["first"]))

    def _framed(self, rows: Rows) -> Rows:
        """Keep lines with a BeginString behind a prefix that is not too long, and nothing behind the message."""
        texts = self._texts
        message = _plus(texts.ends.take(rows["first"]), -1)
        version = texts.take(_plus(rows["first"], 1))
        fine = (
            _pc.equal(texts.bytes.take(_pc.max_element_wise(message, _ZERO[0])), _whole_number(ord("8"), pa.uint8())),
            _pc.less_equal(_pc.subtract(message, rows["begin"]), _whole_number(TEXT_AROUND_BYTES_MAX)),
            _pc.less_equal(_pc.subtract(rows["stop"], rows["begin"]), _whole_number(MESSAGE_BYTES_MAX)),
            _pc.is_in(texts.take(rows["last"]), value_set=_ENDS_OF_LINE),
            _by_value(version, lambda text: _VERSION.fullmatch(text) is not None, pa.bool_()),
        )
        return rows.append_column("message", message).filter(_all(fine))

    def _shaped(self, rows: Rows) -> Rows:
        """Keep lines with tags by which a message can be taken apart, whatever its values are."""
        tags = self._texts.tags()
        _, offsets, data = tags.buffers()
        bounds = _pa.Array.from_buffers(_INT32, len(tags) + 1, [None, offsets])
        count = _pc.cumulative_sum(self._texts.kind("=").cast(_INT32))  # of the tags up to a separator
        (told,) = _cuts(data, bounds.take(count.take(rows["first"])), bounds.take(count.take(rows["last"])))
        encoded = told.dictionary_encode()
        self._met = [self._shape(text) for text in encoded.dictionary.to_pylist()]
        fine = _looked_up([shape is not None for shape in self._met], pa.bool_(), encoded.indices)
        return rows.append_column("shape", encoded.indices).filter(fine)

    def _shape(self, told: str) -> _Shape | None:
        """Return the shape of a message by its tags behind the first; None if the message is to be read on its own."""
        tags = ("8", *told[:-1].split("="))
        shape = self._shapes.shape(tags)
        framed = tags[1] == "9" and tags[-1] == "10" and len(tags[2]) <= 7  # as `_START` has it
        return shape if shape.plain and framed and len(shape.counters) <= SCANNED_COUNTERS_MAX else None

    def _laid_out(self, rows: Rows) -> Rows:
        """Keep lines whose last field is the CheckSum of the message itself."""
        deciding = [(shape.kind_at, *shape.counters) if shape else () for shape in self._met]
        values = [self._fields(rows, places, rows["shape"]) for places in zip_longest(*deciding)]
        codes, met = _together([rows["shape"], *values])
        for row in met:
            kind, *told = (column[row].as_py() for column in values)
            self._know(self._met[rows["shape"][row].as_py()], kind, told)
        fine = [known.layout.sum_at == len(known.shape.tags) - 1 for known in self._known]
        return rows.append_column("known", codes).filter(_looked_up(fine, pa.bool_(), codes))

    def _know(self, shape: _Shape | None, kind: str, told: list[str]) -> None:
        assert shape is not None
        layout = self._shapes.layout(shape, kind, dict(zip(shape.counters, told, strict=False)))
        self._known.append(_Known(shape, kind, layout))

    def _tried(self, rows: Rows) -> Rows:
        """Keep lines whose BodyLength and CheckSum are right."""
        texts = self._texts
        trailer = texts.ends.take(_plus(rows["last"], -3))  # the delimiter before CheckSum
        counted = _pc.subtract(trailer, texts.ends.take(_plus(rows["first"], 3)))
        sums = _pc.cumulative_sum(texts.bytes)  # of 8 bits, as CheckSum is
        printed = _pc.subtract(sums.take(trailer), sums.take(rows["message"])).cast(_INT32)
        fields = _plus(_pc.divide(_pc.subtract(rows["last"], rows["first"]), _whole_number(2)), -1)  # before CheckSum
        excess = _pc.multiply(fields, _whole_number(self._delimiter.excess))
        sent = _pc.bit_wise_and(_plus(_pc.subtract(printed, excess), ord("8")), _whole_number(0xFF))
        fine = (
            _pc.equal(counted.cast(pa.string()), texts.take(_plus(rows["first"], 3))),
            _pc.equal(_looked_up(_THREE_DIGITS, pa.string(), sent), texts.take(_plus(rows["last"], -1))),
        )
        return rows.filter(_all(fine))

    def _hashed(self, rows: Rows) -> Rows:
        lines: Iterable[bytes] = map(self._block.lines.__getitem__, rows["line"].to_pylist())
        if b"\r" in self._block.data:
            lines = (line.removesuffix(b"\r") for line in lines)
        digits = b"".join([hashlib.sha256(line).digest() for line in lines]).hex().encode()
        return rows.append_column("hash", _strings(_pa.arange(0, len(digits) + 1, 64).cast(_INT32), digits))

    # What stands in them.

    def batches(self, stretches: Sequence[tuple[int, int]]) -> dict[str, pa.RecordBatch]:
        """Return the rows of the plain lines in some stretches of lines, by output, those that there are."""
        if not self.rows.num_rows:
            return {}
        rows = self._within(stretches)
        made = {output: self._of_messages(output, rows) for output in _MESSAGE_TABLES}
        groups = [each.layout.groups for each in self._known]
        made["fix_groups"] = self._of_fields("fix_groups", rows, groups, value_at=4)
        tags = [self._wanted(each) for each in self._known]
        made["fix_tags"] = self._of_fields("fix_tags", rows, tags, value_at=1)
        return {output: batch for output, batch in made.items() if batch is not None}

    def _within(self, stretches: Sequence[tuple[int, int]]) -> Rows:
        if stretches == [(0, len(self._block.lines))]:
            return self.rows
        lines = self.rows["line"].to_pylist()
        chosen = (range(bisect_left(lines, begin), bisect_left(lines, stop)) for begin, stop in stretches)
        return self.rows.take(_pa.array(chain.from_iterable(chosen), _INT32))

    def _chosen(self, rows: Rows, wanted: Iterable[Any]) -> Rows:
        """Return the rows with layouts that are wanted, of all that were met."""
        return rows.filter(_looked_up(map(bool, wanted), pa.bool_(), rows["known"]))

    def _fields(self, rows: Rows, places: Iterable[int | None], codes: Column) -> Column:
        """Return values of fields, by their place in messages of each code."""
        steps = [None if place is None else 2 * place + 1 for place in places]
        if steps.count(None) == len(steps):
            return _pa.nulls(rows.num_rows, pa.string())
        return self._texts.take(_pc.add(rows["first"], _looked_up(steps, _INT32, codes)))

    def _places(self, rows: Rows) -> list[Column]:
        """Return line_number, message_index, byte_offset and raw_line_hash."""
        numbers = _pc.add(rows["line"].cast(pa.int64()), _whole_number(self._block.number, pa.int64()))
        offsets = _pc.add(rows["message"].cast(pa.int64()), _whole_number(self._block.offset, pa.int64()))
        return [numbers, _pa.repeat(_whole_number(0, pa.int64()), rows.num_rows), offsets, rows["hash"]]

    def _of_messages(self, output: str, rows: Rows) -> pa.RecordBatch | None:
        names = _COLUMN_NAMES[output]
        layouts = [each.layout if each.layout.output == output else None for each in self._known]
        rows = self._chosen(rows, layouts)
        if not rows.num_rows:
            return None
        nowhere = (None,) * len(names)
        places = zip(*(layout.places if layout else nowhere for layout in layouts), strict=True)
        columns = {name: self._fields(rows, each, rows["known"]) for name, each in zip(names, places, strict=True)}
        for name in _TIMES & columns.keys():
            columns[name] = _utc_times(columns[name])
        events = [_lifecycle_events(columns)] if output == "fix_order_lifecycle" else []
        return _record_batch(output, [*events, *columns.values(), *self._found(rows)])

    def _found(self, rows: Rows) -> list[Column]:
        """Return what is said of messages beside their fields, as many as FOUND_COLUMNS."""
        stops = _plus(self._texts.ends.take(_plus(rows["last"], -1)), 1)
        prefixes, messages = _cuts(self._block.data, rows["begin"], rows["message"], stops)
        right = _pa.repeat(pa.scalar(True, pa.bool_()), rows.num_rows)
        suffixes = _pa.nulls(rows.num_rows, pa.string())
        delimiters = _pa.repeat(pa.scalar(self._delimiter.name, pa.string()), rows.num_rows)
        around = self._around(prefixes, rows["known"])
        return [right, right, *around, suffixes, delimiters, messages, *self._places(rows)]

    def _around(self, prefixes: Column, codes: Column) -> list[Column]:
        """Return the notes on messages, the text before them, and its time as text and as an instant."""
        said = _looked_up([_joined(each.layout.notes) for each in self._known], pa.string(), codes)
        some = _pc.greater(_pc.binary_length(prefixes), _whole_number(0))
        rows = _pc.indices_nonzero(some).to_pylist()
        if not rows:
            return [said, *(_pa.nulls(len(codes), type_) for type_ in (pa.string(), pa.string(), _TIMESTAMP))]
        texts = prefixes.filter(some)
        clocks, instants, noted = self._times(texts.to_pylist())
        if noted:
            words = said.to_pylist()
            for at, notes in noted.items():
                words[rows[at]] = _joined([*self._known[codes[rows[at]].as_py()].layout.notes, *notes])
            said = pa.array(words, pa.string())
        place = _pc.if_else(some, _plus(_pc.cumulative_sum(some.cast(_INT32)), -1), pa.scalar(None, _INT32))
        return [said, *(found.take(place) for found in (texts, clocks, instants))]

    def _times(self, prefixes: list[str]) -> tuple[Column, Column, dict[int, list[str]]]:
        """Return the times in prefixes as text and as instants, and the notes on some of them."""
        zone = self._options.prefix_zone
        if zone is None:  # as `_prefix_time` has it, in half the time
            clocks = [found[0] if (found := _PREFIX_TIME.search(prefix)) else None for prefix in prefixes]
            return _pa.array(clocks, pa.string()), _pa.nulls(len(prefixes), _TIMESTAMP), {}
        notes: list[list[str]] = [[] for _ in prefixes]
        times = [_prefix_time(prefix, zone, said) for prefix, said in zip(prefixes, notes, strict=True)]
        texts, instants = zip(*times, strict=True)
        noted = {at: said for at, said in enumerate(notes) if said}
        return _pa.array(texts, pa.string()), _pa.array(instants, _TIMESTAMP), noted

    def _wanted(self, known: _Known) -> list[GroupRow]:
        """Return the rows of fix_tags of a message."""
        wanted = self._options.tags
        tags = enumerate(known.shape.tags) if wanted != _NO_TAGS else ()
        return [(place, (tag, place + 1)) for place, tag in tags if wanted is None or tag in wanted]

    def _of_fields(
        self, output: str, rows: Rows, lists: Sequence[Sequence[GroupRow]], *, value_at: int
    ) -> pa.RecordBatch | None:
        """Return a row for each field that is listed for its message. The value stands among what is said of it."""
        rows = self._chosen(rows, lists)
        if not rows.num_rows:
            return None
        message, field = _spread(rows["known"], lists)
        columns = [each.take(message) for each in self._places(rows)]
        columns.append(_looked_up([each.kind for each in self._known], pa.string(), rows["known"].take(message)))
        places, told = zip(*chain.from_iterable(lists), strict=True)
        types = [each.type for each in _SCHEMAS[output]][len(columns) :]
        del types[value_at]
        said = [_looked_up(each, type_, field) for each, type_ in zip(zip(*told, strict=True), types, strict=True)]
        said.insert(value_at, self._fields(rows.select(["first"]).take(message), places, field))
        return _record_batch(output, [*columns, *said])


def _spread(codes: Column, lists: Sequence[Sequence[Any]]) -> tuple[Column, Column]:
    """Give each row the list of its code; return for each item of these its row and its number among all items."""
    bounds = _pa.array(accumulate(map(len, lists), initial=0), _INT32)
    spread = _pa.ListArray.from_arrays(bounds, _count_up(bounds[-1].as_py())).take(codes)
    return _pc.list_parent_indices(spread), spread.flatten()


def _utc_times(texts: Column) -> Column:
    """Return times of the protocol as `_utc` does, at once if all are of the usual form."""
    digits = _pc.is_in(_pc.utf8_slice_codeunits(texts, -1), value_set=_DIGITS)
    usual = _pc.and_(digits, _pc.less_equal(_pc.binary_length(texts), _whole_number(24)))
    if _pc.all(_pc.or_(_pc.is_null(texts), usual)).as_py():
        return _pc.binary_join_element_wise(texts, pa.scalar("Z", pa.string()), pa.scalar("", pa.string()))
    return _by_value(texts, _utc, pa.string())


def _lifecycle_events(columns: Mapping[str, Column]) -> Column:
    """Return the word for each order message, asking once for all that look the same to `lifecycle_event`."""
    *states, leaves = (columns[name] for name in _EVENT_COLUMNS)
    execution, status = states[2:]
    matters = _pc.and_(
        _pc.equal(execution, pa.scalar("F", pa.string())), _pc.invert(_pc.is_in(status, value_set=_PART_OR_WHOLE))
    )
    told = [*states, _pc.if_else(matters, leaves, pa.scalar(None, pa.string()))]
    codes, met = _together(told)
    words = [lifecycle_event(*(column[row].as_py() for column in told)) for row in met]
    return _looked_up(words, pa.string(), codes)


def _scan(block: _Block, shapes: _Shapes, options: _Options) -> _Scan | None:
    """Look at a block as a whole; None if that is not worth while or no one character separates its fields."""
    if block.piece or len(block.data) < SCANNED_BYTES_MIN:
        return None
    delimiter = _usual_delimiter(block.data)
    return None if delimiter is None else _Scan(block, delimiter, shapes, options)


def _usual_delimiter(data: bytes) -> _Delimiter | None:
    """Return what separates the fields of the first message with a BodyLength where one character does."""
    at = -1
    for _ in range(DELIMITER_TRIES_MAX):
        at = data.find(b"8=FIX", at + 1)
        found = _START.match(data[at : at + 64].decode("latin-1")) if at >= 0 else None
        if found is not None and found[3] and len(found[2]) == 1 and found[2].isascii() and found[2] not in "\r\n":
            return _delimiter(found[2])
    return None


class _Stretches:
    """The lines of a block whose plain rows wait: all from `begin` up to `stop`, and in stretches before."""

    def __init__(self, begin: int) -> None:
        self.stop = begin
        self._begin = begin
        self._before: list[tuple[int, int]] = []

    def skip(self, stop: int) -> None:
        """Leave out the lines up to `stop`: a message that began before goes on there."""
        self._before.append((self._begin, self.stop))
        self._begin = self.stop = stop

    def take(self) -> list[tuple[int, int]]:
        """Return the stretches; none of their lines waits any more."""
        taken = [*self._before, (self._begin, self.stop)]
        self._before, self._begin = [], self.stop
        return [(begin, stop) for begin, stop in taken if begin < stop]


# --- one log being read ----------------------------------------------------------------------------------------------


class _Log:
    """One log being read: what was counted, what could not be read, and the rows that wait for their batch."""

    def __init__(self, options: _Options, lines: _Lines) -> None:
        self._options = options
        self._lines = lines
        self._rows: dict[str, list[tuple[Any, ...]]] = {output: [] for output in outputs}
        self._ready: list[Batch] = []
        self._shapes = _Shapes()
        self._scan: _Scan | None = None  # of the block that is being read
        self._stretches = _Stretches(0)
        self._text = 0  # characters of messages that wait
        self._waiting = 0  # rows of messages that wait
        self.messages = 0
        self.unreadable = 0
        self.ranges: list[dict[str, Any]] = []  # the first RANGES_MAX
        self.ranges_total = 0
        self.accepted_lines = 0
        self.unreadable_lines = 0
        self.skips: Counter[str] = Counter()
        self._index = 0  # of the message in its line
        self._digest = ""  # of the line
        self._held = False  # the line holds a message
        self._joined = False  # several lines are read as one
        self._joins_in_vain = 0  # bytes

    def batches(self) -> Iterator[Batch]:
        """Read all lines; yield batches as they fill, then what is left."""
        for block in self._lines:
            yield from self._block(block)
        if self._lines.fault:
            self._note_fault()
            self._take()
        yield from self._given()

    def _block(self, block: _Block) -> Iterator[Batch]:
        """Read the lines of a block that an earlier message did not take: the plain ones together, the others each."""
        self._scan = _scan(block, self._shapes, self._options)
        self._stretches = _Stretches(block.taken)
        for at in range(len(block.lines)) if self._scan is None else self._scan.others:
            if at < block.taken:
                continue
            self._stretches.stop = at
            self._line(block.take(at))
            if block.taken > at + 1:
                self._stretches.skip(block.taken)
            if self._waiting >= BATCH_ROWS or self._text >= BATCH_TEXT_MAX:
                self._take()
            yield from self._given()
        block.taken = self._stretches.stop = len(block.lines)
        self._take()
        yield from self._given()

    def _given(self) -> Iterator[Batch]:
        ready, self._ready = self._ready, []
        return iter(ready)

    def statements(self) -> list[Statement]:
        """Return the account of the messages, then that of the lines."""
        messages = {
            "unit": "messages",
            "output": list(_MESSAGE_TABLES),
            "found": self.messages + self.unreadable,
            "unreadable": self.unreadable,
            "ranges": self.ranges,
            "ranges_total": self.ranges_total,
        }
        skipped = [{"count": count, "reason": reason} for reason, count in sorted(self.skips.items())]
        lines = {
            "unit": "lines",
            "accepted": self.accepted_lines,
            "found": self._lines.count,
            "skipped": self.skips.total(),
            "skips": skipped,
            "unreadable": self.unreadable_lines,
            "ranges": self.ranges,
            "ranges_total": self.ranges_total,
        }
        return [messages, lines]

    def _note_fault(self) -> None:
        at = self._lines.position
        reason = f"the packed log cannot be read further: {self._lines.fault}"
        self._range(at, 0, reason)
        place = (max(self._lines.count, 1), 0, at, hashlib.sha256().hexdigest())
        self._rows["fix_parse_errors"].append((*place, 0, "gzip_damaged", self._lines.fault, ""))

    # Lines.

    def _line(self, line: _Line) -> None:
        """Take in one line, and the following ones where a message goes on there."""
        if line.piece < 2:
            self._index = 0
        self._joined = False
        start = None
        if b"8=FIX" in line.data:
            text = line.data.decode("latin-1")
            start = _START.search(text)
        if start is None:
            self._foreign(line)
        else:
            self._messages(line, text, start)

    def _foreign(self, line: _Line) -> None:
        data = line.data.removesuffix(b"\r")
        if not data or (data.isspace() and not line.piece):
            self.skips["blank line"] += not line.piece
            return
        self._digest = hashlib.sha256(data).hexdigest()
        if line.piece:
            self._lost(line, 0, len(data), "line_too_long", f"no message in {len(data):,} bytes of a line", counted=0)
            self._close_line(line, rows=0)
        else:
            self.skips["no message in the line"] += 1
            self._error(line, 0, len(data), "no_message", None)

    def _messages(self, line: _Line, text: str, start: "re.Match[str] | None") -> None:
        """Take in the messages of a line that holds at least the beginning of one."""
        rows = at = 0
        size = self._whole_line(line, text)
        while start is not None:  # each turn moves on by a message
            begin = start.start()
            if start[2] is None:
                start = _START.search(text, start.end())
                end = start.start() if start else size
                self._lost(line, begin, end, "no_delimiter", "nothing separates BeginString from what follows")
            else:
                delimiter = _delimiter(start[2])
                span = _span(text, start, delimiter)
                if span.trailer < 0 and span.body + span.told >= size and (joined := self._join(line, span)):
                    line, text = joined, joined.data.decode("latin-1")
                    size = self._whole_line(line, text)
                    span = _span(text, start, delimiter)
                end = min(span.end, size)
                start = _START.search(text, end)
                around = (text[at:begin], "" if start else text[end:size])
                rows += self._message(line, text, span, end, delimiter, around)
            at = end
            self._index += 1
            if self._waiting >= BATCH_ROWS or self._text >= BATCH_TEXT_MAX:
                self._take()
        self._close_line(line, rows=rows)

    def _whole_line(self, line: _Line, text: str) -> int:
        """Take the hash of a line; return its length without the end of line."""
        size = len(text) - text.endswith("\r")
        self._digest = hashlib.sha256(line.data if size == len(text) else line.data[:size]).hexdigest()
        return size

    def _join(self, line: _Line, span: _Span) -> _Line | None:
        """Return the line with those behind it, as far as BodyLength says, if a CheckSum stands there."""
        stop = span.body + span.told
        if line.piece or stop - span.start > JOINED_BYTES_MAX or self._joins_in_vain > JOINS_IN_VAIN_BYTES_MAX:
            return None
        taken = [line]
        held = len(line.data)
        while held < stop + 4 and len(taken) < JOINED_LINES_MAX and (more := self._lines.following()) is not None:
            taken.append(more)
            held += 1 + len(more.data)
        data = b"\n".join(each.data for each in taken)
        if len(taken) > 1 and not any(each.piece for each in taken) and _CHECKSUM_FIELD.match(data, stop):
            self.accepted_lines += len(taken) - 1
            self._joined = True
            return line._replace(data=data)
        self._lines.put_back(len(taken) - 1)
        self._joins_in_vain += held - len(line.data)
        return None

    def _close_line(self, line: _Line, *, rows: int) -> None:
        """Book a line as holding a message or as unreadable; one in pieces once, by all of them."""
        if line.piece < 2:
            self._held = False
            self.unreadable_lines += 1
        if rows and not self._held:
            self._held = True
            self.unreadable_lines -= 1
            self.accepted_lines += 1

    # What could not be read.

    def _lost(self, line: _Line, begin: int, end: int, reason: str, detail: str, *, counted: int = 1) -> None:
        self.unreadable += counted
        self._range(line.offset + begin, end - begin, detail)
        self._error(line, begin, end, reason, detail)

    def _range(self, offset: int, length: int, reason: str) -> None:
        self.ranges_total += 1
        if len(self.ranges) < RANGES_MAX:
            self.ranges.append({"offset": offset, "length": length, "reason": reason})

    def _error(self, line: _Line, begin: int, end: int, reason: str, detail: str | None) -> None:
        preview = _shown(line.data[begin : min(end, begin + PREVIEW_CHARACTERS)].decode("latin-1"))
        place = (line.number, self._index, line.offset + begin, self._digest)
        self._rows["fix_parse_errors"].append((*place, end - begin, reason, detail, preview))
        self._text += SIDE_ROW_CHARACTERS + len(preview)

    # Messages.

    def _message(
        self, line: _Line, text: str, span: _Span, end: int, delimiter: _Delimiter, around: tuple[str, str]
    ) -> int:
        """Make the rows of one message; return how many messages it was: one, or none."""
        begin = span.start
        if end - begin > MESSAGE_BYTES_MAX:
            self._lost(line, begin, end, "message_too_long", f"a message of {end - begin:,} bytes")
            return 0
        notes: list[str] = []
        message = text[begin:end]
        whole = message.endswith(delimiter.text)
        shape, values, count = self._fields(message, line.data[begin:end], whole, delimiter, notes)
        kind = values[shape.kind_at] if shape.kind_at >= 0 else ""
        if not kind:
            self._lost(line, begin, end, "no_msg_type", "a message without MsgType (35)")
            return 0
        layout = self._shapes.layout(shape, kind, values)
        notes += layout.notes
        if "=" + delimiter.text in message or message.endswith("="):
            notes += _empty_values(shape.tags, values, layout.typed)
        values.append(None)  # what a column without its field holds
        if span.told < 0:
            notes.append("body_length_misplaced" if "9" in shape.tags else "body_length_absent")
        checks = _checked(line.data, span, values[layout.sum_at] or "", delimiter, count - 1, notes)
        if not whole:
            notes.append("last_delimiter_absent")
        if not message.isascii():
            message = _shown(message)
        number = self._number(line, message, begin, notes) if self._joined or line.piece else line.number
        found = self._around(line, begin, end, around, notes) if around != _NOTHING_AROUND else _NOTHING_FOUND
        place = (number, self._index, line.offset + begin, self._digest)
        values += (*checks, _joined(notes), *found, delimiter.name, message, *place)
        self._rows[layout.output].append(layout.row(values))
        self._count(place, kind, layout, shape, values, end - begin)
        return 1

    def _count(
        self, place: Place, kind: str, layout: _Layout, shape: _Shape, values: Sequence[Any], characters: int
    ) -> None:
        """Book a message and add its side rows."""
        if layout.groups:
            self._add_groups(place, kind, layout.groups, values)
        if self._options.tags != _NO_TAGS:
            self._add_tags(place, kind, shape.tags, values)
        self.messages += 1
        self._waiting += 1
        self._text += characters

    def _fields(
        self, message: str, data: bytes, whole: bool, delimiter: _Delimiter, notes: list[str]
    ) -> tuple[_Shape, list[Any], int]:
        """Return the shape of a message, its values, and how many delimiters stand between them, and one."""
        inner = message[: -delimiter.length] if whole else message
        parts = inner.replace(delimiter.text, "=").split("=")
        tags = tuple(parts[::2])
        shape = self._shapes.shape(tags)
        # In order where each field has one equals sign and ends with the delimiter.
        if shape.plain and data.translate(None, delimiter.others) == delimiter.shape * len(tags) and message.isascii():
            return shape, parts[1::2], len(tags)
        pairs, count = _split(inner, delimiter, notes)
        if not message.isascii():
            pairs = _decoded(message, pairs, notes)
        return self._shapes.shape(tuple(tag for tag, _ in pairs)), [value for _, value in pairs], count

    def _number(self, line: _Line, message: str, begin: int, notes: list[str]) -> int:
        """Return the number of the line in which a message begins that is not in a line of its own."""
        if line.piece:
            notes.append("line_piece")
        if "\n" in message:
            notes.append("joined_lines")
        return line.number + line.data.count(b"\n", 0, begin)

    def _around(
        self, line: _Line, begin: int, end: int, around: tuple[str, str], notes: list[str]
    ) -> tuple[str | None, str | None, datetime | None, str | None]:
        """Return the text before the message, its time as text and as an instant, and the text behind the message."""
        prefix, suffix = around
        if len(prefix) > TEXT_AROUND_BYTES_MAX:
            cut = len(prefix) - TEXT_AROUND_BYTES_MAX
            self._error(line, begin - len(prefix), begin - TEXT_AROUND_BYTES_MAX, "prefix_cut", None)
            notes.append(f"prefix_cut:{cut}")
            prefix = prefix[cut:]
        if len(suffix) > TEXT_AROUND_BYTES_MAX:
            self._error(line, end + TEXT_AROUND_BYTES_MAX, end + len(suffix), "suffix_cut", None)
            notes.append(f"suffix_cut:{len(suffix) - TEXT_AROUND_BYTES_MAX}")
            suffix = suffix[:TEXT_AROUND_BYTES_MAX]
        self._text += len(prefix) + len(suffix)
        return (*self._prefix(prefix, notes), _shown(suffix) or None)

    def _prefix(self, prefix: str, notes: list[str]) -> tuple[str | None, str | None, datetime | None]:
        shown = _shown(prefix)
        return (shown or None, *_prefix_time(shown, self._options.prefix_zone, notes))

    def _add_groups(self, place: Place, kind: str, groups: list[GroupRow], values: Sequence[str]) -> None:
        self._rows["fix_groups"] += [(place, kind, values[position], static) for position, static in groups]
        self._text += SIDE_ROW_CHARACTERS * len(groups)

    def _add_tags(self, place: Place, kind: str, tags: Sequence[str], values: Sequence[str | None]) -> None:
        wanted = self._options.tags
        rows = [
            (*place, kind, tag, value or "", position)
            for position, (tag, value) in enumerate(zip(tags, values, strict=False), 1)
            if wanted is None or tag in wanted
        ]
        self._rows["fix_tags"] += rows
        self._text += SIDE_ROW_CHARACTERS * len(rows)

    # Batches.

    def _take(self) -> None:
        """Make a batch of each output that has rows, those of plain lines and the others in the order of the log."""
        rows, self._rows = self._rows, {output: [] for output in outputs}
        self._waiting = self._text = 0
        plain = {} if self._scan is None else self._scan.batches(self._stretches.take())
        for output, waiting in rows.items():
            made = [plain[output]] if output in plain else []
            self._book(output, made)
            if waiting:
                made.append(_batch(output, _columns(output, waiting)))
            if made:
                self._ready.append((output, made[0] if len(made) == 1 else _in_order(made)))

    def _book(self, output: str, plain: list[pa.RecordBatch]) -> None:
        """Count the plain lines, each of which is a message."""
        if output in _MESSAGE_TABLES:
            count = sum(batch.num_rows for batch in plain)
            self.messages += count
            self.accepted_lines += count


def _in_order(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Return all rows in the order of the log. The sort is stable: the fields of a message stay in theirs."""
    rows: pa.RecordBatch = _pa.concat_batches(batches)
    return rows.take(_pc.sort_indices(rows["byte_offset"]))


def _columns(output: str, rows: list[tuple[Any, ...]]) -> list[Values]:
    """Return the columns of an output in their order, of rows as they wait."""
    columns: list[Values] = list(zip(*rows, strict=True))
    if output == "fix_groups":
        places, kinds, values, statics = columns
        before, behind = _split_at(list(zip(*statics, strict=True)), 4)
        return [*zip(*places, strict=True), kinds, *before, values, *behind]
    if output not in _COLUMN_TAGS:
        return columns
    names = _COLUMN_NAMES[output]
    for at in [at for at, name in enumerate(names) if name in _TIMES]:
        columns[at] = list(map(_utc, columns[at]))
    if output == "fix_order_lifecycle":
        states = (columns[names.index(name)] for name in _EVENT_COLUMNS)
        columns.insert(0, list(map(lifecycle_event, *states)))
    return columns


def _split_at(columns: list[Values], at: int) -> tuple[list[Values], list[Values]]:
    return columns[:at], columns[at:]


def _batch(output: str, columns: list[Values]) -> pa.RecordBatch:
    return _record_batch(
        output, [_array(values, field.type) for field, values in zip(_SCHEMAS[output], columns, strict=True)]
    )


def _record_batch(output: str, columns: list[Column]) -> pa.RecordBatch:
    """Return the columns as a batch with the host's helper column: the line that a row came from."""
    schema = _SCHEMAS[output]
    lines = columns[schema.get_field_index("line_number")]
    return pa.RecordBatch.from_arrays([*columns, lines], schema=schema.append(_ROW_ID))


def _array(values: Values, type_: pa.DataType) -> Column:
    """Return a column; most columns of most batches hold nothing, which costs a fifth of asking each value."""
    return _pa.nulls(len(values), type_) if values.count(None) == len(values) else pa.array(values, type_)
