"""Owns what a balance sheet must fulfil: it accounts for what was found, and gives a reason for what was left out.

Pure, and asked in two places: where a job commits, and by an executor before rows of one input join those of others.
"""

from __future__ import annotations

from eventlog.events import BalanceSheet, FailureClass

Fault = tuple[FailureClass, str, str]  # class, code, why


def unit_outputs(sheet: BalanceSheet) -> set[str]:
    """Return the outputs whose rows are the units of a sheet; none where the parser counts them itself."""
    return {sheet.output, *sheet.also} - {""}


def sheet_fault(sheet: BalanceSheet, *, gave_rows: bool) -> Fault | None:
    """Check that a sheet accounts for what was found, and gives a reason for what was skipped."""
    if not gave_rows and not sheet.unit:
        why = "the parser gave neither rows nor a statement of units, so nothing of the file is accounted for"
        return "accounting", "nothing_said", why
    if not gave_rows and sheet.written and not unit_outputs(sheet):
        why = f"the parser says that it accepted {sheet.written} {sheet.unit}, and gave not one row"
        return "accounting", "rows_differ", why
    reasoned = sum(skip.count for skip in sheet.skips)
    if reasoned != sheet.skipped:
        why = f"the parser skipped {sheet.skipped} {sheet.unit} and gave reasons (skips) for {reasoned} of them"
        return "accounting", "skips_without_reason", why
    accounted = sheet.written + sheet.quarantined + sheet.skipped + sheet.unreadable
    if sheet.found != accounted:
        difference = sheet.found - accounted
        return (
            "accounting",
            "unbalanced",
            f"found {sheet.found} {sheet.unit} but accounted for {accounted} "
            f"(written {sheet.written}, quarantined {sheet.quarantined}, skipped {sheet.skipped}, "
            f"unreadable {sheet.unreadable}): {abs(difference)} {'missing' if difference > 0 else 'too many'}",
        )
    return None
