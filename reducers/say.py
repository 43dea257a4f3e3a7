"""Owns the sentence for each record of the log: one per type, the same on a screen, in an explanation and in a tape.

Pure. Sentences name things in full (hashes are never shortened: they are evidence); layout is the front end's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from eventlog.events import (
    AbandonJob,
    BalanceSheet,
    BrokenRule,
    CancelAccepted,
    CancelJob,
    ClockStepped,
    CommandRefused,
    CommitRefused,
    DeleteQuarantine,
    DrainExecutor,
    Event,
    ExecutorDraining,
    ExecutorEvent,
    ExecutorJoined,
    ExecutorLost,
    FileEvent,
    FilesRefused,
    FilesSeen,
    JobAborted,
    JobCompleted,
    JobDeclined,
    JobDispatched,
    JobEvent,
    JobFailed,
    JobPrioritySet,
    JobQueued,
    JobRequeued,
    JobStarted,
    KeyRevoked,
    KeyTrusted,
    LogEvent,
    LogForked,
    LoggedCommand,
    LogRecovered,
    LogRepaired,
    MaterializationRecorded,
    OutputsCommitted,
    OutputsLost,
    OutputsReused,
    ParserDeployed,
    ParserEvent,
    ParserPaused,
    ParserResumed,
    ParserRevoked,
    ParserTrusted,
    PromotionAbandoned,
    QuarantineDeleted,
    QuarantineRecorded,
    ResumeParser,
    RetryJobs,
    RevokeKey,
    RevokeParser,
    RunEvent,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunStarted,
    SchemaMismatch,
    SchemaMismatchFound,
    SetJobPriority,
    StartRun,
    TrustedHow,
    TrustKey,
    TrustParser,
    WriterOpened,
)
from eventlog.ids import JobId

JOBS_NAMED_MAX = 20  # in one sentence
COLUMNS_SAID_MAX = 20  # of each kind of difference


def say(record: Event | LoggedCommand) -> str:
    """Return what happened, as one sentence without its position."""
    match record:
        case WriterOpened() | LogRecovered() | LogRepaired() | LogForked() | ClockStepped() | CommandRefused():
            return _log(record)
        case (
            ParserDeployed()
            | ParserTrusted()
            | ParserRevoked()
            | ParserPaused()
            | ParserResumed()
            | KeyTrusted()
            | KeyRevoked()
        ):
            return _parser(record)
        case RunStarted() | RunPlanned() | OutputsReused() | OutputsLost() | RunFinished() | RunInterrupted():
            return _run(record)
        case FilesSeen() | FilesRefused():
            return _files(record)
        case ExecutorJoined() | ExecutorDraining() | ExecutorLost():
            return _executor(record)
        case TrustParser() | RevokeParser() | TrustKey() | RevokeKey():
            return _wish_of_trust(record)
        case (
            StartRun()
            | CancelJob()
            | AbandonJob()
            | DeleteQuarantine()
            | RetryJobs()
            | SetJobPriority()
            | DrainExecutor()
            | ResumeParser()
        ):
            return _command(record)
        case QuarantineDeleted():
            return f"the rejected rows of {record.output} of job {record.job} were deleted: {record.reason}"
        case _:
            return _job(record)


def units(number: int, unit: str) -> str:
    """Return the word for so many of a unit, which a parser names in the plural: `record` for 1, else `records`."""
    return unit.removesuffix("s") if number == 1 else unit


def say_sheet(sheet: BalanceSheet) -> str:
    """Return the balance of one job's input."""
    if not sheet.unit:
        return "the parser states no units, so its input is unaccounted"
    skips = "".join(f"; {skip.count} skipped: {skip.reason}" for skip in sheet.skips)
    places = f"; {sheet.ranges_total} places could not be read" if sheet.ranges_total else ""
    unit = units(sheet.found, sheet.unit)
    return (
        f"{sheet.found} {unit} found = {sheet.written} written + {sheet.quarantined} quarantined "
        f"+ {sheet.skipped} skipped + {sheet.unreadable} unreadable{skips}{places}"
    )


def _log(event: LogEvent) -> str:
    match event:
        case WriterOpened():
            zones = f", time zones of {event.zones}" if event.zones else ""
            return (
                f"process {event.pid} on {event.host} opened the log: epoch {event.epoch}, "
                f"version {event.version}{zones}"
            )
        case LogRecovered():
            return f"{event.removed_bytes} bytes at the end of {event.segment} were set aside: {event.reason}"
        case LogRepaired():
            kept = f"; what was there is kept as {event.kept_as}" if event.kept_as else ""
            return f"{event.segment} was repaired from {event.source}: {event.reason}{kept}"
        case LogForked():
            return (
                f"the log goes on from record {event.seq} of log {event.old_log_id}, whose records "
                f"{event.seq + 1} to {event.abandoned_seq} are kept aside: {event.reason}"
            )
        case ClockStepped():
            seconds, micros = divmod(abs(event.delta_us), 1_000_000)
            direction = "back" if event.delta_us < 0 else "ahead"
            return (
                f"the wall clock was set {direction} by {seconds}.{micros:06d} s: "
                f"it would show {event.expected_at} and shows {event.stepped_at}"
            )
        case CommandRefused():
            return f"the command was refused ({event.code}): {event.why}"
        case _:
            assert_never(event)


def _settings(settings: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(settings.items())) or "none"


_Wish = StartRun | CancelJob | AbandonJob | DeleteQuarantine | RetryJobs | SetJobPriority | DrainExecutor | ResumeParser


def _command(command: _Wish) -> str:
    match command:
        case StartRun():
            inputs = ", ".join(command.inputs)
            return (
                f"asked to run {command.parser} on {inputs} into {command.sink_uri}, "
                f"settings: {_settings(command.settings)}"
            )
        case CancelJob():
            return f"asked to cancel job {command.job}: {command.reason}"
        case AbandonJob():
            return f"asked to abandon job {command.job}: {command.reason}"
        case DeleteQuarantine():
            files = "1 file" if len(command.files) == 1 else f"{len(command.files)} files"
            return f"asked to delete {files} of rejected rows: {command.reason}"
        case DrainExecutor():
            return f"asked to give executor {command.executor} nothing more: {command.reason}"
        case RetryJobs():
            return f"asked to make {_numbered([each.spec.job for each in command.jobs])} again: {command.reason}"
        case SetJobPriority():
            return f"asked to give job {command.job} priority {command.priority}"
        case ResumeParser():
            return f"asked to resume parser {command.parser}: {command.reason}"
        case _:
            assert_never(command)


def _wish_of_trust(command: TrustParser | RevokeParser | TrustKey | RevokeKey) -> str:
    match command:
        case TrustParser():
            return (
                f"asked to trust parser {command.parser} {command.version} ({_HOW[command.how]}), "
                f"artifact {command.artifact_hash}: {command.reason}"
            )
        case RevokeParser():
            return f"asked to trust parser {command.parser} no more: {command.reason}"
        case TrustKey():
            return f"asked to trust what key {command.key} signs: {command.reason}"
        case RevokeKey():
            return f"asked to trust key {command.key} no more: {command.reason}"
        case _:
            assert_never(command)


_HOW: dict[TrustedHow, str] = {
    "asked": "a run asked for it",
    "command": "by command",
    "dev": "for runs under development",
    "signed": "by the signature of a trusted key",
}


def _parser(event: ParserEvent) -> str:
    match event:
        case ParserDeployed():
            origin = "built in, trusted by this hash" if event.builtin else f"not built in, from {event.file}"
            return (
                f"parser {event.parser} {event.version} was deployed ({origin}): artifact {event.artifact_hash}, "
                f"environment {event.env_hash}"
            )
        case ParserTrusted():
            return (
                f"parser {event.parser} {event.version} is trusted by {event.by} ({_HOW[event.how]}), "
                f"artifact {event.artifact_hash}: {event.reason}"
            )
        case ParserRevoked():
            return (
                f"parser {event.parser} {event.version} is not trusted any more, by {event.by}, "
                f"artifact {event.artifact_hash}: {event.reason}"
            )
        case ParserPaused():
            return (
                f"parser {event.parser} {event.version} is paused, artifact {event.artifact_hash}, after "
                f"{event.failures} failures in a row, the last of job {event.job}: {event.reason}"
            )
        case ParserResumed():
            return f"parser {event.parser} goes on, by {event.by}, artifact {event.artifact_hash}: {event.reason}"
        case KeyTrusted():
            return f"what key {event.key} signs is trusted by {event.by}: {event.reason}"
        case KeyRevoked():
            return f"key {event.key} is not trusted any more, by {event.by}: {event.reason}"
        case _:
            assert_never(event)


def _run(event: RunEvent) -> str:
    match event:
        case RunStarted():
            return f"run {event.run} of {event.parser} began, {event.workers} workers, into {event.sink_uri}"
        case RunPlanned():
            return (
                f"run {event.run} was planned on what was recorded up to {event.at_seq}: {event.found} files found, "
                f"{event.queued} queued, {event.reused} reused, {event.attached} attached to other jobs, "
                f"{event.refused} refused"
            )
        case OutputsReused():
            return f"run {event.run} asked again for {_jobs_of(event)}: the tables show what they recorded"
        case OutputsLost():
            return f"run {event.run} makes anew what is lost of {_jobs_of(event)}: what they recorded counts no more"
        case RunFinished():
            return (
                f"run {event.run} finished with exit code {event.exit}: {event.processed} processed, "
                f"{event.reused} reused, {event.failed} failed, {event.superseded} outputs superseded"
            )
        case RunInterrupted():
            return f"run {event.run} was interrupted: {event.reason}"
        case _:
            assert_never(event)


def _jobs_of(event: OutputsReused | OutputsLost) -> str:
    return _numbered(event.jobs)


def _numbered(jobs: Sequence[JobId]) -> str:
    if len(jobs) > JOBS_NAMED_MAX:
        return f"{len(jobs)} jobs"
    return ("job " if len(jobs) == 1 else "jobs ") + ", ".join(map(str, jobs))


def _files(event: FileEvent) -> str:
    match event:
        case FilesSeen(files=(file,)):
            return (
                f"{file.path} was read: {file.size} bytes, blake3 {file.source_hash}, sha256 {file.sha256}, "
                f"of the same bytes in one read"
            )
        case FilesSeen():
            return f"run {event.run} read {len(event.files)} files"
        case FilesRefused(files=(refused,)):
            return f"{refused.path} could not be read: {refused.reason}"
        case FilesRefused():
            return f"run {event.run} could not read {len(event.files)} paths"
        case _:
            assert_never(event)


def _executor(event: ExecutorEvent) -> str:
    match event:
        case ExecutorJoined():
            return f"executor {event.executor} joined: process {event.pid} on {event.host}"
        case ExecutorDraining():
            return f"executor {event.executor} gets nothing more: {event.reason}"
        case ExecutorLost():
            return f"executor {event.executor} is gone: {event.reason}"
        case _:
            assert_never(event)


_Attempt = JobQueued | JobDispatched | JobStarted | JobDeclined | JobRequeued | JobPrioritySet


def _job(event: JobEvent) -> str:
    match event:
        case JobQueued() | JobDispatched() | JobStarted() | JobDeclined() | JobRequeued() | JobPrioritySet():
            return _attempt(event)
        case CommitRefused():
            return f"attempt {event.attempt} of job {event.job} may not publish ({event.code}): {event.why}"
        case OutputsCommitted():
            return _committed(event)
        case MaterializationRecorded():
            return _materialization(event)
        case QuarantineRecorded():
            return _quarantine(event)
        case SchemaMismatchFound():
            return f"attempt {event.attempt} of job {event.job} gave other columns: {say_mismatch(event.mismatch)}"
        case JobCompleted():
            return f"job {event.job} completed: {event.status}"
        case JobFailed():
            return f"job {event.job} failed at attempt {event.attempt} ({event.failure}, {event.kind}): {event.reason}"
        case CancelAccepted():
            return f"the cancel of job {event.job} was accepted, nothing of it may be published: {event.reason}"
        case JobAborted():
            return f"job {event.job} was aborted: {event.reason}"
        case PromotionAbandoned():
            return f"the promotion of job {event.job} was abandoned: {event.reason}"
        case _:
            assert_never(event)


def _attempt(event: _Attempt) -> str:
    match event:
        case JobQueued():
            again = f" to make job {event.retry_of} again" if event.retry_of is not None else ""
            urgency = f", priority {event.priority}" if event.priority else ""
            return (
                f"job {event.job} was queued{again}{urgency}: {event.parser} {event.parser_version}, "
                f"artifact {event.artifact_hash}, on {event.path} (blake3 {event.source_hash}), "
                f"settings: {_settings(event.settings)}"
            )
        case JobDispatched():
            return f"attempt {event.attempt} of job {event.job} was given to executor {event.executor}"
        case JobStarted():
            return f"attempt {event.attempt} of job {event.job} began to parse"
        case JobDeclined():
            return f"job {event.job} was given back unstarted: {event.reason}"
        case JobRequeued():
            charged = "one retry used up" if event.charged else "no retry used up"
            return f"job {event.job} waits again, at the earliest at {event.not_before} ({charged}): {event.reason}"
        case JobPrioritySet():
            return f"job {event.job} has priority {event.priority} now, by {event.by}"
        case _:
            assert_never(event)


def _committed(event: OutputsCommitted) -> str:
    sheets = "; ".join(map(say_sheet, (event.sheet, *event.further)))
    notes = "".join(f"; {note}" for note in event.notes)
    if event.status == "rejected":
        return f"job {event.job} may publish only what was rejected of its rows: {event.why}; {sheets}{notes}"
    return f"job {event.job} passed its commit point ({event.status}): {sheets}{notes}"


def rule_name(rule: BrokenRule) -> str:
    """Return what a rule is called, as it stands in the column _rule_id of rejected rows."""
    return f"{rule.column}.{rule.code}" if rule.column else rule.code


def _quarantine(event: QuarantineRecorded) -> str:
    rules = ", ".join(
        f"{rule.rows} {f'{rule.column}.{rule.code}' if rule.column else rule.code}" for rule in event.rules
    )
    beside = "the others were not published" if event.rejected else f"{event.accepted} were accepted"
    return (
        f"{event.rows} rows of output {event.output} of job {event.job} were rejected ({rules}), {beside}: "
        f"{event.sink_uri}/{event.file}, blake3 {event.digest}"
    )


def say_mismatch(mismatch: SchemaMismatch) -> str:
    """Return how the given columns of an output differ from the declared ones."""
    types = (f"{each.column} is {each.actual} instead of {each.expected}" for each in mismatch.types)
    parts = (
        ("missing", mismatch.missing),
        ("not declared", mismatch.extra),
        ("at another place", mismatch.misplaced),
        ("of another type", tuple(types)),
    )
    said = "; ".join(f"{what}: {_names(names)}" for what, names in parts if names)
    return f"{mismatch.output} has {mismatch.expected_total} declared columns and got {mismatch.actual_total}; {said}"


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - COLUMNS_SAID_MAX
    return ", ".join(names[:COLUMNS_SAID_MAX]) + (f" and {more} more" if more > 0 else "")


def _materialization(event: MaterializationRecorded) -> str:
    if not event.file:
        return f"output {event.output} of job {event.job} has no rows, so there is no file"
    begin = f" from row {event.row_first} on, those before are of other jobs" if event.row_first else ""
    return (
        f"output {event.output} of job {event.job} exists: {event.rows} {units(event.rows, 'rows')}{begin}, "
        f"{event.bytes} bytes, "
        f"{event.sink_uri}/{event.file}, blake3 {event.digest}"
    )
