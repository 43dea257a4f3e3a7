"""What a person is told of inferred columns, and the schema files that they become. Infers nothing itself."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cli.errors import EXIT_USAGE, CliError
from cli.options import parse_settings
from cli.render import count, printable
from eventlog.ids import path_text

if TYPE_CHECKING:
    from executors.infer import ColumnFinding
    from executors.look import HeaderGroup, Inference
    from executors.parser_catalog import ParserPackage

FILES_MAX = 1000  # that are looked at for one inference: each costs a guest
GROUPS_SHOWN_MAX = 3
PATHS_SHOWN_MAX = 5
COLUMNS_SHOWN_MAX = 8
PLAIN_REASONS = ("neither", "no form", "no duration", "not a")  # that the value itself shows; --json has all


def read_schema_file(path: Path) -> str:
    """Return the canonical text of a schema file. Raises CliError that names the file and what is wrong in it."""
    from executors.declared_schema import SCHEMA_BYTES_MAX, SchemaTextError, canonical_text

    doing = f"read the schema file {path}"
    try:
        with path.open("rb") as stream:
            data = stream.read(SCHEMA_BYTES_MAX * 4)  # it may be set out for people
        return canonical_text(data, doing=doing)
    except OSError as error:
        why = f"{doing}: {(error.strerror or str(error)).lower()}"
        raise CliError("bad_schema", why, f"casparian schema infer FILE --out {path}", exit_code=EXIT_USAGE) from error
    except SchemaTextError as error:
        raise CliError(
            "bad_schema", str(error), "correct the file, see docs/TABULAR.md", exit_code=EXIT_USAGE
        ) from error


def settings_with_schema(words: Sequence[str], schema_file: str | None) -> dict[str, str]:
    """Return the settings of NAME=VALUE words, and what --schema declares.

    Raises CliError for a file that declares nothing, or one beside --set schema.
    """
    given = parse_settings(list(words))
    if schema_file is not None:
        if "schema" in given:
            why = "both --schema and --set schema declare columns"
            raise CliError("usage", why, "leave one out", exit_code=EXIT_USAGE)
        given["schema"] = read_schema_file(Path.cwd() / schema_file)
    return given


def infer(package: ParserPackage, inputs: Sequence[bytes], settings: dict[str, str]) -> Inference:
    """Look at the files of the inputs that the parser claims. Raises CliError where they have no columns in common."""
    from cli.guest_errors import not_started
    from executors.guest.errors import GuestStartError
    from executors.look import infer_columns
    from executors.scanner import claimed

    if not package.columns_from:
        why = f"infer columns for {package.name}: the parser declares its own"
        raise CliError("columns_declared", why, "casparian schema infer FILE --parser csv", exit_code=EXIT_USAGE)
    paths = claimed(inputs, patterns=package.patterns)
    if not 0 < len(paths) <= FILES_MAX:
        raise _no_number_of_files(package, inputs, len(paths))
    try:
        found = infer_columns(package, paths, settings)
    except GuestStartError as error:
        raise not_started(error, doing=f"infer columns by {package.name}") from error
    if len(found.groups) > 1:
        raise _different_headers(package, found.groups)
    if not found.findings:
        raise _nothing_to_infer(found, len(paths))
    return found


def schema_text(found: Inference, *, output: str = "") -> str:
    """Return the schema file of an inference, set out for people to edit."""
    from executors.infer import schema_file

    declared = schema_file(found.findings, output=output)
    columns = ",\n".join(f"    {msgspec.json.encode(column).decode()}" for column in declared.pop("columns"))
    head = "".join(f'  "{name}": {msgspec.json.encode(value).decode()},\n' for name, value in declared.items())
    return f'{{\n{head}  "columns": [\n{columns}\n  ]\n}}\n'


def canonical(found: Inference) -> str:
    """Return the text by which a run declares what was inferred."""
    from executors.declared_schema import SchemaTextError, canonical_text

    try:
        return canonical_text(schema_text(found), doing="declare the inferred columns")
    except SchemaTextError as error:
        raise CliError("bad_schema", str(error), "casparian schema infer FILE --out my.schema.json") from error


def told_of_run(found: Inference) -> list[str]:
    """Return what a run says on stderr of the columns that it infers."""
    from eventlog.column_types import type_words

    looked = f"{count(found.rows, 'row')} looked at{'' if found.whole else '; later rows may differ'}"
    columns = ", ".join(f"{each.name} {type_words(each.type)}" for each in found.findings)
    lines = [f"columns inferred ({looked}): {columns}"]
    lines += [f"ambiguous, kept as string: {each.name}: {each.question}" for each in found.findings if each.question]
    lines.append("to see the evidence, to answer, to keep it: casparian schema infer FILE --out trades.schema.json")
    return [printable(line) for line in lines]


def told_of_inference(found: Inference) -> list[str]:
    """Return the lines that tell a person everything that an inference found."""
    rows = f"{count(found.rows, 'row')} of {count(sum(len(group.paths) for group in found.groups), 'file')} looked at"
    lines = [rows + ("" if found.whole else "; what later rows contradict will be quarantined")]
    if found.wrong:
        lines.append(f"{count(found.wrong, 'row')} passed over: wrong by the parser's own word")
    lines += [f"not looked at: {each.path}: {each.reason}; {each.hint}" for each in found.left_out]
    for finding in found.findings:
        lines += ["", *_told_of_column(finding)]
    return [printable(line) for line in lines]


def _told_of_column(finding: ColumnFinding) -> list[str]:
    from eventlog.column_types import type_words

    head = f"{finding.name}: {type_words(finding.type)}"
    if finding.format not in ("", "text"):
        head += f" as {finding.format}"
    if finding.read_from != finding.name:
        head += f", read from {finding.read_from!r}"
    lines = [head, f"  {count(finding.values, 'value')}{_told_of_nulls(finding)}"]
    lines += [f"  {note}" for note in finding.notes]
    lines += _told_of_losses(finding)
    if finding.question:
        lines.append(f"  QUESTION: {finding.question}")
        lines.append("  Kept as string; to answer, put one of these into the schema file:")
        lines += [f"    {msgspec.json.encode(answer).decode()}" for answer in finding.answers]
    return lines


def _told_of_losses(finding: ColumnFinding) -> list[str]:
    """Return a line for each value and reason that spoke against something, in the order of the file."""
    spoken: dict[tuple[int, str, str], list[str]] = {}
    for lost in finding.eliminated:
        if lost.candidate != "null":
            why = "" if lost.reason.startswith(PLAIN_REASONS) else f": {lost.reason}"
            spoken.setdefault((lost.line, lost.value, why), []).append(lost.candidate)
    return [f"  line {line:,} has {value!r}: not {', '.join(lost)}{why}" for (line, value, why), lost in spoken.items()]


def _told_of_nulls(finding: ColumnFinding) -> str:
    if not finding.nulls:
        return ""
    spelled = ", ".join(f"{number:,} x {text!r}" for text, number in sorted(finding.nulls.items()))
    declared = ", declared as null_values" if finding.null_values else ""
    return f"; without a value: {spelled}{declared}"


def as_json(found: Inference, declared: dict[str, Any], written: str) -> dict[str, Any]:
    """Return what --json shows."""
    return {
        "rows": found.rows,
        "wrong": found.wrong,
        "whole": found.whole,
        "files": [path for group in found.groups for path in group.paths],
        "left_out": found.left_out,
        "columns": found.findings,
        "schema": declared,
        "written": written,
    }


# --- refusals -------------------------------------------------------------------------------------------------------


def _no_number_of_files(package: ParserPackage, inputs: Sequence[bytes], number: int) -> CliError:
    if missing := [path_text(name) for name in inputs if not os.path.lexists(name)]:
        why = f"infer columns: {', '.join(missing)}: no such file or folder"
        return CliError("no_such_input", why, "name a file or a folder that exists", exit_code=EXIT_USAGE)
    if not number:
        why = f"infer columns: none of the inputs is a file that {package.name} reads ({', '.join(package.patterns)})"
        return CliError("no_such_input", why, "name the files themselves", exit_code=EXIT_USAGE)
    why = f"infer columns of {number:,} files: at most {FILES_MAX:,} are looked at"
    next_step = f"casparian schema infer SOME_FILES --out my.schema.json; casparian run {package.name} FOLDER --schema"
    return CliError("too_many_files", why, f"{next_step} my.schema.json", exit_code=EXIT_USAGE)


def _nothing_to_infer(found: Inference, files: int) -> CliError:
    if found.left_out:
        first = found.left_out[0]
        return CliError("not_looked_at", f"infer columns of {first.path}: {first.reason}", first.hint)
    return CliError(
        "empty_files", f"infer columns: {count(files, 'file')} without a single record", "name another file"
    )


def _different_headers(package: ParserPackage, groups: Sequence[HeaderGroup]) -> CliError:
    """Return the refusal: which files belong together, and a command for each group."""
    told = [
        f"{count(len(group.paths), 'file')} such as {group.paths[0]} with {_columns(group)}"
        for group in groups[:GROUPS_SHOWN_MAX]
    ]
    more = f"; and {len(groups) - GROUPS_SHOWN_MAX} more" if len(groups) > GROUPS_SHOWN_MAX else ""
    why = f"infer columns: the files have {len(groups)} different headers: {'; '.join(told)}{more}"
    commands = [_command(package, group) for group in groups[:GROUPS_SHOWN_MAX]]
    return CliError("different_headers", why, f"run each group by itself: {'; '.join(commands)}", exit_code=EXIT_USAGE)


def _columns(group: HeaderGroup) -> str:
    shown = ", ".join(group.columns[:COLUMNS_SHOWN_MAX])
    return shown if len(group.columns) <= COLUMNS_SHOWN_MAX else f"{shown}, and {len(group.columns):,} in all"


def _command(package: ParserPackage, group: HeaderGroup) -> str:
    from eventlog.ids import path_bytes

    paths = [os.fsdecode(path_bytes(path)) for path in group.paths[:PATHS_SHOWN_MAX]]
    more = " ..." if len(group.paths) > PATHS_SHOWN_MAX else ""
    return shlex.join(["casparian", "run", package.name, *paths]) + more
