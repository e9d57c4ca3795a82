"""Each training kernel beside NumPy's way of doing the same: ``python benchmarks/kernels.py [--rows N] [--threads N]``.

Prints nanoseconds per element, the best of several runs taken in turn, and the ratio. Every run goes to
``benchmarks/results/kernels.json``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from _result import write_result
from numpy.typing import NDArray

from engine._kernels import (
    binning,
    dense_solve,
    exact,
    gradients,
    histogram,
    label_rows,
    leaves,
    linear,
    metrics,
    nodes,
    partition,
    prediction,
    quantiles,
    ranks,
    routing,
    row_layout,
    splits,
)
from engine.encode.bins import index_thresholds
from engine.encode.edge_rows import EdgeBlock, build_rows
from engine.encode.id_lists import int_ids, sorted_order
from engine.encode.panels import align_panels, fill_panels, panel_bytes, plan_panels
from engine.encode.vertex_ids import Collector, IntCollector, TextCollector, add_column

SEED = 12
COLUMNS, CODES, CLASSES, NODES = 28, 256, 3, 32
Action = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A kernel, what NumPy does instead, and how many elements one call goes through."""

    name: str
    kernel: Action
    numpy: Action
    n_elements: int


def main() -> None:
    """Run all cases in turn and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", default="kernels")
    arguments = parser.parse_args()
    results = []
    print(f"{'kernel':28} {'ns':>8} {'NumPy ns':>10} {'ratio':>7}")
    for case in make_cases(arguments.rows, arguments.threads):
        results.append(measure(case, arguments.repeats))
        best = {who: min(results[-1][who]) for who in ("kernel_ns", "numpy_ns")}
        print(f"{case.name:28} {best['kernel_ns']:8.2f} {best['numpy_ns']:10.2f} {best['numpy_ns'] / best['kernel_ns']:7.1f}", flush=True)
    sizes = {"rows": arguments.rows, "threads": arguments.threads, "columns": COLUMNS, "codes": CODES, "unit": "ns per element"}
    write_result(arguments.output, {**sizes, "runs": results}, seed=SEED, packages=["cython"])


def measure(case: Case, repeats: int) -> dict[str, object]:
    """Nanoseconds per element of every run, after one that is not counted."""
    times: dict[str, list[float]] = {"kernel_ns": [], "numpy_ns": []}
    case.kernel()
    case.numpy()
    for _ in range(repeats):
        for who, action in (("kernel_ns", case.kernel), ("numpy_ns", case.numpy)):
            began = time.perf_counter()
            action()
            times[who].append(round((time.perf_counter() - began) / case.n_elements * 1e9, 3))
    return {"name": case.name, "elements": case.n_elements, **times}


def make_cases(n: int, threads: int) -> Iterator[Case]:
    """All cases; arrays live only while their case runs."""
    random = np.random.default_rng(SEED)
    yield from elementary_cases(random.normal(size=n))
    yield from binning_cases(random.normal(size=n), threads)
    yield from gradient_cases(random, n, threads)
    yield from weighted_cases(random, n, threads)
    yield from tree_cases(random, n, threads)
    yield from prediction_cases(random, n, threads)
    yield from graph_cases(random, n, threads)
    yield from loading_cases(random, n, threads)
    yield from dense_cases(random)
    yield from linear_cases(random, n, threads)


def elementary_cases(x: NDArray[np.float64]) -> Iterator[Case]:
    """exp, log and exact sums."""
    n, out, positive = len(x), np.empty(len(x)), np.abs(x) + 1e-3
    limbs, counters = np.zeros(3, dtype=np.int64), np.empty(len(x), dtype=np.uint64)
    yield Case("exp", lambda: exact.exp_array(x, out), lambda: np.exp(x, out=out), n)
    yield Case("log", lambda: exact.log_array(positive, out), lambda: np.log(positive, out=out), n)
    yield Case("exact sum", lambda: exact.sum_fixed_point(x, 4, limbs), lambda: np.rint(x * 2.0**46).astype(np.int64).sum(), n)
    yield Case("hash", lambda: exact.hash_counters(1, 0, counters), lambda: np.random.default_rng(1).integers(0, 2**63, n), n)


def binning_cases(x: NDArray[np.float64], threads: int) -> Iterator[Case]:
    """From numbers to codes."""
    n, ordered, cuts, codes = len(x), np.sort(x), np.empty(CODES - 1), np.empty(len(x), dtype=np.uint8)
    few = np.floor(x * 20)
    size = 1024
    table, used = np.empty(size), np.zeros(size, dtype=np.uint8)

    def find() -> int:
        used[:] = 0
        return binning.add_distinct(few, CODES, 0, table, used)

    levels = np.linspace(0, 1, CODES + 1)[1:-1]
    yield Case("distinct values", find, lambda: np.unique(few), n)
    yield Case("quantile cuts", lambda: binning.cut_quantiles(ordered, cuts), lambda: np.quantile(ordered, levels), n)
    binning.cut_quantiles(ordered, cuts)
    for values in (x, x.astype(np.float32)):
        index = index_thresholds(cuts, values.dtype)
        yield Case(
            f"codes of {values.dtype}",
            lambda values=values, index=index: binning.bin_values(values, *index, 255, codes, threads),
            lambda values=values: np.searchsorted(cuts, values, "right"),
            n,
        )
    starts = np.empty(2048, dtype=np.uint16)
    yield Case("index of edges", lambda: binning.index_edges(cuts, starts), lambda: np.searchsorted(cuts, cuts), len(cuts))
    columns = np.random.default_rng(SEED).integers(0, CODES, (14, n), dtype=np.uint8)
    rows = np.empty((n, 14), dtype=np.uint8)
    yield Case(
        "interleaved codes", lambda: binning.interleave_codes(columns, 0, n, rows, threads), lambda: np.copyto(rows, columns.T), 14 * n
    )


def gradient_cases(random: np.random.Generator, n: int, threads: int) -> Iterator[Case]:
    """Gradients, hessians and losses of every row."""
    scores, y = random.normal(size=n), random.integers(0, 2, n).astype(np.int32)
    pairs, single = np.empty((n, 2), dtype=np.int64), np.empty((n, 1), dtype=np.int64)
    stats, largest = np.zeros(gradients.N_STATS, dtype=np.int64), np.zeros(gradients.N_LARGEST, dtype=np.int64)

    no_leaves = np.empty(0, dtype=np.uint16), np.empty(0)

    def logistic() -> object:
        p = 1 / (1 + np.exp(-scores))
        return p - y, p * (1 - p), -np.log(np.where(y == 1, p, 1 - p)).sum()

    yield Case("logistic", lambda: gradients.compute_logistic(scores, *no_leaves, y, single, stats, largest, threads), logistic, n)
    many, y3 = random.normal(size=(CLASSES, n)), random.integers(0, CLASSES, n).astype(np.int32)
    row_max, row_sum = np.empty(n), np.empty(n)

    def softmax_kernel() -> None:
        gradients.normalize_softmax(many, y3, row_max, row_sum, stats, largest, threads)
        for k in range(CLASSES):
            gradients.compute_softmax(many[k], y3, k, row_max, row_sum, pairs, stats, largest, threads)

    def softmax() -> object:
        e = np.exp(many - many.max(axis=0))
        p = e / e.sum(axis=0)
        g = p.copy()
        g[y3, np.arange(n)] -= 1
        return g, 2 * p * (1 - p), -np.log(p[y3, np.arange(n)]).sum()

    yield Case(f"softmax of {CLASSES}, a class", softmax_kernel, softmax, CLASSES * n)
    target = random.normal(size=n)

    def squared_kernel() -> None:
        gradients.compute_residuals(scores, target, single, threads)
        gradients.quantise_residuals(single, 4, stats, largest, threads)

    yield Case("squared error", squared_kernel, lambda: ((scores - target).sum(), ((scores - target) ** 2).sum()), n)


def weighted_cases(random: np.random.Generator, n: int, threads: int) -> Iterator[Case]:
    """Rows with weights, counts and quantiles: gradients, metrics and order statistics."""
    scores, weights = random.normal(size=n), random.lognormal(sigma=2.5, size=n)
    y, counts = random.integers(0, 2, n).astype(np.int32), random.poisson(3, n).astype(float)
    pairs, bounds, means = np.empty((n, 2), dtype=np.int64), np.zeros(2), np.exp(scores)
    stats, largest = np.zeros(gradients.N_STATS, dtype=np.int64), np.zeros(gradients.N_LARGEST, dtype=np.int64)
    top = int(np.ceil(np.log2(weights.max())))

    def quantised(weigh: Callable[..., object], target: NDArray[np.generic]) -> None:
        weigh(scores, target, weights, pairs, bounds, threads)
        gradients.quantise_pairs(pairs, 30, 30, stats, largest, threads)

    def logistic() -> object:
        p = 1 / (1 + np.exp(-scores))
        return (weights * (p - y)).sum(), (weights * p * (1 - p)).sum()

    def poisson() -> object:
        mean = np.exp(scores)
        return (weights * (mean - counts)).sum(), (weights * mean).sum()

    yield Case("weighted logistic", lambda: quantised(gradients.weigh_logistic, y), logistic, n)
    yield Case("weighted Poisson", lambda: quantised(gradients.weigh_poisson, counts), poisson, n)
    yield Case("means", lambda: gradients.fill_means(scores, means, threads), lambda: np.exp(scores, out=means), n)
    yield Case(
        "weighted log loss",
        lambda: gradients.sum_logistic_metrics(scores, y, weights, top, stats, largest, threads),
        lambda: weights @ np.log1p(np.exp(np.where(y == 1, -scores, scores))), n,
    )  # fmt: skip
    limbs = np.zeros(4, dtype=np.int64)

    def errors() -> None:
        metrics.measure_errors(means, counts, weights, metrics.POISSON_LOSS, 0.5, bounds, threads)
        metrics.sum_errors(means, counts, weights, top, metrics.POISSON_LOSS, 0.5, 20, 40, limbs, threads)

    def deviance() -> object:
        log_ratio = np.log(np.where(counts > 0, counts, 1) / means)
        return (weights * (counts * log_ratio - counts + means)).sum(), (weights * (means - counts) ** 2).sum()

    yield Case("Poisson deviance and rmse", errors, deviance, n)
    order, cuts = random.permutation(n).astype(np.uint32), np.linspace(0, n, NODES + 1).astype(np.int64)
    keys, none = np.empty(n, dtype=np.uint64), np.empty(0, dtype=np.int64)
    digits, prefix = np.zeros((NODES, 4096), dtype=np.int64), np.zeros(NODES, dtype=np.uint64)

    def first_digit() -> None:
        quantiles.gather_residual_keys(scores, counts, None, order, keys, none, threads)
        quantiles.count_digits(keys, None, cuts[:-1], cuts[1:].copy(), prefix, 52, 12, digits, threads)

    def partition_leaves() -> None:
        residuals = (counts - scores)[order]
        for k in range(NODES):
            np.partition(residuals[cuts[k] : cuts[k + 1]], n // NODES // 2)

    yield Case(f"residuals and a digit, {NODES} nodes", first_digit, partition_leaves, n)
    weight, below = random.integers(0, 2**40, n), random.integers(0, 2**60, n).astype(np.uint64)
    yield Case("exact products", lambda: metrics.sum_products(below, weight, limbs), lambda: below.astype(float) @ weight, n)


def tree_cases(random: np.random.Generator, n: int, threads: int) -> Iterator[Case]:
    """Histograms of all rows and of the rows of many nodes, partition, splits, leaves."""
    narrow = random.integers(0, CODES, (COLUMNS, n), dtype=np.uint8)
    panel = plan_panels(COLUMNS, n)
    panels = align_panels(np.empty(panel_bytes(panel, n), dtype=np.uint8))
    fill_panels(narrow, 0, n, panel, panels, num_threads=threads)
    matrix = narrow, panels, panel, np.empty((0, n), dtype=np.uint16)
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
    gh = np.stack([random.integers(-(2**50), 2**50, n), random.integers(1, 2**50, n)], axis=1)
    g, h = gh[:, 0].astype(float), gh[:, 1].astype(float)
    order = random.permutation(n).astype(np.uint32)
    node = np.sort(random.integers(0, NODES, n))
    bounds = np.searchsorted(node, np.arange(NODES + 1))
    layouts = {"all rows": (order[:0], np.array([0]), np.array([n])), f"{NODES} nodes": (order, bounds[:-1].copy(), bounds[1:].copy())}

    def bincounts(rows: NDArray[np.uint32], begin: NDArray[np.int64], end: NDArray[np.int64]) -> None:
        for first, last in zip(begin, end, strict=True):
            part = rows[first:last] if len(rows) else slice(None)
            for column in narrow:
                np.bincount(column[part], weights=g[part], minlength=CODES)
                np.bincount(column[part], weights=h[part], minlength=CODES)

    for label, (rows, begin, end) in layouts.items():
        chunks = histogram.cut_chunks(begin, end, threads)
        out = np.zeros((len(begin) * COLUMNS * CODES, 2), dtype=np.int64)
        for lane, shifts in {"packed": (36, 35, 32), "pairs": (20, 20, 0)}.items():
            words = histogram.Words(gh, leaves.STORED, 0, 7, *shifts, packed[: n * (1 if shifts[2] else 2)])

            def pack(*numbers: int, room: NDArray[np.int64] = packed) -> None:
                histogram.Words(gh, leaves.STORED, 0, 7, *numbers, room[: n * (1 if numbers[2] else 2)]).pack(threads)

            if not len(rows):
                yield Case(f"pack {lane}", partial(pack, *shifts), gh.copy, n)
            words.pack(threads)
            build = partial(histogram.build_histograms, *matrix, rows, *chunks, words, *places, len(begin), out, threads)
            yield Case(f"histogram {lane}, {label}", build, partial(bincounts, rows, begin, end), COLUMNS * n)
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
    small, place, parent = hist[: NODES // 2].reshape(NODES // 2, -1), np.arange(0, NODES, 2), np.arange(NODES // 2)
    parents, out = hist.reshape(NODES, -1), np.empty((NODES, hist[0].size), dtype=np.int64)

    def subtract() -> None:
        out[place] = small
        out[place ^ 1] = parents[parent] - small

    yield Case("siblings", lambda: splits.expand_siblings(parents, parent, small, place, out, threads), subtract, out.size)


def search_cases(hist: NDArray[np.int64], threads: int) -> Iterator[Case]:
    """The best split of every node: numbers, under directions, of categories, and of sets of as many levels as there are codes."""
    n, every = len(hist), np.ones(COLUMNS, dtype=np.uint8)
    unbounded = np.empty(0, dtype=np.int8), np.empty(0), np.empty(0)
    rising = np.ones(COLUMNS, dtype=np.int8), np.full(n, -np.inf), np.full(n, np.inf)
    cases = {
        "best splits": (splits.NUMBER, CODES, unbounded),
        "best splits, rising": (splits.NUMBER, CODES, rising),
        "best categories": (splits.CATEGORY, CODES, unbounded),
        "best sets": (splits.PARTITION, CODES, unbounded),
        f"best sets of {COLUMNS * CODES}": (splits.PARTITION, COLUMNS * CODES, unbounded),
    }
    best = np.empty(n, nodes.OFFER)

    def cumulate() -> object:
        g, h = np.cumsum(hist.reshape(n, COLUMNS, CODES, 2), axis=2, dtype=float).transpose(3, 0, 1, 2)
        gains = g * g / (h + 1) + (g[..., -1:] - g) ** 2 / (h[..., -1:] - h + 1)
        return gains.reshape(n, -1).argmax(axis=1)

    for name, (kind, n_codes, limits) in cases.items():
        starts = np.arange(0, COLUMNS * CODES + 1, n_codes)
        subset = np.empty((n, -(-n_codes // 64)), dtype=np.uint64)
        search = partial(
            splits.find_best_splits, hist, starts, kind * every, 0 * every, every, *limits, 1.0, 1.0, 1.0, 0.0, 0.1, 1e-6, 0, best, subset,
            threads,
        )  # fmt: skip
        yield Case(name, search, cumulate, n * COLUMNS * CODES)


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


def loading_cases(random: np.random.Generator, n_edges: int, threads: int) -> Iterator[Case]:
    """From ids to rows of numbers, eight edges to each of the vertices; what the sort takes of blocks is copied for every run."""
    n = max(1, n_edges // 8)
    source, destination = (random.integers(0, n, n_edges).astype(np.uint32) for _ in range(2))

    def sort_rows() -> object:
        cuts = range(0, n_edges, 1 << 17)
        blocks = [EdgeBlock(source[at : at + (1 << 17)].copy(), destination[at : at + (1 << 17)].copy()) for at in cuts]
        return build_rows(blocks, 0, n, n, num_threads=threads)

    yield Case("edge_sort.rows", sort_rows, lambda: np.lexsort((source, destination)), n_edges)
    scattered = random.integers(-(2**62), 2**62, n)[source]
    texts = pa.array([f"vertex-{number:013d}" for number in source.tolist()])
    forms: list[tuple[str, type[Collector], pa.Array]] = [
        ("vertex_numbers.bitmap", IntCollector, pa.array(source.astype(np.int64))),
        ("id_table.integers", IntCollector, pa.array(scattered)),
        ("id_table.texts", TextCollector, texts),
    ]

    def collect(make: type[Collector], ids: pa.Array) -> object:
        collector = make()
        numbers = add_column(collector, ids)
        return collector.settle(threads), numbers

    for name, make, ids in forms:
        values = ids.to_numpy(zero_copy_only=False) if ids.type == pa.int64() else np.array(ids.to_pylist())
        yield Case(name, partial(collect, make, ids), partial(np.unique, values, return_inverse=True), n_edges)
    yield Case("edge_sort.sort_pairs", partial(sorted_order, int_ids(scattered)), partial(np.argsort, scattered, kind="stable"), n_edges)


def graph_cases(random: np.random.Generator, n_edges: int, threads: int) -> Iterator[Case]:
    """Rows of a graph with skewed numbers of entries, eight to each of the vertices."""
    n, width = n_edges // 8, 12
    lengths = np.bincount((n * random.random(n_edges) ** 3).astype(np.int64), minlength=n)
    indptr, neighbours = np.concatenate([[0], np.cumsum(lengths)]), (n * random.random(n_edges) ** 3).astype(np.uint32)
    order, moved, slots = np.empty(n, np.uint32), np.empty(n + 1, np.int64), np.zeros(n_edges + ranks.AHEAD, np.uint32)
    places, weights, starts = np.arange(n, dtype=np.uint32), random.random(n_edges), np.minimum(indptr[:-1], n_edges - 1)
    yield Case("order rows", lambda: row_layout.order_rows(indptr, order, moved), lambda: np.argsort(-lengths, kind="stable"), n)
    move = partial(row_layout.move_entries, indptr, neighbours, None, order, moved, places, slots, None, threads)
    yield Case("move entries", move, lambda: places[neighbours], n_edges)
    yield Case("hash edges", lambda: row_layout.hash_entries(indptr, neighbours, weights, 0), neighbours.sum, n_edges)
    sums, cuts = np.empty(n), np.linspace(0, n, 33).astype(np.int64)
    yield Case("sums of rows", lambda: row_layout.sum_rows(indptr, weights, sums), lambda: np.add.reduceat(weights, starts), n_edges)
    x, ones, following, changes, totals = random.random(n), np.ones(n), np.empty(n), np.empty(n), np.zeros(6, np.int64)
    rank = partial(
        ranks.rank_rows, moved, slots, None, x, 0.15, None, 0.85, ones, -46, sums, changes, following, cuts, totals[:4], threads
    )  # fmt: skip
    yield Case("ranks", rank, lambda: np.add.reduceat(x[neighbours], starts), n_edges)
    yield Case(
        "spread ranks", lambda: ranks.spread_ranks(x, ones, -46, following, totals[:4]), lambda: np.multiply(x, ones, out=following), n
    )
    values, after, scratch = random.random((n, width)), np.zeros((n, width)), np.empty((threads, width))
    marks, no_labels = np.empty(n, np.uint8), np.zeros(n, np.uint8)
    rows = moved, slots, None, values, 0, 10, 1.0, no_labels, None, -46
    spread = partial(label_rows.propagate_rows, *rows, after, marks, scratch, cuts, totals[:5], threads)
    yield Case("spread 10 classes", spread, lambda: np.add.reduceat(values[neighbours], starts, axis=0), n_edges)


def dense_cases(random: np.random.Generator) -> Iterator[Case]:
    """Dense algebra of solvers, one thread and a fixed order, beside LAPACK; elements are multiplications of the textbook's loops."""
    n = 500
    x = random.normal(size=(2 * n, n))
    a, b = np.ascontiguousarray(x.T @ x), random.normal(size=n)
    lower, pivots, least, out = a.copy(), np.empty(n), 1e-13 * np.diag(a), np.empty(n)

    def factor() -> None:
        lower[:] = a
        dense_solve.factor_ldlt(lower, pivots, least)

    def solve() -> None:
        out[:] = b
        dense_solve.solve_ldlt(lower, pivots, out)

    yield Case("factor_ldlt", factor, lambda: np.linalg.cholesky(a), n**3 // 6)
    yield Case("solve_ldlt", solve, lambda: np.linalg.solve(a, b), n * n)
    yield Case("fill_inverse_diagonal", lambda: dense_solve.fill_inverse_diagonal(lower, pivots, out), lambda: np.linalg.inv(a), n**3 // 6)
    slope, chosen, penalty = -b, np.arange(n), np.full(n, 0.1)
    every = lambda: dense_solve.sweep_coordinates(a, chosen, penalty, slope, out)  # noqa: E731
    yield Case("sweep_coordinates", every, lambda: a @ b, n * n)
    yield Case("dot", lambda: dense_solve.dot(b, out), lambda: b @ out, n)


def linear_cases(random: np.random.Generator, n: int, threads: int) -> Iterator[Case]:
    """Passes over rows of numbers, and of five indicators a row; elements are values of the matrix."""
    y, order, levels = random.integers(0, 2, n).astype(float), [0, 1, 2], 1000
    columns = [random.normal(size=n) for _ in range(COLUMNS)]
    starts = np.arange(0, n, linear.BLOCK_ROWS) * 8
    address = np.ascontiguousarray(np.array([column.ctypes.data + starts for column in columns]).T)
    onehot = random.integers(0, levels, (n, 5)).astype(np.int32) + np.arange(5, dtype=np.int32) * levels
    none = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0)
    dense = linear.Features(n, 0, address, np.empty((n, 0), np.int32), *none)
    sparse = linear.Features(n, 5 * levels, address[:, :0].copy(), onehot, *none)
    matrix = np.stack([*columns, np.ones(n)], axis=1)

    def dense_in_numpy(derivatives: int) -> object:
        p = 1 / (1 + np.exp(-(matrix @ np.full(COLUMNS + 1, 0.1))))
        gradient = matrix.T @ (p - y) if derivatives else None
        return gradient, (matrix * (p * (1 - p))[:, None]).T @ matrix if derivatives == 2 else None

    def sparse_in_numpy() -> object:
        p = 1 / (1 + np.exp(-np.full(5 * levels, 0.1)[onehot].sum(axis=1)))
        return np.bincount(onehot.reshape(-1), np.repeat(p - y, 5))

    for derivatives in order:
        name = f"logistic pass, {('loss', 'gradient', 'Hessian')[derivatives]}"
        yield Case(name, partial(pass_rows, dense, derivatives, y, threads), partial(dense_in_numpy, derivatives), n * COLUMNS)
    yield Case("logistic pass of strings", partial(pass_rows, sparse, 1, y, threads), sparse_in_numpy, n * 5)
    sums, largest, bad = np.zeros((len(address), COLUMNS, 2)), np.zeros(COLUMNS), np.zeros(COLUMNS, np.int64)
    measure_all = partial(linear.measure_columns, dense, sums, largest, bad, threads)
    yield Case("moments of columns", measure_all, lambda: [(c.sum(), c @ c, np.abs(c).max()) for c in columns], n * COLUMNS)


def pass_rows(features: linear.Features, order: int, y: NDArray[np.float64], threads: int) -> None:
    """One pass of logistic loss, with bounds that hold for normal columns."""
    nd, ns, n_hessians = features.n_dense + 1, features.n_sparse, int(order == 2)
    one = np.full(1, 2.0**20)
    ask = linear.Ask(
        loss=linear.LOGISTIC, order=order, coefficients=np.full((1, nd + ns), 0.1), vectors=np.empty((0, 1, nd + ns)),
        column_factor=np.full(nd, 2.0**-3), gradient_factor=one, entry_factor=np.full(1, 2.0**46), loss_factor=2.0**18,
        squares_factor=1.0, hessian_factor=2.0**23, pair_factor=2.0**40,
    )  # fmt: skip
    gradients_of = [np.zeros((1, min(order, 1), size, 2), np.int64) for size in (nd, ns)]
    pairs = np.zeros((1, n_hessians, nd * (nd + 1) // 2, 2), np.int64), np.zeros((1, n_hessians, ns, nd), np.int64)
    sparse_pairs = np.zeros((1, n_hessians, ns * (ns + 1) // 2), np.int64)
    scalars = np.zeros((1, linear.N_SCALARS), np.int64)
    linear.pass_rows(features, ask, y, None, None, None, scalars, *gradients_of, *pairs, sparse_pairs, np.zeros(1), threads)
    assert scalars[0, linear.BAD] == 0


if __name__ == "__main__":
    main()
