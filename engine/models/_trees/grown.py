"""A grown tree: from the levels that growth left behind to pruned, numbered nodes with exact leaf values."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._kernels.finishing import Limits, finish_nodes
from engine._kernels.leaves import add_leaf_values
from engine._kernels.nodes import NODE
from engine.encode.bins import BinSpec
from engine.models._trees.ensemble import SUBSET, Link, TreeEnsemble
from engine.models._trees.lanes import Gradients

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_GAIN = 1e-6  # a smaller loss reduction is noise; XGBoost draws the same line


@dataclass(frozen=True)
class GrowthOptions:
    """What limits a tree."""

    max_depth: int
    min_child_weight: float
    min_loss_reduction: float
    step_size: float
    reg_lambda: float = 1.0
    reg_alpha: float = 0.0
    max_leaves: int | None = None  # None: as many as the depth allows; else those of the best splits first
    monotone: NDArray[np.int8] | None = None  # [n_encoded_columns]: 1 or -1 where predictions may only rise or fall with the column
    partition: bool = False  # whether categories split into two sets, not into one and the rest


NO_SPLIT = np.zeros(1, dtype=NODE)
NO_SPLIT["column"], NO_SPLIT["lower"], NO_SPLIT["upper"] = -1, -np.inf, np.inf
NO_CUTS, NO_SETS, NO_BITS = np.empty(0), np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.uint64)
NONE_TAKEN_BACK = np.empty(0, dtype=np.uint8)


class Level(NamedTuple):
    """The nodes of one depth, and the categories that answer yes where splits are sets."""

    nodes: NDArray[np.void]  # [n_nodes] of NODE
    subset: NDArray[np.uint64]  # [n_nodes, n_words]

    @classmethod
    def leaves(cls, n: int, *, n_words: int = 0) -> Level:
        """Nodes without splits, their rows still unknown, and their weights unbounded."""
        return cls(NO_SPLIT.repeat(n), np.zeros((n, n_words), np.uint64))

    @property
    def is_split(self) -> NDArray[np.bool_]:
        """Which nodes have a split."""
        return np.greater_equal(self.nodes["column"], 0)


class Cuts:
    """What becomes of a chosen code in a model: the thresholds of all columns, one column's after the other's."""

    def __init__(self, specs: Sequence[BinSpec]) -> None:
        numbers = [spec.thresholds if not spec.n_categories else NO_CUTS for spec in specs]
        self.start = np.cumsum([0, *map(len, numbers)], dtype=np.int64)
        self.values = np.concatenate([NO_CUTS, *numbers])
        self.n_categories = np.array([spec.n_categories for spec in specs], dtype=np.int64)


@dataclass(frozen=True)
class GrownTree:
    """One tree's nodes, as in :class:`TreeEnsemble`; ``leaf_node``: the node that the rows of each leaf of growth ended in."""

    kind: NDArray[np.uint8]
    column: NDArray[np.int32]
    code: NDArray[np.int32]  # yes is every bin up to it, or the category itself; -1 at leaves
    threshold: Floats
    missing_yes: NDArray[np.uint8]
    yes: NDArray[np.int32]
    no: NDArray[np.int32]
    value: Floats
    gain: Floats
    cover: Floats
    set_start: Ints
    set_bits: NDArray[np.uint64]
    leaf_node: Ints


# what the kernel writes of a tree's nodes, in its order
OUTPUTS = {
    "kind": np.uint8,
    "column": np.int32,
    "code": np.int32,
    "threshold": np.float64,
    "missing_yes": np.uint8,
    "yes": np.int32,
    "no": np.int32,
    "value": np.float64,
    "gain": np.float64,
    "cover": np.float64,
}


class LeafValues(NamedTuple):
    """What a tree adds to rows: the number of each row's leaf, and every leaf's value."""

    leaf: NDArray[np.uint16] | NDArray[np.uint32]
    values: Floats

    def add_to(self, scores: Floats, num_threads: int) -> None:
        """Add to the rows' ``scores`` [n_rows_local]."""
        add_leaf_values(self.leaf, self.values, scores, num_threads)


def finish_tree(levels: Sequence[Level], leaf_sums: Ints, cuts: Cuts, gradients: Gradients, options: GrowthOptions) -> GrownTree:
    """Compute gains, covers and leaf values from the leaves' full sums, prune, and number the nodes that stay breadth first.

    ``leaf_sums``: [n_leaves, 4] limbs of gradients and hessians, level after level.
    """
    nodes = np.concatenate([level.nodes for level in levels], dtype=NODE)  # said, as finding it out takes longer than all the rest
    n = len(nodes)
    chosen = NONE_TAKEN_BACK if options.max_leaves is None else choose_best_first(nodes, options.max_leaves).view(np.uint8)
    limits = Limits(
        gradients.g_unit,
        gradients.h_unit,
        options.reg_lambda,
        options.reg_alpha,
        options.min_child_weight,
        max(options.min_loss_reduction, MIN_GAIN),
        options.step_size,
        options.monotone is not None,
    )
    place, leaf_node = np.empty(n, dtype=np.int64), np.empty(len(leaf_sums), dtype=np.int64)
    out = [np.empty(n, dtype=dtype) for dtype in OUTPUTS.values()]
    n_kept = finish_nodes(
        nodes, chosen, leaf_sums, limits, cuts.start, cuts.values, cuts.n_categories, options.partition, place, *out, leaf_node
    )  # fmt: skip
    kept: dict[str, Any] = {name: array[:n_kept] for name, array in zip(OUTPUTS, out, strict=True)}
    subset = subsets_of(levels, place[:n_kept], kept["kind"], kept["column"], cuts)
    return GrownTree(
        **kept,
        set_start=np.cumsum([0, *map(len, subset)], dtype=np.int64) if subset else NO_SETS,
        set_bits=np.concatenate(subset) if subset else NO_BITS,
        leaf_node=leaf_node,
    )


def subsets_of(
    levels: Sequence[Level], place: Ints, kind: NDArray[np.uint8], column: NDArray[np.int32], cuts: Cuts
) -> list[NDArray[np.uint64]]:
    """The sets of the nodes that split on one, in order, each as long as its column needs; ``place``: among all levels' nodes."""
    on_sets = np.flatnonzero(kind == SUBSET)
    if not len(on_sets):
        return []
    subset = np.concatenate([level.subset for level in levels])
    return [subset[place[node], : -(-cuts.n_categories[column[node]] // 64)] for node in on_sets.tolist()]


def child_numbers(column: NDArray[np.int32]) -> Ints:
    """Each node's yes child, counting through the levels, -1 for leaves; the no child is the next number.

    Levels come one after the other, and pairs of children in their parents' order: the k-th split's are nodes 2 k + 1 and 2 k + 2.
    """
    split = column >= 0
    return np.where(split, 2 * np.cumsum(split) - 1, -1)


def choose_best_first(nodes: NDArray[np.void], max_leaves: int) -> NDArray[np.bool_]:
    """Which of all ``nodes`` split if at each time the leaf of the largest gain does, ties by the lowest number, up to ``max_leaves``.

    Children that are not known yet count as leaves. They could only take the place of others: what is not chosen now never will be.
    """
    yes, gain = child_numbers(nodes["column"]), nodes["gain"]
    chosen = np.zeros(len(yes), dtype=bool)
    frontier = [(-float(gain[0]), 0)] if yes[0] >= 0 else []
    for _ in range(max_leaves - 1):
        if not frontier:
            break
        _, node = heapq.heappop(frontier)
        chosen[node] = True
        for child in range(yes[node], yes[node] + 2):
            if child < len(yes) and yes[child] >= 0:
                heapq.heappush(frontier, (-float(gain[child]), child))
    return chosen


def assemble(trees: Sequence[GrownTree], *, n_outputs: int, base_score: float, link: Link = "margin") -> TreeEnsemble:
    """Put trees one after the other; sets of categories are numbered through."""
    names = ("kind", "column", "missing_yes", "yes", "no", "value", "gain", "cover")
    sizes = [len(tree.kind) for tree in trees]
    n_sets, n_words = (np.cumsum([0, *counts]) for counts in zip(*((len(t.set_start) - 1, len(t.set_bits)) for t in trees), strict=True))
    nodes: dict[str, Any] = {name: np.concatenate([getattr(tree, name) for tree in trees]) for name in names}
    return TreeEnsemble(
        n_outputs=n_outputs,
        base_score=base_score,
        link=link,
        tree_start=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        threshold=np.concatenate([tree.threshold + first * (tree.kind == SUBSET) for tree, first in zip(trees, n_sets[:-1], strict=True)]),
        set_start=np.concatenate([[0], *(tree.set_start[1:] + first for tree, first in zip(trees, n_words[:-1], strict=True))]),
        set_bits=np.concatenate([tree.set_bits for tree in trees]),
        **nodes,
    )
