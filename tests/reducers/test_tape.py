"""What a tape tells: the same sentences and the same ends as the log that it is of."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest

from eventlog.records import EVENT_TYPES
from eventlog.redact import Redactor
from eventlog.tape_reader import Entry, read_entries
from fixtures.tapes.make import SALT, picture, tape_of
from fixtures.tapes.scenarios import SCENARIOS, frames_of
from reducers.fold import State, fold
from reducers.say import say
from reducers.tape import Story, Teller, tell

HASH = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")


def read(data: bytes) -> Iterator[Entry]:
    return read_entries(data.splitlines(keepends=True))


def story(name: str) -> Story:
    return tell(read(tape_of(frames_of(name))))


ENDS = {
    "success": ("completed", 10),
    "no_rows": ("completed", 0),
    "partial": ("completed", 7),
    "failed_permanent": ("failed", 0),
    "dead_by_retries": ("failed", 0),
    "cancelled_queued": ("aborted", 0),
    "cancelled_running": ("aborted", 0),
    "commit_refused_unbalanced": ("failed", 0),
    "promotion_abandoned": ("failed", 0),
    "returned_then_interrupted": ("aborted", 0),
    "crash_then_success": ("completed", 10),
}


@pytest.mark.parametrize(("name", "end"), ENDS.items(), ids=ENDS.keys())
def test_a_job_is_told_with_its_end_and_rows(name: str, end: tuple[str, int]) -> None:
    (job,) = story(name).jobs
    assert (job.status, job.rows) == end
    assert bool(job.error) == (end[0] == "failed")


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_fold_of_a_tape_is_that_of_its_log_but_for_what_was_redacted(name: str) -> None:
    teller = Teller()
    for entry in read(tape_of(frames_of(name))):
        teller.see(entry)
    live = fold(State(), (record for frame in frames_of(name) for record in frame.events))
    from_tape, from_log = picture(teller.state), picture(live)
    assert msgspec.json.encode(_shape(from_tape)) == msgspec.json.encode(_shape(from_log))


def _shape(value: object) -> object:
    """Return a value with its texts left out: numbers, structure and order are what a tape keeps."""
    if isinstance(value, dict):
        return [_shape(each) for name, each in value.items() if name != "mtime_ns"]
    if isinstance(value, list | tuple):
        return [_shape(each) for each in value]
    return "" if isinstance(value, str) else value


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_record_is_told_in_the_words_of_the_log(name: str) -> None:
    """Where a text was redacted its hash stands in the same sentence: put back, the sentence is the live one."""
    entries = read(tape_of(frames_of(name)))
    told = [say(record) for entry in entries for _seq, record in entry.records]
    live = [record.data for frame in frames_of(name) for record in frame.records]
    behind = {Redactor(SALT).hash(text): text for record in live for text in _texts(msgspec.to_builtins(record))}
    again = [HASH.sub(lambda match: behind.get(match[0], match[0]), sentence) for sentence in told]
    assert again == [say(record) for record in live]
    assert again != told


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in value.items() for each in pair for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))


def test_positions_of_the_log_are_cited() -> None:
    frames = frames_of("success")
    (job,) = story("success").jobs
    types = {int(record.seq): record.type for frame in frames for record in frame.records}
    assert [types[each.log_seq] for each in job.events if each.log_seq] == [
        name for name in types.values() if name in EVENT_TYPES and name.startswith(("Job", "Outputs", "Material"))
    ]


def test_an_open_job_is_told_in_its_state_and_one_from_before_the_tape_as_open() -> None:
    frames = frames_of("success")
    started = next(f for f in frames if f.records[0].type == "JobStarted")
    until = tell(read(tape_of(frames[: frames.index(started) + 1])))
    assert [job.status for job in until.jobs] == ["running"]
    later = tell(read(tape_of(frames[: frames.index(started) + 1], first=started.first)))
    assert [job.status for job in later.jobs] == ["open"]


def test_refusals_and_failures_are_told_as_errors() -> None:
    assert [each.said.split("(")[0] for each in story("start_refused").errors] == ["the command was refused "] * 2
    assert len(story("failed_permanent").errors) == 1


def test_an_earlier_failure_is_not_told_of_a_job_that_succeeded_later() -> None:
    (job,) = story("transient_then_success").jobs
    assert (job.status, job.error) == ("completed", "")
