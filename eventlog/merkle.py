"""Owns the Merkle tree over the log (RFC 6962, section 2.1): its root at any size, and proofs that need no log. Pure.

Leaf i is the record line of seq i + 1, so the size of a tree is the seq of its last record. A leaf's data is the line
without its line break: what a person cuts out of the file with any tool is what was hashed. Commit lines are no leaves.

    leaf = SHA-256(0x00 || line)        node = SHA-256(0x01 || left || right)        root of no leaves = SHA-256("")

A compact range holds one hash for each bit of the size, at most 64; a leaf costs one hash for itself and one for its
node. Hashes are 32 raw bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
PEAKS_MAX: Final = 64
PROOF_HASHES_MAX: Final = 2 * PEAKS_MAX  # a consistency proof between sizes under 2^64 is shorter

Node = tuple[int, bytes]  # the root of a perfect subtree of 2^level leaves: its level and its hash
Span = tuple[int, int]  # leaves from the first (counted from 0) up to, not including, the second


def leaf_hash(line: bytes) -> bytes:
    """Return the hash of a record line; `line` has no line break at its end."""
    return sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The tree over the first `size` leaves, as the roots of its perfect subtrees from left to right."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Begin empty, or go on from the peaks of a tree of this size. Raises ValueError if they do not fit it."""
        if size < 0 or size.bit_count() != len(peaks) or any(len(peak) != HASH_BYTES for peak in peaks):
            raise ValueError(f"a tree of {size} leaves does not have {len(peaks)} peaks")
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        return tuple(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash at the right end."""
        peaks, size = self._peaks, self.size
        while size & 1:  # one round for each trailing 1 of the size: at most 64, one on average
            leaf = sha256(b"\x01" + peaks.pop() + leaf).digest()
            size >>= 1
        peaks.append(leaf)
        self.size += 1

    def extend(self, lines: bytes) -> None:
        """Add the record lines of a frame, each with its line break at its end, in order."""
        for line in lines.split(b"\n")[:-1]:
            self.append(sha256(b"\x00" + line).digest())

    def extend_by(self, nodes: Sequence[Node]) -> None:
        """Add whole subtrees, as `Subtrees` made them of the leaves that follow here."""
        for level, root in nodes:
            if self.size & ((1 << level) - 1):
                raise ValueError(f"a subtree of 2^{level} leaves cannot begin at leaf {self.size}")
            node, size = root, self.size >> level
            while size & 1:
                node = node_hash(self._peaks.pop(), node)
                size >>= 1
            self._peaks.append(node)
            self.size += 1 << level

    def root(self) -> bytes:
        """Return the Merkle tree hash of all leaves so far."""
        if not self._peaks:
            return sha256(b"").digest()
        root = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            root = node_hash(peak, root)
        return root


class Subtrees:
    """The tree over some leaves in the middle of a log, as far as it can be made without those before them.

    What is left over are the roots of at most two perfect subtrees of each level.
    """

    def __init__(self, begin: int) -> None:
        """Begin at a leaf, counted from 0."""
        self._end = begin
        self._nodes: list[Node] = []

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Return the subtrees from left to right."""
        return tuple(self._nodes)

    def extend(self, lines: bytes) -> None:
        """Add the record lines of a frame, each with its line break at its end, in order."""
        nodes = self._nodes
        for line in lines.split(b"\n")[:-1]:
            level, node, at = 0, sha256(b"\x00" + line).digest(), self._end
            while at & 1 and nodes and nodes[-1][0] == level:  # a left neighbour of its own size: at most 64 rounds
                node = sha256(b"\x01" + nodes.pop()[1] + node).digest()
                level, at = level + 1, at >> 1
            nodes.append((level, node))
            self._end += 1


# --- proving --------------------------------------------------------------------------------------------------------


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Return the subtrees whose roots prove that leaf `index` is in the tree of `size` leaves, lowest first (PATH).

    Raises ValueError if the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    spans: list[Span] = []
    low, high = 0, size
    while high - low > 1:  # the span shrinks to its left or right part: at most 64 rounds
        middle = low + _split(high - low)
        if index < middle:
            spans.append((middle, high))
            high = middle
        else:
            spans.append((low, middle))
            low = middle
    return spans[::-1]


def consistency_spans(old: int, new: int) -> list[Span]:
    """Return the subtrees whose roots prove that the tree of `new` leaves begins with that of `old` (PROOF).

    Raises ValueError unless 0 < old <= new; between equal sizes nothing needs proof.
    """
    if not 0 < old <= new:
        raise ValueError(f"no proof leads from {old} leaves to {new}")
    spans: list[Span] = []
    low, high = 0, new
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            spans.append((middle, high))
            high = middle
        else:
            spans.append((low, middle))
            low = middle
    if low > 0:
        spans.append((low, high))  # what the verifier cannot make from the old root; from 0 on it is the old root
    return spans[::-1]


def subtree_roots(leaves: Iterable[bytes], spans: Sequence[Span]) -> list[bytes]:
    """Return the root of each span in one pass over all leaf hashes; the spans of a proof do not overlap.

    Raises ValueError if the leaves end before the last span does.
    """
    order = sorted(range(len(spans)), key=lambda at: spans[at])
    ranges = [CompactRange() for _ in spans]
    turn = 0
    for index, leaf in enumerate(leaves):
        if turn < len(order) and index == spans[order[turn]][1]:
            turn += 1
        if turn == len(order):
            break
        if index >= spans[order[turn]][0]:
            ranges[order[turn]].append(leaf)
    if any(grown.size != end - start for grown, (start, end) in zip(ranges, spans, strict=True)):
        raise ValueError(f"the leaves end before leaf {max(end for _, end in spans)}")
    return [grown.root() for grown in ranges]


def _split(size: int) -> int:
    """Return the largest power of two that is smaller than `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


# --- verifying (RFC 9162, sections 2.1.3.2 and 2.1.4.2) -------------------------------------------------------------


def inclusion_holds(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether the proof leads from a leaf hash at `index` to the root of the tree of `size` leaves."""
    if not 0 <= index < size or len(proof) > PROOF_HASHES_MAX:
        return False
    at, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:  # up to where this subtree has a left neighbour
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def consistency_holds(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether the proof shows that the tree of `new` leaves begins with the tree of `old` leaves."""
    if not 0 < old <= new or len(proof) > PROOF_HASHES_MAX:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof) if old.bit_count() > 1 else [old_root, *proof]
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old_node == old_root and new_node == new_root
