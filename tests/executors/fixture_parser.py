"""A parser that does, by settings["mode"], what parsers do and what they should not. Guest code: run, never imported.

Its input is a text file; a record is a line.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

outputs = {
    "lines": {
        "mode": "strict",
        "columns": [
            {"name": "n", "type": "int64", "nullable": False},
            {"name": "text", "type": "string"},
        ],
    },
    "notes": {"mode": "strict", "columns": [{"name": "note", "type": "string", "nullable": False}]},
}

LOADED_BY = os.getpid()
USES: list[int] = []

Yielded = tuple[Any, Any]
Parse = Generator[Yielded, None, dict[str, Any] | None]

FIELDS: list[pa.Field[Any]] = [pa.field("n", pa.int64(), nullable=False), pa.field("text", pa.string())]
LINES = pa.schema(FIELDS)


class PermanentError(Exception):
    kind = "not_lines"
    hint = "give it a text file"


class TransientError(Exception):
    pass


def parse(path: str, settings: dict[str, str]) -> Parse:
    return MODES[settings["mode"]](path, settings)


def rows(first: int, texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch([list(range(first, first + len(texts))), texts], schema=LINES)


def stated(found: int, **more: Any) -> dict[str, Any]:
    return {"unit": "lines", "output": "lines", "found": found, "skipped": 0, "unreadable": 0, "ranges": [], **more}


def read_lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines()


def normal(path: str, settings: dict[str, str]) -> Parse:
    lines = read_lines(path)
    yield "lines", rows(0, lines)
    return stated(len(lines))


def by_source(path: str, settings: dict[str, str]) -> Parse:
    """Do what the first line of the source says: the inputs of one lease have the same settings."""
    return MODES[read_lines(path)[0]](path, settings)


def damaged(path: str, settings: dict[str, str]) -> Parse:
    lines = read_lines(path)
    yield "lines", rows(0, lines)
    ranges = [{"offset": at, "length": 1, "reason": f"bad \udcff\x1b byte {at} " + "x" * 500} for at in range(1500)]
    return stated(len(lines) + 1500, unreadable=1500, ranges=ranges)


def many(path: str, settings: dict[str, str]) -> Parse:
    count = int(settings["rows"])
    table = pa.table({"n": pa.array(range(count), pa.int64()), "text": pa.nulls(count, pa.string())}, schema=LINES)
    yield "lines", table
    return stated(count)


def wide(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["x" * int(settings["bytes"])] * int(settings["rows"]))
    return stated(int(settings["rows"]))


def slow(path: str, settings: dict[str, str]) -> Parse:
    for n in range(600):
        yield "lines", rows(n, [str(n)])
        time.sleep(0.05)
    return stated(600)


def hang(path: str, settings: dict[str, str]) -> Parse:
    if settings.get("first") != "nothing":
        yield "lines", rows(0, ["before the hang"])
    while True:
        time.sleep(60)


def hang_after_reading(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, [str(len(read_lines(path)))])
    while True:
        time.sleep(60)


def flood(path: str, settings: dict[str, str]) -> Parse:
    """Never stop: printing, yielding rows, or sending frames as large as may be, by settings["of"]."""
    line = b"flood " * 1000 + b"\n"
    of = settings.get("of", "log")
    batch = rows(0, ["x" * 60_000_000] if of == "frames" else ["flood"] * 1000)
    while True:
        if of == "log":
            os.write(1, line)
        else:
            yield "lines", batch


def error(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["before the error"])
    raise KeyError("no such field")


def permanent(path: str, settings: dict[str, str]) -> Parse:
    raise PermanentError("the file holds no lines")


def transient(path: str, settings: dict[str, str]) -> Parse:
    raise TransientError("the helper was busy")


def oom(path: str, settings: dict[str, str]) -> Parse:
    """Run out of memory: by raising, or for real by taking more and more, up to `mebibytes`, in Python or in Arrow."""
    yield "lines", rows(0, ["before the end"])
    if "mebibytes" not in settings:
        raise MemoryError
    kept: list[Any] = []
    for _step in range(int(settings["mebibytes"]) // 16):
        kept.append(pa.allocate_buffer(16 << 20) if settings.get("by") == "arrow" else bytearray(16 << 20))
    return stated(1)


def refused_memory(path: str, settings: dict[str, str]) -> Parse:
    """Die as Rust and C++ do when the system gives them no memory."""
    os.write(2, b"memory allocation of 8589934592 bytes failed\n")
    os.abort()


def writes_elsewhere(path: str, settings: dict[str, str]) -> Parse:
    """Write beside the source and into the sink's folder, as if it were an output."""
    for folder in (Path(path).parent, Path(settings["sink"])):
        (folder / "lines_forged.parquet").write_bytes(b"PAR1 forged PAR1")
    yield "lines", rows(0, ["the only row"])
    return stated(1)


def remembers(path: str, settings: dict[str, str]) -> Parse:
    """Tell which process loaded this module, and how often it was used."""
    USES.append(os.getpid())
    yield "lines", rows(0, [f"loaded by {LOADED_BY}", f"uses {len(USES)}", f"pid {os.getpid()}", f"of {os.getppid()}"])
    return stated(4)


def much(path: str, settings: dict[str, str]) -> Parse:
    """Make far more of a small file than it holds."""
    yield "lines", rows(0, ["x" * 1000] * 20)
    return stated(20)


def slow_start(path: str, settings: dict[str, str]) -> Parse:
    """Give a row, and take a while to end."""
    yield "lines", rows(0, ["the first row"])
    time.sleep(0.5)
    return stated(1)


def once(path: str, settings: dict[str, str]) -> Parse:
    """Do what only a process that has done nothing yet can do."""
    if USES:
        raise RuntimeError("used before")
    USES.append(os.getpid())
    yield "lines", rows(0, read_lines(path))
    return stated(len(read_lines(path)))


def escapes(path: str, settings: dict[str, str]) -> Parse:
    """Leave a child that has a session of its own; then hang, or end the process from which guests are forked."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    yield "lines", rows(0, [str(child.pid)])
    if settings.get("then") == "kill the parent":
        os.kill(os.getppid(), signal.SIGKILL)
    if "then" in settings:
        time.sleep(60)
    return stated(1)


def disk(path: str, settings: dict[str, str]) -> Parse:
    raise OSError(errno.EIO, "Input/output error", path)


def leaves(path: str, settings: dict[str, str]) -> Parse:
    sys.exit("I give up")


def crash(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["before the crash"])
    print("last words")
    os.kill(os.getpid(), int(settings.get("signal", signal.SIGKILL)))
    time.sleep(60)
    return None


def vanish(path: str, settings: dict[str, str]) -> Parse:
    os._exit(3)


def bad_shape(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", pa.record_batch({"text": ["x"], "n": ["1"], "more": [True]})
    return stated(1)


def null(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["fine"] * 10)
    yield "lines", pa.record_batch([pa.array([10, None, None]), ["a", "b", "c"]], names=["n", "text"])
    return stated(13)


def reserved(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", pa.record_batch({"n": [1], "text": ["x"], "_cf_source_hash": ["0" * 64]})
    return stated(1)


def corrupt_arrow(path: str, settings: dict[str, str]) -> Parse:
    offsets = pa.array([0, 1_000_000, 3], pa.int32()).buffers()[1]
    text = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abc")])
    yield "lines", pa.record_batch([pa.array([0, 1]), text], names=["n", "text"])
    return stated(2)


def prints(path: str, settings: dict[str, str]) -> Parse:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.system("echo from a child")
    os.write(2, b"from native code")
    warnings.warn("a warning", stacklevel=1)
    logging.getLogger("fixture").warning("through logging: %s", "\x1b[31mred")
    yield "lines", rows(0, ["printed"])
    return stated(1)


def two_outputs_interleaved(path: str, settings: dict[str, str]) -> Parse:
    for n in range(5):
        yield "lines", rows(2 * n, ["a", "b"])
        yield "notes", pa.record_batch([[f"note {n}"]], names=["note"])
    return stated(10)


def empty(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, [])
    return stated(0)


def unknown_output(path: str, settings: dict[str, str]) -> Parse:
    yield "surprise", rows(0, ["x"])
    return None


def bad_yield(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", [1, 2, 3]
    return None


def wrong_statement(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["one"])
    return stated(7)


def senseless_statement(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["one"])
    return stated(-1)


def foreign_statement(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["one"])
    return stated(1, output="elsewhere")


def bytes_statement(path: str, settings: dict[str, str]) -> Parse:
    """State bytes, which are no rows: of the file's, the first is skipped."""
    yield "lines", rows(0, read_lines(path))
    size = Path(path).stat().st_size
    skips = [{"count": 1, "reason": "the first byte is a mark"}]
    return {"unit": "bytes", "found": size, "accepted": size - 1, "skipped": 1, "skips": skips}


def silent_skip(path: str, settings: dict[str, str]) -> Parse:
    """Leave a line out and give no reason."""
    yield "lines", rows(0, read_lines(path)[1:])
    return stated(len(read_lines(path)), skipped=1)


def unplaced_statement(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["one"])
    return {"unit": "bytes", "found": 1}


def double_statement(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["one"])
    return stated(1, accepted=1)


def drops_one(path: str, settings: dict[str, str]) -> Parse:
    """Lose the last line without a word."""
    lines = read_lines(path)
    yield "lines", rows(0, lines[:-1])
    return stated(len(lines))


def no_statement(path: str, settings: dict[str, str]) -> Parse:
    yield "lines", rows(0, ["one"])
    return None


def spawns(path: str, settings: dict[str, str]) -> Parse:
    """Leave a child that holds our output and our socket open."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], pass_fds=[host_socket()])
    yield "lines", rows(0, [str(child.pid)])
    if settings.get("then") == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return stated(1)


def writes_env(path: str, settings: dict[str, str]) -> Parse:
    facts = [f"env {name}" for name in sorted(os.environ)]
    facts.append(f"cwd {Path.cwd()}")
    facts.append(f"tmpdir {os.environ['TMPDIR']}")
    facts.append(f"stdin {sys.stdin.read()!r}")
    facts.append(f"session {os.getsid(0) == os.getpid()}")
    facts.append(f"hash {hash('a fixed seed')}")
    facts.extend(f"open {name}" for name in open_files())
    facts.extend(f"path {folder}" for folder in sys.path)
    for name in ("eventlog", "executors.worker", "sinks"):
        try:
            __import__(name)
        except ModuleNotFoundError as missing:
            facts.append(f"hidden {missing.name}")
    yield "lines", rows(0, facts)
    return stated(len(facts))


def gone_source(path: str, settings: dict[str, str]) -> Parse:
    """Change the source while it is parsed."""
    lines = read_lines(path)
    yield "lines", rows(0, lines)
    with Path(path).open("a") as source:
        source.write("one more\n")
    if settings.get("then") == "error":
        raise ValueError("confused by the change")
    return stated(len(lines))


def raw(path: str, settings: dict[str, str]) -> Parse:
    """Send any bytes to the host, around the shim."""
    os.write(host_socket(), bytes.fromhex(settings["bytes_hex"]))
    if settings.get("then") == "stay":
        os.close(host_socket())
        time.sleep(60)
    if settings.get("then") == "hang":
        time.sleep(60)
    os._exit(0)


def host_socket() -> int:
    return next(n for n in range(3, 64) if is_socket(n))


def is_socket(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False


def open_files() -> Iterator[str]:
    for link in sorted(Path("/proc/self/fd").iterdir(), key=lambda link: int(link.name)):
        try:
            yield f"{link.name} {link.readlink().name.partition(':')[0]}"
        except FileNotFoundError:
            continue  # the descriptor with which the folder was listed


MODES: dict[str, Callable[[str, dict[str, str]], Parse]] = {
    mode.__name__: mode
    for mode in (
        *(
            normal,
            by_source,
            damaged,
            many,
            wide,
            slow,
            hang,
            hang_after_reading,
            flood,
            error,
            permanent,
            transient,
            oom,
            disk,
            leaves,
            crash,
        ),
        *(vanish, bad_shape, null, reserved, corrupt_arrow, prints, two_outputs_interleaved, empty, unknown_output),
        *(bad_yield, wrong_statement, senseless_statement, foreign_statement, no_statement, spawns, writes_env),
        *(silent_skip, bytes_statement, unplaced_statement, double_statement, drops_one),
        *(gone_source, raw, refused_memory, writes_elsewhere, remembers, once, much, slow_start, escapes),
    )
}
