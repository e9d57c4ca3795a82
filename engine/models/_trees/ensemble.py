"""Trees as flat arrays: what growing produces, prediction walks, and a model file stores."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

LEAF, NUMERIC, CATEGORY, SUBSET = 0, 1, 2, 3
LEAST_PROBABILITY = 1e-9  # of two classes: what finite log-odds are made of
Link = Literal["margin", "probability", "log"]


@dataclass(frozen=True)
class TreeEnsemble:
    """All trees of a model, node after node; tree t holds nodes ``tree_start[t]`` to ``tree_start[t + 1]``, its root first.

    A row goes to ``yes`` where ``x[column] < threshold`` (NUMERIC), ``x[column] == threshold`` (CATEGORY, a category's code), or
    ``x[column]`` is in set number ``threshold`` (SUBSET, of categories: bit ``c & 63`` of word ``c >> 6`` of ``set_bits`` from
    ``set_start[threshold]``; codes beyond the set's words are not in it), to ``no`` elsewhere; a NaN goes to ``yes`` where
    ``missing_yes``, else to ``no``. ``yes`` and ``no`` count from the tree's root and are always greater than their parent's number.
    Tree t adds its leaf to output ``t % n_outputs``. Nodes are numbered breadth first.

    ``link`` says what the outputs, ``base_score`` plus leaves, are. Of classifiers: margins (log-odds of class 1 of two, a score each for
    more), or, in forests that average them, probabilities (of class 1 of two, or of each of more, up to their sum). Of regressions:
    predictions, or with 'log' their logarithms.
    """

    n_outputs: int
    base_score: float
    tree_start: NDArray[np.int64]  # [n_trees + 1]
    kind: NDArray[np.uint8]  # [n_nodes] LEAF, NUMERIC, CATEGORY or SUBSET
    column: NDArray[np.int32]  # [n_nodes] encoded column, -1 at leaves
    threshold: NDArray[np.float64]  # [n_nodes] 0 at leaves
    missing_yes: NDArray[np.uint8]  # [n_nodes]
    yes: NDArray[np.int32]  # [n_nodes] -1 at leaves
    no: NDArray[np.int32]  # [n_nodes] -1 at leaves
    value: NDArray[np.float64]  # [n_nodes] what a leaf adds to the margin; 0 at inner nodes
    gain: NDArray[np.float64]  # [n_nodes] loss reduction of the split; 0 at leaves
    cover: NDArray[np.float64]  # [n_nodes] sum of hessians of the training rows
    set_start: NDArray[np.int64]  # [n_sets + 1] where each set's words begin
    set_bits: NDArray[np.uint64]  # the sets of all SUBSET nodes, one bit a category
    link: Link = "margin"

    @property
    def n_trees(self) -> int:
        """Number of trees, all outputs together."""
        return len(self.tree_start) - 1

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, in a fixed order."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("n_outputs", "base_score", "link")}

    def document(self) -> dict[str, Any]:
        """What is not an array, as a model's document holds it."""
        return {"n_outputs": self.n_outputs, "base_score": self.base_score, "link": self.link}

    def members(self, i: int) -> NDArray[np.int64]:
        """The categories of SUBSET node i, over all trees."""
        first, last = self.set_start[int(self.threshold[i]) :][:2]
        bits = np.unpackbits(self.set_bits[first:last].astype("<u8").view(np.uint8), bitorder="little")
        return np.flatnonzero(bits)
