"""The FIX parser alone, from the bytes of a log to typed batches, against two others that read the same messages.

Sketch: splitting a message of 20 fields into tags and values costs 2 us, and simplefix, fed one message a call, 60 us.
Ours finds the messages in their lines, tries BodyLength and CheckSum, hashes the line, unfolds the repeating groups and
makes up to 74 columns of each message: 7 us would be 0.3 of the first.

CASPARIAN_BENCH_FIX_MESSAGES says how many (100,000). They are made up: half executions, a sixth orders, the rest
replaces, cancels, heartbeats and market data; every eighth has a repeating group; a third of the lines have a prefix.
"""

from __future__ import annotations

import importlib.util
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import simplefix

from benchmarks.pairs import Ratio, speed_ratio

ROUNDS = 5
MESSAGES = int(os.environ.get("CASPARIAN_BENCH_FIX_MESSAGES", "100000"))
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
        parser = _parser()
        yield speed_ratio(
            "fix to batches, by a bare split tokenizer",
            ours=lambda: _parse(parser, log),
            theirs=lambda: _tokenize(messages),
            rounds=ROUNDS,
            bar=0.3,
        )
        yield speed_ratio(
            "fix to batches, by simplefix a message a call",
            ours=lambda: _parse(parser, part),
            theirs=lambda: _simplefix(messages[::SIMPLEFIX_SHARE]),
            rounds=ROUNDS,
            bar=6,
        )


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


def _parser() -> Any:
    file = Path(__file__).parents[1] / "parsers" / "fix" / "parser.py"
    spec = importlib.util.spec_from_file_location("fix_parser_measured", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _parse(parser: Any, log: Path) -> None:
    for _ in parser.parse(str(log), {}):
        pass


def _tokenize(messages: list[bytes]) -> None:
    for message in messages:
        _ = [field.split(b"=", 1) for field in message.split(b"\x01")]


def _simplefix(messages: list[bytes]) -> None:
    for message in messages:
        parser = simplefix.FixParser()
        parser.append_buffer(message)
        assert parser.get_message() is not None
