"""Owns what the protocol says of messages and fields: their tables, their columns, and the kinds of their values."""

import re
from typing import Final

SOH: Final = "\x01"
_LIFECYCLE_TYPES: Final = frozenset("D8FG9H")
_SESSION_TYPES: Final = frozenset("A012345j")

TABLE_OF: Final = dict.fromkeys(_LIFECYCLE_TYPES, "fix_order_lifecycle") | dict.fromkeys(
    _SESSION_TYPES, "fix_session_events"
)

OTHER: Final = "fix_other_messages"
MESSAGE_TABLES: Final = ("fix_order_lifecycle", "fix_session_events", "fix_other_messages")

TAGS: Final = {
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

TIMES: Final = frozenset({"sending_time", "orig_sending_time", "transact_time"})

TYPED_TAGS: Final = frozenset(
    {"6", "7", "9", "14", "16", "31", "32", "34", "36", "38", "44", "45", "52", "60", "99", "108", "122", "151"}
)

# A piece without a tag belongs to the value before it only where that is free text.
NO_TEXT_TAGS: Final = TYPED_TAGS | {"8", "10", "35", "49", "56", "39", "40", "54", "59", "150"}

# Tags that count the bytes of the tag behind them, whose value may hold anything.
DATA_OF: Final = {
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

TAG: Final = re.compile(r"[1-9]\d{0,9}")
