"""What is said of wrong words: ours, never those of the libraries that found them."""

from __future__ import annotations

import pytest

from cli.app import app
from cli.usage import usage_error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("jobs --limit x", "take 'x' as --limit: it is not a whole number of 1 or more"),
        ("jobs --limit 0", "take '0' as --limit: it is not a whole number of 1 or more"),
        ("run evtx . --workers 99", "take '99' as --workers: it is not a whole number from 1 to 64"),
        ("run evtx . --job-seconds x", "take 'x' as --job-seconds: it is not a number from 1 to 604,800"),
        ("jobs --status lost", "take 'lost' as --status: it is not one of queued, dispatched, running, promoting, "
         "aborting, completed, failed, aborted, cancelled, success, partial_success"),
        ("quarantine show x", "take 'x' as JOB: it is not a whole number of 1 or more"),
        ("executors", "casparian executors: say what, one of ls, drain, rm"),
        ("job show x", "take 'x' as ID: it is not a whole number from 1 to 9,007,199,254,740,992"),
        ("run evtx . --job-memory 5q", "take --job-memory: '5q' is no size; write it like 4GB or 512MiB"),
        ("run evtx", "casparian run: PATH is missing (PARSER PATH belong together): Files or folders."),
        ("record 16:1", "casparian record: JOB:ROW is missing (TABLE JOB:ROW belong together): The row: its _cf_job_id "
         "and _cf_row_seq (rejected: _source_row)."),
        ("jobs --limt 3", "casparian jobs: it has no option --limt; did you mean --limit?"),
    ],
)  # fmt: skip
def test_wrong_words_are_named_with_what_would_be_right(words: str, said: str) -> None:
    with pytest.raises(Exception) as caught:  # the library's own classes are not public
        app(words.split(), prog_name="casparian", standalone_mode=False)
    told = usage_error(caught.value)
    assert told is not None
    assert (told.message, told.exit_code) == (said, 2)
    usual = words.partition(" --")[0].partition(" evtx")[0].partition(" 16:1")[0].removesuffix(" x")
    assert told.next_step == f"casparian {usual} --help"


@pytest.mark.parametrize("option", ["--home", "--json"])
def test_an_option_of_every_verb_in_front_of_it_is_told_its_place(option: str) -> None:
    with pytest.raises(Exception) as caught:
        app([option, "./home", "jobs"], prog_name="casparian", standalone_mode=False)
    told = usage_error(caught.value)
    assert told is not None
    assert told.message == f"casparian: {option} stands behind the verb: casparian VERB {option} ..."


def test_what_is_no_wrong_usage_is_left_alone() -> None:
    assert usage_error(ValueError("x")) is None
