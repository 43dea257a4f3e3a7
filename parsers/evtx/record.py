"""Owns the shape of a decoded record."""

from typing import Any, Final

import msgspec
from msgspec import Struct

# Real logs are loose: a collector stores numbers as text, an attribute turns a plain value into an object, and parts of
# System are missing or null. What fits none of these is taken field by field, with a note.
Number = int | str | None


class _IdAttributes(Struct, gc=False):
    qualifiers: Number = msgspec.field(default=None, name="Qualifiers")


class EventId(Struct, gc=False):
    attributes: _IdAttributes = msgspec.field(default_factory=_IdAttributes, name="#attributes")
    text: Number = msgspec.field(default=None, name="#text")


class _ProviderAttributes(Struct, gc=False):
    name: str | None = msgspec.field(default=None, name="Name")
    guid: str | None = msgspec.field(default=None, name="Guid")
    source: str | None = msgspec.field(default=None, name="EventSourceName")


class _Provider(Struct, gc=False):
    attributes: _ProviderAttributes = msgspec.field(default_factory=_ProviderAttributes, name="#attributes")


class _TimeAttributes(Struct, gc=False):
    time: str | None = msgspec.field(default=None, name="SystemTime")


class TimeCreated(Struct, gc=False):
    attributes: _TimeAttributes = msgspec.field(default_factory=_TimeAttributes, name="#attributes")


class _CorrelationAttributes(Struct, gc=False):
    activity: str | None = msgspec.field(default=None, name="ActivityID")
    related: str | None = msgspec.field(default=None, name="RelatedActivityID")


class _Correlation(Struct, gc=False):
    attributes: _CorrelationAttributes = msgspec.field(default_factory=_CorrelationAttributes, name="#attributes")


class _ExecutionAttributes(Struct, gc=False):
    process: Number = msgspec.field(default=None, name="ProcessID")
    thread: Number = msgspec.field(default=None, name="ThreadID")


class _Execution(Struct, gc=False):
    attributes: _ExecutionAttributes = msgspec.field(default_factory=_ExecutionAttributes, name="#attributes")


class _SecurityAttributes(Struct, gc=False):
    user: str | None = msgspec.field(default=None, name="UserID")


class _Security(Struct, gc=False):
    attributes: _SecurityAttributes = msgspec.field(default_factory=_SecurityAttributes, name="#attributes")


class System(Struct, gc=False):
    provider: _Provider | None = msgspec.field(default=None, name="Provider")
    event_id: int | str | EventId | None = msgspec.field(default=None, name="EventID")
    version: Number = msgspec.field(default=None, name="Version")
    level: Number = msgspec.field(default=None, name="Level")
    task: Number = msgspec.field(default=None, name="Task")
    opcode: Number = msgspec.field(default=None, name="Opcode")
    keywords: Number = msgspec.field(default=None, name="Keywords")
    created: TimeCreated | str | None = msgspec.field(default=None, name="TimeCreated")
    record_id: Number = msgspec.field(default=None, name="EventRecordID")
    correlation: _Correlation | None = msgspec.field(default=None, name="Correlation")
    execution: _Execution | None = msgspec.field(default=None, name="Execution")
    channel: str | None = msgspec.field(default=None, name="Channel")
    computer: str | None = msgspec.field(default=None, name="Computer")
    security: _Security | None = msgspec.field(default=None, name="Security")


NOTHING: Final = msgspec.Raw(b"null")

# What an event may hold besides System, by the name here.
PARTS: Final = {
    "event_data": "EventData",
    "user_data": "UserData",
    "rendering_info": "RenderingInfo",
    "processing_error": "ProcessingErrorData",
    "debug_data": "DebugData",
    "binary_data": "BinaryEventData",
}
USER_PARTS: Final = tuple(PARTS)[1:]


class _Parts(Struct, gc=False):
    event_data: msgspec.Raw = msgspec.field(default=NOTHING, name="EventData")
    user_data: msgspec.Raw = msgspec.field(default=NOTHING, name="UserData")
    rendering_info: msgspec.Raw = msgspec.field(default=NOTHING, name="RenderingInfo")
    processing_error: msgspec.Raw = msgspec.field(default=NOTHING, name="ProcessingErrorData")
    debug_data: msgspec.Raw = msgspec.field(default=NOTHING, name="DebugData")
    binary_data: msgspec.Raw = msgspec.field(default=NOTHING, name="BinaryEventData")


class Event(_Parts, gc=False):
    system: System | None = msgspec.field(default=None, name="System")


class _Line(Struct, gc=False):
    event: Event = msgspec.field(name="Event")


class _LooseEvent(_Parts, gc=False, kw_only=True):
    system: dict[str, Any] = msgspec.field(name="System")


class _LooseLine(Struct, gc=False):
    event: _LooseEvent = msgspec.field(name="Event")


DECODER = msgspec.json.Decoder(_Line)
LOOSE_DECODER = msgspec.json.Decoder(_LooseLine)

NO_SYSTEM: Final = System()
NO_PROVIDER: Final = _ProviderAttributes()
NO_CORRELATION: Final = _CorrelationAttributes()
NO_EXECUTION: Final = _ExecutionAttributes()
NO_SECURITY: Final = _SecurityAttributes()
