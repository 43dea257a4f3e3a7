"""Every message survives the wire; whatever else arrives there is a ProtocolError in a sentence."""

from __future__ import annotations

import inspect
from typing import Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from eventlog.events import BalanceSheet, UnreadableRange
from eventlog.ids import (
    Digest,
    ExecutorId,
    Instant,
    JobId,
    LeaseId,
    LogId,
    OutputName,
    ParserName,
    PathText,
    SchemaHash,
    SourceHash,
)
from eventlog.schema import Column, OutputSchema
from executors import protocol
from executors.protocol import (
    HEADER,
    HEARD_LOGS_MAX,
    PAYLOAD_BYTES_MAX,
    PROTOCOL_VERSION,
    Aborted,
    Ack,
    Carry,
    Conclude,
    Declined,
    Discard,
    Dispatch,
    Failed,
    Fault,
    FurtherInput,
    FurtherReceipt,
    Identify,
    Idle,
    LogHead,
    Message,
    OpCode,
    Prepare,
    ProtocolError,
    Share,
    Stop,
    Succeeded,
    Welcome,
    Working,
    decode,
    encode,
    payload,
)
from sinks.sink import StagedArtifact

LEASE: Final = LeaseId("lease-1")
EXECUTOR: Final = ExecutorId("executor-1")

SHEET: Final = BalanceSheet(
    unit="records",
    output="evtx_events",
    found=10,
    written=7,
    quarantined=1,
    skipped=0,
    unreadable=2,
    ranges=(UnreadableRange(offset=4096, length=-1, reason="chunk 3: bad magic \u2028 \\x00"),),
    ranges_total=1,
)
ARTIFACT: Final = StagedArtifact(
    output=OutputName("evtx_events"),
    staged=".0123abcd-1-1-evtx_events.stage",
    final="evtx_events_0123.parquet",
    digest=Digest("d" * 64),
    bytes=1 << 40,
    rows=7,
    schema_hash=SchemaHash("5" * 64),
)
DISPATCH: Final = Dispatch(
    lease=LEASE,
    attempt=1,
    log_id=LogId("0" * 32),
    path=PathText("/case/System\\xff%4.evtx"),
    size=69632,
    mtime_ns=1_700_000_000_123_456_789,
    file_uid="unix:1:2",
    source_hash=SourceHash("a" * 64),
    parser=ParserName("evtx"),
    parser_version="0.1.0",
    parser_file="/parsers/evtx/parser.py",
    parser_digests={"parser.py": "7d" * 32},
    settings={"time_zone": "UTC"},
    outputs=(
        OutputSchema(
            output=OutputName("evtx_events"), columns=(Column(name="event_id", type="int64", nullable=False),)
        ),
    ),
    sink_uri="parquet:///case/output",
    dispatched_at=Instant("2026-01-22T10:11:12.123456Z"),
    memory_bytes_max=1 << 33,
    seconds_max=90.5,
)
FURTHER: Final = FurtherInput(
    job=JobId(8),
    attempt=1,
    path=PathText("/case/Security.evtx"),
    size=69632,
    mtime_ns=1,
    file_uid="unix:1:3",
    source_hash=SourceHash("b" * 64),
)
HEAD: Final = LogHead(log_id=LogId("0" * 32), seq=41, hash="ab" * 32)
PREPARE: Final = Prepare(parser_file="/parsers/fix/parser.py", parser_digests={"parser.py": "0" * 64})
SHARED: Final = Succeeded(
    outputs=(), empty=("files",), sheet=SHEET, shares=(Share(staged=ARTIFACT.staged, row_first=3, rows=4),)
)

MESSAGES: Final[tuple[tuple[OpCode, Struct], ...]] = (
    (OpCode.IDENTIFY, Identify(executor=EXECUTOR, pid=1, host="host", version="0.1.0", capacity=2)),
    (OpCode.IDENTIFY, Identify(executor=EXECUTOR, pid=1, host="host", version="0.1.0", capacity=2, heard=(HEAD,))),
    (OpCode.IDENTIFY, Welcome(log_id=LogId("0" * 32), epoch=3)),
    (OpCode.IDENTIFY, Welcome(log_id=LogId("0" * 32), epoch=3, head=HEAD)),
    (OpCode.IDENTIFY, Welcome(log_id=LogId("0" * 32), epoch=3, prepare=PREPARE)),
    (OpCode.HEARTBEAT, Idle(executor=EXECUTOR)),
    (OpCode.HEARTBEAT, Working(executor=EXECUTOR, lease=LEASE, rows=7, bytes_read=4096)),
    (
        OpCode.HEARTBEAT,
        Working(executor=EXECUTOR, lease=LEASE, rows=7, bytes_read=4096, stopped=(JobId(9),), gone=(JobId(9),)),
    ),
    (OpCode.HEARTBEAT, Carry()),
    (OpCode.HEARTBEAT, Carry(head=HEAD)),
    (OpCode.DISPATCH, DISPATCH),
    (OpCode.DISPATCH, msgspec.structs.replace(DISPATCH, head=HEAD)),
    (OpCode.DISPATCH, msgspec.structs.replace(DISPATCH, further=(FURTHER,))),
    (OpCode.DISPATCH_ACK, Ack(lease=LEASE, guest_pid=77)),
    (
        OpCode.CONCLUDE,
        Conclude(
            executor=EXECUTOR,
            lease=LEASE,
            begun_ago=0.25,
            receipt=Succeeded(outputs=(ARTIFACT,), empty=("files",), sheet=SHEET),
        ),
    ),
    (
        OpCode.CONCLUDE,
        Conclude(
            executor=EXECUTOR,
            lease=LEASE,
            receipt=Aborted(reason="cancelled"),
            further=(FurtherReceipt(job=JobId(8), receipt=SHARED, begun_ago=0.5),),
            shared=(ARTIFACT,),
        ),
    ),
    (OpCode.CONCLUDE, Conclude(executor=EXECUTOR, lease=LEASE, receipt=Aborted(reason="cancelled"))),
    (OpCode.CONCLUDE, Conclude(executor=EXECUTOR, lease=LEASE, receipt=Declined(reason="no free slot"))),
    (
        OpCode.CONCLUDE,
        Conclude(
            executor=EXECUTOR,
            lease=LEASE,
            receipt=Failed(
                failure="permanent", kind="not_evtx", reason="read it: empty", hint="look", log_tail="tail", sheet=SHEET
            ),
        ),
    ),
    (
        OpCode.CONCLUDE,
        Conclude(
            executor=EXECUTOR,
            lease=LEASE,
            receipt=Failed(failure="transient", kind="guest_died", reason="killed", hint="wait"),
        ),
    ),
    (OpCode.ABORT, Stop(reason="cancelled")),
    (OpCode.ABORT, Stop(reason="the sentinel is leaving", lease=True, head=HEAD)),
    (OpCode.DISCARD, Discard(reason="the lease is dead")),
    (OpCode.ERR, Fault(code="version", message="speak 5")),
)

messages = st.sampled_from(MESSAGES)
jobs = st.integers(min_value=0, max_value=2**64 - 1).map(JobId)


def read(data: bytes, shape: type[Struct]) -> Struct:
    return payload(decode(data), shape)


# --- what survives ---------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(message=messages, job=jobs)
def test_every_message_comes_back_equal(message: tuple[OpCode, Struct], job: JobId) -> None:
    op, body = message
    decoded = decode(encode(op, body, job=job))
    assert (decoded.op, decoded.job) == (op, job)
    assert payload(decoded, type(body)) == body


def test_every_message_of_the_protocol_is_tried_here() -> None:
    shapes = {
        shape
        for _, shape in inspect.getmembers(protocol, inspect.isclass)
        if shape.__module__ == protocol.__name__ and issubclass(shape, Struct) and shape is not Message
    }
    tried = {type(body) for _, body in MESSAGES}
    inside: set[type[Struct]] = {type(body.receipt) for _, body in MESSAGES if isinstance(body, Conclude)}
    inside |= {
        type(each) for each in (FURTHER, HEAD, PREPARE, *SHARED.shares, FurtherReceipt(job=JobId(8), receipt=SHARED))
    }
    assert tried | inside == shapes


def test_a_further_job_of_a_lease_is_as_the_first_but_for_its_file() -> None:
    lease = msgspec.structs.replace(DISPATCH, further=(FURTHER,))
    alone = lease.of(FURTHER)
    assert (alone.path, alone.source_hash, alone.further) == (FURTHER.path, FURTHER.source_hash, ())
    same = ("path", "size", "mtime_ns", "file_uid", "source_hash", "attempt", "further")
    assert all(
        getattr(alone, name) == getattr(DISPATCH, name) for name in Dispatch.__struct_fields__ if name not in same
    )


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Working,
        executor=st.text(min_size=1, max_size=200).map(ExecutorId),
        lease=st.text(min_size=1, max_size=200).map(LeaseId),
        rows=st.integers(0, 2**63 - 1),
        bytes_read=st.integers(0, 2**63 - 1),
    )
)
def test_any_text_and_any_count_comes_back_equal(body: Working) -> None:
    assert read(encode(OpCode.HEARTBEAT, body), Working) == body


def test_the_header_is_sixteen_bytes_in_network_order() -> None:
    data = encode(OpCode.ABORT, Stop(reason="x"), job=JobId(258))
    assert data[:16] == bytes([PROTOCOL_VERSION, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 14])
    assert data[16:] == b'{"reason":"x"}'


def test_an_answer_to_a_receipt_says_in_its_flags_what_becomes_of_it() -> None:
    kept, refused = (encode(OpCode.HEARTBEAT, Carry(), discard=discard) for discard in (False, True))
    assert (HEADER.unpack_from(kept)[2], HEADER.unpack_from(refused)[2]) == (0, 1)
    assert (decode(kept).discard, decode(refused).discard) == (False, True)


def test_a_message_without_a_job_carries_zero() -> None:
    assert decode(encode(OpCode.HEARTBEAT, Carry())).job == 0


def test_the_numbers_of_the_op_codes_are_kept() -> None:
    assert {op.name: int(op) for op in OpCode} == {
        "IDENTIFY": 1,
        "DISPATCH": 2,
        "ABORT": 3,
        "HEARTBEAT": 4,
        "CONCLUDE": 5,
        "ERR": 6,
        "PREPARE_ENV": 8,
        "ENV_READY": 9,
        "DEPLOY": 10,
        "DISPATCH_ACK": 12,
        "DISCARD": 13,
    }


def test_a_field_that_a_newer_peer_adds_is_ignored() -> None:
    body = b'{"reason":"x","since":[1,{"a":null}]}'
    assert read(HEADER.pack(PROTOCOL_VERSION, OpCode.ABORT, 0, 1, len(body)) + body, Stop) == Stop(reason="x")


@pytest.mark.parametrize("name", ["heard", "head"])
def test_a_peer_that_knows_no_heads_is_understood(name: str) -> None:
    """What was added has a default, and so the protocol's number stays."""
    shapes = [type(body) for _, body in MESSAGES if name in body.__struct_fields__]
    assert shapes
    for op, body in MESSAGES:
        if name in body.__struct_fields__:
            older = {key: value for key, value in msgspec.to_builtins(body).items() if key != name}
            data = msgspec.json.encode(older)
            without = msgspec.structs.replace(body, **{name: () if name == "heard" else None})
            assert read(HEADER.pack(PROTOCOL_VERSION, op, 0, 1, len(data)) + data, type(body)) == without


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "HeaderTooShort: 0 bytes, 16 needed"),
        (b"\x05\x03" + bytes(13), "HeaderTooShort: 15 bytes, 16 needed"),
        (HEADER.pack(5, 3, 0, 0, 0), f"VersionMismatch: peer speaks 5, this is {PROTOCOL_VERSION}"),
        (HEADER.pack(PROTOCOL_VERSION, 0, 0, 0, 0), "InvalidOpCode: 0"),
        (HEADER.pack(PROTOCOL_VERSION, 7, 0, 0, 0), "InvalidOpCode: 7"),
        (HEADER.pack(PROTOCOL_VERSION, 11, 0, 0, 0), "InvalidOpCode: 11"),
        (HEADER.pack(PROTOCOL_VERSION, 255, 0, 0, 0), "InvalidOpCode: 255"),
        (HEADER.pack(PROTOCOL_VERSION, 3, 0, 0, 3) + b"{}", "PayloadLengthMismatch: header says 3, 2 came"),
        (HEADER.pack(PROTOCOL_VERSION, 3, 0, 0, 1) + b"{}", "PayloadLengthMismatch: header says 1, 2 came"),
        (HEADER.pack(5, 99, 0, 0, 9) + b"{}", f"VersionMismatch: peer speaks 5, this is {PROTOCOL_VERSION}"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused_with_the_rule(data: bytes, sentence: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(data)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("op", "body", "shape", "sentence"),
    [
        (OpCode.ABORT, b"", Stop, "BadPayload: ABORT is not a Stop: Input data was truncated"),
        (OpCode.ABORT, b"{}", Stop, "BadPayload: ABORT is not a Stop: Object missing required field `reason`"),
        (OpCode.ABORT, b'{"reason":1}', Stop, "ABORT is not a Stop: Expected `str`, got `int` - at `$.reason`"),
        (OpCode.ABORT, b'{"reason":"x"}}', Stop, "ABORT is not a Stop: JSON is malformed"),
        (OpCode.ERR, b'{"code":"other","message":""}', Fault, "ERR is not a Fault: Invalid enum value 'other'"),
        (OpCode.CONCLUDE, b'{"lease":"l","receipt":{"type":"won"}}', Conclude, "Invalid value 'won' - at `$.receipt"),
        (OpCode.CONCLUDE, b'{"lease":"l","receipt":{}}', Conclude, "missing required field `type` - at `$.receipt`"),
    ],
)
def test_a_payload_of_another_shape_is_refused_with_the_field(
    op: OpCode, body: bytes, shape: type[Struct], sentence: str
) -> None:
    with pytest.raises(ProtocolError) as caught:
        payload(Message(op=op, job=JobId(1), payload=body), shape)
    assert sentence in str(caught.value)


GARBLED: Final[tuple[dict[str, object], ...]] = (
    {"log_id": "0" * 31},
    {"log_id": "G" * 32},
    {"log_id": "0" * 32 + "\n"},
    {"seq": 0},
    {"seq": -1},
    {"seq": 2**63},
    {"seq": "41"},
    {"hash": "ab" * 31},
    {"hash": "AB" * 32},
    {"hash": "ab" * 32 + "\n"},
)


@pytest.mark.parametrize("change", GARBLED, ids=str)
def test_a_claim_that_is_no_head_of_a_log_is_refused(change: dict[str, object]) -> None:
    claim = msgspec.to_builtins(HEAD) | change
    with pytest.raises(ProtocolError, match=r"IDENTIFY is not a Identify: .*heard"):
        read(identify_with([claim]), Identify)


def test_no_more_logs_are_claimed_than_an_executor_remembers() -> None:
    claims = [msgspec.to_builtins(HEAD)] * HEARD_LOGS_MAX
    assert read(identify_with(claims), Identify)
    with pytest.raises(ProtocolError, match="heard"):
        read(identify_with([*claims, claims[0]]), Identify)


def identify_with(claims: list[dict[str, object]]) -> bytes:
    said = msgspec.to_builtins(Identify(executor=EXECUTOR, pid=1, host="h", version="0", capacity=1)) | {
        "heard": claims
    }
    data = msgspec.json.encode(said)
    return HEADER.pack(PROTOCOL_VERSION, OpCode.IDENTIFY, 0, 0, len(data)) + data


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40])
def test_a_number_that_no_table_can_hold_is_refused_wherever_it_stands(number: int) -> None:
    with pytest.raises(ProtocolError, match="no integer of 64 bits"):
        read(encode(OpCode.DISPATCH_ACK, Ack(lease=LeaseId("l"), guest_pid=number)), Ack)
    fits = Ack(lease=LeaseId("9" * 30), guest_pid=2**63 - 1)
    assert read(encode(OpCode.DISPATCH_ACK, fits), Ack) == fits


def test_a_payload_over_the_limit_is_refused_when_it_is_encoded_and_one_at_the_limit_passes() -> None:
    frame = len(b'{"reason":""}')
    fits = Stop(reason="x" * (PAYLOAD_BYTES_MAX - frame))
    assert read(encode(OpCode.ABORT, fits), Stop) == fits
    with pytest.raises(ProtocolError) as caught:
        encode(OpCode.ABORT, Stop(reason=fits.reason + "x"))
    assert str(caught.value) == f"PayloadTooLarge: ABORT of {PAYLOAD_BYTES_MAX + 1} bytes, at most {PAYLOAD_BYTES_MAX}"


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, type[Struct]]:
    """A message with some bytes replaced, removed or added, its length made true half of the time."""
    op, body = draw(messages)
    data = bytearray(encode(op, body, job=draw(jobs)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    if draw(st.booleans()) and len(data) >= HEADER.size:
        data[12:16] = (len(data) - HEADER.size).to_bytes(4, "big")
    return bytes(data), type(body)


@settings(max_examples=100, deadline=None)
@given(mutated())
def test_mutated_messages_are_read_or_refused_as_a_protocol_error(case: tuple[bytes, type[Struct]]) -> None:
    data, shape = case
    try:
        message = decode(data)
        assert isinstance(payload(message, shape), shape)
    except ProtocolError as error:
        assert str(error)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused_as_a_protocol_error(data: bytes) -> None:
    try:
        assert len(decode(data).payload) == len(data) - HEADER.size
    except ProtocolError as error:
        assert str(error)


@pytest.mark.parametrize("body", [b'{"reason":"\xff"}', b'{"reason":"\xed\xa0\x80"}'])
def test_a_payload_that_is_not_utf8_is_refused_as_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        payload(Message(op=OpCode.ABORT, job=JobId(1), payload=body), Stop)


def test_a_payload_nested_without_end_is_refused_as_a_protocol_error() -> None:
    body = b'{"reason":"x","more":' + b"[" * 100_000
    with pytest.raises(ProtocolError):
        payload(Message(op=OpCode.ABORT, job=JobId(1), payload=body), Stop)


def test_the_encoding_is_plain_json() -> None:
    for op, body in MESSAGES:
        assert isinstance(msgspec.json.decode(decode(encode(op, body)).payload), dict)


def test_text_that_is_not_unicode_is_refused_when_it_is_sent() -> None:
    with pytest.raises(ProtocolError, match="not Unicode"):
        encode(OpCode.ABORT, Stop(reason="\udcff"))
