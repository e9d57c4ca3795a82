"""Naive twins of the kernels: one element at a time, nothing clever. Tests compare the kernels with them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET, TreeEnsemble
from engine.models._trees.grown import MIN_GAIN

# --- trees: prediction ---


def goes_yes(ensemble: TreeEnsemble, i: int, row: NDArray[np.float64]) -> bool:
    """Whether a row goes to the yes branch of node i."""
    x = row[ensemble.column[i]]
    if math.isnan(x):
        return bool(ensemble.missing_yes[i])
    if ensemble.kind[i] == NUMERIC:
        return bool(x < ensemble.threshold[i])
    return bool(x == ensemble.threshold[i] if ensemble.kind[i] == CATEGORY else x in ensemble.members(i))


def walk_tree(ensemble: TreeEnsemble, tree: int, row: NDArray[np.float64]) -> int:
    """Number, within its tree, of the leaf that a row reaches, one comparison at a time."""
    start, node = int(ensemble.tree_start[tree]), 0
    while ensemble.kind[start + node] != LEAF:
        node = int((ensemble.yes if goes_yes(ensemble, start + node, row) else ensemble.no)[start + node])
    return node


def naive_margins(ensemble: TreeEnsemble, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Margins of every row, leaf by leaf in tree order."""
    out = np.full((len(matrix), ensemble.n_outputs), ensemble.base_score)
    for i, row in enumerate(matrix):
        for tree in range(ensemble.n_trees):
            out[i, tree % ensemble.n_outputs] += ensemble.value[ensemble.tree_start[tree] + walk_tree(ensemble, tree, row)]
    return out


def naive_route(tree: dict[str, list], codes: Sequence[int], missing: Sequence[int]) -> int:
    """The leaf that a row of bin ``codes`` reaches in a tree of lists; ``missing``: each column's code for it, ``sets``: sets of codes."""
    node = 0
    while tree["kind"][node] != LEAF:
        column, split = tree["column"][node], tree["code"][node]
        code = codes[column]
        if code == missing[column]:
            goes_yes = tree["missing_yes"][node]
        elif tree["kind"][node] == SUBSET:
            goes_yes = code in tree["sets"][split]
        else:
            goes_yes = code <= split if tree["kind"][node] == NUMERIC else code == split
        node = tree["yes" if goes_yes else "no"][node]
    return node


# --- training: sums, bins, histograms ---


def naive_fixed_point(values: Iterable[float], exponent: int) -> int:
    """The sum of ``values`` in units of ``2**(exponent - 50)``, each rounded to the nearest, ties to even, with Python's fractions."""
    return sum(round(Fraction(v) * Fraction(2) ** (50 - exponent)) for v in values)


def naive_bins(values: NDArray[np.float64], thresholds: Sequence[float], missing: int) -> list[int]:
    """The number of thresholds at or below each value, ``missing`` for NaN."""
    return [missing if math.isnan(v) else sum(t <= v for t in thresholds) for v in values]


def naive_quantile_cuts(values: Sequence[float], n_bins: int) -> list[int]:
    """Numbers of values below each cut of sorted ``values``.

    Every bin aims at an equal share of the rows that remain; where that falls into equal values, it ends at their nearer side.
    """
    cuts: list[int] = []
    begin = 0
    for bins_left in range(n_bins, 1, -1):
        aim = begin + math.ceil((len(values) - begin) / bins_left)
        if aim >= len(values):
            break
        first = max(begin, min(i for i, v in enumerate(values) if v == values[aim]))
        last = max(i for i, v in enumerate(values) if v == values[aim]) + 1
        cut = first if first > begin and aim - first <= last - aim else last
        cut = first if cut == len(values) else cut
        if cut == begin:
            break
        cuts.append(cut)
        begin = cut
    return cuts


def naive_histogram(codes: Sequence[int], pairs: Sequence[tuple[int, int]], rows: Iterable[int], n_codes: int) -> list[list[int]]:
    """Sums of the pairs (g, h) of ``rows`` by code."""
    out = [[0, 0] for _ in range(n_codes)]
    for row in rows:
        out[codes[row]][0] += pairs[row][0]
        out[codes[row]][1] += pairs[row][1]
    return out


# --- training: splits and trees ---


@dataclass(frozen=True)
class NaiveSplit:
    """A question: is x < threshold (or x == threshold for a category), and where do missing values go."""

    gain: float
    column: int
    code: int
    threshold: float
    missing_yes: bool


def naive_answers(column: NDArray[np.float64], is_category: bool, threshold: float, missing_yes: bool) -> NDArray[np.bool_]:
    """Which rows say yes."""
    if is_category:
        return np.asarray(column == threshold)
    return np.asarray(np.where(np.isnan(column), missing_yes, column < threshold))


def naive_gain(
    yes: NDArray[np.bool_], g: NDArray[np.float64], h: NDArray[np.float64], *, reg_lambda: float, min_child_weight: float
) -> float:
    """The second-order gain of parting rows by ``yes``; minus infinity where a child is empty or too light."""
    if yes.all() or not yes.any() or min(math.fsum(h[yes]), math.fsum(h[~yes])) < min_child_weight:
        return -math.inf
    scores = []
    for part in (yes, ~yes, np.ones(len(yes), dtype=bool)):
        total = math.fsum(g[part])
        scores.append(total * total / (math.fsum(h[part]) + reg_lambda))
    return scores[0] + scores[1] - scores[2]


def naive_thresholds(column: NDArray[np.float64], is_category: bool) -> list[float]:
    """What a column may be compared with: its categories, or the middles between its distinct values, then infinity (is it there?)."""
    if is_category:
        return list(range(int(column.max(initial=-1)) + 1))
    distinct = np.unique(column[~np.isnan(column)])
    middles = [float(a * 0.5 + b * 0.5) for a, b in itertools.pairwise(distinct)]
    return [*middles, math.inf] if np.isnan(column).any() else middles


def naive_best_split(
    matrix: NDArray[np.float64], rows: NDArray[np.int64], is_category: Sequence[bool], g: NDArray[np.float64], h: NDArray[np.float64],
    *, reg_lambda: float, min_child_weight: float, min_gain: float,
) -> NaiveSplit | None:  # fmt: skip
    """The split of ``rows`` with the largest gain above ``min_gain``, the first column and the lowest threshold among equals."""
    best: NaiveSplit | None = None
    for j, category in enumerate(is_category):
        for code, threshold in enumerate(naive_thresholds(matrix[:, j], category)):
            for missing_yes in (False, True):
                yes = naive_answers(matrix[rows, j], category, threshold, missing_yes)
                gain = naive_gain(yes, g[rows], h[rows], reg_lambda=reg_lambda, min_child_weight=min_child_weight)
                if gain > (best.gain if best else min_gain):
                    best = NaiveSplit(gain, j, code, threshold, missing_yes)
    return best


@dataclass
class NaiveNode:
    """A node of a naive tree; ``split`` is None at leaves."""

    rows: NDArray[np.int64]
    depth: int
    split: NaiveSplit | None = None
    yes: NaiveNode | None = None
    no: NaiveNode | None = None


def naive_tree(
    matrix: NDArray[np.float64], is_category: Sequence[bool], g: NDArray[np.float64], h: NDArray[np.float64], *, max_depth: int,
    min_child_weight: float, min_loss_reduction: float, step_size: float, reg_lambda: float = 1.0, min_gain: float = MIN_GAIN,
) -> dict[str, list[float]]:  # fmt: skip
    """Grow greedily, prune from the leaves up, and list the nodes breadth first as :class:`TreeEnsemble` has them."""

    def grow(node: NaiveNode) -> NaiveNode:
        limits = {"reg_lambda": reg_lambda, "min_child_weight": min_child_weight, "min_gain": min_gain}
        node.split = naive_best_split(matrix, node.rows, is_category, g, h, **limits) if node.depth < max_depth else None
        if node.split is not None:
            split = node.split
            yes = naive_answers(matrix[node.rows, split.column], is_category[split.column], split.threshold, split.missing_yes)
            node.yes, node.no = (grow(NaiveNode(node.rows[part], node.depth + 1)) for part in (yes, ~yes))
            if node.yes.split is None and node.no.split is None and split.gain < max(min_loss_reduction, min_gain):
                node.split = node.yes = node.no = None
        return node

    def missing_goes_yes(node: NaiveNode) -> bool:
        split = node.split
        if is_category[split.column]:
            return False
        if np.isnan(matrix[node.rows, split.column]).any():
            return split.missing_yes
        return math.fsum(h[node.yes.rows]) >= math.fsum(h[node.no.rows])

    nodes = [grow(NaiveNode(np.arange(len(matrix)), 0))]
    table: dict[str, list[float]] = {name: [] for name in TREE_ARRAYS}
    for node in nodes:  # grows while it is read
        cover, split = math.fsum(h[node.rows]), node.split
        if split is None:
            row = (LEAF, -1, 0.0, 0, -1, -1, -math.fsum(g[node.rows]) / (cover + reg_lambda) * step_size, 0.0, cover)
        else:
            kind = CATEGORY if is_category[split.column] else NUMERIC
            row = (kind, split.column, split.threshold, missing_goes_yes(node), len(nodes), len(nodes) + 1, 0.0, split.gain, cover)
            nodes += [node.yes, node.no]
        for name, value in zip(TREE_ARRAYS, row, strict=True):
            table[name].append(value)
    return table


TREE_ARRAYS = ("kind", "column", "threshold", "missing_yes", "yes", "no", "value", "gain", "cover")


# --- losses: gradients, metrics and order statistics ---


def naive_row(loss: str, score: float, y: float, quantile: float) -> tuple[float, float]:
    """Gradient and hessian of one row of weight 1."""
    if loss == "squared_error":
        return score - y, 1.0
    if loss == "poisson":
        return math.exp(score) - y, math.exp(score)
    if loss == "quantile":
        return (1 - quantile if y < score else -quantile), 1.0
    p = 1 / (1 + math.exp(-score))
    return p - y, max(p * (1 - p), 2.0**-52)


def naive_regression_metrics(
    predictions: Sequence[float], y: Sequence[float], weights: Sequence[float], quantile: float
) -> dict[str, float]:
    """Weighted metrics of rows of positive weight, with Python's sums."""
    rows = [(p, a, w) for p, a, w in zip(predictions, y, weights, strict=True) if w > 0]
    total = math.fsum(w for *_, w in rows)

    def mean(values: Iterable[float]) -> float:
        return math.fsum(w * value for (*_, w), value in zip(rows, values, strict=True)) / total

    largest = max(abs(p - a) for p, a, _ in rows)
    unit = largest or 1.0  # squares of errors in it do not vanish where those errors are small
    return {
        "max_error": largest,
        "rmse": unit * math.sqrt(mean(((p - a) / unit) ** 2 for p, a, _ in rows)),
        "poisson_deviance": mean(2 * ((a * math.log(a / p) if a else 0.0) - a + p) if p > 0 else math.nan for p, a, _ in rows),
        "quantile_loss": mean(quantile * (a - p) if a >= p else (1 - quantile) * (p - a) for p, a, _ in rows),
    }


def naive_quantile(values: Sequence[float], weights: Sequence[int], quantile: str) -> float:
    """The smallest value whose cumulative weight is at least ``quantile`` (a decimal fraction) of the whole, 0 without weight."""
    rows = sorted((v + 0.0, w) for v, w in zip(values, weights, strict=True) if w > 0)
    reached = 0
    for value, weight in rows:
        reached += weight
        if reached >= Fraction(quantile) * sum(w for _, w in rows):
            return value
    return 0.0


def naive_auc(scores: Sequence[float], positive: Sequence[bool], weights: Sequence[int]) -> Fraction | None:
    """The weighted share of pairs of a positive and a negative row in which the positive one scores higher, ties counting half."""
    rows = list(zip(scores, positive, weights, strict=True))
    pairs = [(a, b, u * v) for a, yes, u in rows if yes for b, no, v in rows if not no]
    whole = sum(w for *_, w in pairs)
    return Fraction(sum(w * (2 * (a > b) + (a == b)) for a, b, w in pairs), 2 * whole) if whole else None
