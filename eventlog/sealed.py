"""Owns the small files that check themselves: GENESIS.json (who this log is), CLOSED (where it ended cleanly) and
WITNESS (what somebody had been told of it that it contradicts).

Each is one line of JSON whose last field is the SHA-256 of a domain prefix and all bytes before that field, through the
comma; the rest is compared byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from eventlog.errors import LogCorruptError, LogFormatError, LogMissingError
from eventlog.files import SMALL_FILE_BYTES_MAX, exists, read_small, write_durably
from eventlog.frames import FORMAT
from eventlog.fsport import OS_FS, FsPort
from eventlog.ids import Instant, LogId

GENESIS_NAME: Final = "GENESIS.json"
CLOSED_NAME: Final = "CLOSED"
WITNESS_NAME: Final = "WITNESS"
FORKING_NAME: Final = "FORKING"  # holds "<new log id> <old log id>" while a fork is under way
FORK_FEATURE: Final = "fork"  # in `incompat`: a version that knows no fork must not take the second life for damage
_GENESIS_DOMAIN: Final = b"casparian.genesis.v1\0"
_CLOSED_DOMAIN: Final = b"casparian.closed.v1\0"
_WITNESS_DOMAIN: Final = b"casparian.witness.v1\0"
_HASH_ALGORITHM: Final = "sha256"
_LOG_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_RESTORE: Final = "Keep the folder as it is, run `casparian log verify`, then `casparian log repair --from COPY`."
_PUT_AWAY: Final = "Move it to a place of your own: an executor that is still there says it again when it comes."

Shape = TypeVar("Shape", bound=Struct)


class Ancestor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An earlier life of a forked log, and the last commit of it that was kept: `bytes` of `segment` up to there."""

    log_id: LogId
    genesis: str  # SHA-256 of its GENESIS.json, which is kept as GENESIS.<log_id>.json
    commit: int
    seq: int
    hash: str
    segment: str
    bytes: int


class Fork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which log a fork left, how far that one could be proven, and who left it why."""

    old_log_id: LogId
    abandoned_seq: int
    abandoned_hash: str
    reason: str
    actor: str


class Genesis(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who this log is, written once. A name in `incompat` that this version does not know keeps it from opening."""

    format: str
    log_id: LogId
    created_at: Instant
    alg: str
    compat: tuple[str, ...]
    incompat: tuple[str, ...]
    ancestors: tuple[Ancestor, ...] = ()
    fork: Fork | None = None


class Closed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the log ended when its last writer left: anything else in its place now is damage, not a torn write."""

    seq: int
    hash: str
    commit: int
    segment: str
    bytes: int


class HeadClaim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody was told of a log when it was durable: record `seq` is the last of the commit with this hash."""

    log_id: LogId
    seq: int
    hash: str
    by: str  # who was told, for sentences


def write_genesis(folder: Path, *, log_id: LogId, created_at: Instant, fs: FsPort = OS_FS) -> None:
    """Write GENESIS.json durably. Raises ValueError for an id that is not 32 lowercase hex digits."""
    if _LOG_ID.fullmatch(log_id) is None:
        raise ValueError(f"create a log: the id must be 32 lowercase hex digits, not {log_id!r:.60}")
    genesis = Genesis(format=FORMAT, log_id=log_id, created_at=created_at, alg=_HASH_ALGORITHM, compat=(), incompat=())
    write_durably(folder / GENESIS_NAME, encode_genesis(genesis), fs=fs)


def read_genesis(folder: Path, *, fs: FsPort = OS_FS) -> tuple[Genesis, str]:
    """Return the genesis and the SHA-256 of the file, which is the `prev` of the first frame.

    Raises LogMissingError, LogCorruptError, LogFormatError.
    """
    data = _read(folder / GENESIS_NAME, fs)
    if data is None:
        raise LogMissingError(
            f"There is no log in {folder}.", next_step="Start one with `casparian run`, or name another home."
        )
    genesis = _unseal(data, Genesis, domain=_GENESIS_DOMAIN, key="hash")
    if genesis is None or _LOG_ID.fullmatch(genesis.log_id) is None:
        raise LogCorruptError(f"Read {folder / GENESIS_NAME}: its bytes do not fit its own hash.", next_step=_RESTORE)
    features = (FORK_FEATURE,) if genesis.ancestors and genesis.fork is not None else ()
    if genesis.format != FORMAT or genesis.alg != _HASH_ALGORITHM or genesis.incompat != features:
        needs = ", ".join((genesis.format, genesis.alg, *genesis.incompat))
        raise LogFormatError(
            f"Open the log in {folder}: it needs {needs}, of which this version knows {FORMAT} and {_HASH_ALGORITHM}.",
            next_step="Open it with the Casparian version that wrote it, or a newer one.",
        )
    if exists(folder / ancestor_name(genesis.log_id), fs=fs) and not exists(folder / FORKING_NAME, fs=fs):
        raise LogCorruptError(
            f"Read {folder / GENESIS_NAME}: it is of log {genesis.log_id}, which was forked here.", next_step=_RESTORE
        )
    for each in genesis.ancestors:
        kept = _read(folder / ancestor_name(each.log_id), fs)
        if kept is None or hashlib.sha256(kept).hexdigest() != each.genesis:
            raise LogCorruptError(
                f"Read {folder / ancestor_name(each.log_id)}: it is not the genesis that this log was forked from.",
                next_step=_RESTORE,
            )
    return genesis, hashlib.sha256(data).hexdigest()


def ancestor_name(log_id: LogId) -> str:
    """Return the name under which a fork keeps the genesis of an earlier life."""
    return f"GENESIS.{log_id}.json"


def encode_genesis(genesis: Genesis) -> bytes:
    """Return the bytes of GENESIS.json."""
    return self_hashed(genesis, domain=_GENESIS_DOMAIN, key="hash")


def write_closed(folder: Path, closed: Closed, *, fs: FsPort = OS_FS) -> None:
    """Write CLOSED durably."""
    write_durably(folder / CLOSED_NAME, self_hashed(closed, domain=_CLOSED_DOMAIN, key="sha256"), fs=fs)


def read_closed(folder: Path, *, fs: FsPort = OS_FS) -> Closed | None:
    """Return the clean-close mark, None where there is none. Raises LogCorruptError if it is damaged."""
    data = _read(folder / CLOSED_NAME, fs)
    if data is None:
        return None
    closed = _unseal(data, Closed, domain=_CLOSED_DOMAIN, key="sha256")
    if closed is None:
        raise LogCorruptError(
            f"Read {folder / CLOSED_NAME}: its bytes do not fit its own hash, so the clean end of the log is unknown.",
            next_step=_RESTORE,
        )
    return closed


def write_claim(folder: Path, claim: HeadClaim, *, fs: FsPort = OS_FS) -> None:
    """Write WITNESS durably: the log is not opened again until it is as the claim says, or another one."""
    write_durably(folder / WITNESS_NAME, self_hashed(claim, domain=_WITNESS_DOMAIN, key="sha256"), fs=fs)


def read_claim(folder: Path, log_id: LogId, *, fs: FsPort = OS_FS) -> HeadClaim | None:
    """Return what stands in WITNESS of this log, None where nothing does. Raises LogCorruptError if it is damaged."""
    data = _read(folder / WITNESS_NAME, fs, next_step=_PUT_AWAY)
    if data is None:
        return None
    claim = _unseal(data, HeadClaim, domain=_WITNESS_DOMAIN, key="sha256")
    if claim is None:
        raise LogCorruptError(
            f"Read {folder / WITNESS_NAME}: its bytes do not fit its own hash.",
            next_step=_PUT_AWAY,
        )
    return claim if claim.log_id == log_id else None  # one of a log that was forked here says nothing of this


def _read(path: Path, fs: FsPort, *, next_step: str = _RESTORE) -> bytes | None:
    try:
        return read_small(path, fs=fs)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LogCorruptError(f"Read {path}: {error}.", next_step=next_step) from error


def self_hashed(fields: Struct, *, domain: bytes, key: str) -> bytes:
    """Return one line of JSON that ends with its own hash under the name `key`."""
    start = msgspec.json.encode(fields)[:-1] + b","
    return start + _ending(start, domain=domain, key=key)


def _unseal(data: bytes, shape: type[Shape], *, domain: bytes, key: str) -> Shape | None:
    """Return the fields, or None if the bytes are not what was sealed."""
    start = data[: data.rfind(f'"{key}":'.encode())]
    if len(data) > SMALL_FILE_BYTES_MAX or data != start + _ending(start, domain=domain, key=key):
        return None
    try:
        return msgspec.json.decode(start[:-1] + b"}", type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _ending(start: bytes, *, domain: bytes, key: str) -> bytes:
    return f'"{key}":"{hashlib.sha256(domain + start).hexdigest()}"}}\n'.encode()
