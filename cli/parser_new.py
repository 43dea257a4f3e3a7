"""The verb `parser new`: a parser of one's own to begin with, which runs at once."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.errors import EXIT_USAGE, CliError
from cli.options import JsonOption
from cli.render import out, out_json, printable

PLACEHOLDER: Final = "my_parser"
SDK: Final = "casparian_sdk.py"


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The parser's name: lowercase letters, digits, _.")],
    folder: Annotated[str, typer.Option("--dir", metavar="FOLDER", help="Where it goes. Default: here.")] = ".",
    with_sdk: Annotated[
        bool, typer.Option("--with-sdk", help="A folder, with the helper casparian_sdk.py beside the parser.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a parser to begin with, one file that runs at once; nothing that is there is written over.

    Example: `casparian parser new access_log`

    Exit codes: 0 it is written, 1 there is something of this name, 2 it cannot be called so.
    """
    from executors.parser_catalog import NAME, builtin_parsers

    if not NAME.fullmatch(name):
        why = f"make a parser named {printable(name)}: use a lowercase letter, then lowercase letters, digits and _"
        raise CliError("usage", why, "casparian parser new access_log", exit_code=EXIT_USAGE)
    if name in builtin_parsers():
        why = f"make a parser named {name}: that is a built-in parser, whose name no other can have"
        raise CliError("builtin_name", why, f"casparian parser new my_{name}", exit_code=EXIT_USAGE)
    made = _folder(name, Path(folder)) if with_sdk else _file(name, Path(folder))
    run = f"casparian run --dev {_as_path(made)} FILE"
    if as_json:
        out_json({"path": str(made), "next_step": run})
    else:
        out(f"wrote {printable(str(made))}")
        out(f"next: {printable(run)}")


def _file(name: str, folder: Path) -> Path:
    path = folder / f"{name}.py"
    _write(path, _named("template.py", name))
    return path


def _folder(name: str, folder: Path) -> Path:
    path = folder / name
    if path.exists():
        raise _there(path)
    path.mkdir(parents=True)
    _write(path / "casparian.toml", _named("template.toml", name))
    _write(path / "parser.py", _named("template_with_sdk.py", name))
    _write(path / SDK, _template(SDK))
    return path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise _there(path) from error


def _there(path: Path) -> CliError:
    why = f"write {printable(str(path))}: there is something of this name, and nothing is written over"
    return CliError("exists", why, "take another name, or another folder: --dir FOLDER")


def _named(template: str, name: str) -> str:
    return _template(template).replace(PLACEHOLDER, name)


def _template(file: str) -> str:
    """Return the text of a file that comes with us: guest code, which is read here and never imported."""
    spec = importlib.util.find_spec("casparian")
    assert spec is not None and spec.origin is not None, "the module casparian is a file"
    return (Path(spec.origin).resolve().parent / "parsers" / "sdk" / file).read_text("utf-8")


def _as_path(path: Path) -> str:
    """Return a path as `run` takes it for one, and not for a name."""
    text = str(path)
    return text if "/" in text else f"./{text}"
