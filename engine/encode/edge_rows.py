"""Edges, in blocks, into rows: for each of this rank's vertices its neighbours, ascending.

This is a sort by (row, neighbour) in two steps: edges are dealt out to buckets of rows that fit the cache, and each bucket is sorted there.
Equal edges keep their order. At no time are there more than 8 bytes an edge beside the blocks, which are given up as they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._kernels import edge_sort
from engine.data.pool import run_all

BUCKET_EDGES = 1 << 15  # half of a 512 KiB cache, and room for as many to sort into
MOST_BUCKETS = 1 << 12
_TASK_EDGES = 1 << 19

Numbers = NDArray[Any]  # uint32, or uint64 where there are more than 2**32 vertices


class EdgeBlock(NamedTuple):
    """Some edges, by the numbers of their ends."""

    sources: Numbers
    destinations: Numbers


class Rows(NamedTuple):
    """Sorted edges: row i holds neighbours ``indptr[i]`` to ``indptr[i + 1]``; ``order`` says where each was among all blocks."""

    indptr: NDArray[np.int64]
    neighbours: Numbers
    order: NDArray[np.int64] | None


def number_type(n_vertices: int) -> type[np.unsignedinteger[Any]]:
    """The type that numbers of vertices are kept in."""
    return np.uint32 if n_vertices <= 1 << 32 else np.uint64


def build_rows(blocks: list[EdgeBlock], first: int, n_local: int, n_vertices: int, *, num_threads: int, keep_order: bool = False) -> Rows:
    """Sort edges into ``n_local`` rows by destination, from number ``first`` on. Empties ``blocks``.

    Every edge must belong to one of the rows.
    """
    if number_type(n_vertices) is np.uint64:
        return _build_wide(blocks, first, n_local, keep_order)
    return _Build(blocks, first, n_local, n_vertices, num_threads).rows(keep_order)


class _Build:
    """One sort of blocks with 32-bit numbers."""

    def __init__(self, blocks: list[EdgeBlock], first: int, n_local: int, n_vertices: int, num_threads: int) -> None:
        self._blocks = blocks
        self._first, self._n_local = first, n_local
        self._num_threads = num_threads
        self._n_edges = sum(len(block.destinations) for block in blocks)
        wanted = min(MOST_BUCKETS, max(1, self._n_edges // BUCKET_EDGES))
        self._bucket_shift = max(0, max(n_local - 1, 0).bit_length() - (wanted - 1).bit_length())
        self._row_shift = max(n_vertices - 1, 1).bit_length()
        self._bounds = np.zeros(((max(n_local, 1) - 1) >> self._bucket_shift) + 2, dtype=np.int64)

    def rows(self, keep_order: bool) -> Rows:
        places, firsts = self._places()
        items = np.empty((self._n_edges, 2) if keep_order else self._n_edges, dtype=np.uint64)
        run_all(lambda task: self._deal(*task, items), zip(self._taken(), places, firsts, strict=True), self._num_threads)
        indptr = np.zeros(self._n_local + 1, dtype=np.int64)
        neighbours = np.empty(self._n_edges, dtype=np.uint32)
        order = np.empty(self._n_edges, dtype=np.int64) if keep_order else None
        run_all(lambda task: self._sort(task, items, Rows(indptr, neighbours, order)), self._tasks(), self._num_threads)
        return Rows(indptr, neighbours, order)

    def _places(self) -> tuple[NDArray[np.int64], list[int]]:
        """For each block where its edges go in each bucket, and the number of its first edge."""
        n_buckets = len(self._bounds) - 1
        counts = np.zeros((len(self._blocks), n_buckets), dtype=np.int64)

        def count(index: int) -> None:
            edge_sort.count_buckets(self._blocks[index].destinations, self._first, self._bucket_shift, counts[index])

        run_all(count, range(len(self._blocks)), self._num_threads)
        np.cumsum(counts.sum(axis=0), out=self._bounds[1:])
        places = np.cumsum(counts, axis=0) - counts + self._bounds[:-1]
        sizes = [len(block.destinations) for block in self._blocks]
        return places, [sum(sizes[:index]) for index in range(len(sizes))]

    def _taken(self) -> Iterator[EdgeBlock]:
        """The blocks; nobody holds one that has been handed out."""
        self._blocks.reverse()
        while self._blocks:
            yield self._blocks.pop()

    def _deal(self, block: EdgeBlock, places: NDArray[np.int64], first_edge: int, items: NDArray[np.uint64]) -> None:
        common = (block.destinations, block.sources, self._first, self._bucket_shift, self._row_shift)
        if items.ndim == 1:
            edge_sort.deal_keys(*common, places, items)
        else:
            edge_sort.deal_pairs(*common, first_edge, places, items)

    def _tasks(self) -> list[tuple[int, int]]:
        """Ranges of buckets with enough edges to be worth a call to another thread."""
        cuts = np.searchsorted(self._bounds, np.arange(0, self._n_edges, _TASK_EDGES), side="left")
        return list(pairwise(sorted({0, *cuts.tolist(), len(self._bounds) - 1})))

    def _sort(self, buckets: tuple[int, int], items: NDArray[np.uint64], rows: Rows) -> None:
        bounds = self._bounds[buckets[0] : buckets[1] + 1]
        scratch = np.empty((int(np.diff(bounds).max()), *items.shape[1:]), dtype=np.uint64)
        bits = self._row_shift + self._bucket_shift
        for bucket, (begin, end) in enumerate(pairwise(bounds.tolist()), start=buckets[0]):
            keys = items[begin:end]
            if rows.order is None:
                edge_sort.sort_keys(keys, scratch, bits)
            else:
                edge_sort.sort_pairs(keys, scratch, bits)
                edge_sort.unzip_pairs(keys, scratch.reshape(-1), rows.order[begin:end])
                keys = scratch.reshape(-1)[: end - begin]
            first_row = bucket << self._bucket_shift
            ends = rows.indptr[1 + first_row : 1 + min(first_row + (1 << self._bucket_shift), self._n_local)]
            edge_sort.split_keys(keys, self._row_shift, begin, first_row, ends, rows.neighbours[begin:end])


def _build_wide(blocks: list[EdgeBlock], first: int, n_local: int, keep_order: bool) -> Rows:
    """The same for numbers of 64 bits, by NumPy: such graphs are cut into many ranks."""
    empty = np.empty(0, dtype=np.uint64)
    sources = np.concatenate([empty, *(block.sources.astype(np.uint64) for block in blocks)])
    rows = np.concatenate([empty, *(block.destinations.astype(np.uint64) for block in blocks)]) - np.uint64(first)
    blocks.clear()
    order = np.lexsort((sources, rows))
    indptr = np.searchsorted(rows[order], np.arange(n_local + 1, dtype=np.uint64)).astype(np.int64)
    return Rows(indptr, sources[order], order.astype(np.int64) if keep_order else None)
