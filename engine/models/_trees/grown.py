"""A grown tree: from the levels that growth left behind to pruned, numbered nodes with exact leaf values."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._kernels.leaves import add_leaf_values
from engine._kernels.nodes import NODE
from engine.collectives.exact import limbs_to_floats
from engine.encode.bins import BinSpec
from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET, Link, TreeEnsemble
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


NO_SPLIT = np.zeros((), dtype=NODE)
NO_SPLIT["column"], NO_SPLIT["lower"], NO_SPLIT["upper"] = -1, -np.inf, np.inf


class Level(NamedTuple):
    """The nodes of one depth, and the categories that answer yes where splits are sets."""

    nodes: NDArray[np.void]  # [n_nodes] of NODE
    subset: NDArray[np.uint64]  # [n_nodes, n_words]

    @classmethod
    def leaves(cls, n: int, *, n_words: int = 0) -> Level:
        """Nodes without splits, their rows still unknown, and their weights unbounded."""
        return cls(np.full(n, NO_SPLIT), np.zeros((n, n_words), np.uint64))

    @property
    def is_split(self) -> NDArray[np.bool_]:
        """Which nodes have a split."""
        return np.greater_equal(self.nodes["column"], 0)


class Cuts:
    """What becomes of a chosen code in a model: the thresholds of all columns, one column's after the other's."""

    def __init__(self, specs: Sequence[BinSpec]) -> None:
        counts = np.array([0 if spec.n_categories else len(spec.thresholds) for spec in specs], dtype=np.int64)
        self._end = np.cumsum(counts)
        self._start = self._end - counts
        numbers = [spec.thresholds for spec in specs if not spec.n_categories]
        self._values = np.concatenate([*numbers, [np.inf]])  # where all are passed, yes is every value that is not missing
        self.n_categories = np.array([spec.n_categories for spec in specs], dtype=np.int64)

    def thresholds(self, column: NDArray[np.int32], code: NDArray[np.int32]) -> Floats:
        """The thresholds of codes of columns of numbers."""
        at = self._start[column] + code
        return np.asarray(self._values[np.where(at < self._end[column], at, len(self._values) - 1)])


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


class LeafValues(NamedTuple):
    """What a tree adds to rows: the number of each row's leaf, and every leaf's value."""

    leaf: NDArray[np.uint16] | NDArray[np.uint32]
    values: Floats

    def add_to(self, scores: Floats, num_threads: int) -> None:
        """Add to the rows' ``scores`` [n_rows_local]."""
        add_leaf_values(self.leaf, self.values, scores, num_threads)


def finish_tree(levels: list[Level], sums: Ints, cuts: Cuts, gradients: Gradients, options: GrowthOptions) -> GrownTree:
    """Compute gains, covers and leaf values from the nodes' full ``sums``, prune, and number the nodes that stay breadth first.

    ``sums``: [n_nodes, 4] limbs of gradients and hessians, level after level.
    """
    nodes = np.concatenate([level.nodes for level in levels])
    column, code, missing_yes = nodes["column"], nodes["code"], nodes["missing_yes"]
    grown = child_numbers(column)
    yes = grown.copy()
    if options.max_leaves is not None:
        yes[~choose_best_first(nodes, options.max_leaves)] = -1
    g, h = limbs_to_floats(sums[:, :2]) * gradients.g_unit, limbs_to_floats(sums[:, 2:]) * gradients.h_unit
    drop_light(yes, h, options.min_child_weight)
    weight = leaf_weights(g, h, nodes["lower"], nodes["upper"], options)
    gain = split_gains(g, h, yes, weight, options)
    prune(yes, gain, options.min_loss_reduction)
    stay = reachable(yes)
    number = np.cumsum(stay, dtype=np.int32) - np.int32(1)
    subset = subsets_of(levels, column, stay & (yes >= 0), cuts) if options.partition else []
    column, code, learned, first = column[stay], code[stay], missing_yes[stay], yes[stay]
    inner = first >= 0
    no = np.where(inner, first + 1, 0)
    threshold, kind = thresholds(column, code, inner, cuts, partition=options.partition)
    heavier = h[first.clip(0)] >= h[no]
    return GrownTree(
        kind=kind,
        column=np.where(inner, column, np.int32(-1)),
        code=np.where(inner, code, np.int32(-1)),
        threshold=threshold,
        missing_yes=((kind == NUMERIC) & np.where(learned == 2, heavier, learned == 1)).astype(np.uint8),
        yes=np.where(inner, number[first], np.int32(-1)),
        no=np.where(inner, number[no], np.int32(-1)),
        value=np.where(inner, 0.0, weight[stay] * options.step_size),
        gain=np.where(inner, gain[stay], 0.0),
        cover=h[stay],
        set_start=np.cumsum([0, *map(len, subset)]).astype(np.int64),
        set_bits=np.concatenate([np.empty(0, dtype=np.uint64), *subset]),
        leaf_node=number[find_homes(levels, grown, yes)[grown < 0]].astype(np.int64),
    )


def child_numbers(column: NDArray[np.int32]) -> Ints:
    """Each node's yes child, counting through the levels, -1 for leaves; the no child is the next number.

    Levels come one after the other, and pairs of children in their parents' order: the k-th split's are nodes 2 k + 1 and 2 k + 2.
    """
    split = column >= 0
    return np.where(split, 2 * np.cumsum(split) - 1, -1)


def drop_light(yes: Ints, h: Floats, min_child_weight: float) -> None:
    """Turn splits with a child below ``min_child_weight`` into leaves; lanes only estimated it. ``yes`` is changed in place."""
    split = np.flatnonzero(yes >= 0)
    lighter = np.minimum(h[yes[split]], h[yes[split] + 1])
    yes[split[lighter < min_child_weight]] = -1


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


def shrink(g: Floats, reg_alpha: float) -> Floats:
    """Gradient sums moved towards 0 by the L1 penalty."""
    return np.sign(g) * np.maximum(np.abs(g) - reg_alpha, 0.0)


def leaf_weights(g: Floats, h: Floats, lower: Floats, upper: Floats, options: GrowthOptions) -> Floats:
    """-T(G) / (H + lambda), within bounds; 0 where nothing has a hessian."""
    denominator = h + options.reg_lambda
    weight = np.divide(-shrink(g, options.reg_alpha), denominator, out=np.zeros(len(g)), where=denominator > 0)
    return np.clip(weight, lower, upper)


def split_gains(g: Floats, h: Floats, yes: Ints, weight: Floats, options: GrowthOptions) -> Floats:
    """The loss reduction of each split: both children's scores less the node's own (:mod:`engine._kernels.splits`), 0 at leaves."""
    denominator = h + options.reg_lambda
    if options.monotone is None:
        score = np.divide(shrink(g, options.reg_alpha) ** 2, denominator, out=np.zeros(len(g)), where=denominator > 0)
    else:
        score = -(2 * g * weight + denominator * weight**2 + 2 * options.reg_alpha * np.abs(weight))
    split = np.flatnonzero(yes >= 0)
    gain = np.zeros(len(g))
    gain[split] = score[yes[split]] + score[yes[split] + 1] - score[split]
    return gain


def prune(yes: Ints, gain: Floats, min_loss_reduction: float) -> None:
    """Turn splits between two leaves that gain too little into leaves, from the bottom up; ``yes`` is changed in place."""
    least = max(min_loss_reduction, MIN_GAIN)
    for node in np.flatnonzero((yes >= 0) & (gain < least))[::-1].tolist():
        child = yes[node]
        if yes[child] < 0 and yes[child + 1] < 0:
            yes[node] = -1


def reachable(yes: Ints) -> NDArray[np.bool_]:
    """Nodes that can be reached from the root; children have greater numbers than their parents."""
    stay = np.zeros(len(yes), dtype=bool)
    stay[0] = True
    level = np.zeros(1, dtype=np.int64)
    while len(level):
        stay[level] = True
        first = yes[level]
        first = first[first >= 0]
        level = np.concatenate([first, first + 1])
    return stay


def find_homes(levels: Sequence[Level], grown: Ints, yes: Ints) -> Ints:
    """For every node that grew, itself or the leaf above it that pruning left; ``grown``: the yes children before it."""
    home = np.arange(len(yes))
    if np.array_equal(grown, yes):
        return home
    first = 0
    for level in levels:
        node = first + np.flatnonzero(grown[first : first + len(level.nodes)] >= 0)
        gone = (home[node] != node) | (yes[node] < 0)
        for child in (grown[node], grown[node] + 1):
            home[child] = np.where(gone, home[node], child)
        first += len(level.nodes)
    return home


def subsets_of(levels: Sequence[Level], column: NDArray[np.int32], wanted: NDArray[np.bool_], cuts: Cuts) -> list[NDArray[np.uint64]]:
    """The sets of the ``wanted`` nodes that split on one, in order, each as long as its column's categories need."""
    subset = np.concatenate([level.subset for level in levels])
    return [subset[node, : -(-cuts.n_categories[column[node]] // 64)] for node in np.flatnonzero(wanted & subset.any(axis=1)).tolist()]


def thresholds(
    column: NDArray[np.int32], code: NDArray[np.int32], inner: NDArray[np.bool_], cuts: Cuts, *, partition: bool
) -> tuple[Floats, NDArray[np.uint8]]:
    """Thresholds of splits (a category's code, a set's number, infinity where yes is every value that is not missing), and their kinds."""
    threshold, kind = np.zeros(len(column)), np.full(len(column), LEAF, dtype=np.uint8)
    split = np.flatnonzero(inner)
    is_number = cuts.n_categories[column[split]] == 0
    number, category = split[is_number], split[~is_number]
    threshold[number], kind[number] = cuts.thresholds(column[number], code[number]), NUMERIC
    threshold[category], kind[category] = (np.arange(len(category)), SUBSET) if partition else (code[category], CATEGORY)
    return threshold, kind


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
