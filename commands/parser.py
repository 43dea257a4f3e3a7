"""Decides what parsers may run: deploying an artifact under a name and version."""

from __future__ import annotations

from msgspec import Struct

from commands.outcome import Decision, Refused
from eventlog.events import ParserDeployed
from eventlog.ids import ArtifactHash, EnvHash, Instant, ParserName
from eventlog.schema import OutputSchema
from reducers.fold import State


class DeployParser(Struct, frozen=True, kw_only=True):
    """Make this artifact the current one of its name. Given by the sentinel for each built-in parser that is used."""

    parser: ParserName
    version: str
    artifact_hash: ArtifactHash
    env_hash: EnvHash
    builtin: bool
    outputs: tuple[OutputSchema, ...]
    settings: dict[str, str]
    components: dict[str, str]
    now: Instant


def decide(command: DeployParser, state: State) -> Decision:
    """Deploy unless this very artifact is current. Refuses a parser without outputs, and one that is not built in."""
    current = state.parsers.get(command.parser)
    if current is not None and current.deployed.artifact_hash == command.artifact_hash:
        return []
    if not command.outputs:
        return Refused("no_outputs", f"parser {command.parser} declares no outputs, so nothing could be recorded")
    if not command.builtin:
        return Refused(
            "unsigned_parser",
            f"parser {command.parser} is neither built in nor signed",
            "use a built-in parser: casparian run evtx FOLDER",
        )
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
        )
    ]
