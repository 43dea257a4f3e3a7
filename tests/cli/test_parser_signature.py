"""The signature of a parser: over its name, version and source, good for one key, and for nothing that was changed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cli.errors import CliError
from cli.parser_signature import key_word, read_signature, sign, signature_path, signed_text, signer, signer_words
from eventlog.note import SigningKey
from executors.parser_catalog import ParserPackage, load_parser
from tests.cli.test_kept_parsers import write_file, write_folder

ADA, BEN = SigningKey("ada-lab", b"a" * 32), SigningKey("ben", b"b" * 32)


def refusal(package: ParserPackage, parser: Path, *keys: SigningKey) -> str:
    with pytest.raises(CliError) as refused:
        note = read_signature(package, parser)
        assert note is not None
        signer(note, [key.verifying for key in keys], parser)
    assert (refused.value.code, refused.value.exit_code) == ("bad_signature", 4)
    return refused.value.message


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_signature_is_found_beside_its_parser_and_names_its_key(tmp_path: Path, write: object) -> None:
    parser: Path = write(tmp_path)  # type: ignore[operator]  # one of the two functions above
    package = load_parser(parser)
    assert read_signature(package, parser) is None
    assert sign(package, parser, ADA) == signature_path(parser)
    assert load_parser(parser) == package, "the signature is no part of what it signs"
    note = read_signature(package, parser)
    assert note is not None
    assert signer(note, [BEN.verifying, ADA.verifying], parser) == ADA.verifying
    assert signer(note, [BEN.verifying], parser) is None
    assert signer_words(note) == key_word(ADA.verifying)


def test_another_python_or_package_is_covered_by_the_same_signature(tmp_path: Path) -> None:
    parser = write_file(tmp_path)
    package = load_parser(parser)
    elsewhere = msgspec.structs.replace(package, components={**package.components, "python": "9.9.9"})
    assert signed_text(elsewhere) == signed_text(package)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("outputs =", "outputs  =", "its source is another"),
        ('version = "1"', 'version = "2"', "it says version 1; its source is another"),
        ('name = "lines"', 'name = "rows"', "it says name lines; its source is another"),
    ],
)
def test_a_changed_byte_is_not_what_was_signed(tmp_path: Path, old: str, new: str, said: str) -> None:
    parser = write_file(tmp_path)
    sign(load_parser(parser), parser, ADA)
    parser.write_text(parser.read_text().replace(old, new))
    assert said in refusal(load_parser(parser), parser, ADA)


def test_a_file_that_is_added_to_a_folder_is_not_what_was_signed(tmp_path: Path) -> None:
    parser = write_folder(tmp_path)
    sign(load_parser(parser), parser, ADA)
    (parser / "code" / "more.py").write_text("")
    assert "its source is another" in refusal(load_parser(parser), parser, ADA)


def test_a_forged_signature_is_told_by_the_name_that_it_claims(tmp_path: Path) -> None:
    parser = write_file(tmp_path)
    package = load_parser(parser)
    text = signed_text(package)
    forged = SigningKey("ada-lab", b"c" * 32)
    theirs, ours = forged.sign(text), ADA.sign(text)
    signature_path(parser).write_bytes(ours)
    for position in (len(ours) - 10, len(ours) - 40):
        broken = bytearray(ours)
        broken[position] = ord("A") if broken[position] != ord("A") else ord("B")
        signature_path(parser).write_bytes(bytes(broken))
        assert key_word(ADA.verifying) in refusal(package, parser, ADA)
    signature_path(parser).write_bytes(theirs)
    note = read_signature(package, parser)
    assert note is not None
    assert signer(note, [ADA.verifying], parser) is None, "another key of that name is another key"


@pytest.mark.parametrize(
    "text", ["not a note", "", "origin\n12\nroot\n\n— ada-lab AAAA\n", "casparian parser\n\n— ada-lab AAAAAAAAAAAA\n"]
)
def test_what_is_no_signature_of_this_parser_is_refused(tmp_path: Path, text: str) -> None:
    parser = write_file(tmp_path)
    signature_path(parser).write_text(text)
    refusal(load_parser(parser), parser, ADA)


def test_a_checkpoint_signed_by_the_same_key_signs_no_parser(tmp_path: Path) -> None:
    parser = write_file(tmp_path)
    signature_path(parser).write_bytes(ADA.sign("casparian.local/log/1\n12\nroot\n"))
    assert "a note of another kind" in refusal(load_parser(parser), parser, ADA)


def test_signing_again_replaces_a_signature_and_no_other_file(tmp_path: Path) -> None:
    parser = write_file(tmp_path)
    package = load_parser(parser)
    sign(package, parser, ADA)
    sign(package, parser, BEN)
    note = read_signature(package, parser)
    assert note is not None
    assert signer(note, [ADA.verifying, BEN.verifying], parser) == BEN.verifying
    signature_path(parser).write_text("my notes")
    with pytest.raises(CliError) as refused:
        sign(package, parser, ADA)
    assert (refused.value.code, signature_path(parser).read_text()) == ("exists", "my notes")
