"""Owns the shapes that `preview --json` promises, and what is concluded from a trial: its exit code, the policy's word.

Fields may be added, never renamed or taken away.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from cli.columns import ColumnReport, side_by_side
from cli.errors import EXIT_ERROR, EXIT_OK, EXIT_PARTIAL
from cli.evidence import Example
from cli.report import RuleReport
from commands.quarantine import PPM_OF_PERCENT, forbidden, options_for
from eventlog.events import BalanceSheet, QuarantinePolicy
from eventlog.sheets import sheet_fault
from executors.mismatch import mismatch_of
from executors.parser_catalog import ParserPackage
from executors.trial import RejectedExample, Trial, TriedOutput
from executors.violations import ROW_ERROR_COLUMN

# whole: to the parser's end. stopped: as many rows were judged as may be. failed: the parser failed, or lied.
Ending = Literal["whole", "stopped", "failed"]


class WouldBreak(Struct, frozen=True, kw_only=True):
    """How many rows of an output would break one rule, and the first of them."""

    rule: RuleReport
    examples: tuple[Example, ...]


class WouldReject(Struct, frozen=True, kw_only=True):
    """How many rows of an output would be rejected, as a policy looks at them."""

    output: str
    rows: int
    accepted: int


class PreviewRows(Struct, frozen=True, kw_only=True):
    """Accepted rows, each value as text that says all of it, null for null."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


class PreviewOutput(Struct, frozen=True, kw_only=True):
    output: str
    mode: str
    accepted: int
    rejected: int
    columns: tuple[ColumnReport, ...]
    rules: tuple[WouldBreak, ...]
    preview: PreviewRows
    warnings: tuple[str, ...]


class SchemaFault(Struct, frozen=True, kw_only=True):
    """In what a batch's columns are not the declared ones; only names that differ are listed."""

    output: str
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misplaced: tuple[str, ...]
    types: tuple[str, ...]


class PreviewFailure(Struct, frozen=True, kw_only=True):
    """Why a job would fail: `kind` for programs, then in words, and what can be done about it."""

    kind: str
    reason: str
    hint: str
    schema: SchemaFault | None


class PolicyReport(Struct, frozen=True, kw_only=True):
    """What the home's policy would do with rejected rows. `forbidden` says why nothing is published, "" if not.

    `options` are the words with which a run publishes the accepted ones nonetheless.
    """

    allow: bool
    pct_max: float
    count_max: int | None
    forbidden: str
    options: str


class PreviewReport(Struct, frozen=True, kw_only=True):
    """A trial. `sheets` are the parser's account, none unless it came to its end; `accounting` says what is wrong.

    `rejected` counts those of all outputs, also of those that are not shown.
    """

    exit: int
    parser: str
    parser_version: str
    file: str
    ending: Ending
    accepted: int
    rejected: int
    outputs: tuple[PreviewOutput, ...]
    sheets: tuple[BalanceSheet, ...]
    accounting: str
    policy: PolicyReport
    failure: PreviewFailure | None
    log_tail: str


def report_of(
    package: ParserPackage, file: str, trial: Trial, *, policy: QuarantinePolicy, output: str | None
) -> PreviewReport:
    """Return what is told of a trial; `output` is the only one to be shown, None for all."""
    accounting = _accounting(trial)
    return PreviewReport(
        exit=_exit(trial, accounting),
        parser=package.name,
        parser_version=package.version,
        file=file,
        ending="failed" if trial.failure else "whole" if trial.whole else "stopped",
        accepted=sum(each.accepted for each in trial.outputs),
        rejected=sum(each.rejected for each in trial.outputs),
        outputs=tuple(_output(each, file) for each in trial.outputs if output in (None, each.output)),
        sheets=trial.sheets,
        accounting=accounting,
        policy=_policy(trial, policy),
        failure=_failure(trial),
        log_tail=trial.log_tail,
    )


def _exit(trial: Trial, accounting: str) -> int:
    if trial.failure is not None or accounting:
        return EXIT_ERROR
    rejected = any(each.rejected for each in trial.outputs)
    unreadable = any(sheet.unreadable or sheet.ranges_total for sheet in trial.sheets)
    return EXIT_PARTIAL if rejected or unreadable else EXIT_OK


def _accounting(trial: Trial) -> str:
    """Return for what a job would fail although its parser did not; "" for nothing."""
    gave_rows = any(each.accepted or each.rejected for each in trial.outputs)
    faults = (sheet_fault(sheet, gave_rows=gave_rows) for sheet in trial.sheets)
    return next((why for fault in faults if fault is not None for _class, _code, why in [fault]), "")


def _policy(trial: Trial, policy: QuarantinePolicy) -> PolicyReport:
    rejected = [
        WouldReject(output=each.output, rows=each.rejected, accepted=each.accepted)
        for each in trial.outputs
        if each.rejected
    ]
    return PolicyReport(
        allow=policy.allow,
        pct_max=policy.ppm_max / PPM_OF_PERCENT,
        count_max=policy.count_max,
        forbidden=forbidden(policy, rejected),
        options=options_for(policy, rejected),
    )


def _failure(trial: Trial) -> PreviewFailure | None:
    if trial.failure is None:
        return None
    mismatch = mismatch_of(trial.fault) if trial.fault is not None else None
    schema = None
    if mismatch is not None:
        schema = SchemaFault(
            output=mismatch.output,
            missing=mismatch.missing,
            extra=mismatch.extra,
            misplaced=mismatch.misplaced,
            types=tuple(f"{each.column}: {each.actual} instead of {each.expected}" for each in mismatch.types),
        )
    failure = trial.failure
    return PreviewFailure(kind=failure.kind, reason=failure.reason, hint=failure.hint, schema=schema)


def _output(tried: TriedOutput, file: str) -> PreviewOutput:
    return PreviewOutput(
        output=tried.output,
        mode=tried.schema.mode,
        accepted=tried.accepted,
        rejected=tried.rejected,
        columns=side_by_side(tried.schema, tried.columns, tried.differences),
        rules=tuple(
            WouldBreak(
                rule=RuleReport(
                    column="" if each.rule.column == ROW_ERROR_COLUMN else each.rule.column,
                    code=each.rule.code,
                    rows=each.rows,
                ),
                examples=tuple(_example(example, file) for example in each.examples),
            )
            for each in tried.rules
        ),
        preview=PreviewRows(columns=tuple(column.name for column in tried.schema.columns), rows=tried.first_rows),
        warnings=tried.warnings,
    )


def _example(example: RejectedExample, file: str) -> Example:
    return Example(
        file=file,
        line=example.line,
        row=None if example.line is not None else example.row,
        rule=example.rule,
        column=example.column,
        value=example.value,
        error=example.error,
    )
