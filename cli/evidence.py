"""Reads kept rejected rows: a few of them as examples, with the file and the line that they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct, structs

from cli.errors import CliError
from cli.render import count, fitted, out, printable, talk
from cli.report import QuarantineReport, RejectedExample, RuleReport, RunReport

EXAMPLES: Final = 3
VALUE_CHARACTERS_MAX: Final = 80
ROWS_READ_MAX: Final = 1_000_000  # of one file, while examples are looked for
RULES_SHOWN_MAX: Final = 10


class Example(Struct, frozen=True, kw_only=True):
    """A rejected row: `line` is its place in the source where the parser says it, else null, and `row` its place among
    what the parser gave. `value` is what stood in the rule's column."""

    file: str
    line: int | None
    row: int | None
    rule: str
    column: str
    value: str | None
    error: str

    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line is not None else f"{self.file}, row {self.row}"


def rule_id(rule: RuleReport) -> str:
    return f"{rule.column}.{rule.code}" if rule.column else rule.code


def examples(kept: QuarantineReport, *, per_rule: int = EXAMPLES, rule: str | None = None) -> list[Example]:
    """Return the first rows of each rule (the first that a row broke), or of one, in the order of the source.

    Raises CliError if the file is not there as it was recorded.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[str, int] = {}
    made: list[Example] = []
    read = 0
    try:
        with pq.ParquetFile(kept.path) as file:
            for batch in file.iter_batches():
                made += _of_batch(batch.to_pylist(), kept, found, per_rule=per_rule, rule=rule)
                read += batch.num_rows
                wanted = {rule} if rule else {rule_id(each) for each in kept.rules}
                if read >= ROWS_READ_MAX or all(found.get(each, 0) >= per_rule for each in wanted):
                    break
    except (OSError, pa.ArrowException) as error:
        raise CliError(
            "evidence_unreadable",
            f"read the rejected rows of {kept.output} of job {kept.job} in {kept.path}: {error}",
            "casparian outputs",
        ) from error
    return made


def _of_batch(
    rows: list[dict[str, object]], kept: QuarantineReport, found: dict[str, int], *, per_rule: int, rule: str | None
) -> list[Example]:
    made = []
    for row in rows:
        broken = str(row["_rule_id"])
        if found.get(broken, 0) < per_rule and rule in (None, broken):
            found[broken] = found.get(broken, 0) + 1
            made.append(_example(row, kept, broken))
    return made


def _example(row: dict[str, object], kept: QuarantineReport, broken: str) -> Example:
    column = broken.rpartition(".")[0]
    value, line, index = row.get(column), row["_source_row"], row["_output_row_index"]
    return Example(
        file=kept.file,
        line=line if isinstance(line, int) else None,
        row=index if isinstance(index, int) else None,
        rule=broken,
        column=column,
        value=None if value is None else str(value),
        error=str(row["_error_msg"]),
    )


def with_examples(report: RunReport) -> RunReport:
    """Return the report with the first EXAMPLES rows of each output and rule. Evidence that cannot be read has none."""
    made: list[RejectedExample] = []
    for output, rule in dict.fromkeys(
        (each.output, rule_id(rule)) for each in report.quarantine for rule in each.rules
    ):
        try:
            found = _first([each for each in report.quarantine if each.output == output], rule)
        except CliError as error:
            talk(f"no examples of {output}, {rule}: {error.message}")
            continue
        made += [RejectedExample(output=output, **structs.asdict(example)) for example in found]
    return structs.replace(report, examples=tuple(made))


def show_quarantine(kept: Sequence[QuarantineReport], *, written: Mapping[str, int] | None = None) -> None:
    """Print for each output which rules were broken how often, with three examples of each.

    `written` says how many rows of each output were published in all, also from files without a rejected row.
    """
    for output in dict.fromkeys(each.output for each in kept):
        of_it = [each for each in kept if each.output == output]
        accepted = sum(each.accepted for each in of_it if each.rejected or written is None)
        _show_output(output, of_it, accepted=accepted + (written or {}).get(output, 0))


def _show_output(output: str, kept: Sequence[QuarantineReport], *, accepted: int) -> None:
    rows = sum(each.rows for each in kept)
    held = sum(each.rejected for each in kept)
    said = f"; for that, {count(held, 'file')} gave no tables at all" if held else ""
    out(f"{output}: {rows:,} of {rows + accepted:,} rows broke a rule ({rows / (rows + accepted):.2%}){said}")
    for each in kept:
        if each.deleted:
            whose = fitted(printable(each.file))
            out(f"  the {count(each.rows, 'row')} of {whose} were deleted: {printable(each.deleted)}")
    rules: dict[RuleReport, int] = {}
    for each in kept:
        for rule in each.rules:
            named = RuleReport(column=rule.column, code=rule.code, rows=0)
            rules[named] = rules.get(named, 0) + rule.rows
    show_rules(rules, lambda rule: _first(kept, rule_id(rule)))


def show_rules(rules: Mapping[RuleReport, int], examples_of: Callable[[RuleReport], Sequence[Example]]) -> None:
    """Print which rules were broken by how many rows, the most broken ones first, each with its examples."""
    listed = sorted(rules, key=lambda rule: (-rules[rule], rule_id(rule)))
    for rule in listed[:RULES_SHOWN_MAX]:
        out(f"  {printable(rule_id(rule))}: {count(rules[rule], 'row')}")
        shown = examples_of(rule)
        if not shown:
            out("    in rows that broke another rule first")
        for example in shown:
            value = "" if example.value is None else f" {fitted(printable(repr(example.value)), VALUE_CHARACTERS_MAX)}"
            out(f"    {fitted(printable(example.place()))}{value}")
            out(f"      {fitted(printable(example.error))}")
    if len(listed) > RULES_SHOWN_MAX:
        out(f"  … and {count(len(listed) - RULES_SHOWN_MAX, 'rule')} more: --json lists them all")


def _first(kept: Sequence[QuarantineReport], rule: str) -> list[Example]:
    made: list[Example] = []
    for each in kept:
        if not each.deleted and any(rule_id(broken) == rule for broken in each.rules):
            made += examples(each, per_rule=EXAMPLES - len(made), rule=rule)
        if len(made) >= EXAMPLES:
            break
    return made
