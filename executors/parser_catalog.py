"""Owns what can be known of a parser without running it: its manifest, its declared outputs, its hashes.

A parser is a folder with a `casparian.toml` and Python source, or one Python file. Its outputs are a literal named
`outputs` at the top level of the entrypoint; of a file that is alone its name, version and the rest of the manifest are
literals too. All are read from the syntax tree (parser_literals.py): no line of a parser runs in the host.

The artifact hash covers every Python file of the folder, the manifest, the schemas, the declared packages as installed
here, and the Python version. Other files of the folder are not covered, so a parser must not depend on them. A file
that is alone stands in it under the name that the parser gives itself: to move or rename it changes nothing.
"""

import importlib.metadata
import importlib.util
import os
import re
import stat
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, NoReturn, TypeVar

import blake3
import msgspec
from msgspec import Meta, Struct

from eventlog.column_types import ALIASES, UNKEPT, ColumnType, type_fault
from eventlog.ids import ArtifactHash, EnvHash, OutputName, ParserName, canonical_hash
from eventlog.schema import (
    QUARANTINE_SUFFIX,
    RESERVED_NAMES,
    RESERVED_PREFIXES,
    Column,
    OutputSchema,
    ShapeMode,
    is_reserved,
    schema_hash,
)
from executors.formats import format_fault
from executors.guest.code import SOURCE_BYTES_MAX
from executors.parser_literals import fail, literal_named, literals_named

MANIFEST: Final = "casparian.toml"
GUEST_PROTOCOL_VERSION: Final = "0.1"  # of the contract between a parser and its guest process
SOURCE_FILES_MAX: Final = 1000
DEV_HASH_CHARACTERS: Final = 8  # of the artifact hash, in the version of a run under development
OUTPUTS_MAX: Final = 256  # each job names them all, in one line of the log
DECLARED_BYTES_MAX: Final = 512 * 1024  # of what a deployment says of a parser, as JSON: one line of the log
HOST_PACKAGES: Final = ("pyarrow",)  # every parser's rows pass through it
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")

S = TypeVar("S", bound=Struct)


class DeclaredPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a parser says of the rows that it may have rejected; null where it says nothing. Percent of an output's."""

    allow: bool | None = None
    pct_max: Annotated[float, Meta(ge=0, le=100)] | None = None
    count_max: Annotated[int, Meta(ge=0)] | None = None


class ParserPackage(Struct, frozen=True, kw_only=True):
    """A parser as it would run here. `file` is the absolute path of its entrypoint.

    `digests` has the BLAKE3 of each Python file that can be loaded, by its path from the entrypoint's folder.
    """

    name: ParserName
    version: str
    file: str
    digests: dict[str, str]
    patterns: tuple[str, ...]
    outputs: tuple[OutputSchema, ...]
    settings: dict[str, str]  # declared settings with their defaults
    artifact_hash: ArtifactHash
    env_hash: EnvHash
    components: dict[str, str]  # what the artifact hash covers, under readable names
    description: str
    quarantine: DeclaredPolicy = DeclaredPolicy()
    setting_values: dict[str, tuple[str, ...]] = {}  # of a setting that takes some values only: which
    columns_from: dict[OutputName, str] = {}  # outputs whose columns a run declares, and the setting that it does it in
    fresh_process: bool = False  # each file in a process of its own, small ones too


class _Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    version: str
    protocol_version: str
    runtime_kind: str
    entrypoint: str
    patterns: tuple[str, ...]
    description: str = ""
    packages: tuple[str, ...] = ()
    settings: dict[str, str] = {}
    setting_values: dict[str, tuple[str, ...]] = {}
    quarantine: DeclaredPolicy = DeclaredPolicy()
    fresh_process: bool = False


class _Header(Struct, frozen=True, kw_only=True):
    """What a parser of one file says of itself, as literals at its top level."""

    name: str
    version: str
    patterns: tuple[str, ...] = ("*",)
    description: str = ""
    packages: tuple[str, ...] = ()
    settings: dict[str, str] = {}
    setting_values: dict[str, tuple[str, ...]] = {}
    quarantine: DeclaredPolicy = DeclaredPolicy()
    fresh_process: bool = False


HEADER: Final = tuple(field.name for field in msgspec.structs.fields(_Header))


class _DeclaredColumn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    type: ColumnType
    nullable: bool = True
    format: str = ""
    description: str = ""  # for people; a better wording is not another artifact's schema


class _LeftToRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An output whose columns stand in a setting: `executors/declared_schema.py` reads them."""

    columns_from: str
    description: str = ""


class _DeclaredOutput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    columns: tuple[_DeclaredColumn, ...]
    mode: ShapeMode = "strict"
    description: str = ""


def builtin_parsers(folder: Path | None = None) -> dict[ParserName, ParserPackage]:
    """Return the parsers in the subfolders of `folder`, by name in byte order; by default those that come with us.

    A subfolder without a manifest is not a parser. Raises ParserManifestError for one that is broken, or when two have
    the same name.
    """
    root = _builtin_folder() if folder is None else folder
    packages: dict[ParserName, ParserPackage] = {}
    for manifest in sorted(root.glob(f"*/{MANIFEST}")):
        package = load_parser(manifest.parent)
        if package.name in packages:
            fail(f"load the parser {manifest.parent}", f"{package.name!r} is {packages[package.name].file} already")
        packages[package.name] = package
    return dict(sorted(packages.items()))


def load_parser(path: Path) -> ParserPackage:
    """Return what the parser at `path`, a folder or a Python file, declares and is. Runs none of its code.

    Raises ParserManifestError, one sentence that names the file and what to write instead.
    """
    root = path.resolve()
    return _load_folder(root) if root.is_dir() else _load_file(root)


def source_files(path: Path) -> dict[str, bytes]:
    """Return all that a parser is made of, by the names that its artifact hash knows: what a copy of it has to hold.

    Raises ParserManifestError.
    """
    root = path.resolve()
    if root.is_dir():
        return dict(_sources(root))
    source = _read(root)
    return {_own_name(_header(root, source)): source}


def as_dev(package: ParserPackage) -> ParserPackage:
    """Return a parser as it runs under development: what it makes is never taken for what its version makes."""
    components = {**package.components, "development": "true"}
    version = f"{package.version}+dev.{package.artifact_hash[:DEV_HASH_CHARACTERS]}"
    return msgspec.structs.replace(
        package,
        version=version,
        artifact_hash=ArtifactHash(canonical_hash(components)),
        components=components,
    )


def _load_folder(root: Path) -> ParserPackage:
    sources = dict(_sources(root))
    manifest = _manifest(root / MANIFEST, sources.get(MANIFEST))
    entrypoint = _entrypoint(root, manifest.entrypoint, sources)
    loadable = _from(PurePosixPath(manifest.entrypoint).parent, sources)
    return _package(manifest, root / MANIFEST, entrypoint, sources, loadable=loadable)


def _load_file(file: Path) -> ParserPackage:
    source = _read(file)
    header = _header(file, source)
    manifest = _Manifest(
        name=header.name,
        version=header.version,
        protocol_version=GUEST_PROTOCOL_VERSION,
        runtime_kind="python_shim",
        entrypoint=file.name,
        patterns=header.patterns,
        description=header.description,
        packages=header.packages,
        settings=header.settings,
        setting_values=header.setting_values,
        quarantine=header.quarantine,
        fresh_process=header.fresh_process,
    )
    _check_manifest(manifest, doing=f"read {file}")
    return _package(manifest, file, file, {_own_name(header): source}, loadable={file.name: source})


def _package(
    manifest: _Manifest, told_in: Path, entrypoint: Path, sources: dict[str, bytes], *, loadable: dict[str, bytes]
) -> ParserPackage:
    outputs, columns_from = _outputs(entrypoint, loadable[entrypoint.name])
    if unset := sorted(set(columns_from.values()) - manifest.settings.keys()):
        fail(f"read {told_in}", f'columns come from {unset[0]!r}; declare that setting, {unset[0]} = ""')
    environment = _environment(told_in, manifest.packages)
    components = _components(sources, outputs, environment)
    _check_size(entrypoint, (outputs, manifest.settings, components))
    return ParserPackage(
        name=ParserName(manifest.name),
        version=manifest.version,
        file=str(entrypoint),
        digests={name: _digest(content) for name, content in loadable.items()},
        patterns=manifest.patterns,
        outputs=outputs,
        settings=manifest.settings,
        setting_values=manifest.setting_values,
        artifact_hash=ArtifactHash(canonical_hash(components)),
        env_hash=EnvHash(canonical_hash(environment)),
        components=components,
        description=manifest.description,
        columns_from=columns_from,
        quarantine=manifest.quarantine,
        fresh_process=manifest.fresh_process,
    )


def _check_size(entrypoint: Path, declared: tuple[object, ...]) -> None:
    size = len(msgspec.json.encode(declared))
    if size > DECLARED_BYTES_MAX:
        why = f"what it declares takes {size:,} bytes, at most {DECLARED_BYTES_MAX:,} are kept of a parser"
        fail(f"read {entrypoint}", f"{why}; declare fewer or shorter columns, settings and files")


def _builtin_folder() -> Path:
    # Found, not imported: a wheel, an editable install and a checkout all keep `parsers` beside casparian.py.
    spec = importlib.util.find_spec("casparian")
    if spec is None or spec.origin is None:
        fail("find the built-in parsers", "the module casparian has no file; install Casparian again")
    return Path(spec.origin).resolve().parent / "parsers"


# --- the manifest ----------------------------------------------------------------------------------------------------


def _manifest(path: Path, source: bytes | None) -> _Manifest:
    doing = f"read {path}"
    if source is None:
        fail(doing, "there is no such file; a parser's folder holds one beside its entrypoint")
    try:
        document = tomllib.loads(source.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fail(doing, f"not TOML: {error}", error)
    manifest = _convert(document, _Manifest, doing=doing)
    _check_manifest(manifest, doing=doing)
    return manifest


def _header(file: Path, source: bytes) -> _Header:
    """Return what a parser of one file says of itself. A name that it leaves out has its default."""
    doing = f"read {file}"
    if file.suffix != ".py":
        fail(doing, f"a parser is a Python file (.py) or a folder with a {MANIFEST}; name one of these")
    found = literals_named(HEADER, file, source)
    for name in ("name", "version"):
        if name not in found:
            fail(doing, f'its top level does not say its {name}; write {name} = "..." there')
    header = _convert(found, _Header, doing=doing)
    _check_name(header.name, doing=doing)
    return header


def _own_name(header: _Header) -> str:
    return f"{header.name}.py"


def _check_name(name: str, *, doing: str) -> None:
    if not NAME.fullmatch(name):
        fail(doing, f"name is {name!r}; {_NAME_RULE}")


def _check_manifest(manifest: _Manifest, *, doing: str) -> None:
    _check_name(manifest.name, doing=doing)
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,62}", manifest.version):
        fail(doing, f'version is {manifest.version!r}; write one such as "0.1.0"')
    if manifest.protocol_version != GUEST_PROTOCOL_VERSION:
        fail(doing, f'protocol_version is {manifest.protocol_version!r}; this host speaks "{GUEST_PROTOCOL_VERSION}"')
    if manifest.runtime_kind != "python_shim":
        fail(doing, f'runtime_kind is {manifest.runtime_kind!r}; only "python_shim" can be run')
    if not manifest.patterns or not all(manifest.patterns):
        fail(doing, 'patterns names no files; write the globs of file names it reads, ["*"] for all')
    if any("/" in pattern for pattern in manifest.patterns):
        fail(doing, "patterns has a slash; patterns are matched against the name of a file, not its path")
    for name, values in manifest.setting_values.items():
        if manifest.settings.get(name) not in values:
            fail(doing, f"setting_values of {name!r} have to hold its default; declare the setting, and add that value")


_NAME_RULE: Final = "use a lowercase letter, then lowercase letters, digits and underscores, 63 in all"


def _convert(value: object, shape: type[S], *, doing: str) -> S:
    """Give a parsed document its shape; the message of msgspec names the key."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        fail(doing, f"{error}; correct that key", error)


def _entrypoint(root: Path, name: str, sources: dict[str, bytes]) -> Path:
    doing = f"read {root / MANIFEST}"
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name:
        fail(doing, f"entrypoint is {name!r}; write a path inside the folder, such as parser.py")
    if path.suffix != ".py":
        fail(doing, f"entrypoint is {name!r}; it has to be a Python file (.py)")
    if name not in sources:
        fail(doing, f"entrypoint is {name!r}, which is not a file of the folder; add it or correct the name")
    return root / name


# --- the source ------------------------------------------------------------------------------------------------------


def _sources(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the manifest and of every Python file, in byte order of the names."""
    names = [name for name in _names(root) if name == MANIFEST or name.endswith(".py")]
    if len(names) > SOURCE_FILES_MAX:
        fail(f"read the parser {root}", f"{len(names)} source files, at most {SOURCE_FILES_MAX}; move others away")
    for name in sorted(names):
        if not name.isprintable():
            fail(f"read the parser {root}", f"a file is called {name!r}; rename it with printable characters")
        yield name, _read(root / name)


def _names(root: Path) -> Iterator[str]:
    """Yield the files below the folder as relative paths. Raises ParserManifestError for a link that leaves it."""
    for folder, folders, files in os.walk(root, onerror=_unlistable):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                fail(f"read {path}", "a symbolic link that leaves the parser's folder; copy the file instead")
        for name in files:
            yield Path(folder, name).relative_to(root).as_posix()


def _from(folder: PurePosixPath, sources: dict[str, bytes]) -> dict[str, bytes]:
    """Return the Python files below a folder, by their paths from there."""
    paths = {PurePosixPath(name): content for name, content in sources.items() if name.endswith(".py")}
    return {str(p.relative_to(folder)): content for p, content in paths.items() if p.is_relative_to(folder)}


def _unlistable(error: OSError) -> NoReturn:
    fail(f"read the parser's folder {error.filename}", f"{error.strerror}; check its permissions", error)


def _read(path: Path) -> bytes:
    doing = f"read {path}"
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > SOURCE_BYTES_MAX:
            fail(doing, f"not a regular file of at most {SOURCE_BYTES_MAX} bytes; move it out of the parser's folder")
        return path.read_bytes()
    except OSError as error:
        fail(doing, f"{error.strerror}; check the file and its permissions", error)


# --- the declared outputs --------------------------------------------------------------------------------------------


def _outputs(path: Path, source: bytes) -> tuple[tuple[OutputSchema, ...], dict[OutputName, str]]:
    """Return the declared outputs, in the order in which they are written, and whose columns stand in which setting."""
    doing = f"read the outputs of {path}"
    literal = literal_named("outputs", path, source)
    if not isinstance(literal, dict) or not literal:
        fail(doing, 'they declare nothing; write outputs = {"name": {"columns": [...]}}')
    if len(literal) > OUTPUTS_MAX:
        fail(doing, f"{len(literal):,} of them, at most {OUTPUTS_MAX}; make several parsers of it")
    columns_from = {
        OutputName(name): _convert(declared, _LeftToRun, doing=f"{doing}, {name}").columns_from
        for name, declared in literal.items()
        if isinstance(declared, dict) and "columns_from" in declared
    }
    outputs = (
        OutputSchema(output=output_name(name, doing=doing), columns=())
        if name in columns_from
        else declared_output(name, declared, doing=doing)
        for name, declared in literal.items()
    )
    return tuple(outputs), columns_from


def output_name(name: object, *, doing: str) -> OutputName:
    """Return a name that a table can have. Raises ParserManifestError."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        fail(doing, f"an output is called {name!r}; {_NAME_RULE}")
    if name.endswith(QUARANTINE_SUFFIX):
        fail(doing, f"an output is called {name!r}; names that end in {QUARANTINE_SUFFIX} are those of rejected rows")
    return OutputName(name)


def declared_output(name: object, declared: object, *, doing: str) -> OutputSchema:
    """Return an output from its declaration as it was written. Raises ParserManifestError."""
    table = output_name(name, doing=doing)
    output = _convert(_one_spelling(declared, doing=f"{doing}, {name}"), _DeclaredOutput, doing=f"{doing}, {name}")
    if not output.columns:
        fail(f"{doing}, {name}", "no columns; declare at least one")
    columns = tuple(
        Column(name=column.name, type=column.type, nullable=column.nullable, format=column.format)
        for column in output.columns
    )
    seen: set[str] = set()
    for column in columns:
        _check_column(column.name, seen, doing=f"{doing}, {name}")
        seen.add(column.name.casefold())
        if (fault := type_fault(column.type) or format_fault(column)) is not None:
            fail(f"{doing}, {name}", f"column {column.name!r}: {fault}")
    return OutputSchema(output=table, columns=columns, mode=output.mode)


def _one_spelling(declared: object, *, doing: str) -> object:
    """Return the declaration with other words for types exchanged for ours. Refuses a type that a table cannot keep."""
    if isinstance(declared, list | tuple):
        return [_one_spelling(each, doing=doing) for each in declared]
    if not isinstance(declared, dict):
        return declared
    spelled = {name: _one_spelling(value, doing=doing) for name, value in declared.items()}
    for key in ("type", "item"):
        if isinstance(word := spelled.get(key), str):
            if word in UNKEPT:
                fail(doing, f"type {word!r}: {UNKEPT[word]}")
            spelled[key] = ALIASES.get(word, word)
    return "timestamp_utc" if spelled == {"kind": "timestamp_tz", "tz": "UTC"} else spelled


def _check_column(name: str, seen: set[str], *, doing: str) -> None:
    # Names are compared without case, because the tables are read by an engine that does so.
    if not name or not name.isprintable() or name != name.strip():
        fail(doing, f"a column is called {name!r}; use printable characters, without spaces around them")
    if is_reserved(name):
        names = ", ".join((*(f"{prefix}..." for prefix in RESERVED_PREFIXES), *sorted(RESERVED_NAMES)))
        fail(doing, f"column {name!r} has a name that is the host's ({names}); rename it")
    if name.casefold() in seen:
        fail(doing, f"column {name!r} is declared twice (upper and lower case are equal); rename one of them")


# --- what the hashes cover -------------------------------------------------------------------------------------------


def _environment(manifest: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Return the Python version and the installed version of each package, under readable names."""
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in (*packages, *HOST_PACKAGES)}
    environment = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for name in sorted(names):
        try:
            environment[f"package {name}"] = importlib.metadata.version(name)
        except (importlib.metadata.PackageNotFoundError, ValueError) as error:
            fail(f"read {manifest}", f"it needs the package {name!r}, which is not installed; install it", error)
    return environment


def _components(
    sources: dict[str, bytes], outputs: tuple[OutputSchema, ...], environment: dict[str, str]
) -> dict[str, str]:
    files = {f"file {name}": _digest(content) for name, content in sources.items()}
    schemas = {f"schema {schema.output}": schema_hash(schema) for schema in outputs}
    return {**files, **schemas, **environment}


def _digest(content: bytes) -> str:
    return blake3.blake3(content).hexdigest()
