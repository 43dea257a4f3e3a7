"""The verbs of parsers: `parser ls`, `show`, `trust`, `revoke`, `health`, `resume`; keys are in parser_keys.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import EXIT_OK, EXIT_REFUSED, EXIT_USAGE, CliError
from cli.home import Home, find_home, prepare_home
from cli.options import HomeOption, JsonOption, ReasonOption
from cli.plain import PlainCommand, PlainGroup
from cli.render import count, out, out_json, printable, table

if TYPE_CHECKING:
    from cli.parser_report import ParserReport
    from projections.queries import ParserHealth

app = typer.Typer(
    cls=PlainGroup,
    no_args_is_help=True,
    help="Look at parsers, begin one of your own, say which may run. Example: `casparian parser ls`",
)

NamedParser = Annotated[
    str, typer.Argument(metavar="PARSER", help="A parser's name, or the file or folder of your own.")
]
ParserPath = Annotated[str | None, typer.Argument(metavar="PATH", help="The parser's file or folder.")]
RevokedWord = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The parser's name, as `casparian parser ls` has it.")
]
ParserWord = Annotated[str, typer.Argument(metavar="NAME", help="The parser's name, as `casparian parser ls` has it.")]
KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="Of a public key: its file, or its name in `parser keys`.")
]


@app.callback()
def main() -> None:
    """Group the verbs that speak of parsers."""


@app.command("ls", cls=PlainCommand)
def ls(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the parsers that may run here: the built-in ones, and your own with who trusts them since when.

    Example: `casparian parser ls`
    """
    from cli.parser_report import known_parsers

    reports = known_parsers(find_home(home))
    if as_json:
        out_json({"parsers": reports})
        return
    lines = [(each.parser, each.version, each.trust_words(), each.artifact_hash) for each in reports]
    for line in table(("parser", "version", "trusted", "artifact"), lines):
        out(line)


@app.command("show", cls=PlainCommand)
def show(parser: NamedParser, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what a parser declares: outputs with their columns and types, settings, files; none of its code runs.

    Example: `casparian parser show evtx`

    Exit codes: 0 it is shown, 1 it is no parser, or none of this home.
    """
    from cli.parser_report import find_parser

    report = find_parser(find_home(home), parser)
    if as_json:
        out_json(report)
    else:
        _show(report)


def _show(report: ParserReport) -> None:
    out(f"parser {report.parser} {report.version}: {report.trust_words()}")
    facts = {
        "what": report.description,
        "reads": ", ".join(report.patterns),
        "file": report.file,
        "artifact": report.artifact_hash,
        "settings": ", ".join(f"{name}={value}" for name, value in sorted(report.settings.items())),
    }
    for name, value in facts.items():
        if value:
            out(f"  {name:<9} {printable(value)}")
    for output in report.outputs:
        out()
        out(f"output {output.output} ({output.mode})")
        rows = [(each.name, each.type, "" if each.nullable else "never null", each.format) for each in output.columns]
        for line in table(("column", "type", "", "text"), rows):
            out(f"  {line}")


@app.command("trust", cls=PlainCommand)
def trust(
    reason: ReasonOption,
    parser: ParserPath = None,
    key: KeyOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a parser of your own run in this home, as it is now: a changed byte makes it another one.

    Look at its code first: it runs with all your rights. With --key all that the key has signed may run, now and later,
    unseen; PATH, if given, has to be signed by it.

    Example: `casparian parser trust ./access_log.py --reason "wrote it, read it again"`

    Exit codes: 0 it is trusted, 1 it is no parser or no key, 2 neither was named, 4 refused.
    """
    if key is not None:
        _trust_key(parser, key, reason, find_home(home), as_json=as_json)
    elif parser is not None and parser.endswith(".pub"):
        why = f"trust {printable(parser)}: that is the file of a public key, and is named by --key"
        raise CliError("usage", why, f'casparian parser trust --key {parser} --reason "..."', exit_code=EXIT_USAGE)
    elif parser is not None:
        _trust_parser(parser, reason, find_home(home), as_json=as_json)
    else:
        raise _nothing_named("trust", "./my_parser.py")


def _nothing_named(verb: str, example: str) -> CliError:
    why = f"{verb}: neither a parser nor a key was named"
    return CliError("usage", why, f'casparian parser {verb} {example} --reason "..."', exit_code=EXIT_USAGE)


def _trust_key(parser: str | None, word: str, reason: str, place: Home, *, as_json: bool) -> None:
    from cli.asking import give_of_key
    from cli.messages import TrustKey
    from cli.parser_keys import named_key, require_signed
    from cli.parser_signature import key_word

    key = named_key(place, word)
    if parser is not None:
        require_signed(parser, key)
    prepare_home(place)
    told = give_of_key(place, TrustKey(key=key.text, reason=reason), purpose="parser trust --key")
    if as_json:
        out_json({"key": key_word(key), "fingerprint": key.fingerprint, "already": not told.changed})
        return
    out(f"what {printable(key_word(key))} signs is {'' if told.changed else 'already '}trusted")
    out(f"  fingerprint  sha256 {key.fingerprint}")


def _trust_parser(parser: str, reason: str, place: Home, *, as_json: bool) -> None:
    from cli.asking import give_of_parser
    from cli.messages import TrustParser
    from cli.own_parser import read_own

    package = read_own(parser).package
    prepare_home(place)
    wish = TrustParser(parser=package.name, version=package.version, artifact_hash=package.artifact_hash, reason=reason)
    told = give_of_parser(place, wish, purpose=f"parser trust {package.name}")
    if as_json:
        out_json({"parser": package.name, "artifacts": [package.artifact_hash], "already": not told.artifacts})
        return
    out(f"{package.name} {package.version} is {'' if told.artifacts else 'already '}trusted")
    out(f"  artifact  {package.artifact_hash}")


@app.command("revoke", cls=PlainCommand)
def revoke(
    reason: ReasonOption,
    parser: RevokedWord = None,
    key: KeyOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a parser of your own run no more, in none of its versions; also during a run, whose jobs of it end.

    What it has made stays. With --key instead of a name, nothing runs any more because that key has signed it.

    Example: `casparian parser revoke access_log --reason "it loses the last line"`

    Exit codes: 0 it is trusted no more, 1 there is no such parser or key, 2 not one of them was named, 4 refused: it is
    built in.
    """
    if (parser is None) == (key is None):
        raise _nothing_named("revoke", "my_parser")
    if parser is not None:
        _revoke_parser(parser, reason, find_home(home), as_json=as_json)
    elif key is not None:
        _revoke_key(key, reason, find_home(home), as_json=as_json)


def _revoke_key(word: str, reason: str, place: Home, *, as_json: bool) -> None:
    from cli.asking import give_of_key
    from cli.messages import RevokeKey
    from cli.parser_keys import named_key
    from cli.parser_signature import key_word
    from cli.reading import require_folder

    require_folder(place)
    key = named_key(place, word)
    told = give_of_key(place, RevokeKey(key=key.text, reason=reason), purpose="parser revoke --key")
    if as_json:
        out_json({"key": key_word(key), "fingerprint": key.fingerprint, "artifacts": told.artifacts})
        return
    out(f"what {printable(key_word(key))} signs is trusted no more: {count(len(told.artifacts), 'artifact')}")


def _revoke_parser(parser: str, reason: str, place: Home, *, as_json: bool) -> None:
    from cli.asking import give_of_parser
    from cli.messages import RevokeParser

    told = give_of_parser(place, RevokeParser(parser=parser, reason=reason), purpose="parser revoke", made_anew=False)
    if as_json:
        out_json({"parser": told.parser, "artifacts": told.artifacts, "already": not told.artifacts})
        return
    artifacts = count(len(told.artifacts), "artifact")
    out(f"{printable(told.parser)} is trusted no more: {artifacts}" if told.artifacts else
        f"{printable(told.parser)} is already trusted no more")  # fmt: skip


@app.command("health", cls=PlainCommand)
def health(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say of each parser how its jobs go: failures in a row that speak against it, what waits, and the last failure.

    Five such failures in a row pause it: none of its jobs is handed out until `casparian parser resume`. Damaged files
    do not count, however many they are, nor what is the machine's doing.

    Example: `casparian parser health`

    Exit codes: 0 none is paused, 4 one is.
    """
    from cli.reading import ask
    from projections import queries

    place = find_home(home)
    rows = ask(place, queries.parser_health)
    paused = [row.parser for row in rows if row.state == "paused"]
    code = EXIT_REFUSED if paused else EXIT_OK
    if as_json:
        out_json({"parsers": rows, "exit": code})
        raise typer.Exit(code)
    lines = [(row.parser, row.version, row.state, row.failures, row.waiting, row.dead_letters) for row in rows]
    titles = ("parser", "version", "state", "failures in a row", "waiting", "dead letters")
    for line in table(titles, lines, right=(3, 4, 5)):
        out(line)
    for row in rows:
        _show_failure(row)
    for row in rows:
        if row.state == "paused":
            _say_what_next(row, place)
    raise typer.Exit(code)


def _say_what_next(row: ParserHealth, place: Home) -> None:
    steps = [] if row.last_failed_job is None else [f"casparian job show {row.last_failed_job}"]
    for step in (*steps, f"casparian parser resume {row.parser}"):
        out(f"next: {place.hint(step)}")


def _show_failure(row: ParserHealth) -> None:
    if row.state == "paused":
        out()
        out(f"{printable(row.parser)} is paused since {row.paused_at}: {printable(row.paused_reason or '')}")
    if row.last_failed_job is not None:
        out()
        out(f"last failure of {printable(row.parser)}: job {row.last_failed_job}, {row.last_failed_at}")
        out(f"  file      {printable(row.last_failed_file or '')}")
        out(f"  failed    {row.last_failed_class}: {printable(row.last_failed_reason or '')}")


@app.command("resume", cls=PlainCommand)
def resume(
    parser: ParserWord, reason: ReasonOption = "Resumed by user", home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Let the jobs of a paused parser be handed out again; its failures are counted anew.

    Example: `casparian parser resume access_log --reason "mended in the settings"`

    Exit codes: 0 it goes on, or was not paused; 1 there is no such parser.
    """
    from cli.asking import give_of_parser
    from cli.messages import ResumeParser

    told = give_of_parser(
        find_home(home), ResumeParser(parser=parser, reason=reason), purpose="parser resume", made_anew=False
    )
    if as_json:
        out_json({"parser": told.parser, "already": not told.artifacts})
        return
    out(f"{printable(told.parser)} {'goes on' if told.artifacts else 'is not paused'}")
