"""From ids to numbers: a vertex's number is its id's place among all ids of all ranks, sorted.

While edges are read, ids get numbers of this rank's own, of 32 bits. Integers that fit are their own numbers, and a bitmap says which
occur: most files number their vertices from 0 or 1. Other ids go through a table. Then each rank sorts its distinct ids, and ranges of
ids, cut by samples, are merged by one rank each, which answers with the places: owners by range, not by hash, find
both ids and order in one exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels import vertex_numbers
from engine._kernels.id_table import SHARD_BITS, IntTable, TextTable
from engine.collectives.communicator import Communicator
from engine.data.pool import run_all
from engine.encode.edge_rows import number_type
from engine.encode.id_lists import INT, cut_at, exchange, gather, int_ids, ints_of, merge, sorted_order, text_ids, texts_of

BITMAP_IDS = 8  # a bitmap may have so many bits for each id that was read
LEAST_BITMAP = 1 << 22
SAMPLES = 256  # of a rank's distinct ids, by which ranges are cut

Local = NDArray[np.uint32]  # numbers of this rank's own


class Collector(Protocol):
    """Gives ids numbers of this rank's own; ``add`` may be called by several threads at once."""

    is_text: bool

    def add(self, ids: Any) -> Local:
        """Numbers of the next ids."""

    def settle(self, num_threads: int) -> pa.Array:
        """The distinct ids, sorted; replaces all numbers that were given, in place, by places among them. No more ids may come."""


class IntCollector:
    """Collects int64 ids."""

    is_text = False

    def __init__(self) -> None:
        self._table = IntTable()
        self._plain: list[Local] = []  # whose numbers are the ids themselves
        self._tabled: list[Local] = []
        self._tops = [-1]  # the largest id of each of the plain ones; threads append, which needs no lock

    def add(self, ids: NDArray[np.int64]) -> Local:
        """Numbers of the next ids."""
        numbers = np.empty(len(ids), dtype=np.uint32)
        top = vertex_numbers.narrow_ids(ids, numbers)
        if top == -2:
            self._tabulate(ids, numbers)
            self._tabled.append(numbers)
        else:
            self._tops.append(top)
            self._plain.append(numbers)
        return numbers

    def settle(self, num_threads: int) -> pa.Array:
        """The distinct ids, sorted; replaces all numbers that were given by places among them."""
        plain, tabled = self._plain, self._tabled
        self._plain, self._tabled = [], []
        top = max(self._tops)
        if not tabled and top < max(LEAST_BITMAP, BITMAP_IDS * sum(map(len, plain))):
            return _settle_marked(plain, top, num_threads)
        run_all(lambda numbers: self._tabulate(numbers.astype(np.int64), numbers), plain, num_threads)
        counts = self._table.counts()
        ids = np.empty(sum(counts), dtype=np.int64)
        self._table.copy_ids(ids)
        self._table = IntTable()
        return _settle_table(int_ids(ids), counts, [*plain, *tabled], num_threads)

    def _tabulate(self, ids: NDArray[np.int64], numbers: Local) -> None:
        self._table.add(ids, *_scratch(len(ids)), numbers)


class TextCollector:
    """Collects ids of text: of each call, texts ``data[starts[i]:stops[i]]``."""

    is_text = True

    def __init__(self) -> None:
        self._table = TextTable()
        self._numbered: list[Local] = []

    def add(self, ids: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]) -> Local:
        """Numbers of the next ids."""
        data, starts, stops = ids
        numbers = np.empty(len(starts), dtype=np.uint32)
        self._table.add(data, starts, stops, *_scratch(len(starts)), numbers)
        self._numbered.append(numbers)
        return numbers

    def settle(self, num_threads: int) -> pa.Array:
        """The distinct ids, sorted; replaces all numbers that were given by places among them."""
        counts = self._table.counts()
        offsets, data = np.empty(sum(counts) + 1, dtype=np.int64), np.empty(self._table.n_bytes(), dtype=np.uint8)
        self._table.copy_ids(offsets, data)
        self._table = TextTable()
        numbered, self._numbered = self._numbered, []
        return _settle_table(text_ids(offsets, data), counts, numbered, num_threads)


def add_column(collector: Collector, ids: pa.Array) -> Local:
    """Numbers of the ids of an Arrow array without nulls, int64 or string."""
    if ids.type == INT:
        return collector.add(ints_of(ids))
    offsets, data = texts_of(ids.cast(pa.large_string()))
    return collector.add((data, offsets[:-1], offsets[1:]))


def number_ids(comm: Communicator, ids: pa.Array) -> tuple[NDArray[np.int64], pa.Array, int]:
    """Places of this rank's sorted distinct ``ids`` among those of all ranks. Collective.

    Also returns the ids of a range of places, of which this rank holds one and the ranks after it the following ones, and how many ids
    there are in all.
    """
    if comm.size == 1:
        return np.arange(len(ids)), ids, len(ids)
    cut = cut_at(ids, _splitters(comm, ids))
    cut += [ids.slice(len(ids))] * (comm.size - len(cut))  # where no rank has any
    parts = exchange(comm, cut, name="numbering vertices: ids")
    merged, places = merge(pa.concat_arrays(parts))
    counts = [int(part[0]) for part in comm.allgather(np.array([len(merged)]), name="numbering vertices: how many")]
    places += sum(counts[: comm.rank])
    ends = np.cumsum([len(part) for part in parts])
    answers = comm.alltoall(np.split(places, ends[:-1]), name="numbering vertices: places")
    return np.concatenate(answers), merged, sum(counts)


def renumber(numbered: Local, places: NDArray[np.int64], n_vertices: int) -> NDArray[Any]:
    """Numbers among all vertices for places among this rank's ids; in place where 32 bits do."""
    kind = number_type(n_vertices)
    if kind is np.uint64:
        return places.astype(np.uint64)[numbered]
    vertex_numbers.look_up(numbered, places.astype(np.uint32), numbered)
    return numbered


def _splitters(comm: Communicator, ids: pa.Array) -> pa.Array:
    """Ids that cut all ranks' ids into about even parts, one less than there are ranks. Collective."""
    n = min(SAMPLES, len(ids))
    own = ids.take(pa.array(np.arange(n) * len(ids) // max(n, 1)))
    samples = gather(comm, own, name="numbering vertices: samples")
    samples = samples.take(pa.array(sorted_order(samples)))
    places = [rank * len(samples) // comm.size for rank in range(1, comm.size)] if len(samples) else []
    return samples.take(pa.array(places, pa.int64()))


def _settle_marked(numbered: Sequence[Local], top: int, num_threads: int) -> pa.Array:
    """Sort ids up to ``top`` by marking them, and replace each by its place."""
    marks = np.zeros((top >> 6) + 1, dtype=np.uint64)
    before = np.empty(len(marks), dtype=np.uint32)
    run_all(lambda numbers: vertex_numbers.mark_ids(numbers, marks), numbered, num_threads)
    ids = np.empty(vertex_numbers.count_marks(marks, before), dtype=np.int64)
    vertex_numbers.list_marks(marks, ids)
    if len(ids) <= top:  # else every id is its place
        run_all(lambda numbers: vertex_numbers.rank_marked(numbers, marks, before), numbered, num_threads)
    return int_ids(ids)


def _settle_table(ids: pa.Array, counts: list[int], numbered: Sequence[Local], num_threads: int) -> pa.Array:
    """Sort what a table holds, shard by shard, and replace its numbers."""
    order = sorted_order(ids)
    shards = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    first = np.cumsum(counts) - counts
    numbers = (np.arange(len(ids)) - np.repeat(first, counts)).astype(np.uint32) << np.uint32(SHARD_BITS) | shards
    table = np.zeros(int(numbers.max()) + 1 if len(ids) else 0, dtype=np.uint32)
    table[numbers[order]] = np.arange(len(ids), dtype=np.uint32)
    run_all(lambda each: vertex_numbers.look_up(each, table, each), numbered, num_threads)
    return ids.take(pa.array(order))


def _scratch(size: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    return np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.int64)
