"""Cases of what all models share: elementary functions, binning, gradients and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from _kernels.case import CLASSES, CODES, NODES, SEED, Case
from engine._kernels import (
    binning,
    exact,
    gradients,
    metrics,
    quantiles,
)
from engine.encode.bins import index_thresholds


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
    wide, rows = np.empty((0, n), dtype=np.uint16), np.empty((n, 14), dtype=np.uint8)

    def interleave() -> None:
        binning.interleave_codes(columns, wide, 0, n, rows, threads)

    yield Case("interleaved codes", interleave, lambda: np.copyto(rows, columns.T), 14 * n)


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
