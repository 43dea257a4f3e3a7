"""A parser that nobody here has looked at runs by the signature of a key that somebody trusts, and only while it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.terminal import Terminal
from tests.acceptance.test_own_parsers import PARSER, answered, error, logged, parser, run, trust

pytestmark = pytest.mark.acceptance
__all__ = ["parser"]  # the fixture

WHY = ("--reason", "met her", "--json")


@pytest.fixture
def signed(terminal: Terminal, parser: Path) -> str:
    """Two keys, and the parser signed by the first; its short name."""
    for name in ("ada-lab", "ben"):
        assert terminal.casparian("parser", "keygen", name).code == 0
    done = terminal.casparian("parser", "sign", "./lines.py", "--key", "ada-lab.key", "--json")
    assert done.code == 0, done.err
    assert done.json["signature_file"] == str(parser.with_name("lines.py.sig"))
    name, key_id, _raw = done.json["public_key"].split("+", 2)
    return f"{name}+{key_id}"


def test_a_key_is_kept_private_and_never_written_over(terminal: Terminal, parser: Path) -> None:
    made = terminal.casparian("parser", "keygen", "ada-lab", "--json")
    private = Path(made.json["private_key_file"])
    assert (private.stat().st_mode & 0o777, private.name) == (0o600, "ada-lab.key")
    assert private.read_text() not in made.out + made.err
    assert error(terminal.casparian("parser", "keygen", "ada-lab", "--json"))["code"] == "key_file"
    assert terminal.casparian("parser", "keygen", "../ada").code == 2


def test_who_takes_one_file_of_a_key_for_the_other_is_told_which_is_which(terminal: Terminal, signed: str) -> None:
    refused = terminal.casparian("parser", "sign", "./lines.py", "--key", "ada-lab.pub", "--json")
    assert (refused.code, error(refused)["code"]) == (5, "key_file")
    assert "casparian parser keygen wrote" in error(refused)["next_step"]
    refused = terminal.casparian("parser", "trust", "ada-lab.pub", "--reason", "met her", "--json")
    assert refused.code == 2
    assert error(refused)["next_step"] == 'casparian parser trust --key ada-lab.pub --reason "..."'


def test_the_signature_of_a_key_that_nobody_trusts_is_told_by_name(terminal: Terminal, signed: str) -> None:
    refused = run(terminal, "./lines.py")
    assert (refused.code, error(refused)["code"]) == (4, "untrusted_parser")
    assert f"signed by {signed}, a key that nobody trusts in this home" in error(refused)["message"]
    assert error(refused)["next_step"] == 'casparian parser trust ./lines.py --key PUBLIC_KEY_FILE --reason "..."'
    code, shown = answered(terminal, ("run", "./lines.py", "a.txt"), b"n\n")
    assert (code, f"It is signed by {signed}" in shown) == (4, True)


def test_a_trusted_key_lets_all_that_it_signs_run_and_the_log_says_whose_word_it_was(
    terminal: Terminal, parser: Path, signed: str
) -> None:
    said = terminal.casparian("parser", "trust", "./lines.py", "--key", "ada-lab.pub", *WHY)
    assert (said.code, said.json["key"], said.json["already"]) == (0, signed, False)
    assert terminal.casparian("preview", "a.txt", "--parser", "./lines.py", "--json").code == 0
    done = run(terminal, "./lines.py")
    assert (done.code, done.json["processed"]) == (0, 1)
    assert f"by the signature of {signed}" in done.err
    (key,) = logged(terminal, "KeyTrusted")
    (trusted,) = logged(terminal, "ParserTrusted")
    assert (trusted["data"]["how"], trusted["data"]["key"]) == ("signed", key["data"]["key"])
    assert key["data"]["reason"] == "met her"
    parser.write_text(PARSER.replace('"0.1"', '"0.2"'))
    assert terminal.casparian("parser", "sign", "./lines.py", "--key", "ada-lab.key").code == 0
    assert run(terminal, "./lines.py").json["parser_version"] == "0.2"
    listed = terminal.casparian("parser", "ls").out
    assert f"signed by {signed}" in listed
    (row,) = terminal.casparian("parser", "keys", "--json").json["keys"]
    assert (row["key"], row["reason"]) == (signed, "met her")
    assert signed in terminal.casparian("parser", "keys").out


def test_a_changed_byte_another_key_and_a_forged_signature_are_refused(
    terminal: Terminal, parser: Path, signed: str
) -> None:
    other = terminal.casparian("parser", "trust", "./lines.py", "--key", "ben.pub", *WHY)
    assert (other.code, error(other)["code"]) == (4, "not_signed")
    assert f"signed by {signed}, not by ben+" in error(other)["message"]
    assert logged(terminal, "KeyTrusted") == [] if terminal.home.exists() else True
    assert terminal.casparian("parser", "trust", "--key", "ada-lab.pub", *WHY).code == 0
    parser.write_text(PARSER + "\n")
    changed = run(terminal, "./lines.py")
    assert (changed.code, error(changed)["code"]) == (4, "bad_signature")
    assert "its source is another" in error(changed)["message"]
    assert "casparian parser sign" in error(changed)["next_step"]
    parser.write_text(PARSER)
    signature = parser.with_name("lines.py.sig")
    text, blank, line = signature.read_text().rpartition("\n\n")
    signature.write_text(text + blank + line[:40] + ("A" if line[40] != "A" else "B") + line[41:])
    forged = run(terminal, "./lines.py")
    assert (forged.code, error(forged)["code"]) == (4, "bad_signature")
    assert signed in error(forged)["message"]
    assert logged(terminal, "ParserTrusted") == []


@pytest.mark.slow
def test_a_revoked_key_stops_what_it_has_signed_and_nothing_else(terminal: Terminal, parser: Path, signed: str) -> None:
    terminal.casparian("parser", "trust", "--key", "ada-lab.pub", *WHY)
    assert run(terminal, "./lines.py").code == 0
    told = terminal.casparian("parser", "revoke", "--key", signed, "--reason", "it was stolen", "--json")
    assert (told.code, len(told.json["artifacts"])) == (0, 1)
    assert error(run(terminal, "./lines.py"))["code"] == "untrusted_parser"
    assert terminal.casparian("preview", "a.txt", "--parser", "./lines.py", "--json").code == 4
    assert terminal.casparian("parser", "keys", "--json").json["keys"] == []
    again = terminal.casparian("parser", "revoke", "--key", "ada-lab.pub", "--reason", "no", "--json")
    assert (again.code, error(again)["code"]) == (1, "not_found")
    trust(terminal, parser)
    assert run(terminal, "./lines.py").code == 0


@pytest.mark.slow
def test_a_parser_that_was_revoked_does_not_come_back_by_its_signature(terminal: Terminal, signed: str) -> None:
    terminal.casparian("parser", "trust", "--key", "ada-lab.pub", *WHY)
    assert run(terminal, "./lines.py").code == 0
    assert terminal.casparian("parser", "revoke", "lines", "--reason", "it loses a line").code == 0
    refused = run(terminal, "./lines.py")
    assert (refused.code, error(refused)["code"]) == (4, "revoked_parser")
    assert error(refused)["next_step"].endswith('casparian parser trust ./lines.py --reason "..."')
    assert terminal.casparian("preview", "a.txt", "--parser", "./lines.py", "--json").code == 4


@pytest.mark.parametrize("words", [("trust",), ("revoke",), ("revoke", "lines", "--key", "ada-lab.pub")])
def test_what_names_nothing_or_both_is_a_usage_error(terminal: Terminal, words: tuple[str, ...]) -> None:
    done = terminal.casparian("parser", *words, *WHY)
    assert (done.code, error(done)["code"]) == (2, "usage")
    assert not terminal.home.exists()


def test_what_is_no_key_is_told(terminal: Terminal, signed: str) -> None:
    for words in (("--key", "nobody"), ("--key", "lines.py")):
        assert error(terminal.casparian("parser", "trust", *words, *WHY))["code"] == "key_file"
    missing = terminal.casparian("parser", "sign", "./lines.py", "--key", "nowhere.key", "--json")
    assert (missing.code, error(missing)["code"]) == (1, "key_file")
    assert "keygen" in error(missing)["next_step"]
