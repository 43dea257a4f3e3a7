"""Owns logs in memory and the damage that is done to them: a seed says which log and what happens to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eventlog.checkpoint import ANCHOR_PLACE, Checkpoint, origin
from eventlog.events import CancelAccepted
from eventlog.frames import COMMIT_START, match_commit_line, read_commit_line
from eventlog.ids import JobId, LogId
from eventlog.log import Log
from eventlog.note import SigningKey
from eventlog.signing import sign_head
from tests.eventlog.support import LOG_ID, NOW, SEGMENT, draft, event, frames_of, open_log, stdlib_frame, stop

KEY: Final = SigningKey(origin(LOG_ID), bytes(range(32)))
OTHER_ID: Final = LogId("f" * 32)
OPERATIONS_OF_ONE: Final = (1, 1, 1, 2, 3)  # most damage in life is one
Files = dict[str, bytes]  # of one log, by the name inside its folder


def load(folder: Path) -> Files:
    """Return the files of a log without its lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "LOCK"
    }


def store(files: Files, folder: Path) -> None:
    """Write the files of a log to a folder, anew."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


class Bases:
    """Whole logs to damage, and another log to splice from."""

    def __init__(self, folder: Path) -> None:
        crashed = _grown(folder / "crashed", sessions=2)
        closed = _grown(folder / "closed", sessions=3)
        sign_head(folder / "closed", KEY)
        signed = load(folder / "closed")
        del crashed["CLOSED"]
        ahead = crashed | {SEGMENT: crashed[SEGMENT] + bytes(3000)}  # as a writer leaves it that is killed
        self.logs = [crashed, ahead, closed, signed, _split(closed), _split(_split(crashed)), _split(ahead)]
        self.other = load_other(folder / "other")


def _grown(folder: Path, *, sessions: int) -> Files:
    for session in range(sessions):
        log = open_log(folder)
        for number in range(6):
            log.commit([draft(event(number, "why " * number), event(session))])
        log.commit([draft(CancelAccepted(job=JobId(7), reason="asked", accepted_at=NOW)), draft(event(8))])
        log.mark()
        log.commit([draft(event(9))])
        log.close()
    return load(folder)


def load_other(folder: Path) -> Files:
    log = Log.open(
        folder, clock=lambda: NOW, new_log_id=lambda: OTHER_ID, version="0", purpose="t", die=stop, ballast_bytes=0
    )
    log.commit([draft(event(1)), draft(event(2))])
    log.close()
    return load(folder)


def _split(files: Files) -> Files:
    """Cut the last segment in two between frames, as a rotation would have."""
    name = segments(files)[-1]
    frames = list(frames_of(files[name]))
    zeros = files[name][len(files[name].rstrip(b"\0")) :]
    first = int(name[:20])
    half = len(frames) // 2
    while not frames[half].startswith(b'{"seq":'):
        half += 1
    first += sum(frame.count(b'\n{"seq":') + frame.startswith(b'{"seq":') for frame in frames[:half])
    parted = dict(files)
    parted[name] = b"".join(frames[:half])
    parted[f"{first:020d}.ndjson"] = b"".join(frames[half:]) + zeros
    parted.pop("CLOSED", None)  # it names the segment that the log ended in
    return parted


def segments(files: Files) -> list[str]:
    return sorted(name for name in files if name.endswith(".ndjson"))


def mutated(bases: Bases, seed: int) -> tuple[Files, list[str]]:
    """Return a damaged log and what was done to it."""
    dice = random.Random(seed)
    files = dict(dice.choice(bases.logs))
    done: list[str] = []
    for _ in range(dice.choice(OPERATIONS_OF_ONE)):
        operation = dice.choice(OPERATIONS)
        if segments(files):
            operation(files, dice, bases)
            done.append(operation.__name__)
    return files, done


def flip_bit_anywhere(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(sorted(files))
    data = bytearray(files[name])
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    files[name] = bytes(data)


def overwrite_bytes(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    data = files[name]
    at = dice.randrange(len(data) + 1)
    size = dice.choice([1, 2, 16, 512, 4096])
    fill = dice.choice([bytes(size), b"\xff" * size, dice.randbytes(size), b"\n" * size])
    files[name] = data[:at] + fill[: len(data) - at] + data[at + size :]


def cut_out_bytes(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    at = dice.randrange(len(files[name]) + 1)
    files[name] = files[name][:at] + files[name][at + dice.choice([1, 2, 100, 512]) :]


def insert_bytes(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    at = dice.randrange(len(files[name]) + 1)
    files[name] = files[name][:at] + dice.choice([b"\0", b"\n", b'{"commit":', b"x" * 600]) + files[name][at:]


def truncate_anywhere(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    files[name] = files[name][: dice.randrange(len(files[name]) + 1)]


def truncate_between_frames(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    frames = list(frames_of(files[name]))
    files[name] = b"".join(frames[: dice.randrange(len(frames) + 1)])


def swap_frames(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    frames = list(frames_of(files[name]))
    if len(frames) > 1:
        one, two = dice.sample(range(len(frames)), 2)
        frames[one], frames[two] = frames[two], frames[one]
        files[name] = b"".join(frames)


def repeat_frame(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    frames = list(frames_of(files[name]))
    if frames:
        frames.insert(dice.randrange(len(frames) + 1), dice.choice(frames))
        files[name] = b"".join(frames)


def lose_frame(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    frames = list(frames_of(files[name]))
    if frames:
        frames.pop(dice.randrange(len(frames)))
        files[name] = b"".join(frames)


def splice_frames(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    strange = list(frames_of(bases.other[SEGMENT]))
    frames = list(frames_of(files[name]))
    at = dice.randrange(len(frames) + 1)
    files[name] = b"".join([*frames[:at], dice.choice(strange), *frames[at + dice.randrange(2) :]])


def append_zeros(files: Files, dice: random.Random, bases: Bases) -> None:
    files[dice.choice(segments(files))] += bytes(dice.choice([1, 512, 70_000]))


def append_rubbish(files: Files, dice: random.Random, bases: Bases) -> None:
    name = segments(files)[-1]
    old = files[name][: dice.randrange(len(files[name]) + 1)]
    files[name] += dice.choice([bytes(700), b"\xff" * 700, b"{", old, bases.other[SEGMENT], dice.randbytes(300)])


def exchange_small_file(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(["GENESIS.json", "CLOSED", ANCHOR_PLACE])
    strange = bases.other.get(name, b"nothing\n\nat all\n")
    files[name] = dice.choice([strange, b"", files.get(name, b"")[:-1], files.get(name, b"") + b"\n"])


def lose_file(files: Files, dice: random.Random, bases: Bases) -> None:
    del files[dice.choice(sorted(files))]


def rename_segment(files: Files, dice: random.Random, bases: Bases) -> None:
    name = dice.choice(segments(files))
    files[f"{dice.choice([0, 1, 2, int(name[:20]) + 1]):020d}.ndjson"] = files.pop(name)


def swap_segments(files: Files, dice: random.Random, bases: Bases) -> None:
    names = segments(files)
    one, two = names[0], names[-1]
    files[one], files[two] = files[two], files[one]


def forge_frame(files: Files, dice: random.Random, bases: Bases) -> None:
    """Append a frame whose hash and link fit, with one rule broken or none: what only an owner of the log could do."""
    name = segments(files)[-1]
    found = match_commit_line(files[name], max(0, files[name].rfind(COMMIT_START)))
    if found is None:
        return
    last = read_commit_line(found)
    fields = {"commit": last.commit + 1, "first": last.last + 1, "epoch": last.epoch, "durable": last.durable}
    fields[dice.choice(list(fields))] = dice.choice([0, 1, last.last, last.last + 5])
    prev = dice.choice([last.hash, last.hash, last.prev])
    record = dice.choice(RECORDS)
    shift = dice.choice([None, None, 1])
    strange = dice.choice([LOG_ID, LOG_ID, OTHER_ID])
    records = [record] * dice.randrange(3)
    frame, _ = stdlib_frame(
        prev=prev, records=records, first_line_seq=shift, log_id=strange, commit=fields["commit"],
        first=fields["first"], epoch=fields["epoch"], durable=fields["durable"],
    )  # fmt: skip
    files[name] += frame


def sign_something(files: Files, dice: random.Random, bases: Bases) -> None:
    """Put a well signed checkpoint in the place of ANCHOR that says something else."""
    size, commit = dice.randint(1, 60), dice.randint(1, 40)
    key = dice.choice([KEY, KEY, SigningKey(origin(LOG_ID), bytes(32))])
    log_id = dice.choice([LOG_ID, LOG_ID, OTHER_ID])
    said = Checkpoint(log_id=log_id, size=size, root=dice.randbytes(32), commit=commit, hash=dice.randbytes(32).hex())
    files[ANCHOR_PLACE] = key.sign(said.text)


RECORDS: Final = (
    ("RunInterrupted", {"run": 1, "reason": "", "interrupted_at": NOW}),
    ("CancelAccepted", {"job": 7, "reason": "again", "accepted_at": NOW}),
    (
        "WriterOpened",
        {"epoch": 2, "version": "0", "host": "h", "pid": 1, "boot_id": "", "opened_at": NOW},
    ),
)


OPERATIONS: Final[tuple[Callable[[Files, random.Random, Bases], None], ...]] = (
    flip_bit_anywhere, flip_bit_anywhere, overwrite_bytes, cut_out_bytes, insert_bytes, truncate_anywhere,
    truncate_anywhere, truncate_between_frames, swap_frames, repeat_frame, lose_frame, splice_frames, append_rubbish,
    append_zeros, exchange_small_file, lose_file, rename_segment, swap_segments, forge_frame, forge_frame,
    sign_something,
)  # fmt: skip
