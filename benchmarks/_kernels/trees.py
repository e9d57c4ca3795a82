"""Cases of growing trees and of predicting with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _kernels.case import CODES, COLUMNS, NODES, Case
from engine._kernels import (
    histogram,
    leaves,
    nodes,
    pairs,
    partition,
    prediction,
    routing,
    splits,
)
from engine.encode.panels import align_panels, fill_panels, panel_bytes, plan_panels

UNBOUNDED = np.empty(0, dtype=np.int8), np.empty(0), np.empty(0)  # columns without directions, nodes without bounds


def tree_cases(random: np.random.Generator, n: int, threads: int) -> Iterator[Case]:
    """Histograms of all rows and of the rows of many nodes, leaves, partition, splits."""
    narrow = random.integers(0, CODES, (COLUMNS, n), dtype=np.uint8)
    gh = np.stack([random.integers(-(2**50), 2**50, n), random.integers(1, 2**50, n)], axis=1)
    order = random.permutation(n).astype(np.uint32)
    node = np.sort(random.integers(0, NODES, n))
    bounds = np.searchsorted(node, np.arange(NODES + 1))
    yield from histogram_cases(narrow, gh, order, bounds, threads)
    leaf, values, scores = np.empty(n, dtype=np.uint16), random.normal(size=NODES), np.zeros(n)
    leaf[order] = node
    sums = np.zeros((NODES, 4), dtype=np.int64)

    def sum_by_leaf() -> None:
        for column in gh.T:
            np.bincount(leaf, weights=column, minlength=NODES)

    def add() -> None:
        np.add(scores, values[leaf], out=scores)

    yield Case("sums of leaves", lambda: leaves.sum_leaves(gh, leaves.STORED, leaf, sums, threads), sum_by_leaf, n)
    yield Case("leaf values", lambda: leaves.add_leaf_values(leaf, values, scores, threads), add, n)
    yield from split_cases(random, narrow, order, bounds, threads)


def histogram_cases(
    narrow: NDArray[np.uint8], gh: NDArray[np.int64], order: NDArray[np.uint32], bounds: NDArray[np.int64], threads: int
) -> Iterator[Case]:
    """Histograms of all rows, and of those of nodes, of which pairs are searched too."""
    n = len(order)
    wide = np.empty((0, n), dtype=np.uint16)
    panel = plan_panels(COLUMNS, 0, n)
    panels = align_panels(np.empty(panel_bytes(panel, n), dtype=np.uint8))
    fill_panels(narrow, wide, panel, panels, first=0, last=n, num_threads=threads)
    matrix = narrow, wide, panels, panel
    none = np.empty(0, dtype=np.int64)
    places = (
        np.arange(COLUMNS) * CODES,
        np.full(COLUMNS, COLUMNS * CODES),
        np.full(COLUMNS, CODES, dtype=np.int32),
        none,
        none,
        np.empty(0, dtype=np.int32),
    )
    packed = np.empty(2 * n, dtype=np.int64)
    g, h = gh[:, 0].astype(float), gh[:, 1].astype(float)
    layouts = {"all rows": (order[:0], np.array([0]), np.array([n])), f"{NODES} nodes": (order, bounds[:-1].copy(), bounds[1:].copy())}

    def bincounts(rows: NDArray[np.uint32], begin: NDArray[np.int64], end: NDArray[np.int64]) -> None:
        for first, last in zip(begin, end, strict=True):
            part = rows[first:last] if len(rows) else slice(None)
            for column in narrow:
                np.bincount(column[part], weights=g[part], minlength=CODES)
                np.bincount(column[part], weights=h[part], minlength=CODES)

    def pack(*numbers: int) -> histogram.Words:
        words = histogram.Words(gh, leaves.STORED, 0, 7, *numbers, packed[: n * (1 if numbers[2] else 2)])
        words.pack(threads)
        return words

    for label, (rows, begin, end) in layouts.items():
        chunks = histogram.cut_chunks(begin, end, threads)
        out = np.zeros((len(begin) * COLUMNS * CODES, 2), dtype=np.int64)
        for lane, shifts in {"packed": (36, 35, 32), "pairs": (20, 20, 0)}.items():
            if not len(rows):
                yield Case(f"pack {lane}", partial(pack, *shifts), gh.copy, n)
            source, of_nodes = (*matrix, pack(*shifts), *places), (rows, begin, end)
            build = partial(histogram.build_histograms, *source, rows, *chunks, len(begin), out, threads)
            yield Case(f"histogram {lane}, {label}", build, partial(bincounts, *of_nodes), COLUMNS * n)
            if lane == "packed" and len(rows):
                yield pair_case(source, of_nodes, out, partial(bincounts, *of_nodes), threads)


def pair_case(
    source: tuple[Any, ...], of_nodes: tuple[NDArray[Any], ...], hist: NDArray[np.int64], bincounts: Callable[[], None], threads: int
) -> Case:
    """The splits of pairs of nodes from their rows; ``source``: codes, words and places, ``of_nodes``: rows, begin, end."""
    every, pair, no_hist = np.ones(COLUMNS, dtype=np.uint8), np.arange(NODES // 2), np.empty((0, COLUMNS * CODES, 2), dtype=np.int64)
    rows, begin, end = of_nodes
    search = partial(
        pairs.search_pairs, *source, rows, pair, begin, end, 2 * pair, no_hist, pair, no_hist,
        CODES * np.arange(COLUMNS + 1), splits.NUMBER * every, 0 * every, every, *UNBOUNDED, 1.0, 1.0, 1.0, 0.0, 0.1, 1e-6, 0,
        np.empty(NODES, nodes.OFFER), np.empty((NODES, 0), dtype=np.uint64), threads,
    )  # fmt: skip

    def in_numpy() -> None:
        bincounts()
        best_gains(hist.reshape(NODES, COLUMNS * CODES, 2))

    return Case(f"pairs from rows to splits, {NODES} nodes", search, in_numpy, COLUMNS * len(rows))


def split_cases(
    random: np.random.Generator, narrow: NDArray[np.uint8], order: NDArray[np.uint32], bounds: NDArray[np.int64], threads: int
) -> Iterator[Case]:
    """What follows the histograms of a level."""
    n = len(order)
    begin, end = bounds[:-1].copy(), bounds[1:].copy()
    rows, n_yes = order.copy(), np.zeros(NODES, dtype=np.int64)
    position = random.integers(0, COLUMNS, NODES).astype(np.int32)
    chunks = histogram.cut_chunks(begin, end, threads)
    questions = np.full(NODES, -1, dtype=partition.QUESTION)
    questions["position"], questions["is_wide"], questions["low"], questions["high"] = position, 0, 0, 127
    no_subsets = np.empty((0, 0), dtype=np.uint64)
    leaf, number = np.empty(n, dtype=np.uint16), 2 * np.arange(NODES)
    no_wide = np.empty((0, n), dtype=np.uint16)

    def split() -> None:
        partition.partition_rows(order, rows, *chunks, narrow, no_wide, questions, no_subsets, n_yes, threads)

    def mask() -> None:
        for k in range(NODES):
            part = order[begin[k] : end[k]]
            answers = narrow[position[k]][part] <= 127
            rows[begin[k] : end[k]] = np.concatenate([part[answers], part[~answers]])

    def number_rows() -> None:
        partition.assign_leaves(order, *chunks, narrow, no_wide, questions, no_subsets, number, leaf, threads)

    def compare() -> None:
        for k in range(NODES):
            part = order[begin[k] : end[k]]
            leaf[part] = number[k] + (narrow[position[k]][part] > 127)

    yield Case(f"partition, {NODES} nodes", split, mask, n)
    yield Case(f"leaf numbers, {NODES} nodes", number_rows, compare, n)
    hist = np.stack([random.integers(-1000, 1000, (NODES, COLUMNS * CODES)), random.integers(1, 1000, (NODES, COLUMNS * CODES))], axis=2)
    yield from search_cases(hist, threads)
    small, place, parent, out = hist[: NODES // 2], np.arange(0, NODES, 2), np.arange(NODES // 2), np.empty_like(hist)
    start, searched = CODES * np.arange(COLUMNS + 1), np.ones(COLUMNS, dtype=np.uint8)

    def subtract() -> None:
        out[place] = small
        out[place ^ 1] = hist[parent] - small

    expand = partial(splits.expand_siblings, hist, parent, small, place, start, searched, out, threads)
    yield Case("siblings", expand, subtract, out.size)


def best_gains(hist: NDArray[np.int64]) -> NDArray[np.int64]:
    """The best candidate of every node, NumPy's way."""
    g, h = np.cumsum(hist.reshape(len(hist), COLUMNS, CODES, 2), axis=2, dtype=float).transpose(3, 0, 1, 2)
    gains = g * g / (h + 1) + (g[..., -1:] - g) ** 2 / (h[..., -1:] - h + 1)
    return gains.reshape(len(hist), -1).argmax(axis=1)


def search_cases(hist: NDArray[np.int64], threads: int) -> Iterator[Case]:
    """The best split of every node: numbers, under directions, of categories, and of sets of as many levels as there are codes."""
    n, every = len(hist), np.ones(COLUMNS, dtype=np.uint8)
    rising = np.ones(COLUMNS, dtype=np.int8), np.full(n, -np.inf), np.full(n, np.inf)
    cases = {
        "best splits": (splits.NUMBER, CODES, UNBOUNDED),
        "best splits, rising": (splits.NUMBER, CODES, rising),
        "best categories": (splits.CATEGORY, CODES, UNBOUNDED),
        "best sets": (splits.PARTITION, CODES, UNBOUNDED),
        f"best sets of {COLUMNS * CODES}": (splits.PARTITION, COLUMNS * CODES, UNBOUNDED),
    }
    best = np.empty(n, nodes.OFFER)
    for name, (kind, n_codes, limits) in cases.items():
        starts = np.arange(0, COLUMNS * CODES + 1, n_codes)
        subset = np.empty((n, -(-n_codes // 64)), dtype=np.uint64)
        search = partial(
            splits.find_best_splits, hist, starts, kind * every, 0 * every, every, *limits, 1.0, 1.0, 1.0, 0.0, 0.1, 1e-6, 0, best, subset,
            threads,
        )  # fmt: skip
        yield Case(name, search, partial(best_gains, hist), n * COLUMNS * CODES)


def prediction_cases(random: np.random.Generator, n: int, threads: int) -> Iterator[Case]:
    """Walking full trees of depth 6."""
    depth, n_trees, n_rows = 6, 10, n // 10
    n_inner, n_nodes = 2**depth - 1, 2 ** (depth + 1) - 1
    numbers = np.arange(n_nodes)
    inner = numbers < n_inner
    tree = {
        "kind": inner.astype(np.uint8),
        "column": np.where(inner, random.integers(0, COLUMNS, n_nodes), -1).astype(np.int32),
        "threshold": np.where(inner, random.normal(size=n_nodes), 0.0),
        "missing_yes": np.zeros(n_nodes, dtype=np.uint8),
        "yes": np.where(inner, 2 * numbers + 1, -1).astype(np.int32),
        "no": np.where(inner, 2 * numbers + 2, -1).astype(np.int32),
        "value": np.where(inner, 0.0, random.normal(size=n_nodes)),
    }
    arrays = [np.tile(array, n_trees) for array in tree.values()]
    starts = np.arange(n_trees + 1, dtype=np.int64) * n_nodes
    matrix, out = random.normal(size=(n_rows, COLUMNS)), np.zeros((n_rows, 1))
    edges = np.sort(tree["threshold"][inner])
    limits = np.tile(np.searchsorted(edges, tree["threshold"]).astype(np.int32) + 1, n_trees)
    words = np.array([0xFFFF_FFFF_FFFF_FFFF], dtype=np.uint64)
    kind, column, _, _, yes, no, value = arrays
    packed = prediction.PackedTrees(8, COLUMNS, starts, kind, column, limits, yes, no, value, words)
    codes, columns = np.zeros(packed.n_bytes(n_rows), dtype=np.uint8), np.ascontiguousarray(matrix.T)

    def walk() -> None:
        rows = np.arange(n_rows)
        for _ in range(n_trees):
            node = np.zeros(n_rows, dtype=np.int64)
            for _ in range(depth):
                node = np.where(matrix[rows, tree["column"][node]] < tree["threshold"][node], tree["yes"][node], tree["no"][node])
            out[:, 0] += tree["value"][node]

    def code() -> None:
        for plane, values in enumerate(columns):
            packed.code_numbers(values, edges, -1, plane, codes)

    yield Case("codes for trees", code, lambda: np.searchsorted(edges, columns, "right"), columns.size)
    yield Case("walk a tree", lambda: packed.add_values(codes, out), walk, n_trees * n_rows)
    bins, split = random.integers(0, CODES, (COLUMNS, n), dtype=np.uint8), np.where(inner, CODES // 2, -1).astype(np.int32)
    places = np.zeros(COLUMNS, np.uint8), np.arange(COLUMNS, dtype=np.int32), np.full(COLUMNS, -1, np.int32)
    nodes = [tree["kind"], tree["column"], split, *(tree[name] for name in ("missing_yes", "yes", "no", "value"))]
    no_sets, no_rows = (np.zeros(1, np.int64), np.empty(0, np.uint64)), np.empty(0, np.uint32)
    wide, scores = np.empty((0, n), np.uint16), np.zeros(n)

    def route() -> None:
        rows, node = np.arange(n), np.zeros(n, dtype=np.int64)
        for _ in range(depth):
            node = np.where(bins[tree["column"][node], rows] <= split[node], tree["yes"][node], tree["no"][node])
        scores[:] += tree["value"][node]

    yield Case(
        "route by codes", lambda: routing.add_tree_values(bins, wide, *places, *nodes, *no_sets, no_rows, True, scores, threads), route, n
    )  # fmt: skip
    words = np.empty((0, n), np.uint64)
    yield Case("hash of rows", lambda: routing.hash_rows(bins, wide, words, 0, threads), lambda: bins.astype(np.uint64).sum(), COLUMNS * n)
