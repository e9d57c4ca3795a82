"""A grown tree: from the levels that growth left behind to pruned, numbered nodes with exact leaf values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


@dataclass
class Level:
    """The nodes of one depth: rows on this rank, rows over all ranks, full sums, and the split chosen for each (column -1: none)."""

    begin: Ints
    end: Ints
    n_rows: Ints
    sums: Ints  # [n_nodes, 4] limbs of g and h
    column: NDArray[np.int32]
    code: NDArray[np.int32]
    missing_yes: NDArray[np.uint8]

    @classmethod
    def leaves(cls, begin: Ints, end: Ints, n_rows: Ints) -> Level:
        """Nodes without splits, their sums still unknown."""
        n = len(begin)
        return cls(begin, end, n_rows, np.zeros((n, 4), np.int64), np.full(n, -1, np.int32), np.zeros(n, np.int32), np.zeros(n, np.uint8))


@dataclass(frozen=True)
class GrownTree:
    """One tree's nodes, as in :class:`TreeEnsemble`, and the rows of its leaves on this rank."""

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
    leaf_begin: Ints
    leaf_end: Ints
    leaf_value: Floats


def finish_tree(levels: list[Level], specs: Sequence[BinSpec], gradients: Gradients, options: GrowthOptions) -> GrownTree:
    """Compute gains, covers and leaf values from full sums, prune, and number the nodes that stay breadth first."""
    column, code, missing_yes, begin, end, sums = (
        np.concatenate([getattr(level, name) for level in levels]) for name in ("column", "code", "missing_yes", "begin", "end", "sums")
    )
    yes = child_numbers(levels)
    g, h = limbs_to_floats(sums[:, :2]) * gradients.g_unit, limbs_to_floats(sums[:, 2:]) * gradients.h_unit
    drop_light(yes, h, options.min_child_weight)
    gain = split_gains(g, h, yes, options.reg_lambda)
    prune(yes, gain, options.min_loss_reduction)
    stay = reachable(yes)
    number = np.cumsum(stay, dtype=np.int32) - np.int32(1)
    inner, first = yes[stay] >= 0, yes[stay].clip(0)
    denominator = h[stay] + options.reg_lambda
    weight = np.divide(-g[stay], denominator, out=np.zeros(len(denominator)), where=denominator > 0)
    value = np.where(inner, 0.0, weight * options.step_size)
    leaf = ~inner
    threshold, category = thresholds(column[stay], code[stay], inner, specs)
    learned, heavier = missing_yes[stay], h[first] >= h[first + 1 - (yes[stay] < 0)]
    return GrownTree(
        kind=np.where(inner, np.where(category, CATEGORY, NUMERIC), LEAF).astype(np.uint8),
        column=np.where(inner, column[stay], -1).astype(np.int32),
        code=np.where(inner, code[stay], -1).astype(np.int32),
        threshold=threshold,
        missing_yes=(inner & ~category & np.where(learned == 2, heavier, learned == 1)).astype(np.uint8),
        yes=np.where(inner, number[first], -1).astype(np.int32),
        no=np.where(inner, number[first] + 1, -1).astype(np.int32),
        value=value,
        gain=np.where(inner, gain[stay], 0.0),
        cover=h[stay],
        set_start=np.zeros(1, dtype=np.int64),
        set_bits=np.empty(0, dtype=np.uint64),
        leaf_begin=begin[stay][leaf],
        leaf_end=end[stay][leaf],
        leaf_value=value[leaf],
    )


def child_numbers(levels: list[Level]) -> Ints:
    """Each node's yes child, counting through the levels, -1 for leaves; the no child is the next number."""
    numbers = []
    next_level = 0
    for level in levels:
        next_level += len(level.column)
        split = level.column >= 0
        numbers.append(np.where(split, next_level + 2 * (np.cumsum(split) - 1), -1))
    return np.concatenate(numbers)


def drop_light(yes: Ints, h: Floats, min_child_weight: float) -> None:
    """Turn splits with a child below ``min_child_weight`` into leaves; lanes only estimated it. ``yes`` is changed in place."""
    split = np.flatnonzero(yes >= 0)
    lighter = np.minimum(h[yes[split]], h[yes[split] + 1])
    yes[split[lighter < min_child_weight]] = -1


def split_gains(g: Floats, h: Floats, yes: Ints, reg_lambda: float) -> Floats:
    """G^2 / (H + lambda) of both children less the node's own, 0 at leaves."""
    denominator = h + reg_lambda
    score = np.divide(g * g, denominator, out=np.zeros(len(g)), where=denominator > 0)
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


def thresholds(
    column: NDArray[np.int32], code: NDArray[np.int32], inner: NDArray[np.bool_], specs: Sequence[BinSpec]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Thresholds of splits (a category's code, infinity where yes is every value that is not missing), and which ask for a category."""
    threshold, category = np.zeros(len(column)), np.zeros(len(column), dtype=bool)
    for node, j, c in zip(np.flatnonzero(inner).tolist(), column[inner].tolist(), code[inner].tolist(), strict=True):
        edges = specs[j].thresholds
        category[node] = specs[j].n_categories > 0
        threshold[node] = c if category[node] else (edges[c] if c < len(edges) else np.inf)
    return threshold, category


def assemble(trees: Sequence[GrownTree], *, n_outputs: int, base_score: float, link: Link = "margin") -> TreeEnsemble:
    """Put trees one after the other; sets of categories are numbered through."""
    names = ("kind", "column", "missing_yes", "yes", "no", "value", "gain", "cover")
    sizes = [len(tree.kind) for tree in trees]
    n_sets, n_words = (np.cumsum([0, *counts]) for counts in zip(*((len(t.set_start) - 1, len(t.set_bits)) for t in trees), strict=True))
    return TreeEnsemble(
        n_outputs=n_outputs,
        base_score=base_score,
        link=link,
        tree_start=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        threshold=np.concatenate([tree.threshold + first * (tree.kind == SUBSET) for tree, first in zip(trees, n_sets[:-1], strict=True)]),
        set_start=np.concatenate([[0], *(tree.set_start[1:] + first for tree, first in zip(trees, n_words[:-1], strict=True))]),
        set_bits=np.concatenate([tree.set_bits for tree in trees]),
        **{name: np.concatenate([getattr(tree, name) for tree in trees]) for name in names},
    )
