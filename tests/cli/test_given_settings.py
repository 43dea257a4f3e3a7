"""A wrong setting is told with what it takes, before anything is begun."""

from __future__ import annotations

import pytest

from cli.errors import CliError
from cli.given_settings import refuse_wrong
from eventlog.ids import ParserName
from executors.parser_catalog import builtin_parsers


@pytest.mark.parametrize(
    ("parser", "given", "code", "words"),
    [
        ("csv", {"delimiter": ";"}, "bad_setting", "it takes auto, comma, semicolon, tab, pipe"),
        ("csv", {"quotes": "yes"}, "bad_setting", "it takes true, false"),
        ("evtx", {"raw_xml": "1"}, "bad_setting", "it takes true, false"),
        ("csv", {"speed": "fast"}, "unknown_setting", "no setting named 'speed'"),
    ],
)
def test_what_the_parser_does_not_take_is_a_usage_error(
    parser: str, given: dict[str, str], code: str, words: str
) -> None:
    with pytest.raises(CliError) as refused:
        refuse_wrong(builtin_parsers()[ParserName(parser)], given)
    assert (refused.value.code, refused.value.exit_code) == (code, 2)
    assert words in refused.value.message


def test_what_it_takes_passes_and_so_does_any_text_where_it_says_nothing() -> None:
    csv, evtx = (builtin_parsers()[ParserName(name)] for name in ("csv", "evtx"))
    refuse_wrong(csv, {"delimiter": "pipe", "schema": "any text", "encoding": "latin-1"})
    refuse_wrong(evtx, {"tables": "evtx_events", "recover": "true"})


def test_what_a_parser_says_it_takes_holds_its_default() -> None:
    for package in builtin_parsers().values():
        for name, values in package.setting_values.items():
            assert package.settings[name] in values
