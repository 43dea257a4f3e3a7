"""Which parsers may run: built-in ones, and a person's own where somebody trusts exactly this artifact."""

from __future__ import annotations

import pytest
from hypothesis import given as forall
from hypothesis import strategies as st
from msgspec import structs

from commands.attempt import FailJob
from commands.decide import Command
from commands.executor import LoseExecutor
from commands.outcome import Refused
from commands.parser import PAUSE_FAILURES, DeployParser, may_run
from eventlog.events import (
    JobFailed,
    KeyTrusted,
    ParserDeployed,
    ParserPaused,
    ParserRevoked,
    ParserTrusted,
    TrustParser,
)
from eventlog.ids import ArtifactHash, LeaseId, ParserName, RunId, SourceHash
from reducers.fold import State
from reducers.parser import FAILED_KEPT_MAX, after_job
from tests.support import (
    E1,
    EVTX,
    KEY,
    L1,
    L2,
    LINES,
    NOW,
    any_command,
    cancel,
    code,
    commit,
    decide,
    deploy,
    deploy_own,
    dispatch,
    enqueue,
    fail,
    given,
    join,
    plan,
    planned_run,
    promoted,
    record,
    release,
    resume,
    revoke,
    revoke_key,
    running_job,
    shape_failure,
    start,
    started,
    take,
    trust,
    trust_key,
    types,
)

ONE, TWO = "1" * 64, "2" * 64


def test_what_nobody_trusts_is_refused_with_the_command_that_trusts_it() -> None:
    refused = decide(deploy_own(), given(deploy()))
    assert code(refused) == "untrusted_parser"
    assert isinstance(refused, Refused)
    assert "casparian parser trust" in refused.next_step


def test_what_somebody_trusts_is_deployed_with_the_place_that_it_came_from() -> None:
    (event,) = decide(deploy_own(), given(deploy(), trust()))  # type: ignore[misc]  # a refusal fails the test too
    assert isinstance(event, ParserDeployed)
    assert (event.parser, event.builtin, event.file) == (LINES, False, "/home/ada/lines.py")


def test_trust_in_one_artifact_is_no_trust_in_another_of_its_name() -> None:
    assert code(decide(deploy_own(TWO, "0.2"), given(trust(ONE)))) == "untrusted_parser"


def test_a_deployment_that_is_current_is_not_recorded_again() -> None:
    assert types(decide(deploy_own(), given(trust(), deploy_own()))) == []


def test_trust_that_is_there_already_is_not_recorded_again() -> None:
    assert types(decide(trust(), given(trust()))) == []
    assert types(decide(trust(), given(trust(), revoke()))) == ["ParserTrusted"]


def test_a_version_means_one_source_for_ever() -> None:
    state = given(trust(ONE), deploy_own(ONE), trust(TWO), deploy_own(TWO, "0.2", source="two"))
    back = deploy_own("3" * 64, "0.1", source="three")
    refused = decide(back, state)
    assert code(refused) == "version_taken"
    assert isinstance(refused, Refused)
    assert "new version" in refused.next_step
    assert "--dev" in refused.next_step


def test_another_environment_is_another_artifact_and_no_other_version() -> None:
    state = given(trust(ONE), deploy_own(ONE), trust(TWO))
    assert types(decide(deploy_own(TWO, environment="3.12"), state)) == ["ParserDeployed"]


def test_going_back_to_an_earlier_version_is_allowed() -> None:
    state = given(trust(ONE), deploy_own(ONE), trust(TWO), deploy_own(TWO, "0.2", source="two"))
    assert types(decide(deploy_own(ONE), state)) == ["ParserDeployed"]


def test_a_version_that_was_only_tried_out_is_free() -> None:
    tried = deploy_own(ONE, "0.1")
    state = given(trust(ONE, how="dev"), _with_component(tried, "development"), trust(TWO))
    assert types(decide(deploy_own(TWO, "0.1", source="two"), state)) == ["ParserDeployed"]


def test_a_name_of_ours_is_not_for_others() -> None:
    state = given(deploy())
    assert code(decide(trust(parser=EVTX), state)) == "builtin_name"
    assert code(decide(deploy_own(parser=EVTX), state)) == "builtin_name"
    assert code(decide(revoke(EVTX), state)) == "builtin_name"


@pytest.mark.parametrize("how", ["asked", "command"])
def test_columns_that_come_and_go_are_for_trying_out_only(how: str) -> None:
    loose = deploy_own(mode="allow_extra")
    assert code(decide(loose, given())) == "loose_output"
    assert code(decide(loose, given(trust(how=how)))) == "loose_output"  # type: ignore[arg-type]  # of the two above
    assert types(decide(loose, given(trust(how="dev")))) == ["ParserDeployed"]


def test_a_revoked_parser_runs_no_more() -> None:
    state = given(trust(), deploy_own(), revoke())
    assert code(decide(start("lines"), state)) == "untrusted_parser"
    assert code(decide(deploy_own(), state)) == "untrusted_parser"
    assert not may_run(LINES, ArtifactHash(ONE), state)


def test_a_parser_that_is_revoked_during_its_run_gets_no_further_jobs() -> None:
    state = given(trust(), deploy_own(), start("lines"), record(1), plan(1, 1, artifact="1" * 64), revoke())
    assert code(decide(enqueue(1), state)) == "untrusted_parser"
    assert RunId(1) in state.runs


def test_a_job_of_a_parser_that_was_revoked_meanwhile_is_not_begun_and_passes_no_commit_point() -> None:
    """The cancels that follow a revocation come a moment later: a report may be quicker."""
    own: list[Command] = [
        trust(),
        deploy_own(),
        start("lines"),
        record(1),
        plan(1, 1, artifact=ONE),
        enqueue(1),
        join(),
    ]
    assert code(decide(dispatch(), given(*own, revoke()))) == "untrusted_parser"
    state = given(*own, dispatch(), started(), revoke())
    assert types(decide(commit(), state)) == ["CommitRefused", "JobAborted"]
    assert types(decide(commit(), given(*own, dispatch(), started(), revoke(), trust()))) == ["OutputsCommitted"]


def test_revoking_ends_the_trust_in_every_artifact_of_the_name_and_in_no_other() -> None:
    other = trust("3" * 64, parser=ParserName("rows"))
    state = given(trust(ONE), trust(TWO), other)
    events = decide(revoke(), state)
    assert not isinstance(events, Refused)
    assert [event.artifact_hash for event in events if isinstance(event, ParserRevoked)] == [ONE, TWO]
    take(state, events)
    assert list(state.trust) == ["3" * 64]


def test_revoking_again_changes_nothing_and_a_name_that_nobody_knows_is_told() -> None:
    assert types(decide(revoke(), given(trust(), deploy_own(), revoke()))) == []
    assert code(decide(revoke("nobody"), given(deploy()))) == "not_found"


def test_trust_says_who_why_and_how() -> None:
    (event,) = decide(trust(how="asked"), given())  # type: ignore[misc]  # as above
    assert isinstance(event, ParserTrusted)
    assert (event.by, event.reason, event.how) == ("cli:ada", "read it", "asked")


def signed(artifact: str = ONE) -> TrustParser:
    return trust(artifact, how="signed", key=KEY)


def test_what_a_trusted_key_has_signed_may_run_and_says_whose_word_it_was() -> None:
    state = given(trust_key())
    (event,) = decide(signed(), state)  # type: ignore[misc]  # as above
    assert isinstance(event, ParserTrusted)
    assert (event.how, event.key, event.by) == ("signed", KEY, "cli:ada")
    take(state, [event])
    assert types(decide(deploy_own(), state)) == ["ParserDeployed"]


def test_a_signature_of_a_key_that_nobody_trusts_is_worth_nothing() -> None:
    refused = decide(signed(), given(trust_key("ben+22222222+AQ==")))
    assert isinstance(refused, Refused)
    assert refused.code == "unknown_key"
    assert "--key" in refused.next_step
    assert code(decide(signed(), given(trust_key(), revoke_key()))) == "unknown_key"


def test_a_key_that_is_trusted_already_is_not_recorded_again() -> None:
    assert types(decide(trust_key(), given())) == ["KeyTrusted"]
    assert types(decide(trust_key(), given(trust_key()))) == []
    assert types(decide(trust_key(), given(trust_key(), revoke_key()))) == ["KeyTrusted"]


def test_revoking_a_key_ends_what_runs_by_it_and_nothing_else() -> None:
    state = given(trust_key(), signed(ONE), trust(TWO), deploy_own(ONE))
    events = decide(revoke_key(), state)
    assert types(events) == ["KeyRevoked", "ParserRevoked"]
    assert not isinstance(events, Refused)
    take(state, events)
    assert (list(state.trust), list(state.keys)) == ([TWO], [])
    assert code(decide(deploy_own(ONE), state)) == "untrusted_parser"
    assert code(decide(revoke_key(), state)) == "not_found"


def test_a_persons_own_word_outlives_the_key() -> None:
    state = given(trust_key(), signed(), trust(), revoke_key())
    assert list(state.trust) == [ONE]
    assert types(decide(signed(), given(trust_key(), trust()))) == []


def test_a_parser_that_a_person_revoked_does_not_come_back_by_its_signature() -> None:
    state = given(trust_key(), signed(), deploy_own(), revoke())
    assert code(decide(signed(ONE), state)) == "revoked_parser"
    assert code(decide(signed(TWO), state)) == "revoked_parser", "in none of its versions"
    assert types(decide(trust(ONE), state)) == ["ParserTrusted"]
    (event,) = decide(trust_key(), state)  # type: ignore[misc]  # as above
    assert isinstance(event, KeyTrusted), "trusted anew it counts for every name"
    take(state, [event])
    assert types(decide(signed(ONE), state)) == ["ParserTrusted"]


@forall(st.lists(any_command(), max_size=40))
def test_nothing_runs_by_the_signature_of_a_key_that_is_not_trusted(history: list[Command]) -> None:
    state = State()
    for command in history:
        decision = decide(command, state)
        if not isinstance(decision, Refused):
            take(state, decision)
        assert {each.trusted.key for each in state.trust.values()} - {""} <= state.keys.keys()


@forall(st.lists(any_command(), max_size=40))
def test_nothing_is_ever_deployed_that_is_neither_built_in_nor_trusted(history: list[Command]) -> None:
    state = State()
    for command in history:
        decision = decide(command, state)
        if isinstance(decision, Refused):
            continue
        for event in decision:
            if isinstance(event, ParserDeployed):
                assert event.builtin or event.artifact_hash in state.trust
        take(state, decision)


def _with_component(command: DeployParser, name: str) -> DeployParser:
    return DeployParser(
        parser=command.parser,
        version=f"{command.version}+dev.11111111",
        artifact_hash=command.artifact_hash,
        env_hash=command.env_hash,
        builtin=False,
        outputs=command.outputs,
        settings=command.settings,
        components={**command.components, name: "true"},
        now=command.now,
        file=command.file,
    )


def failures(count: int, *, first: int = 1, kind: str = "schema_mismatch") -> list[Command]:
    """Return the commands by which jobs fail, one after another."""
    told: list[Command] = []
    for job in range(first, first + count):
        lease = LeaseId(f"lease-of-{job}")
        told += [dispatch(job, lease), structs.replace(fail(job, lease), kind=kind)]
    return told


def test_the_fifth_failure_in_a_row_that_speaks_against_the_parser_pauses_it() -> None:
    state = given(*planned_run(*range(1, 8)), join(), *failures(PAUSE_FAILURES - 1), dispatch(5, L1))
    decision = decide(shape_failure(5), state)
    assert types(decision) == ["JobFailed", "ParserPaused"]
    pause = decision[-1]  # type: ignore[index]
    assert isinstance(pause, ParserPaused)
    assert (pause.parser, pause.job, pause.failures) == (EVTX, 5, PAUSE_FAILURES)
    take(state, decision)  # type: ignore[arg-type]
    assert code(decide(dispatch(6, L2), state)) == "parser_paused"
    assert code(decide(start(), state)) == "parser_paused"


def test_any_number_of_damaged_files_pauses_nothing() -> None:
    for kind, failure in (("not_evtx", "permanent"), ("out_of_memory", "transient"), ("time_limit", "permanent")):
        failed: list[Command] = [structs.replace(each, failure=failure) if isinstance(each, FailJob) else each
                  for each in failures(20, kind=kind)]  # fmt: skip
        state = given(*planned_run(*range(1, 21)), join(), *failed)
        assert state.parsers[EVTX].failures == 0


def test_a_content_speaks_against_its_parser_once_however_often_it_is_tried() -> None:
    again = [each for run in range(4) for each in (enqueue(1, 2), *failures(2, first=3 + 2 * run))]
    state = given(*planned_run(1, 2), join(), *failures(2), *again)
    assert (state.parsers[EVTX].failures, state.parsers[EVTX].paused) == (2, None)
    assert len(state.parsers[EVTX].failed) == 2


def test_no_more_contents_are_kept_than_a_bound() -> None:
    parser = given(deploy()).parsers[EVTX]
    for number in range(FAILED_KEPT_MAX + 5):
        event = structs.replace(failed_event(), against_parser=number + 1)
        parser = after_job(parser, event, SourceHash(str(number)))
    assert (len(parser.failed), parser.failed[0], parser.failures) == (FAILED_KEPT_MAX, "5", FAILED_KEPT_MAX + 5)


def failed_event() -> JobFailed:
    event = decide(fail(), given(*running_job()))[0]  # type: ignore[index]  # a refusal fails the test too
    assert isinstance(event, JobFailed)
    return event


def test_a_success_between_failures_counts_them_anew() -> None:
    well: list[Command] = [dispatch(5), started(5), commit(5), promoted(5)]
    state = given(*planned_run(*range(1, 12)), join(), *failures(4), *well, *failures(4, first=6))
    assert (state.parsers[EVTX].failures, state.parsers[EVTX].paused) == (4, None)


def test_a_cancelled_job_and_a_lost_executor_count_for_nothing() -> None:
    state = given(*planned_run(*range(1, 12)), join(), *failures(4), dispatch(5), cancel(5), release(5))
    assert state.parsers[EVTX].failures == 4
    lost = LoseExecutor(executor=E1, reason="killed by signal 9", charged=True, now=NOW)
    state = given(*planned_run(*range(1, 12)), join(), *failures(4), dispatch(5), lost)
    assert (state.parsers[EVTX].failures, state.parsers[EVTX].paused) == (4, None)


def test_a_paused_parser_goes_on_by_a_person_s_word_and_is_counted_anew() -> None:
    paused: list[Command] = [*planned_run(*range(1, 8)), join(), *failures(PAUSE_FAILURES)]
    state = given(*paused, resume())
    assert (state.parsers[EVTX].failures, state.parsers[EVTX].paused) == (0, None)
    assert decide(resume(), state) == []
    assert types(decide(dispatch(6), state)) == ["JobDispatched"]
    assert code(decide(resume("nobody"), state)) == "not_found"


def test_another_artifact_of_a_paused_parser_is_not_paused() -> None:
    state = given(*planned_run(*range(1, 8)), join(), *failures(PAUSE_FAILURES), deploy("b" * 64))
    assert state.parsers[EVTX].paused is None
    assert types(decide(start(), state)) == ["RunStarted"]
