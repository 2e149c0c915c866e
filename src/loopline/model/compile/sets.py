"""Splits by a set of categories, in trees whose library knows more than 256 of them.

The kernel's set holds 256 codes. One that has more is a chain of nodes, each over a column in which
its 256 codes begin at 0.
"""

import numpy as np

from loopline.kernels.score import NODE, Op
from loopline.model.compile.draft import Draft, Value

_ROOM = 256


class Sets:
    """One tree's nodes while its splits by sets are made, whose columns are places already."""

    def __init__(self, draft: Draft, nodes: np.ndarray) -> None:
        self._draft, self._nodes = draft, nodes
        self._chains: dict[int, list[tuple[float, int, int]]] = {}
        """For a node, the threshold, column and kind of each node of its chain."""

    def split(self, place: int, column: int, codes: list[int], *, missing_left: bool) -> None:
        """Send `codes` of a column left at a node, and every other one right."""
        # Right of it goes whatever is a number; what is missing goes left.
        chain = [(-np.inf, column, 1)] if missing_left else []
        for start in range(0, max(codes, default=0) + 1, _ROOM):
            words = np.zeros(8, np.uint32)
            for code in codes:
                if start <= code < start + _ROOM:
                    at = code - start
                    words[at // 32] |= np.uint32(1 << at % 32)
            if words.any() or not start:
                self._draft.bits.append(words)
                chain.append((0.0, self._shifted(column, start), 2 * len(self._draft.bits)))
        node = self._nodes[place]
        node["value"], node["feature"], node["kind"] = chain[0]
        if len(chain) > 1:
            self._chains[place] = chain

    def _shifted(self, column: int, start: int) -> int:
        if start == 0:
            return column
        return self._draft.column(Op.SHIFT, Value(column), [1.0, -float(start)]).place

    def add(self) -> int:
        """Add the tree to the plan; return its root's place."""
        nodes = self._chained() if self._chains else self._nodes
        return self._draft.tree(nodes, list(range(self._draft.width)))

    def _chained(self) -> np.ndarray:
        """Return the nodes with chains in them; each still comes before its children."""
        lengths = np.ones(len(self._nodes), np.int64)
        for place, chain in self._chains.items():
            lengths[place] = len(chain)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32)
        made = np.zeros(int(lengths.sum()), NODE)
        for place, (at, node) in enumerate(zip(starts.tolist(), self._nodes, strict=True)):
            left, right = (int(starts[node[side]]) for side in ("left", "right"))
            made[at] = node
            made[at]["left"], made[at]["right"] = left, right
            for more, (value, column, kind) in enumerate(self._chains.get(place, [])):
                made[at + more] = (value, column, left, at + more + 1, kind)
            made[at + lengths[place] - 1]["right"] = right
        return made
