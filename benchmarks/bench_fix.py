"""FIX logs, to batches in one process and to committed tables, against two others that read the same messages.

Sketch: splitting a message of 20 fields into tags and values costs 2 us, and simplefix, fed one message a call, 60 us.
Ours finds the messages in their lines, tries BodyLength and CheckSum, hashes the line, unfolds the repeating groups and
makes up to 74 columns of each message: 7 us would be 0.3 of the first. Plain lines, read by blocks, take 4.5 us: 0.7
to find what stands between separators, 0.6 to take the fields out, 0.6 to hash, 0.4 to sum, 0.5 to tell shapes apart.
To committed tables the guest takes 5 us, while a thread of its own sends what was made, and an executor 4 us at the
same time on another core: 2 to write, 1 to check. A command with its processes starts in .7 s: at 100,000 messages that
alone is more than 0.3 of a bare split leaves, at 500,000 a fifth of it, at 1,000,000 a tenth.

CASPARIAN_BENCH_FIX_MESSAGES says how many (500,000: a day's log of 95 MB). They are made up: half executions, a sixth
orders, the rest replaces, cancels, heartbeats and market data; every eighth has a repeating group; a third of the lines
have a prefix.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.compute as pc
import simplefix
from blake3 import blake3

from benchmarks.pairs import Ratio, speed_ratio
from eventlog.column_types import arrow_type
from eventlog.ids import Instant, JobId, LeaseId, LogId, ParserName, SourceHash, path_text
from eventlog.schema import OutputSchema
from executors.attempt import Attempt
from executors.guest.parents import GuestParents
from executors.parser_catalog import builtin_parsers
from executors.protocol import Dispatch, Succeeded
from executors.validate import Checked, validate
from parsers.fix import parser
from sinks.arrow_schema import arrow_schema
from sinks.sink import Sink
from sinks.uri import open_sink

ROUNDS = 5
MESSAGES = int(os.environ.get("CASPARIAN_BENCH_FIX_MESSAGES", "500000"))
COMMITTED_ROUNDS = 2  # simplefix takes a minute for each
COMMAND = Path(sys.executable).with_name("casparian")
SIMPLEFIX_SHARE = 10  # it reads every tenth message, or a round would take half a minute
FILLED = "150=2|39=2|55=MSFT|54=1|38=500|44=101.25|32=500|31=101.24|14=500|151=0|6=101.24"
PARTIES = "453=2|448=FIRM|447=D|452=1|448=DESK|447=D|452=24"
BOOK = "268=2|279=0|269=0|278=B{n}|55=MSFT|270=101.2|271=300|279=1|269=1|278=A{n}|55=MSFT|270=101.3|271=200"
BODIES = (  # share of the day, MsgType, what is behind the header
    (58, "8", f"37=O{{n}}|11=C{{n}}|17=E{{n}}|{FILLED}"),
    (17, "D", "11=C{n}|1=ACC{s}|55=MSFT|54=1|38=500|40=2|44=101.25|59=0|60=20260120-14:30:00.123"),
    (7, "F", "41=C{n}|11=X{n}|55=MSFT|54=1|38=500|60=20260120-14:30:00.123"),
    (5, "G", "41=C{n}|11=R{n}|55=MSFT|54=1|38=400|40=2|44=101.5|60=20260120-14:30:00.123"),
    (5, "8", f"37=O{{n}}|11=C{{n}}|17=E{{n}}|{PARTIES}|150=0|39=0|55=MSFT|54=1|38=5|151=5|14=0|6=0"),
    (8, "X", f"262=M{{s}}|{BOOK}"),
)


def run() -> Iterator[Ratio]:
    """Measure the parser against the bare tokenizer, message by message, and against simplefix."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CASPARIAN_BENCH_DIR", ".")) as folder:
        messages = _messages()
        log, part = Path(folder) / "day.fix", Path(folder) / "part.fix"
        _write(log, messages)
        _write(part, messages[::SIMPLEFIX_SHARE])
        yield speed_ratio(
            "fix to batches, by a bare split tokenizer",
            ours=lambda: _parse(log),
            theirs=lambda: _tokenize(messages),
            rounds=ROUNDS,
            bar=0.3,
        )
        yield speed_ratio(
            "fix to batches, by simplefix a message a call",
            ours=lambda: _parse(part),
            theirs=lambda: _simplefix(messages[::SIMPLEFIX_SHARE]),
            rounds=ROUNDS,
            bar=6,
        )
        number = iter(range(1_000_000))

        def committed() -> None:
            _committed(log, Path(folder).absolute() / f"round{next(number)}")

        _committed(part, Path(folder).absolute() / "first")  # not measured: it compiles the modules
        yield speed_ratio(
            "fix to committed tables, 1 worker, by a bare split tokenizer",
            ours=committed,
            theirs=lambda: _tokenize(messages),
            rounds=ROUNDS,
            bar=0.3,
        )
        yield speed_ratio(
            "fix to committed tables, 1 worker, by simplefix a message a call",
            ours=committed,
            theirs=lambda: _simplefix(messages),
            rounds=COMMITTED_ROUNDS,
            bar=6,
        )
        yield speed_ratio(
            "fix to staged tables, by the same without validation",
            ours=lambda: _staged(log, Path(folder).absolute(), validated=True),
            theirs=lambda: _staged(log, Path(folder).absolute(), validated=False),
            rounds=ROUNDS,
            bar=0.8,
        )


def _committed(log: Path, home: Path) -> None:
    """Run the command, from a home that is not there yet to tables that the log says are published."""
    words = ["run", "fix", str(log), "--workers", "1", "--home", f"{home}/home", "--sink", f"parquet://{home}/out"]
    done = subprocess.run([str(COMMAND), *words], capture_output=True, check=False, env=_environment(home.parent))
    assert done.returncode == 0, done.stderr.decode()
    shutil.rmtree(home)


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment in which modules are compiled once, as those of an installed command are."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def _staged(log: Path, folder: Path, *, validated: bool) -> None:
    """Do an executor's attempt at the log in this process, guest and staging included.

    Without validation the columns are cast to the declared types by Arrow, unchecked: the tables have to be typed.
    """
    (folder / "staged").mkdir(exist_ok=True)
    parents = GuestParents()
    try:
        with patch("executors.attempt.validate", validate if validated else _unchecked):
            made = Attempt(JobId(1), _dispatch(log), sink_factory=lambda _: _sink(folder), parents=parents)
            receipt = made.run(lambda _pid: None)
        assert isinstance(receipt, Succeeded), receipt
        made.discard()
    finally:
        parents.close()


def _unchecked(batch: pa.RecordBatch, schema: OutputSchema, *, row_first: int) -> Checked:
    columns = [_cast(batch.column(column.name), arrow_type(column.type)) for column in schema.columns]
    return Checked(accepted=pa.RecordBatch.from_arrays(columns, schema=arrow_schema(schema.columns)), counts={})


def _cast(array: Any, wanted: pa.DataType) -> Any:
    if array.type == wanted:
        return array
    if pa.types.is_timestamp(wanted):  # of the form 20260120-14:30:00.123Z, which Arrow reads as ISO only
        parts = (pc.utf8_slice_codeunits(array, *place) for place in ((0, 4), (4, 6), (6, 8), (9, 99)))
        year, month, day, rest = parts
        text = pc.binary_join_element_wise(pc.binary_join_element_wise(year, month, day, "-"), rest, "T")
        return text.cast(wanted)
    return array.cast(wanted)


def _dispatch(log: Path) -> Dispatch:
    package = builtin_parsers()[ParserName("fix")]
    found = log.stat()
    return Dispatch(
        lease=LeaseId("lease"),
        attempt=1,
        log_id=LogId("0" * 32),
        path=path_text(bytes(log.absolute())),
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        file_uid=f"unix:{found.st_dev}:{found.st_ino}",
        source_hash=SourceHash(blake3(log.read_bytes()).hexdigest()),
        parser=package.name,
        parser_version=package.version,
        parser_file=package.file,
        parser_digests=package.digests,
        settings=package.settings,
        outputs=package.outputs,
        sink_uri="parquet:///",
        dispatched_at=Instant("2026-01-20T14:30:00.000000Z"),
    )


def _sink(folder: Path) -> Sink:
    return open_sink(f"parquet://{folder}/staged")


def _messages() -> list[bytes]:
    chance = random.Random(1)
    shares = [share for share, _, _ in BODIES]
    kinds = chance.choices(BODIES, shares, k=MESSAGES)
    return [
        _message(kind, body.format(n=number, s=number % 40), number) for number, (_, kind, body) in enumerate(kinds)
    ]


def _message(kind: str, body: str, number: int) -> bytes:
    session = number % 40
    time = f"20260120-14:30:{number % 60:02}.{number % 1000:03}"
    head = f"35={kind}|49=FIRM{session}|56=VENUE|34={number // 40 + 1}|52={time}|"
    inner = (head + body + "|").replace("|", "\x01").encode()
    whole = b"8=FIX.4.4\x019=%d\x01" % len(inner) + inner
    return whole + b"10=%03d\x01" % (sum(whole) & 0xFF)


def _write(path: Path, messages: list[bytes]) -> None:
    lines = (b"20260120-14:30:00.123 : " + each if at % 3 == 0 else each for at, each in enumerate(messages))
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def _parse(log: Path) -> None:
    for _ in parser.parse(str(log), {}):
        pass


def _tokenize(messages: list[bytes]) -> None:
    for message in messages:
        _ = [field.split(b"=", 1) for field in message.split(b"\x01")]


def _simplefix(messages: list[bytes]) -> None:
    for message in messages:
        reader = simplefix.FixParser()
        reader.append_buffer(message)
        assert reader.get_message() is not None
