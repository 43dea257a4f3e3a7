"""A parser is known by its folder alone; what is wrong with it is said in a sentence, and none of its code runs."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.ids import OutputName, ParserName
from eventlog.schema import Column, OutputSchema, schema_hash
from executors import parser_catalog
from executors.parser_catalog import as_dev, builtin_parsers, load_parser, source_files
from executors.parser_literals import ParserManifestError

MANIFEST = """
name = "events"
version = "1.2.0"
protocol_version = "0.1"
runtime_kind = "python_shim"
entrypoint = "parser.py"
patterns = ["*.evt", "*.log"]
description = "Events of a small machine"
packages = ["msgspec"]

[settings]
time_zone = "UTC"
"""

PARSER = """
raise SystemExit("a parser was run while it was only to be read")

outputs = {
    "events": {
        "mode": "strict",
        "columns": [
            {"name": "event_id", "type": "int64", "nullable": False, "description": "as written"},
            {"name": "message", "type": "string"},
        ],
    },
    "files": {"columns": [{"name": "size", "type": "int64"}]},
}
"""


def make_parser(folder: Path, *, manifest: str = MANIFEST, parser: str | bytes = PARSER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "casparian.toml").write_text(manifest)
    (folder / "parser.py").write_bytes(parser.encode() if isinstance(parser, str) else parser)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ParserManifestError) as caught:
        load_parser(folder)
    return str(caught.value)


def with_outputs(folder: Path, literal: str) -> Path:
    return make_parser(folder, parser=f"outputs = {literal}\n")


def with_column(folder: Path, **column: object) -> Path:
    return with_outputs(folder, repr({"events": {"columns": [column]}}))


# --- what is read ----------------------------------------------------------------------------------------------------


def test_a_parser_is_described_by_its_folder_without_running_it(tmp_path: Path) -> None:
    package = load_parser(make_parser(tmp_path / "events"))
    assert package.name == "events"
    assert package.version == "1.2.0"
    assert package.file == str(tmp_path / "events/parser.py")
    assert package.patterns == ("*.evt", "*.log")
    assert package.settings == {"time_zone": "UTC"}
    assert package.description == "Events of a small machine"
    assert package.outputs == (
        OutputSchema(
            output=OutputName("events"),
            columns=(
                Column(name="event_id", type="int64", nullable=False),
                Column(name="message", type="string", nullable=True),
            ),
        ),
        OutputSchema(output=OutputName("files"), columns=(Column(name="size", type="int64", nullable=True),)),
    )


def test_optional_keys_may_be_left_out(tmp_path: Path) -> None:
    manifest = "\n".join(MANIFEST.splitlines()[:7])
    package = load_parser(make_parser(tmp_path, manifest=manifest))
    assert (package.description, package.settings) == ("", {})


@pytest.mark.parametrize(
    "values",
    ['time_zone = ["Europe/Berlin"]', 'colour = ["red"]', "time_zone = []"],
    ids=["default", "unknown", "none"],
)
def test_what_a_setting_takes_has_to_hold_its_default(tmp_path: Path, values: str) -> None:
    manifest = f"{MANIFEST}\n[setting_values]\n{values}\n"
    assert "setting_values of" in refusal(make_parser(tmp_path, manifest=manifest))
    taken = manifest.replace(values, 'time_zone = ["UTC", "Europe/Berlin"]')
    assert load_parser(make_parser(tmp_path, manifest=taken)).setting_values == {"time_zone": ("UTC", "Europe/Berlin")}


def test_outputs_may_carry_a_type_annotation(tmp_path: Path) -> None:
    source = 'outputs: dict[str, object] = {"a": {"columns": [{"name": "b", "type": "string"}]}}'
    assert [schema.output for schema in load_parser(make_parser(tmp_path, parser=source)).outputs] == ["a"]


def test_the_components_name_all_that_the_artifact_hash_covers(tmp_path: Path) -> None:
    make_parser(tmp_path)
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers/text.py").write_text("WIDTH = 80\n")
    (tmp_path / "README.md").write_text("not covered")
    package = load_parser(tmp_path)
    assert sorted(package.components) == [
        "file casparian.toml",
        "file helpers/text.py",
        "file parser.py",
        "package msgspec",
        "package pyarrow",
        "python",
        "schema events",
        "schema files",
    ]
    assert package.components["schema events"] == schema_hash(package.outputs[0])
    assert package.components["package msgspec"] == importlib.metadata.version("msgspec")
    assert package.components["python"] == ".".join(str(part) for part in sys.version_info[:3])


# --- what the hashes depend on ---------------------------------------------------------------------------------------


def test_equal_folders_have_equal_hashes_wherever_they_are(tmp_path: Path) -> None:
    one, two = load_parser(make_parser(tmp_path / "one")), load_parser(make_parser(tmp_path / "two/deep"))
    assert (one.artifact_hash, one.env_hash) == (two.artifact_hash, two.env_hash)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("parser.py", PARSER + "# a comment\n"),
        ("casparian.toml", MANIFEST + "# a comment\n"),
        ("more.py", ""),
        ("helpers/text.py", "WIDTH = 80\n"),
        ("parser.py", PARSER.replace('"nullable": False', '"nullable": True')),
    ],
)
def test_every_covered_file_changes_the_artifact_hash_and_not_the_environment(
    tmp_path: Path, name: str, content: str
) -> None:
    before = load_parser(make_parser(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    after = load_parser(tmp_path)
    assert after.artifact_hash != before.artifact_hash
    assert after.env_hash == before.env_hash


@pytest.mark.parametrize("name", ["README.md", "__pycache__/parser.cpython-311.py", "data.json"])
def test_files_that_are_not_source_change_nothing(tmp_path: Path, name: str) -> None:
    before = load_parser(make_parser(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x")
    assert load_parser(tmp_path) == before


def test_an_upgraded_package_changes_both_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_parser(make_parser(tmp_path))
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.0" if name == "pyarrow" else installed(name))
    after = load_parser(tmp_path)
    assert after.components["package pyarrow"] == "99.0"
    assert after.artifact_hash != before.artifact_hash
    assert after.env_hash != before.env_hash


def test_descriptions_of_columns_are_not_part_of_the_schema(tmp_path: Path) -> None:
    one = load_parser(make_parser(tmp_path / "one"))
    two = load_parser(make_parser(tmp_path / "two", parser=PARSER.replace("as written", "in other words")))
    assert one.components["schema events"] == two.components["schema events"]


# --- manifests that are refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("name =", "nickname =", "Object contains unknown field `nickname`"),
        ('name = "events"\n', "", "Object missing required field `name`"),
        ('"events"', '"Events"', "name is 'Events'; use a lowercase letter"),
        ('"events"', '"' + "e" * 64 + '"', "use a lowercase letter, then lowercase letters"),
        ('"1.2.0"', "1.2", "Expected `str`, got `float` - at `$.version`"),
        ('"1.2.0"', '""', "version is ''"),
        ('"0.1"', '"9"', "protocol_version is '9'; this host speaks \"0.1\""),
        ('"python_shim"', '"native_exec"', "runtime_kind is 'native_exec'; only \"python_shim\" can be run"),
        ('["*.evt", "*.log"]', "[]", "patterns names no files"),
        ('["*.evt", "*.log"]', '["*.evt", ""]', "patterns names no files"),
        ('["*.evt", "*.log"]', '["logs/*.evt"]', "patterns has a slash"),
        ('["*.evt", "*.log"]', '"*.evt"', "Expected `array`, got `str` - at `$.patterns`"),
        ('["msgspec"]', '["no-such-package"]', "needs the package 'no-such-package', which is not installed"),
        ('"UTC"', "3", "Expected `str`, got `int` - at `$.settings[...]`"),
        ("[settings]", "[settings", "not TOML: "),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_with_the_rule(tmp_path: Path, old: str, new: str, why: str) -> None:
    assert old in MANIFEST
    message = refusal(make_parser(tmp_path, manifest=MANIFEST.replace(old, new, 1)))
    assert message.startswith(f"read {tmp_path / 'casparian.toml'}: ")
    assert why in message


@pytest.mark.parametrize(
    ("entrypoint", "why"),
    [
        ("/etc/parser.py", "write a path inside the folder"),
        ("../parser.py", "write a path inside the folder"),
        ("a/../../parser.py", "write a path inside the folder"),
        ("./parser.py", "write a path inside the folder"),
        ("a//parser.py", "write a path inside the folder"),
        ("a\\\\parser.py", "write a path inside the folder"),
        ("", "write a path inside the folder"),
        ("parser.sh", "it has to be a Python file"),
        ("missing.py", "which is not a file of the folder"),
        ("folder.py", "which is not a file of the folder"),
        ("__pycache__/parser.py", "which is not a file of the folder"),
    ],
)
def test_an_entrypoint_that_is_not_a_python_file_of_the_folder_is_refused(
    tmp_path: Path, entrypoint: str, why: str
) -> None:
    make_parser(tmp_path / "parser", manifest=MANIFEST.replace("parser.py", entrypoint))
    (tmp_path / "parser.py").write_text(PARSER)
    (tmp_path / "parser/folder.py").mkdir()
    (tmp_path / "parser/__pycache__").mkdir()
    (tmp_path / "parser/__pycache__/parser.py").write_text(PARSER)
    assert why in refusal(tmp_path / "parser")


def test_an_entrypoint_that_leaves_the_folder_through_a_link_is_refused(tmp_path: Path) -> None:
    make_parser(tmp_path / "real")
    make_parser(tmp_path / "fake")
    (tmp_path / "fake/parser.py").unlink()
    (tmp_path / "fake/parser.py").symlink_to(tmp_path / "real/parser.py")
    assert "a symbolic link that leaves the parser's folder" in refusal(tmp_path / "fake")


def test_code_in_a_linked_folder_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    make_parser(tmp_path / "parser")
    (tmp_path / "parser/shared").symlink_to(tmp_path / "shared")
    assert "a symbolic link that leaves the parser's folder" in refusal(tmp_path / "parser")


def test_links_that_stay_inside_and_a_linked_folder_as_a_whole_are_fine(tmp_path: Path) -> None:
    make_parser(tmp_path / "real")
    (tmp_path / "real/alias.py").symlink_to("parser.py")
    (tmp_path / "link").symlink_to("real")
    package = load_parser(tmp_path / "link")
    assert package.file == str(tmp_path / "real/parser.py")
    assert package.components["file alias.py"] == package.components["file parser.py"]


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"read {tmp_path / 'casparian.toml'}: there is no such file")
    assert "No such file or directory" in refusal(tmp_path / "missing")


def test_sources_that_are_too_many_too_large_or_not_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(make_parser(tmp_path / "pipe") / "more.py")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    (make_parser(tmp_path / "dangling") / "more.py").symlink_to("nowhere")
    assert "No such file or directory" in refusal(tmp_path / "dangling")
    (make_parser(tmp_path / "odd") / os.fsdecode(b"\xff.py")).write_text("")
    assert "rename it with printable characters" in refusal(tmp_path / "odd")
    make_parser(tmp_path / "plain")
    monkeypatch.setattr(parser_catalog, "SOURCE_FILES_MAX", 1)
    assert "2 source files, at most 1" in refusal(tmp_path / "plain")
    monkeypatch.setattr(parser_catalog, "SOURCE_BYTES_MAX", 10)
    monkeypatch.setattr(parser_catalog, "SOURCE_FILES_MAX", 2)
    assert "at most 10 bytes" in refusal(tmp_path / "plain")


# --- outputs that are refused ----------------------------------------------------------------------------------------

COLUMNS = '{"columns": [{"name": "a", "type": "string"}]}'


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "assigned 0 times at the top level"),
        ("def f():\n    outputs = {}\n", "assigned 0 times"),
        ("outputs: dict\n", "assigned 0 times"),
        (f"outputs = {{'a': {COLUMNS}}}\noutputs = {{}}\n", "assigned 2 times"),
        ("outputs = {", "not Python 3"),
        (b"outputs = {}\0", "not Python 3"),
        (b"# coding: no-such\noutputs = {}", "not Python 3"),
        ("outputs = dict(a=1)", "not a literal"),
        ("NAME = 'a'\noutputs = {NAME: 1}", "not a literal"),
        ("outputs = {**{}}", "not a literal"),
        ("outputs = {[]: 1}", "not a literal"),
        ("outputs = __import__('os').system('true')", "not a literal"),
        ("outputs = " + "-" * 50_000 + "1", "not "),
        ("outputs = {}", "they declare nothing"),
        ("outputs = [1]", "they declare nothing"),
        (f"outputs = {{'a': {COLUMNS}, 'a': {COLUMNS}}}", "'a' is declared twice in line 1"),
        (f"outputs = {{'a': {COLUMNS[:-1]}, 'columns': []}}}}", "'columns' is declared twice in line 1"),
        (f"outputs = {{1: {COLUMNS}}}", "an output is called 1; use a lowercase letter"),
        (f"outputs = {{'Events': {COLUMNS}}}", "an output is called 'Events'"),
        (f"outputs = {{'_events': {COLUMNS}}}", "an output is called '_events'"),
        (f"outputs = {{'événements': {COLUMNS}}}", "an output is called 'événements'"),
        (f"outputs = {{'a\\n': {COLUMNS}}}", "an output is called 'a\\n'"),
        ("outputs = {'a': 1}", "Expected `object`, got `int`"),
        ("outputs = {'a': {'columns': []}}", "a: no columns"),
        ("outputs = {'a': {}}", "Object missing required field `columns`"),
        ("outputs = {'a': {'columns': [{'name': 'b'}]}}", "Object missing required field `type`"),
        (f"outputs = {{'a': {COLUMNS[:-1]}, 'mode': 'loose'}}}}", "Invalid enum value 'loose' - at `$.mode`"),
        (f"outputs = {{'a': {COLUMNS[:-1]}, 'table': 'b'}}}}", "unknown field `table`"),
    ],
)
def test_outputs_that_are_not_a_plain_valid_literal_are_refused(tmp_path: Path, source: str | bytes, why: str) -> None:
    message = refusal(make_parser(tmp_path, parser=source))
    assert message.startswith(f"read the outputs of {tmp_path / 'parser.py'}")
    assert why in message


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ({"name": "a", "type": "int32"}, "Invalid enum value 'int32' - at `$.columns[0].type`"),
        ({"name": "a", "type": "string", "nullable": 1}, "Expected `bool`, got `int`"),
        ({"name": "a", "type": "string", "format": "%Y"}, "column 'a': its type has no format"),
        ({"name": "a", "type": "date", "format": "%Y-%q"}, "its format has '%q'"),
        ({"name": "a", "type": "timestamp_utc", "format": "%Y%m%d %H:%M"}, "instants need %z"),
        ({"name": "_cf_job_id", "type": "string"}, "column '_cf_job_id' has a name that is the host's"),
        ({"name": "__CF_x", "type": "string"}, "column '__CF_x' has a name that is the host's"),
        ({"name": "", "type": "string"}, "a column is called ''"),
        ({"name": " a", "type": "string"}, "a column is called ' a'"),
        ({"name": "a\0", "type": "string"}, "a column is called 'a\\x00'"),
        ({"name": "\ud800", "type": "string"}, "a column is called '\\ud800'"),
    ],
)
def test_columns_that_break_a_rule_are_refused_with_the_rule(
    tmp_path: Path, column: dict[str, object], why: str
) -> None:
    message = refusal(with_column(tmp_path, **column))
    assert "parser.py, events: " in message
    assert why in message


def test_a_parser_with_very_many_settings_is_refused_in_no_time(tmp_path: Path) -> None:
    """It took minutes to see that none of them is there twice, while somebody waits to be asked for trust."""
    many = {f"setting_{number:06}": "x" for number in range(50_000)}
    path = tmp_path / "lines.py"
    path.write_text(ALONE + f"settings = {many!r}\n")
    began = time.process_time()
    with pytest.raises(ParserManifestError, match="what it declares takes"):
        load_parser(path)
    assert time.process_time() - began < 20


@pytest.mark.parametrize("second", ["EventId", "eventid"])
def test_columns_with_equal_names_are_refused_whatever_their_case(tmp_path: Path, second: str) -> None:
    columns = [{"name": name, "type": "string"} for name in ("EventId", second)]
    message = refusal(with_outputs(tmp_path, repr({"events": {"columns": columns}})))
    assert f"column '{second}' is declared twice" in message


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=3) | st.just(...),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["columns", "mode", "name", "type", "nullable", "a"]) | st.integers(), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(literal=literals)
def test_no_literal_brings_anything_but_outputs_or_a_sentence(
    literal: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = make_parser(tmp_path_factory.getbasetemp() / "any", parser=f"outputs = {literal!r}\n".encode())
    try:
        package = load_parser(folder)
    except ParserManifestError as error:
        assert str(error).startswith(f"read the outputs of {folder / 'parser.py'}")
    else:
        assert package.outputs


names = st.from_regex(re.compile(r"[a-z][a-z0-9_]{0,8}"), fullmatch=True)
columns = st.lists(
    st.fixed_dictionaries(
        {
            "name": names,
            "type": st.sampled_from(["boolean", "int64", "float64", "string", "binary", "timestamp_utc"]),
            "nullable": st.booleans(),
        }
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda column: str(column["name"]),
)


@settings(max_examples=50, deadline=None)
@given(declared=st.dictionaries(names, st.fixed_dictionaries({"columns": columns}), min_size=1, max_size=3))
def test_declared_outputs_come_back_as_declared_and_in_order(
    declared: dict[str, dict[str, list[dict[str, object]]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = with_outputs(tmp_path_factory.getbasetemp() / "declared", repr(declared))
    read = {
        schema.output: {
            "columns": [
                {"name": column.name, "type": column.type, "nullable": column.nullable} for column in schema.columns
            ]
        }
        for schema in load_parser(folder).outputs
    }
    assert list(read.items()) == list(declared.items())


# --- the catalog -----------------------------------------------------------------------------------------------------


def test_the_catalog_holds_the_parsers_of_a_folder_by_name(tmp_path: Path) -> None:
    make_parser(tmp_path / "z", manifest=MANIFEST.replace('"events"', '"alpha"'))
    make_parser(tmp_path / "a", manifest=MANIFEST.replace('"events"', '"beta"'))
    (tmp_path / "not_a_parser").mkdir()
    (tmp_path / "__init__.py").write_text("")
    catalog = builtin_parsers(tmp_path)
    assert list(catalog) == ["alpha", "beta"]
    assert catalog[ParserName("beta")] == load_parser(tmp_path / "a")


def test_two_parsers_of_one_name_are_refused(tmp_path: Path) -> None:
    make_parser(tmp_path / "a")
    make_parser(tmp_path / "b")
    with pytest.raises(ParserManifestError, match=r"'events' is .*/a/parser\.py already"):
        builtin_parsers(tmp_path)


def test_the_builtin_parsers_are_found_beside_casparian_without_importing_anything_of_them() -> None:
    program = (
        "import sys; from executors.parser_catalog import _builtin_folder; print(_builtin_folder());"
        "assert 'casparian' not in sys.modules and 'pyarrow' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    folder = Path(ended.stdout.strip())
    assert folder.name == "parsers"
    assert (folder.parent / "casparian.py").is_file()


def test_the_builtin_parsers_load() -> None:
    catalog = builtin_parsers()
    assert catalog[ParserName("evtx")].patterns == ("*.evtx",)
    for name, package in catalog.items():
        assert name == package.name
        assert ast.parse(Path(package.file).read_bytes())


# --- parsers of one file ---------------------------------------------------------------------------------------------

ALONE = """
raise SystemExit("a parser was run while it was only to be read")

name = "lines"
version = "0.1"
outputs = {"lines": {"columns": [{"name": "text", "type": "string"}]}}
"""


def make_file(folder: Path, source: str = ALONE, *, called: str = "lines.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / called
    path.write_text(source)
    return path


def test_a_parser_of_one_file_says_all_of_itself_without_running(tmp_path: Path) -> None:
    source = ALONE + 'patterns = ["*.log"]\nsettings: dict = {"zone": "UTC"}\ndescription = "Lines"\n'
    package = load_parser(make_file(tmp_path, source))
    assert (package.name, package.version, package.description) == ("lines", "0.1", "Lines")
    assert (package.patterns, package.settings) == (("*.log",), {"zone": "UTC"})
    assert package.file == str(tmp_path / "lines.py")
    assert list(package.components) == ["file lines.py", "schema lines", "python", "package pyarrow"]


def test_what_a_parser_of_one_file_leaves_out_has_its_default(tmp_path: Path) -> None:
    package = load_parser(make_file(tmp_path))
    assert (package.patterns, package.settings, package.description) == (("*",), {}, "")


def test_a_parser_of_one_file_is_the_same_wherever_it_lies_and_another_when_a_byte_changes(tmp_path: Path) -> None:
    here = load_parser(make_file(tmp_path / "a"))
    moved = load_parser(make_file(tmp_path / "b", called="renamed.py"))
    changed = load_parser(make_file(tmp_path / "c", ALONE + "#"))
    assert moved.artifact_hash == here.artifact_hash
    assert changed.artifact_hash != here.artifact_hash


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (ALONE.replace('name = "lines"\n', ""), 'its top level does not say its name; write name = "..." there'),
        (ALONE.replace('version = "0.1"\n', ""), "its top level does not say its version"),
        (ALONE.replace('"0.1"', "str(1)"), "read the version of "),
        (ALONE.replace('"0.1"', "0.1"), "Expected `str`, got `float` - at `$.version`"),
        (ALONE.replace('"0.1"', '"a b"'), "version is 'a b'"),
        (ALONE.replace('name = "lines"', 'name = "Lines"'), "name is 'Lines'; use a lowercase letter"),
        (ALONE.replace('name = "lines"', 'name = "../lines"'), "name is '../lines'; use a lowercase letter"),
        (ALONE + 'version = "0.2"\n', "version is assigned again in line 7; keep one of them"),
        (ALONE + 'patterns = ["a/b"]\n', "patterns has a slash"),
        (ALONE + 'settings = {"a": "1", "a": "2"}\n', "'a' is declared twice in line 7"),
        (ALONE + 'settings = {"a": 1}\n', "Expected `str`, got `int`"),
        (ALONE + 'packages = ["no-such-package"]\n', "it needs the package 'no-such-package'"),
        (ALONE.replace("outputs", "output"), "outputs"),
        ("def parse(:\n", "not Python 3.11"),
    ],
)
def test_a_parser_of_one_file_that_breaks_a_rule_is_refused_with_the_rule(
    tmp_path: Path, source: str, why: str
) -> None:
    message = refusal(make_file(tmp_path, source))
    assert str(tmp_path / "lines.py") in message
    assert why in message


def test_a_path_that_is_no_parser_says_what_one_is(tmp_path: Path) -> None:
    assert "a parser is a Python file (.py) or a folder with a casparian.toml" in refusal(
        make_file(tmp_path, called="notes.txt")
    )
    assert "No such file" in refusal(tmp_path / "nowhere.py")


def test_the_source_files_make_a_copy_that_is_the_same_parser(tmp_path: Path) -> None:
    folder, file = make_parser(tmp_path / "folder"), make_file(tmp_path, called="renamed.py")
    (folder / "helper.py").write_text("x = 1")
    for original in (folder, file):
        sources = source_files(original)
        copy = tmp_path / f"copy of {original.name}"
        for name, content in sources.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
        found = copy if "casparian.toml" in sources else copy / next(iter(sources))
        assert load_parser(found).artifact_hash == load_parser(original).artifact_hash


def test_a_parser_under_development_has_a_version_and_an_identity_of_its_own(tmp_path: Path) -> None:
    package = load_parser(make_file(tmp_path))
    dev = as_dev(package)
    assert dev.version == f"0.1+dev.{package.artifact_hash[:8]}"
    assert dev.artifact_hash != package.artifact_hash
    assert as_dev(load_parser(make_file(tmp_path))) == dev


def test_a_declaration_that_no_line_of_the_log_could_hold_is_refused(tmp_path: Path) -> None:
    column = '{"name": "c%d", "type": "string"}'
    wide = ", ".join(column % number for number in range(20_000))
    message = refusal(make_file(tmp_path, ALONE.replace('{"name": "text", "type": "string"}', wide)))
    assert "at most 524,288 are kept of a parser" in message
    fits = ", ".join(column % number for number in range(10_000))
    assert len(load_parser(make_file(tmp_path, ALONE.replace('{"name": "text", "type": "string"}', fits))).outputs) == 1


def test_more_outputs_than_a_job_can_name_are_refused(tmp_path: Path) -> None:
    many = {f"o{number}": {"columns": [{"name": "a", "type": "string"}]} for number in range(257)}
    assert "257 of them, at most 256" in refusal(with_outputs(tmp_path, repr(many)))
