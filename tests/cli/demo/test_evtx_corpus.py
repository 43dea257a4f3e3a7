"""The made-up corpus: the same seed, the same bytes; the size asked for; every damage; refused where it must be."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from evtx import PyEvtxParser

from cli.demo.evtx_corpus import BYTES_MIN, DAMAGE_SHARES, CorpusError, Truth, generate
from cli.demo.evtx_writer import CHUNK_BYTES


def digest(folder: Path) -> str:
    hasher = hashlib.sha256()
    for path in sorted(folder.rglob("*.evtx")):
        hasher.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
    return hasher.hexdigest()


def records_by_the_bare_decoder(path: Path) -> list[int]:
    records: Any = PyEvtxParser(str(path), 1).records_json()
    return [record["event_record_id"] for record in records]


def test_same_seed_makes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    made = {name: generate(tmp_path / name, seed=seed, bytes_total=3_000_000) for name, seed in (("a", 1), ("b", 1))}
    other = generate(tmp_path / "c", seed=2, bytes_total=3_000_000)
    assert made["a"] == made["b"] != other
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_size_is_the_one_asked_for_less_than_one_small_log_off(tmp_path: Path) -> None:
    truth = generate(tmp_path / "logs", seed=3, bytes_total=20_000_000, damage_shares={})
    assert 20_000_000 - BYTES_MIN < truth.bytes <= 20_000_000
    assert truth.bytes == sum(path.stat().st_size for path in tmp_path.rglob("*.evtx"))
    sizes = Counter(file.bytes for file in truth.files)
    assert sizes[BYTES_MIN] > len(truth.files) / 2


def test_undamaged_logs_hold_what_another_reader_finds_and_all_content_differs(tmp_path: Path) -> None:
    truth = generate(tmp_path / "logs", seed=4, bytes_total=8_000_000, damage_shares={})
    contents: set[bytes] = set()
    for file in truth.files:
        path = tmp_path / "logs" / file.path
        contents.add(path.read_bytes())
        ids = records_by_the_bare_decoder(path)
        assert ids == list(range(ids[0], ids[0] + file.found))
    assert len(contents) == len(truth.files)


@pytest.mark.parametrize("damage", sorted(DAMAGE_SHARES))
def test_every_damage_can_be_asked_for(tmp_path: Path, damage: str) -> None:
    truth = generate(tmp_path / "logs", seed=5, bytes_total=6_000_000, damage_shares={damage: 1.0})
    whole = generate(tmp_path / "whole", seed=5, bytes_total=6_000_000, damage_shares={})
    assert digest(tmp_path / "logs") != digest(tmp_path / "whole")
    marked = [file for file in truth.files if damage in file.damage]
    assert len(marked) == len(truth.files) or damage == "stale_chunk_count"
    assert whole.records


def test_truth_is_saved_as_a_line_a_file(tmp_path: Path) -> None:
    truth = generate(tmp_path / "logs", seed=6, bytes_total=BYTES_MIN)
    truth.save(tmp_path / "truth.ndjson")
    assert len((tmp_path / "truth.ndjson").read_text().splitlines()) == len(truth.files) == 1
    assert isinstance(truth, Truth)


def test_what_cannot_be_made_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="the smallest log has 69632"):
        generate(tmp_path / "logs", seed=1, bytes_total=CHUNK_BYTES)
    with pytest.raises(CorpusError, match="make logs with the damage 'rust'"):
        generate(tmp_path / "logs", seed=1, bytes_total=BYTES_MIN, damage_shares={"rust": 1.0})
    (tmp_path / "evidence.txt").write_text("mine")
    with pytest.raises(CorpusError, match="not an empty folder"):
        generate(tmp_path, seed=1, bytes_total=BYTES_MIN)
