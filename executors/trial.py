"""Owns a trial of a parser on one file: all that it gives is judged as in a job, and nothing is kept.

Nothing is staged, reported or recorded. What comes back is bounded, whatever the parser does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import pyarrow as pa
from msgspec import Struct

from eventlog.events import RULES_MAX, BalanceSheet
from eventlog.ids import OutputName
from eventlog.schema import OutputSchema
from executors.arrays import Mask, UnpackedTooLargeError, kernel, word
from executors.failures import failure_class
from executors.guest.frames import GuestBatch, GuestFailure, GuestFrame, GuestStatement
from executors.guest.host import GuestOrders, GuestTimes, start_guest
from executors.guest.parents import GuestParents
from executors.observed import Difference, Observation, ObservedColumn
from executors.parser_catalog import ParserPackage
from executors.rejected import SEPARATOR, Rejected
from executors.row_text import text_of
from executors.shape import HINTS, KINDS, CorruptBatch, ShapeFault, sentence
from executors.statements import Statements, balance_sheets, misstated
from executors.validate import Checked, validate
from executors.violations import ROW_ERROR_COLUMN, Rule, row_sentence

ROWS_JUDGED_MAX: Final = 100_000  # of all outputs together, and what the batch holds in which it is passed
EXAMPLES_PER_RULE: Final = 3
WARNINGS_MAX: Final = 50

Texts = tuple[str | None, ...]


class RejectedExample(Struct, frozen=True, kw_only=True):
    """A row that would be rejected, for one of the rules that it broke; `value` is what stood in that rule's column.

    `line` is its place in the source where the parser says it, else None; `row` its place among what the parser gave.
    """

    rule: str
    column: str
    line: int | None
    row: int
    value: str | None
    error: str


class BrokenRules(Struct, frozen=True, kw_only=True):
    """How many rows broke one rule, with the first of them."""

    rule: Rule
    rows: int
    examples: tuple[RejectedExample, ...]


class TriedOutput(Struct, frozen=True, kw_only=True):
    """What the parser gave for one output. `first_rows` are accepted ones, each value as text."""

    schema: OutputSchema
    accepted: int
    rejected: int
    columns: tuple[ObservedColumn, ...]
    differences: tuple[Difference, ...]
    rules: tuple[BrokenRules, ...]
    first_rows: tuple[Texts, ...]
    warnings: tuple[str, ...]

    @property
    def output(self) -> OutputName:
        return self.schema.output


class Trial(Struct, frozen=True, kw_only=True):
    """How it went. `whole`: the parser came to its end, and `sheets` are its account of the file.

    `failure` says why a job would fail, `fault` what was wrong with a batch's shape if that is the reason.
    """

    outputs: tuple[TriedOutput, ...]
    sheets: tuple[BalanceSheet, ...]
    whole: bool
    failure: GuestFailure | None
    fault: ShapeFault | None
    log_tail: str


def try_parser(
    package: ParserPackage,
    source: bytes,
    settings: Mapping[str, str],
    *,
    rows_shown: int,
    rows_max: int = ROWS_JUDGED_MAX,
    times: GuestTimes | None = None,
) -> Trial:
    """Run a parser on a file until its end, its failure, or until `rows_max` rows were judged. Raises GuestStartError.

    The calling thread must live as long as the trial, see `start_guest`.
    """
    orders = GuestOrders(
        parser_file=package.file,
        parser_digests=package.digests,
        source=source,
        settings={**package.settings, **settings},
        outputs=tuple(schema.output for schema in package.outputs),
    )
    trying = _Trying(package, rows_shown=rows_shown, rows_max=rows_max)
    parents = GuestParents()
    try:
        with start_guest(orders, parents=parents, times=times) as guest:
            for frame in guest.frames():
                if not trying.take(frame):
                    break
            return trying.trial(log_tail=guest.last_words())
    finally:
        parents.close()


class _Trying:
    """A trial so far."""

    def __init__(self, package: ParserPackage, *, rows_shown: int, rows_max: int) -> None:
        self._package = package
        self._outputs = [_OutputTrial(schema, rows_shown=rows_shown) for schema in package.outputs]
        self._rows_max = rows_max
        self._rows = 0
        self._whole = True
        self._statements: Statements | None = None
        self._failure: GuestFailure | None = None
        self._fault: ShapeFault | None = None

    def take(self, frame: GuestFrame) -> bool:
        """Take what the guest says; False where no more is wanted."""
        match frame:
            case GuestBatch():
                return self._take_batch(frame)
            case GuestStatement():
                fault = misstated(frame.statements, self._package.outputs, before=self._statements)
                if fault:
                    self._fail("bad_statement", fault, "correct what the parser returns")
                    return False
                self._statements = frame.statements
                return True
            case GuestFailure():
                self._failure = frame
                return False
            case _:
                return False

    def trial(self, *, log_tail: str) -> Trial:
        whole = self._whole and self._failure is None
        return Trial(
            outputs=tuple(each.tried() for each in self._outputs),
            sheets=self._sheets() if whole else (),
            whole=whole,
            failure=self._failure,
            fault=self._fault,
            log_tail=log_tail,
        )

    def _take_batch(self, frame: GuestBatch) -> bool:
        fault = self._outputs[frame.output].take(frame.batch)
        if fault is not None:
            self._fault = fault
            self._fail(KINDS[type(fault)], sentence(fault), HINTS[type(fault)])
            return False
        self._rows += frame.batch.num_rows
        self._whole = self._rows < self._rows_max
        return self._whole

    def _fail(self, kind: str, reason: str, hint: str) -> None:
        self._failure = GuestFailure(failure=failure_class(kind), kind=kind, reason=reason, hint=hint)

    def _sheets(self) -> tuple[BalanceSheet, ...]:
        accepted = {each.output: each.accepted for each in self._outputs}
        rejected = {each.output: each.rejected for each in self._outputs}
        return balance_sheets(self._statements, accepted=accepted.__getitem__, rejected=rejected.__getitem__)


class _OutputTrial:
    """What was given for one output so far."""

    def __init__(self, schema: OutputSchema, *, rows_shown: int) -> None:
        self.output = schema.output
        self.accepted = 0
        self.rejected = 0
        self._schema = schema
        self._columns = {column.name: column for column in schema.columns}
        self._rows_shown = rows_shown
        self._observed = Observation(schema)
        self._rules: Counter[Rule] = Counter()
        self._examples: dict[Rule, list[RejectedExample]] = {}
        self._first_rows: list[Texts] = []
        self._warnings: dict[str, None] = {}

    def take(self, batch: pa.RecordBatch) -> ShapeFault | None:
        """Judge a batch; what is wrong with its shape, None for nothing."""
        checked = validate(batch, self._schema, row_first=self.accepted + self.rejected)
        if not isinstance(checked, CorruptBatch):  # into a corrupt one nobody may look
            self._observed.see(batch)
        if not isinstance(checked, Checked):
            return checked
        self._keep_first(checked.accepted)
        self.accepted += checked.accepted.num_rows
        if checked.rejected is not None:
            self.rejected += checked.rejected.rows.num_rows
            self._rules.update(checked.counts)
            self._keep_examples(checked.rejected, checked.counts)
        self._warnings |= dict.fromkeys(checked.warnings[: WARNINGS_MAX - len(self._warnings)])
        return None

    def tried(self) -> TriedOutput:
        return TriedOutput(
            schema=self._schema,
            accepted=self.accepted,
            rejected=self.rejected,
            columns=self._observed.columns(),
            differences=self._observed.differences(self._rules),
            rules=tuple(
                BrokenRules(rule=rule, rows=rows, examples=tuple(self._examples.get(rule, ())))
                for rule, rows in self._rules.most_common(RULES_MAX)
            ),
            first_rows=tuple(self._first_rows),
            warnings=tuple(self._warnings),
        )

    def _keep_first(self, accepted: pa.RecordBatch) -> None:
        wanted = accepted.slice(0, self._rows_shown - len(self._first_rows))
        if wanted.num_rows:
            texts = [_texts(wanted, place) for place in range(wanted.num_columns)]
            self._first_rows += zip(*texts, strict=True)

    def _keep_examples(self, rejected: Rejected, counts: Mapping[Rule, int]) -> None:
        """Keep the first rows of each rule. The rules of a batch are few, its rows may be many: they are not walked."""
        for rule in islice(counts, RULES_MAX):
            kept = self._examples.setdefault(rule, [])
            if len(kept) < EXAMPLES_PER_RULE:
                found: list[Any] = kernel.indices_nonzero(self._broken_by(rule, rejected)).to_pylist()
                kept += [_example(rejected, rule, place) for place in found[: EXAMPLES_PER_RULE - len(kept)]]

    def _broken_by(self, rule: Rule, rejected: Rejected) -> Mask:
        """Say of each rejected row whether it broke a rule, which its sentences tell; the parser's own is the first."""
        column = self._columns.get(rule.column)
        if column is None:
            return kernel.equal(rejected.rule_id, word(rule.rule_id))
        said = kernel.binary_join_element_wise(word(SEPARATOR), rejected.error_msg, word(SEPARATOR), word(""))
        return kernel.match_substring(said, f"{SEPARATOR}{row_sentence(column, rule.code)}{SEPARATOR}")


def _example(rejected: Rejected, rule: Rule, place: int) -> RejectedExample:
    known = rule.column in rejected.rows.schema.names
    return RejectedExample(
        rule=rule.rule_id,
        column="" if rule.column == ROW_ERROR_COLUMN else rule.column,
        line=rejected.source_row[place].as_py(),
        row=_place_of(rejected, place),
        value=rejected.rows.column(rule.column)[place].as_py() if known else None,
        error=str(rejected.error_msg[place].as_py()),
    )


def _place_of(rejected: Rejected, place: int) -> int:
    row = rejected.row_index[place].as_py()
    assert isinstance(row, int), "every rejected row has its place among those of its output"
    return row


def _texts(batch: pa.RecordBatch, place: int) -> list[str | None]:
    try:
        texts: list[str | None] = text_of(batch.column(place)).to_pylist()
    except UnpackedTooLargeError as error:
        return [f"({error})"] * batch.num_rows
    return texts
