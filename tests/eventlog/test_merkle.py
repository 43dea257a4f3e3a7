"""Tests of the Merkle tree: vectors published with Certificate Transparency, the definition, proofs and forgeries."""

from __future__ import annotations

import hashlib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.merkle import (
    CompactRange,
    Subtrees,
    consistency_holds,
    consistency_spans,
    inclusion_holds,
    inclusion_spans,
    leaf_hash,
    subtree_roots,
)

# The reference tree of the Certificate Transparency project (merkletree tests of certificate-transparency-go).
CT_LEAVES: Final = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS: Final = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_INCLUSION: Final = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CT_CONSISTENCY: Final = {
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}


def ct_hashes() -> list[bytes]:
    return [leaf_hash(leaf) for leaf in CT_LEAVES]


def grown(leaves: list[bytes]) -> CompactRange:
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
    return tree


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + defined_root(leaves[:k]) + defined_root(leaves[k:])).digest()


def changed(proof: list[bytes], at: int) -> list[bytes]:
    return [*proof[:at], bytes(byte ^ 1 for byte in proof[at]), *proof[at + 1 :]]


def test_the_roots_are_those_published_at_every_size() -> None:
    assert [grown(ct_hashes()[:size]).root().hex() for size in range(9)] == CT_ROOTS


@pytest.mark.parametrize(("index", "size"), CT_INCLUSION)
def test_inclusion_proofs_are_those_published(index: int, size: int) -> None:
    proof = subtree_roots(ct_hashes(), inclusion_spans(index, size))
    assert [node.hex() for node in proof] == CT_INCLUSION[index, size]


@pytest.mark.parametrize(("old", "new"), CT_CONSISTENCY)
def test_consistency_proofs_are_those_published(old: int, new: int) -> None:
    proof = subtree_roots(ct_hashes(), consistency_spans(old, new))
    assert [node.hex() for node in proof] == CT_CONSISTENCY[old, new]


def test_every_proof_of_every_small_tree_holds_and_none_holds_when_changed() -> None:
    leaves = [leaf_hash(b"%d" % number) for number in range(40)]
    for size in range(1, 41):
        root = defined_root(leaves[:size])
        for index in range(size):
            proof = subtree_roots(leaves, inclusion_spans(index, size))
            assert inclusion_holds(leaves[index], index, size, proof, root)
            assert not inclusion_holds(leaves[index], index, size, [*proof, root], root)
            assert not inclusion_holds(leaves[(index + 1) % 40], index, size, proof, root)
            assert not any(
                inclusion_holds(leaves[index], index, size, changed(proof, at), root) for at in range(len(proof))
            )
        for old in range(1, size + 1):
            old_root = defined_root(leaves[:old])
            proof = subtree_roots(leaves, consistency_spans(old, size))
            assert consistency_holds(old, size, old_root, root, proof)
            assert not consistency_holds(old, size, old_root, root, [*proof, root])
            assert not consistency_holds(old, size, bytes(32), root, proof)
            assert not any(consistency_holds(old, size, old_root, root, changed(proof, at)) for at in range(len(proof)))


@given(st.lists(st.binary(max_size=8), max_size=200), st.integers(0, 200))
def test_a_range_that_goes_on_from_its_peaks_is_the_tree(lines: list[bytes], cut: int) -> None:
    leaves = [leaf_hash(line) for line in lines]
    begun = grown(leaves[:cut])
    resumed = CompactRange(begun.size, begun.peaks)
    for leaf in leaves[cut:]:
        resumed.append(leaf)
    assert resumed.root() == defined_root(leaves)
    assert (resumed.size, len(resumed.peaks)) == (len(lines), len(lines).bit_count())


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=120), st.data())
def test_proofs_of_any_tree_hold(lines: list[bytes], data: st.DataObject) -> None:
    leaves = [leaf_hash(line) for line in lines]
    root = defined_root(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    assert inclusion_holds(
        leaves[index], index, len(leaves), subtree_roots(leaves, inclusion_spans(index, len(leaves))), root
    )
    old = data.draw(st.integers(1, len(leaves)))
    proof = subtree_roots(leaves, consistency_spans(old, len(leaves)))
    assert consistency_holds(old, len(leaves), defined_root(leaves[:old]), root, proof)


@given(
    st.integers(-2, 70),
    st.integers(-2, 70),
    st.lists(st.binary(min_size=32, max_size=32), max_size=8),
)
def test_verifying_any_nonsense_ends_and_refuses(a: int, b: int, proof: list[bytes]) -> None:
    root = bytes(31) + b"\x01"
    assert not inclusion_holds(bytes(32), a, b, proof, root)
    assert not consistency_holds(a, b, bytes(32), root, proof)


def test_a_frame_adds_its_lines_without_their_breaks() -> None:
    tree = CompactRange()
    tree.extend(b'{"seq":1}\n{"seq":2}\n')
    tree.extend(b"")
    assert tree.root() == defined_root([leaf_hash(b'{"seq":1}'), leaf_hash(b'{"seq":2}')])
    assert tree.size == 2


@given(st.data())
def test_a_tree_in_pieces_is_the_tree(data: st.DataObject) -> None:
    lines = [b"%d" % number for number in range(data.draw(st.integers(0, 70)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lines)), max_size=5)))
    tree = CompactRange()
    for begin, end in zip([0, *cuts], [*cuts, len(lines)], strict=True):
        part = Subtrees(begin)
        for line in lines[begin:end]:
            part.extend(line + b"\n")
        tree.extend_by(part.nodes)
        assert (tree.size, tree.root()) == (end, defined_root([leaf_hash(line) for line in lines[:end]]))


def test_a_subtree_that_cannot_begin_there_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot begin at leaf 1"):
        CompactRange(1, [bytes(32)]).extend_by([(1, bytes(32))])


def test_what_cannot_be_is_refused() -> None:
    for index, size in ((0, 0), (8, 8), (-1, 8)):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_spans(index, size)
    for old, new in ((0, 8), (9, 8)):
        with pytest.raises(ValueError, match="no proof"):
            consistency_spans(old, new)
    with pytest.raises(ValueError, match="leaves end before leaf 8"):
        subtree_roots(ct_hashes()[:7], inclusion_spans(0, 8))
    with pytest.raises(ValueError, match="peaks"):
        CompactRange(3, [bytes(32)])
