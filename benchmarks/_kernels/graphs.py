"""Cases of graphs: loading edges, ranks and labels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa

from _kernels.case import Case
from engine._kernels import (
    label_rows,
    ranks,
    row_layout,
)
from engine.encode.edge_rows import EdgeBlock, build_rows
from engine.encode.id_lists import int_ids, sorted_order
from engine.encode.vertex_ids import Collector, IntCollector, TextCollector, add_column


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
    reads = np.bincount(neighbours, minlength=n)
    ordered = partial(row_layout.order_rows, indptr, reads, order, moved)
    yield Case("order rows", ordered, lambda: np.lexsort((-lengths, -np.ceil(np.log2(1 + reads) / 2))), n)
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
