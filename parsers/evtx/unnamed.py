"""Owns the values of event data that have no name and stand beside named ones."""

import struct
from typing import Any, Final
from xml.etree import ElementTree

from . import limits
from .layout import CHUNK_BYTES, CHUNK_HEADER_BYTES

Pairs = list[tuple[str, Any]]

# The decoder's JSON leaves unnamed <Data> elements out where named ones stand beside them. Both are told apart in the
# binary XML: an element's token has a bit for attributes, and its size says where the next element begins.
_DATA_NAME: Final = b"\x04\x00" + "Data".encode("utf-16-le") + b"\0\0"
_DATA_HASH: Final = 0x6F8A  # of the name "Data"; its bucket is the hash modulo 64
_NAME_HEADER_BYTES: Final = 6  # offset of the next name, hash
_OPEN_TOKENS: Final = {0x01: False, 0x41: True}  # has attributes


def mixes_unnamed_data(data: bytes, used: int) -> bool:
    """Say whether a <Data> with attributes may stand next to one without, somewhere in a chunk with a sound header.

    Behind `used` all is zero.
    """
    name = _name_offset(data)
    if name < CHUNK_HEADER_BYTES:
        return False
    opens: dict[int, bool] = {}  # where an element refers to the name -> whether it has attributes
    low = struct.pack("<H", name)  # a search for all four bytes would be slow: the last two are zero, as many others
    spot = data.find(low, CHUNK_HEADER_BYTES, used)
    while spot >= 0 and len(opens) < limits.DATA_OPENS_MAX:  # moves on by at least one byte
        if data[spot + 2 : spot + 4] == b"\0\0":
            token = data[spot - 7] if data[spot - 7] in _OPEN_TOKENS else data[spot - 5]
            if token in _OPEN_TOKENS:
                opens[spot] = _OPEN_TOKENS[token]
        spot = data.find(low, spot + 1, used)
    if len(set(opens.values())) < 2:
        return False
    for spot, named in opens.items():
        following = spot + int.from_bytes(data[spot - 4 : spot], "little")
        if any(opens.get(following + width, named) != named for width in (5, 7)):
            return True
    return False


def _name_offset(data: bytes) -> int:
    """Return where the chunk's table of names has "Data", 0 if it has not."""
    (at,) = struct.unpack_from("<I", data, 128 + 4 * (_DATA_HASH % 64))
    for _ in range(limits.NAMES_IN_BUCKET_MAX):
        if not CHUNK_HEADER_BYTES <= at < CHUNK_BYTES or data.startswith(_DATA_NAME, at + _NAME_HEADER_BYTES):
            break
        (at,) = struct.unpack_from("<I", data, min(at, CHUNK_BYTES - 4))
    return at if at < CHUNK_BYTES else 0


_NAMESPACE: Final = "{http://schemas.microsoft.com/win/2004/08/events/event}"


def mixed_pairs(xml: str) -> Pairs | None:
    """Return names and texts of EventData if unnamed values stand beside named ones; None if not."""
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, RecursionError):
        return None
    section = root.find(f"{_NAMESPACE}EventData")
    fields = list(section) if section is not None else []
    named = [field.get("Name") is not None for field in fields if field.tag == f"{_NAMESPACE}Data"]
    if all(named) or not any(named):
        return None
    return [(field.get("Name") or field.tag.removeprefix(_NAMESPACE), field.text or "") for field in fields]


def with_types(pairs: Pairs, typed: dict[str, Any]) -> Pairs:
    """Return the pairs of the XML, where all is text, with the values of the JSON where that holds a key once."""
    names = [name for name, _ in pairs]
    return [(name, typed[name] if name in typed and names.count(name) == 1 else text) for name, text in pairs]
