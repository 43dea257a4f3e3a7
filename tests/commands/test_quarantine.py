"""What becomes of rejected rows: the table of decisions, the cascade of policies, and deletions."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from commands.outcome import Refused
from commands.policy_words import PolicyWords
from commands.quarantine import DELETED_MAX, PPM, cascade, decide_delete, forbidden, options_for, policy_fault, ppm_of
from eventlog.events import BrokenRule, QuarantineDeleted, QuarantinePolicy, StagedEvidence
from eventlog.ids import Digest, OutputName, SchemaHash
from tests.projections.histories import delete_quarantine
from tests.support import given


def evidence(rejected: int, accepted: int, output: str = "trades") -> StagedEvidence:
    return StagedEvidence(
        output=OutputName(output), staged="s", final="f", digest=Digest("d"), bytes=1, rows=rejected,
        accepted=accepted, schema_hash=SchemaHash("h"), rules=(BrokenRule(column="a", code="b", rows=rejected),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "rejected", "accepted", "reason"),
    [
        (QuarantinePolicy(), 1, 999, "1 of 1,000 rows of trades broke a rule and none may"),
        (QuarantinePolicy(allow=True), 1, 999, ""),
        (QuarantinePolicy(allow=True), 100, 900, ""),  # just 10 percent
        (QuarantinePolicy(allow=True), 101, 899, "(10.1 percent) and at most 10 percent may"),
        (QuarantinePolicy(allow=True, ppm_max=0), 1, 10**9, "and at most 0 percent may"),
        (QuarantinePolicy(allow=True, ppm_max=PPM), 5, 0, ""),
        (QuarantinePolicy(allow=True, ppm_max=PPM, count_max=5), 5, 0, ""),
        (QuarantinePolicy(allow=True, ppm_max=PPM, count_max=4), 5, 0, "and at most 4 may"),
        (QuarantinePolicy(allow=True, ppm_max=PPM, count_max=0), 1, 9, "and at most 0 may"),
    ],
)
def test_the_table_of_decisions(policy: QuarantinePolicy, rejected: int, accepted: int, reason: str) -> None:
    said = forbidden(policy, [evidence(rejected, accepted)])
    assert reason in said
    assert bool(said) == bool(reason)


@for_all(
    policy=st.builds(
        QuarantinePolicy, allow=st.booleans(), ppm_max=st.integers(0, PPM), count_max=st.none() | st.integers(0, 9)
    ),
    counts=st.lists(st.tuples(st.integers(1, 99), st.integers(0, 99)), max_size=3),
)
def test_the_options_that_are_advised_publish_what_was_forbidden(
    policy: QuarantinePolicy, counts: list[tuple[int, int]]
) -> None:
    rejected = [evidence(rows, accepted) for rows, accepted in counts]
    words = options_for(policy, rejected).split()
    said = dict(itertools.pairwise([*words, ""]))
    given = PolicyWords(
        place="command line",
        allow=True if "--allow-quarantine" in said else None,
        ppm_max=ppm_of(float(said["--quarantine-threshold"])) if "--quarantine-threshold" in said else None,
        count_max=int(said["--quarantine-count"]) if "--quarantine-count" in said else None,
    )
    before = PolicyWords(place="home", allow=policy.allow, ppm_max=policy.ppm_max, count_max=policy.count_max)
    assert forbidden(cascade([before, given])[0], rejected) == ""
    assert bool(words) or forbidden(policy, rejected) == ""


def test_outputs_without_rejected_rows_are_never_forbidden() -> None:
    assert forbidden(QuarantinePolicy(), []) == ""


def test_one_output_over_its_limit_is_named_alone() -> None:
    said = forbidden(QuarantinePolicy(allow=True), [evidence(1, 99, "fine"), evidence(50, 50, "bad")])
    assert "bad" in said
    assert "fine" not in said


def test_the_last_place_that_says_a_word_wins_and_is_named() -> None:
    config = PolicyWords(place="config.toml", allow=True, ppm_max=50_000)
    contract = PolicyWords(place="the parser", ppm_max=10_000, count_max=7)
    flags = PolicyWords(place="command line", allow=False)
    assert cascade([config, contract, flags]) == (
        QuarantinePolicy(allow=False, ppm_max=10_000, count_max=7),
        ("allow: command line", "count_max: the parser", "ppm_max: the parser"),
    )
    assert cascade([]) == (QuarantinePolicy(), ())


words = st.builds(
    PolicyWords,
    place=st.sampled_from("abc"),
    allow=st.none() | st.booleans(),
    ppm_max=st.none() | st.integers(0, PPM),
    count_max=st.none() | st.integers(0, 9),
)


@for_all(layers=st.lists(words, max_size=4))
def test_a_word_that_is_said_is_never_replaced_by_silence(layers: list[PolicyWords]) -> None:
    policy, _came_from = cascade(layers)
    for name in ("allow", "ppm_max", "count_max"):
        said = [getattr(layer, name) for layer in layers if getattr(layer, name) is not None]
        assert getattr(policy, name) == (said[-1] if said else getattr(QuarantinePolicy(), name))


@for_all(policy=st.builds(QuarantinePolicy, allow=st.booleans(), ppm_max=st.integers(0, PPM)), rows=st.integers(1, 99))
def test_fewer_rejected_rows_are_never_worse(policy: QuarantinePolicy, rows: int) -> None:
    if not forbidden(policy, [evidence(rows + 1, 99)]):
        assert not forbidden(policy, [evidence(rows, 100)])


@pytest.mark.parametrize(
    "policy", [QuarantinePolicy(ppm_max=PPM + 1), QuarantinePolicy(ppm_max=-1), QuarantinePolicy(count_max=-1)]
)
def test_limits_that_mean_nothing_are_refused(policy: QuarantinePolicy) -> None:
    fault = policy_fault(policy)
    assert fault is not None
    assert fault.code == "bad_quarantine_limit"


def test_a_deletion_needs_a_reason_and_has_a_bound() -> None:
    command, state = delete_quarantine(3), given()
    (event,) = decide_delete(command, state)  # type: ignore[misc]  # not refused
    assert isinstance(event, QuarantineDeleted)
    assert (event.job, event.reason) == (3, command.reason)
    silent = decide_delete(type(command)(files=command.files, reason=" ", now=command.now), state)
    assert isinstance(silent, Refused)
    assert silent.code == "reason_missing"
    many = decide_delete(type(command)(files=command.files * (DELETED_MAX + 1), reason="x", now=command.now), state)
    assert isinstance(many, Refused)
    assert many.code == "batch_too_large"
