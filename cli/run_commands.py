"""Owns how a run speaks to the log: in the name of who asked for it, as what its start has caused."""

from __future__ import annotations

from cli.errors import CliError
from commands.decide import Command
from commands.handle import Handler, Outcome


class RunCommands:
    """Has the commands of one run decided. `cause` is the seq of the command that began it."""

    def __init__(self, handler: Handler, *, actor: str, cause: int) -> None:
        self._handler = handler
        self._cause = cause
        self.actor = actor

    def ask(self, command: Command) -> Outcome:
        """Return what was decided; of a refusal the caller makes something."""
        return self._handler.call(command, actor=self.actor, cause=self._cause)

    def call(self, command: Command) -> Outcome:
        """Return what was decided. Raises CliError for a refusal."""
        outcome = self.ask(command)
        if outcome.refused is not None:
            refused = outcome.refused
            raise CliError(refused.code, refused.why, refused.next_step)
        return outcome
