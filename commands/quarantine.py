"""Decides what becomes of rejected rows: whether an output with so many of them may be published; and their deletion.

The words of a policy come from several places, the later ones winning: the default, the home's configuration, the
parser's own declaration, the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from commands.outcome import Decision, Refused
from commands.policy_words import PolicyWords
from eventlog.events import DeleteQuarantine, QuarantineDeleted, QuarantinePolicy

if TYPE_CHECKING:  # front doors that speak of a policy have no state
    from reducers.fold import State

DELETED_MAX: Final = 1000  # files of one command, so that a frame stays far below its bounds
PPM_OF_PERCENT: Final = 10_000
PPM: Final = 1_000_000  # all of a million: limits are whole numbers, so that a replay decides as the run did


class RejectedRows(Protocol):
    """How many rows of an output broke a rule, beside how many accepted ones: what a policy looks at."""

    @property
    def output(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def accepted(self) -> int: ...


def trying(*, dev: bool) -> PolicyWords:
    """Return what --dev says: whoever tries out a parser wants to see the rows that pass, however few."""
    return PolicyWords(place="--dev", allow=True, ppm_max=PPM) if dev else PolicyWords(place="--dev")


def ppm_of(percent: float | None) -> int | None:
    """Return percent, as people write it, in parts of a million, as it stands in the log."""
    return None if percent is None else round(percent * PPM_OF_PERCENT)


def cascade(layers: Sequence[PolicyWords]) -> tuple[QuarantinePolicy, tuple[str, ...]]:
    """Return the policy that the layers make, the last one that says a word winning, and where each word came from."""
    policy = QuarantinePolicy()
    came_from: dict[str, str] = {}
    for layer in layers:
        said = {
            name: value for name in ("allow", "ppm_max", "count_max") if (value := getattr(layer, name)) is not None
        }
        policy = msgspec.structs.replace(policy, **said)
        came_from |= dict.fromkeys(said, layer.place)
    return policy, tuple(f"{name}: {place}" for name, place in sorted(came_from.items()))


def policy_fault(policy: QuarantinePolicy) -> Refused | None:
    """Refuse limits that mean nothing."""
    if not 0 <= policy.ppm_max <= PPM:
        why = f"the limit of rejected rows is {percent(policy.ppm_max)} percent, which is not between 0 and 100"
        return Refused("bad_quarantine_limit", why, "--quarantine-threshold 5")
    if policy.count_max is not None and policy.count_max < 0:
        return Refused("bad_quarantine_limit", f"the limit of rejected rows is {policy.count_max}", "write 0 or more")
    return None


def percent(ppm: int) -> str:
    """Return parts of a million in percent, exactly."""
    whole, rest = divmod(ppm, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".")


def forbidden(policy: QuarantinePolicy, evidence: Sequence[RejectedRows]) -> str:
    """Return why outputs with these rejected rows may not be published, as a sentence for each; "" if they may."""
    return "; ".join(reason for each in evidence if (reason := _reason(policy, each)))


def _reason(policy: QuarantinePolicy, evidence: RejectedRows) -> str:
    said = f"{evidence.rows:,} of {evidence.rows + evidence.accepted:,} rows of {evidence.output} broke a rule"
    if not policy.allow:
        return f"{said} and none may"
    if policy.count_max is not None and evidence.rows > policy.count_max:
        return f"{said} and at most {policy.count_max:,} may"
    total = evidence.rows + evidence.accepted
    if evidence.rows * PPM > policy.ppm_max * total:
        share = percent(evidence.rows * PPM // total)
        return f"{said} ({share} percent) and at most {percent(policy.ppm_max)} percent may"
    return ""


def options_for(policy: QuarantinePolicy, evidence: Sequence[RejectedRows]) -> str:
    """Return the words with which a run publishes outputs with these rejected rows; "" if the policy lets it anyway."""
    options = [] if policy.allow or not any(each.rows for each in evidence) else ["--allow-quarantine"]
    worst_pct = max((-(-each.rows * 100 // (each.rows + each.accepted)) for each in evidence if each.rows), default=0)
    if worst_pct * PPM_OF_PERCENT > policy.ppm_max:
        options.append(f"--quarantine-threshold {worst_pct}")
    most = max((each.rows for each in evidence), default=0)
    if policy.count_max is not None and most > policy.count_max:
        options.append(f"--quarantine-count {most}")
    return " ".join(options)


def decide_delete(command: DeleteQuarantine, _state: State) -> Decision:
    """Say that files of rejected rows are deleted; the shell removes them when that is durable.

    Which files there are is known to the read model alone, so they come with the command; a file that is deleted again
    is recorded again, which changes nothing.
    """
    if not command.reason.strip():
        why = "delete rejected rows: they are evidence, and no reason was given"
        return Refused("reason_missing", why, "casparian quarantine purge --reason TEXT")
    if len(command.files) > DELETED_MAX:
        return Refused("batch_too_large", f"at most {DELETED_MAX} files are deleted at once")
    return [
        QuarantineDeleted(
            job=each.job,
            output=each.output,
            file=each.file,
            sink_uri=each.sink_uri,
            digest=each.digest,
            reason=command.reason,
            deleted_at=command.now,
        )
        for each in command.files
    ]
