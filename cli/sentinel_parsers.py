"""Owns which parsers a sentinel has: those built in, a person's own, and what its home has kept of them.

What jobs wait for and none of these may do any more is ended, because it could not make what the jobs were queued for.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from cli import clock
from cli.home import Home
from cli.kept_parsers import keep, kept_parser
from cli.own_parser import OwnParser
from commands.dispatch import OUTDATED
from commands.handle import Handler
from commands.job import WithdrawJob
from commands.outcome import Refused
from commands.parser import NOT_TRUSTED, DeployParser
from eventlog.events import CancelJob, ParserDeployed
from eventlog.ids import ArtifactHash, JobId, ParserName, PathText, path_text
from executors.declared_schema import SchemaTextError, resolve_outputs
from executors.parser_catalog import ParserPackage
from reducers.fold import State


class SentinelParsers:
    """The parsers of one sentinel, by name, in `packages`; whoever hands out work looks there, too."""

    def __init__(self, home: Home, handler: Handler, packages: dict[ParserName, ParserPackage], *, actor: str) -> None:
        self.packages = packages
        self._home = home
        self._handler = handler
        self._actor = actor

    def adopt(self, own: OwnParser) -> Refused | None:
        """Make a person's own parser current under its name, as the home keeps it; or say why it is refused.

        Jobs that wait for another artifact of that name end: it may not make outputs under their keys.
        """
        refused = self.deploy(own.package, file=path_text(os.fsencode(own.path)))
        if refused is None:
            self.packages[own.package.name] = keep(self._home, own.package, own.path)
            self.withdraw_outdated()
        return refused

    def end_revoked(self, artifacts: frozenset[ArtifactHash], *, actor: str) -> None:
        """End every open job of parsers that are not trusted any more, before it publishes anything."""
        jobs = self._handler.inspect(lambda state: _jobs_of(state, artifacts))
        commands = [CancelJob(job=job, reason=NOT_TRUSTED, by=actor, now=clock.now()) for job in jobs]
        for answer in [self._handler.submit(command, actor=actor) for command in commands]:
            answer.result()

    def deploy(self, package: ParserPackage, *, file: PathText | None = None) -> Refused | None:
        """Make a parser current under its name. One without a file is built in, and trusted by its recorded hash."""
        command = DeployParser(
            parser=package.name,
            version=package.version,
            artifact_hash=package.artifact_hash,
            env_hash=package.env_hash,
            builtin=file is None,
            outputs=package.outputs,
            settings=package.settings,
            components=package.components,
            now=clock.now(),
            file=file or PathText(""),
        )
        return self._handler.call(command, actor=self._actor).refused

    def find_kept(self) -> None:
        """Have the parsers that waiting jobs were queued for, where the home keeps them and they are still trusted."""
        self._take_kept(self._handler.inspect(_own_parsers_in_use))

    def have_kept(self, parsers: Collection[ParserName]) -> list[ParserName]:
        """Have these parsers ready for their jobs to be handed out; return those of which the home has no copy."""
        lacking = [name for name in parsers if name not in self.packages]
        self._take_kept(self._handler.inspect(lambda state: [state.parsers[each].deployed for each in lacking]))
        return [name for name in lacking if name not in self.packages]

    def _take_kept(self, deployed: list[ParserDeployed]) -> None:
        for each in deployed:
            if (package := kept_parser(self._home, each)) is not None:
                self.packages[package.name] = package

    def withdraw_outdated(self) -> int:
        """End the jobs that wait for another artifact of their parser, or cannot have their columns; how many."""
        jobs = self._handler.inspect(self._outdated)
        commands = [WithdrawJob(job=job, reason=OUTDATED, now=clock.now()) for job in jobs]
        for answer in [self._handler.submit(command, actor=self._actor) for command in commands]:
            answer.result()
        return len(jobs)

    def _outdated(self, state: State) -> list[JobId]:
        hashes = {package.artifact_hash for package in self.packages.values()}
        return [
            job_id
            for job_id, job in state.jobs.queued.items()
            if job.spec.artifact_hash not in hashes
            or not has_columns(self.packages[job.spec.parser], job.spec.settings)
        ]


def _own_parsers_in_use(state: State) -> list[ParserDeployed]:
    waiting = {job.spec.parser for job in state.jobs.queued.values()}
    deployed = [parser.deployed for name, parser in state.parsers.items() if name in waiting]
    return [each for each in deployed if not each.builtin and each.artifact_hash in state.trust]


def _jobs_of(state: State, artifacts: frozenset[ArtifactHash]) -> list[JobId]:
    waiting_or_leased = [*state.jobs.queued.items(), *state.jobs.leased.items()]
    return [job_id for job_id, job in waiting_or_leased if job.spec.artifact_hash in artifacts]


def has_columns(package: ParserPackage, settings: dict[str, str]) -> bool:
    """Say whether this version can read the columns that a job was queued with."""
    try:
        resolve_outputs(package, settings)
    except SchemaTextError:
        return False
    return True
