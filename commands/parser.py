"""Decides what parsers may run: whom and whose key a person trusts, what stands under a name, when one is paused.

A parser that fails again and again is paused, so that a thousand jobs do not fail for one mistake. But a case may hold
hundreds of damaged files in a row, each of which fails, rightly, because of its own bytes; pausing a parser for those
would keep the sound ones from being read. So a failure counts that is a fault of the parser whatever the file is like:
a cause that neither it nor the host knows, twice (it crashed, or raised what it does not declare); other columns,
frames or outputs than declared; a sheet that does not add up. What it says of a file on purpose (PermanentError) does
not count, nor a file of which it says nothing, nor what is the doing of the machine (memory, time, disks, executors),
of a policy, a target or a person. Such a failure does not end a series either: that takes a success, another artifact,
or a person's word. And a content counts once: a rerun, which reuses all that went well, meets the old failures one
after another.
"""

from __future__ import annotations

from typing import Final, assert_never

from msgspec import Struct, structs

from commands.outcome import Decision, Refused
from eventlog.events import (
    JobFailed,
    JobQueued,
    KeyRevoked,
    KeyTrusted,
    ParserDeployed,
    ParserPaused,
    ParserResumed,
    ParserRevoked,
    ParserTrusted,
    ResumeParser,
    RevokeKey,
    RevokeParser,
    TrustKey,
    TrustParser,
)
from eventlog.ids import ArtifactHash, EnvHash, Instant, ParserName, PathText
from eventlog.schema import OutputSchema
from reducers.fold import State
from reducers.parser import Parser, code_of

NOT_TRUSTED = "its parser is not trusted any more"
PAUSE_FAILURES = 5  # that speak against a parser, one after another

# What a parser does wrong whatever the file is like, in the words of executors/ and commands/commit.py.
BROKEN_PROMISES: Final = frozenset(
    {
        "bad_frame",
        "bad_output",
        "bad_statement",
        "outputs_differ",
        "reserved_column",
        "schema_mismatch",
        "unknown_output",
    }
)


class DeployParser(Struct, frozen=True, kw_only=True):
    """Make this artifact the current one of its name. The sentinel gives it at its start for each built-in parser, a
    run for the one that it names by its file."""

    parser: ParserName
    version: str
    artifact_hash: ArtifactHash
    env_hash: EnvHash
    builtin: bool
    outputs: tuple[OutputSchema, ...]
    settings: dict[str, str]
    components: dict[str, str]
    now: Instant
    file: PathText = PathText("")  # where a person named it; "" for a built-in one


Command = DeployParser | TrustParser | RevokeParser | ResumeParser | TrustKey | RevokeKey


def decide(command: Command, state: State) -> Decision:
    """Return the events that a command about a parser brings about, or why it is refused."""
    match command:
        case DeployParser():
            return decide_deploy(command, state)
        case TrustParser():
            return decide_trust(command, state)
        case RevokeParser():
            return decide_revoke(command, state)
        case ResumeParser():
            return decide_resume(command, state)
        case TrustKey():
            return decide_trust_key(command, state)
        case RevokeKey():
            return decide_revoke_key(command, state)
        case _:
            assert_never(command)


def may_run(parser: ParserName, artifact: ArtifactHash, state: State) -> bool:
    """Say whether an artifact that was deployed under the name may still run: it is built in, or trusted."""
    known = state.parsers.get(parser)
    return known is None or known.deployed.builtin or artifact in state.trust


def untrusted(parser: ParserName, version: str) -> Refused:
    """Return the refusal of an artifact that nobody trusts."""
    return Refused(
        "untrusted_parser",
        f"parser {parser} {version} is neither built in nor trusted in this home",
        'look at its code, then: casparian parser trust FILE --reason "..."',
    )


def decide_deploy(command: DeployParser, state: State) -> Decision:
    """Deploy unless this very artifact is current; what is not built in has to keep the rules, and to be trusted."""
    if not command.outputs:
        return Refused("no_outputs", f"parser {command.parser} declares no outputs, so nothing could be recorded")
    known = state.parsers.get(command.parser)
    if not command.builtin and (refused := _own_refused(command, known, state)) is not None:
        return refused
    if known is not None and known.deployed.artifact_hash == command.artifact_hash:
        return []
    return [
        ParserDeployed(
            parser=command.parser,
            version=command.version,
            artifact_hash=command.artifact_hash,
            env_hash=command.env_hash,
            builtin=command.builtin,
            outputs=command.outputs,
            settings=command.settings,
            components=command.components,
            deployed_at=command.now,
            file=command.file,
        )
    ]


def _own_refused(command: DeployParser, known: Parser | None, state: State) -> Refused | None:
    """Return why a person's own parser is not deployed. Trust is last: nobody is asked for what is refused anyway."""
    if known is not None and known.deployed.builtin:
        return builtin_name(command.parser)
    code = known.codes.get(command.version) if known is not None else None
    if code is not None and code != code_of(command.components):
        return Refused(
            "version_taken",
            f"parser {command.parser} {command.version} was deployed here with another source, and a version means one",
            "give it a new version, or try it out: casparian run --dev FILE ...",
        )
    trust = state.trust.get(command.artifact_hash)
    loose = [output.output for output in command.outputs if output.mode == "allow_extra"]
    if loose and (trust is None or trust.trusted.how != "dev"):
        return Refused(
            "loose_output",
            f"output {loose[0]} of parser {command.parser} lets further columns come and go unseen (allow_extra), "
            "which is for trying out",
            "declare its columns and make it strict, or try it out: casparian run --dev FILE ...",
        )
    return None if trust is not None else untrusted(command.parser, command.version)


def builtin_name(parser: ParserName) -> Refused:
    """Return the refusal of a parser that is called like one of ours."""
    return Refused("builtin_name", f"{parser} is the name of a built-in parser", "give yours a name of its own")


def decide_trust(command: TrustParser, state: State) -> Decision:
    """Trust an artifact, unless it is trusted already. Refuses the name of a built-in parser.

    A person's own word takes the place of a signature's: it outlives the key.
    """
    known = state.parsers.get(command.parser)
    if known is not None and known.deployed.builtin:
        return builtin_name(command.parser)
    held = state.trust.get(command.artifact_hash)
    if held is not None and (not held.trusted.key or command.key):
        return []
    if command.how == "signed" and (refused := _signature_refused(command, state)) is not None:
        return refused
    return [
        ParserTrusted(
            parser=command.parser,
            version=command.version,
            artifact_hash=command.artifact_hash,
            how=command.how,
            by=command.by,
            reason=command.reason,
            trusted_at=command.now,
            key=command.key,
        )
    ]


def _signature_refused(command: TrustParser, state: State) -> Refused | None:
    """Return why a signature, though it is right, lets this parser not run."""
    key = state.keys.get(command.key)
    if key is None:
        return Refused(
            "unknown_key",
            f"parser {command.parser} {command.version} is signed by a key that nobody trusts in this home",
            'casparian parser trust FILE --key PUBLIC_KEY_FILE --reason "..."',
        )
    if command.parser in key.without:
        return Refused(
            "revoked_parser",
            f"parser {command.parser} was revoked in this home, and a signature does not bring it back",
            'look at its code, then: casparian parser trust FILE --reason "..."',
        )
    return None


def decide_trust_key(command: TrustKey, state: State) -> Decision:
    """Trust a key, unless it is trusted already for all that it signs."""
    held = state.keys.get(command.key)
    if held is not None and not held.without:
        return []
    return [KeyTrusted(key=command.key, by=command.by, reason=command.reason, trusted_at=command.now)]


def decide_revoke_key(command: RevokeKey, state: State) -> Decision:
    """End the trust in a key and in every artifact that runs by its signature. Refuses a key that nobody trusts."""
    if command.key not in state.keys:
        why = "nobody trusts this key in this home, or no more"
        return Refused("not_found", why, "casparian parser keys")
    held = [trust.trusted for trust in state.trust.values() if trust.trusted.key == command.key]
    revoked = KeyRevoked(key=command.key, by=command.by, reason=command.reason, revoked_at=command.now)
    return [revoked, *(_revoked(trusted, command) for trusted in held)]


def decide_revoke(command: RevokeParser, state: State) -> Decision:
    """End the trust in every artifact of a name. Refuses a name that nobody knows, and a built-in parser."""
    known = state.parsers.get(command.parser)
    if known is not None and known.deployed.builtin:
        why = f"{command.parser} is built in, so nobody's trust is behind it"
        return Refused("builtin_name", why, "casparian parser ls")
    held = [trust.trusted for trust in state.trust.values() if trust.trusted.parser == command.parser]
    if known is None and not held:
        return Refused("not_found", f"there is no parser named {command.parser!r} in this home", "casparian parser ls")
    return [_revoked(trusted, command) for trusted in held]


def _revoked(trusted: ParserTrusted, command: RevokeParser | RevokeKey) -> ParserRevoked:
    return ParserRevoked(
        parser=trusted.parser,
        version=trusted.version,
        artifact_hash=trusted.artifact_hash,
        by=command.by,
        reason=command.reason,
        revoked_at=command.now,
        key=trusted.key,
    )


def is_paused(parser: ParserName, state: State) -> bool:
    """Say whether no job of the parser may be handed out until a person resumes it."""
    known = state.parsers.get(parser)
    return known is not None and known.paused is not None


def paused_refusal(paused: ParserPaused) -> Refused:
    """Return the refusal of work for a parser that is paused."""
    return Refused(
        "parser_paused",
        f"parser {paused.parser} {paused.version} is paused since {paused.paused_at}, because its last "
        f"{paused.failures} jobs failed in ways that speak against it, "
        f"the last of them job {paused.job}: {paused.reason}",
        "casparian parser health",
    )


def judged(job: JobQueued, failed: JobFailed, state: State, *, before: int = 0) -> list[JobFailed | ParserPaused]:
    """Return a failure with what it says of the parser, and the pause that it may bring about.

    `before` it there were so many in the same frame that speak against the parser, and the state does not know of them.
    """
    known = state.parsers.get(job.parser)
    if known is None or known.deployed.artifact_hash != job.artifact_hash or job.source_hash in known.failed:
        return [failed]
    if not speaks_against_parser(failed):
        return [failed]
    failures = known.failures + before + 1
    counted = structs.replace(failed, against_parser=failures)
    if failures < PAUSE_FAILURES or known.paused is not None:
        return [counted]
    paused = ParserPaused(
        parser=job.parser,
        version=job.parser_version,
        artifact_hash=job.artifact_hash,
        job=job.job,
        failures=failures,
        reason=failed.reason,
        paused_at=failed.failed_at,
    )
    return [counted, paused]


def speaks_against_parser(failed: JobFailed) -> bool:
    """Say whether a job failed in a way that is its parser's fault whatever its file is like."""
    if failed.failure == "accounting":
        return failed.kind != "nothing_said"  # the file may be empty
    return failed.failure == "unknown" or failed.kind in BROKEN_PROMISES


def decide_resume(command: ResumeParser, state: State) -> Decision:
    """Let a paused parser go on; one that is not paused does already. Refuses a name that nobody knows."""
    known = state.parsers.get(command.parser)
    if known is None:
        return Refused("not_found", f"there is no parser named {command.parser!r} in this home", "casparian parser ls")
    if known.paused is None:
        return []
    return [
        ParserResumed(
            parser=command.parser,
            artifact_hash=known.deployed.artifact_hash,
            by=command.by,
            reason=command.reason,
            resumed_at=command.now,
        )
    ]
