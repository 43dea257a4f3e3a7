"""Owns what is kept of rejected rows: their values as text, and all that is wrong with each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
from msgspec import Struct

from executors.arrays import Array, Mask, integer, kernel, nulls, places, some, surely, total, word
from executors.row_text import text_of
from executors.violations import NO_REASON, ROW_ERROR_COLUMN, Rule, coarse_word

SENTENCES_PER_ROW_MAX: Final = 100  # the others are counted; a batch may have 10,000 columns, all wrong
TAKEN_AT_ONCE_MAX: Final = 64  # problems in one call, which holds their sentences in memory
SEPARATOR: Final = "; "
NO_WORDS: Final = word(None)


class Problem(Struct, frozen=True, kw_only=True):
    """The rows of a batch that break one rule, and what is said of them: of all the same, or of each its own."""

    rule: Rule
    rows: Mask
    sentence: str | Array


class Rejected(Struct, frozen=True, kw_only=True):
    """Rejected rows in their order; every array is as long as `rows`, and nothing but `source_row` has nulls.

    `rows` has the declared columns in their order, all as nullable strings, see executors/row_text.py; a column that
    was left out is null, one that was dropped is not there. `error_msg` joins all that is wrong with the row;
    `rule_id` is `column.code` of the first, `violation_type` its coarse word. `row_index` is the row's place among all
    that the parser yielded for the output, `source_row` what the parser says in `__cf_row_id`.
    """

    rows: pa.RecordBatch
    error_msg: Array
    violation_type: Array
    rule_id: Array
    row_index: Array
    source_row: Array


def rejected_rows(
    names: Sequence[str],
    given: Sequence[Array],
    problems: Sequence[Problem],
    bad: Mask,
    *,
    source_rows: Array | None,
    row_first: int,
) -> Rejected:
    """Keep the rows where `bad` is true. `given` are the columns as the parser gave them."""
    texts = [text_of(array.filter(bad)) for array in given]
    here = [
        Problem(rule=each.rule, rows=each.rows.filter(bad), sentence=_filtered(each.sentence, bad)) for each in problems
    ]
    rows = total(bad)
    first = _first_of(here, rows)
    words = pa.array([coarse_word(problem.rule.code) for problem in here], pa.string())
    return Rejected(
        rows=pa.RecordBatch.from_arrays(texts, schema=pa.schema([pa.field(name, pa.string()) for name in names])),
        error_msg=_messages(here, rows),
        violation_type=_without_reason(here, words.take(first), first),
        rule_id=pa.array([problem.rule.rule_id for problem in here], pa.string()).take(first),
        row_index=places(row_first, len(bad)).filter(bad),
        source_row=pa.nulls(rows, pa.int64()) if source_rows is None else source_rows.filter(bad),
    )


def _filtered(sentence: str | Array, bad: Mask) -> str | Array:
    return sentence if isinstance(sentence, str) else sentence.filter(bad)


def _first_of(problems: Sequence[Problem], rows: int) -> Array:
    """Return for each row the place of the first problem that it has."""
    first: Array = nulls(rows, pa.int64())
    for start in range(0, len(problems), TAKEN_AT_ONCE_MAX):
        if first.null_count == 0:
            break
        some_problems = problems[start : start + TAKEN_AT_ONCE_MAX]
        numbers = range(start, start + len(some_problems))
        had = pa.StructArray.from_arrays([each.rows for each in some_problems], names=list(map(str, numbers)))
        first = kernel.coalesce(first, kernel.case_when(had, *map(integer, numbers)))
    return first


def _without_reason(problems: Sequence[Problem], words: Array, first: Array) -> Array:
    """Say `unknown` of a row that the parser rejects first of all, in no words."""
    said = problems[0].sentence
    if problems[0].rule.column != ROW_ERROR_COLUMN or isinstance(said, str):
        return words
    return kernel.if_else(
        kernel.and_(kernel.equal(first, integer(0)), surely(kernel.equal(said, word("")))),
        word("unknown"),
        words,
    )


def _messages(problems: Sequence[Problem], rows: int) -> Array:
    """Join what is wrong with each row, in order, up to SENTENCES_PER_ROW_MAX of it."""
    if len(problems) <= TAKEN_AT_ONCE_MAX:  # too few to be counted, and each row has one of them
        worded = (kernel.if_else(each.rows, _worded(each.sentence), NO_WORDS) for each in problems)
        return kernel.binary_join_element_wise(*worded, word(SEPARATOR), null_handling="skip")
    said: Array = nulls(rows, pa.int64()).fill_null(0)
    text: Array = pa.nulls(rows, pa.string())
    for start in range(0, len(problems), TAKEN_AT_ONCE_MAX):
        parts: list[Array] = [text]
        for problem in problems[start : start + TAKEN_AT_ONCE_MAX]:
            told = kernel.and_(problem.rows, kernel.less(said, integer(SENTENCES_PER_ROW_MAX)))
            parts.append(kernel.if_else(told, _worded(problem.sentence), NO_WORDS))
            said = kernel.add(said, problem.rows.cast(pa.int64()))
        text = _joined(parts)
    further = kernel.subtract(said, integer(SENTENCES_PER_ROW_MAX))
    if some(kernel.greater(further, integer(0))):
        more = kernel.binary_join_element_wise(word("and"), further.cast(pa.string()), word("more"), word(" "))
        text = _joined([text, kernel.if_else(kernel.greater(further, integer(0)), more, NO_WORDS)])
    return text


def _worded(sentence: str | Array) -> pa.Scalar[pa.DataType] | Array:
    if isinstance(sentence, str):
        return word(sentence)
    return kernel.if_else(kernel.equal(sentence, word("")), word(NO_REASON), sentence)


def _joined(parts: Sequence[Array]) -> Array:
    """Join the texts that are there; null where none is."""
    there: Mask = parts[0].is_valid()
    for part in parts[1:]:
        there = kernel.or_(there, part.is_valid())
    joined = kernel.binary_join_element_wise(*parts, word(SEPARATOR), null_handling="skip")
    return kernel.if_else(there, joined, NO_WORDS)
