"""Binning: thresholds chosen from all rows, and this rank's rows as small codes in the layouts that the tree kernels read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine._kernels.binning import (
    add_distinct,
    bin_values,
    cut_quantiles,
    index_edges,
    prepare_values,
    split_distinct,
)
from engine._kernels.exact import hash_counters
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.stream import Stream
from engine.encode.encoding import EncodedColumn, Encoding
from engine.encode.features import ALL, Floats
from engine.encode.panels import align_panels, fill_panels, panel_bytes, plan_panels

NARROW_CODES = 256
# Quantiles are exact up to this many rows; above it they are those of this many rows chosen by hash.
QUANTILE_ROWS = 262_144
BATCH_BYTES = 1 << 26  # of samples and distinct values held at once
HASHED_ROWS = 1 << 18  # at a time
MOST_BUCKETS = 1 << 16
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class BinSpec:
    """The bins of one encoded column, the same on every rank.

    Numbers: code b holds the values with ``b`` thresholds at or below them, and the last code the missing ones if there are any.
    Categories: the code is the category's number, and there are no thresholds.
    """

    thresholds: Floats  # ascending
    has_missing: bool
    n_categories: int = 0
    has_values: bool = True  # False where every row's value is missing

    @property
    def n_codes(self) -> int:
        """Number of different codes, the missing one included."""
        return self.n_categories or len(self.thresholds) + 1 + self.has_missing


@dataclass(frozen=True)
class BinMatrix:
    """This rank's rows as codes, twice: by column, for partitioning rows, and row by row in panels, for histograms.

    Columns with at most 256 codes are narrow (uint8), the others wide (uint16); ``position[c]`` is column c's place among its kind.
    """

    specs: list[BinSpec]
    n_rows_local: int
    position: NDArray[np.int32]  # [n_columns]
    is_wide: NDArray[np.uint8]  # [n_columns]
    narrow: NDArray[np.uint8]  # [n_narrow, n_rows_local]
    wide: NDArray[np.uint16]  # [n_wide, n_rows_local]
    panel: NDArray[np.int64]  # which columns are in which panel, and where (engine.encode.panels)
    panels: NDArray[np.uint8]


def fit_bins(rows: Stream, encoding: Encoding, *, max_bins: int, seed: int, comm: Communicator, num_threads: int = 1) -> list[BinSpec]:
    """Choose the bins of every encoded column from all ranks' rows; collective.

    Numbers are cut between their distinct values where those fit ``max_bins`` codes, else at quantiles. A pass over the rows looks at
    as many columns as ``BATCH_BYTES`` have room for what is sampled of them; no column is read twice.
    """
    sampled = sample_rows(rows.n_rows_local, first_row=rows.first_row, n_rows=rows.n_rows, seed=seed, comm=comm)
    most = min(max_bins, rows.n_rows)
    column_bytes = 8 * min(rows.n_rows, QUANTILE_ROWS) + 9 * table_size(most)
    specs: list[BinSpec] = []
    for chosen in cut_sources(encoding, max(1, BATCH_BYTES // column_bytes)):
        columns = [column for name, part in chosen.items() for column in encoding.by_source[name][part]]
        numeric = {name: part for name, part in chosen.items() if encoding.sources[name] != "str"}
        sketches: list[ColumnSketch] = []
        with agree(comm, "binning"):
            sketches = sketch_columns(rows, encoding, numeric, sampled, most=most, num_threads=num_threads)
        fitted = iter(fit_batch(sketches, max_bins=max_bins, comm=comm, num_threads=num_threads))
        specs += [next(fitted) if column.kind != "category" else category_spec(column) for column in columns]
    return specs


def category_spec(column: EncodedColumn) -> BinSpec:
    """The bins of a column of categories."""
    return BinSpec(np.empty(0), False, len(column.categories), has_values=column.categories != (None,))


def cut_sources(encoding: Encoding, most: int) -> Iterator[dict[str, slice]]:
    """All encoded columns in order, ``most`` at a time: by source, which of its columns."""
    chosen: dict[str, slice] = {}
    room = most
    for name, columns in encoding.by_source.items():
        begin = 0
        while begin < len(columns):
            end = min(begin + room, len(columns))
            chosen[name] = slice(begin, end)
            room -= end - begin
            begin = end
            if room == 0:
                yield chosen
                chosen, room = {}, most
    if chosen:
        yield chosen


def read_ahead(batches: Iterator[Item], num_threads: int) -> Iterator[Item]:
    """The same batches; with several threads, one of them reads the next batch while this one is worked on."""
    if num_threads == 1:
        yield from batches
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


class ColumnSketch:
    """What one rank knows of a column of numbers, enough to choose its bins together."""

    def __init__(self, most: int, n_sampled: int) -> None:
        self.has_missing = False
        self.n_distinct = 0  # -1: more than ``most``
        self._most = most
        size = table_size(most)
        self._table, self._used = np.empty(size), np.zeros(size, dtype=np.uint8)
        self._sample: NDArray[Any] = np.empty(n_sampled, dtype=np.float32)
        self._n_sampled = 0

    def add(self, values: NDArray[Any], sampled: NDArray[np.int64] | slice) -> None:
        """Look at some more values, float32 or float64; ``sampled`` are the places of those that quantiles are made of."""
        self.has_missing = self.has_missing or bool(np.isnan(values).any())
        if self.n_distinct >= 0:
            self.n_distinct = add_distinct(values, self._most, self.n_distinct, self._table, self._used)
        if self.n_distinct < 0:
            self._table, self._used = np.empty(0), np.empty(0, dtype=np.uint8)
        chosen = values[sampled]
        end = self._n_sampled + len(chosen)
        if self._sample.dtype != chosen.dtype and chosen.dtype == np.float64:
            self._sample = np.concatenate([self._sample[: self._n_sampled], np.empty(len(self._sample) - self._n_sampled)])
        self._sample[self._n_sampled : end] = chosen
        self._n_sampled = end

    @property
    def distinct(self) -> Floats:
        """The distinct values that are not NaN, sorted, if there are not too many."""
        return np.sort(self._table[self._used == 1])

    @property
    def sample(self) -> NDArray[Any]:
        """The sampled values that are not NaN."""
        return self._sample[~np.isnan(self._sample)] if self.has_missing else self._sample


def table_size(most: int) -> int:
    """Slots of a hash table for ``most`` values: a power of two, at most half full."""
    return 1 << (2 * most + 1).bit_length()


def sketch_columns(
    rows: Stream,
    encoding: Encoding,
    chosen: dict[str, slice],
    sampled: NDArray[np.int64] | None,
    *,
    most: int,
    num_threads: int,
) -> list[ColumnSketch]:
    """Sketch this rank's values of the chosen columns in one pass."""
    n_sampled = rows.n_rows_local if sampled is None else len(sampled)
    sketches = {name: [ColumnSketch(most, n_sampled) for _ in encoding.by_source[name][part]] for name, part in chosen.items()}
    begin = 0
    for batch in read_ahead(rows.batches(list(chosen)) if chosen else iter(()), num_threads):
        places: NDArray[np.int64] | slice = ALL
        if sampled is not None:
            first, last = np.searchsorted(sampled, [begin, begin + batch.num_rows])
            places = sampled[first:last] - begin
        begin += batch.num_rows
        values = encoding.expand(batch, chosen)
        for sketch in itertools.chain(*sketches.values()):
            sketch.add(next(values), places)
    return list(itertools.chain(*sketches.values()))


def fit_batch(sketches: list[ColumnSketch], *, max_bins: int, comm: Communicator, num_threads: int = 1) -> list[BinSpec]:
    """Choose thresholds for a batch of columns from all ranks' sketches; each rank merges the columns dealt to it. Collective."""
    if not sketches:
        return []
    owners = deal_columns(len(sketches), comm.size)
    mine = range(owners[comm.rank], owners[comm.rank + 1])
    facts = np.array([[s.has_missing, s.n_distinct < 0, s.n_distinct != 0] for s in sketches], dtype=np.int64).T.copy()
    comm.allreduce_max(facts, name="compare columns")
    has_missing, overflow, has_values = facts
    limits = max_bins - has_missing
    none = np.empty(0)
    parts = exchange_columns([none if s.n_distinct < 0 else s.distinct for s in sketches], owners, comm, name="exchange distinct values")
    unions = [np.unique(np.concatenate(part)) for part in parts]
    for c, union in zip(mine, unions, strict=True):
        overflow[c] |= len(union) > limits[c]
    comm.allreduce_max(overflow, name="compare columns")
    samples = [s.sample if many else none for s, many in zip(sketches, overflow, strict=True)]
    parts = exchange_columns(samples, owners, comm, name="exchange sampled values")

    def cut(task: tuple[int, Floats, list[NDArray[Any]]]) -> Floats:
        c, union, part = task
        return quantile_thresholds(np.concatenate(part), int(limits[c])) if overflow[c] else distinct_thresholds(union)

    cuts = gather_columns(map_threads(cut, zip(mine, unions, parts, strict=True), num_threads), comm)
    return [BinSpec(cut, bool(facts[0, c]), has_values=bool(has_values[c])) for c, cut in enumerate(cuts)]


def map_threads(function: Callable[[Item], Result], items: Iterable[Item], num_threads: int) -> list[Result]:
    """``function`` of every item, in order; kernels and sorts let the other threads go on."""
    if num_threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(function, items))


def deal_columns(n_columns: int, n_ranks: int) -> list[int]:
    """Contiguous shares of columns: rank r owns columns ``result[r]`` to ``result[r + 1]``."""
    return [n_columns * r // n_ranks for r in range(n_ranks + 1)]


def sample_rows(n_rows_local: int, *, first_row: int, n_rows: int, seed: int, comm: Communicator) -> NDArray[np.int64] | None:
    """This rank's share of the ``QUANTILE_ROWS`` rows with the smallest hashes; None where all rows are taken. Collective.

    The hash is a bijection of the row id, so there are no ties. The threshold is found by counting, 16 bits at a time.
    """
    if n_rows <= QUANTILE_ROWS:
        return None

    def hash_rows() -> Iterator[tuple[int, NDArray[np.uint64]]]:
        for begin in range(0, n_rows_local, HASHED_ROWS):
            hashes = np.empty(min(HASHED_ROWS, n_rows_local - begin), dtype=np.uint64)
            hash_counters(seed, first_row + begin, hashes)
            yield begin, hashes

    low, wanted = 0, QUANTILE_ROWS
    candidates: NDArray[np.uint64] | None = None
    for shift in (48, 32, 16, 0):
        counts = np.zeros(1 << 16, dtype=np.int64)
        for hashes in [candidates] if candidates is not None else (hashes for _, hashes in hash_rows()):
            counts += np.bincount(digits_of(hashes, shift), minlength=1 << 16)
        comm.allreduce_sum(counts, name="choose rows for quantiles")
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, wanted))
        wanted -= int(below[digit] - counts[digit])
        low += digit << shift
        parts = [candidates] if candidates is not None else (hashes for _, hashes in hash_rows())
        candidates = np.concatenate([np.empty(0, dtype=np.uint64), *(part[digits_of(part, shift) == digit] for part in parts)])
    chosen = [begin + np.flatnonzero(hashes <= np.uint64(low)) for begin, hashes in hash_rows()]
    return np.concatenate([np.empty(0, dtype=np.int64), *chosen])


def digits_of(hashes: NDArray[np.uint64], shift: int) -> NDArray[np.int64]:
    """16 bits of every hash."""
    return ((hashes >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)


def distinct_thresholds(union: Floats) -> Floats:
    """Thresholds between every two neighbours of sorted distinct values."""
    out = np.empty(max(len(union) - 1, 0))
    split_distinct(union, out)
    return out


def quantile_thresholds(sample: NDArray[Any], n_bins: int) -> Floats:
    """Thresholds that cut ``sample`` (float32 or float64, no NaN) into at most ``n_bins`` bins of nearly equal counts."""
    out, ordered = np.empty(max(n_bins - 1, 0)), np.empty(len(sample))
    prepare_values(np.sort(sample), ordered)
    return out[: cut_quantiles(ordered, out)]


def exchange_columns(columns: list[NDArray[Any]], owners: list[int], comm: Communicator, *, name: str) -> list[list[NDArray[Any]]]:
    """Send every column's values to its owner; return, for each column owned here, what every rank sent. Collective."""
    if comm.size == 1:
        return [[column] for column in columns]
    shares = [range(owners[r], owners[r + 1]) for r in range(comm.size)]
    lengths = comm.alltoall([np.array([len(columns[c]) for c in share], dtype=np.int64) for share in shares], name=name)
    values = comm.alltoall([np.concatenate([np.empty(0), *(columns[c] for c in share)]) for share in shares], name=name)
    parts = [np.split(part, np.cumsum(length)[:-1]) if len(length) else [] for part, length in zip(values, lengths, strict=True)]
    return [[part[c] for part in parts] for c in range(len(shares[comm.rank]))]


def gather_columns(columns: list[Floats], comm: Communicator) -> list[Floats]:
    """All columns' values, in the order of owners, from those owned by each rank. Collective."""
    lengths = np.concatenate(comm.allgather(np.array([len(c) for c in columns], dtype=np.int64), name="gather thresholds"))
    values = np.concatenate(comm.allgather(np.concatenate([np.empty(0), *columns]), name="gather thresholds"))
    return np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else []


Allocate = Callable[[str, tuple[int, ...], type], NDArray[Any]]  # by name, shape and type; the contents do not matter


def in_memory(name: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """An array that nobody accounts for."""
    return np.empty(shape, dtype=dtype)


def encode_bins(rows: Stream, encoding: Encoding, specs: list[BinSpec], *, num_threads: int, allocate: Allocate = in_memory) -> BinMatrix:
    """This rank's rows as codes, in one pass over them; of their values no more than a batch is held."""
    n = rows.n_rows_local
    is_wide, position = place_columns([spec.n_codes for spec in specs])
    narrow, wide = allocate("narrow bins", (int((~is_wide).sum()), n), np.uint8), allocate("wide bins", (int(is_wide.sum()), n), np.uint16)
    panel = plan_panels(len(narrow), len(wide), n)
    panels = align_panels(allocate("panels of bins", (panel_bytes(panel, n),), np.uint8))
    finder = CodeFinder(specs, num_threads)
    chosen = {name: ALL for name, columns in encoding.by_source.items() if columns}
    begin = 0
    for batch in read_ahead(rows.batches(list(chosen)) if chosen else iter(()), num_threads):
        end = begin + batch.num_rows
        for j, values in enumerate(encoding.expand(batch, chosen)):
            finder.find(j, values, (wide if is_wide[j] else narrow)[position[j], begin:end])
        fill_panels(narrow, wide, panel, panels, first=begin, last=end, num_threads=num_threads)
        begin = end
    return BinMatrix(
        specs=specs,
        n_rows_local=n,
        position=position,
        is_wide=is_wide.astype(np.uint8),
        narrow=narrow,
        wide=wide,
        panel=panel,
        panels=panels,
    )


def place_columns(n_codes: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Which columns are wide, and each one's place among its kind, by their numbers of codes."""
    is_wide = np.array([n > NARROW_CODES for n in n_codes], dtype=bool)
    return is_wide, np.where(is_wide, np.cumsum(is_wide), np.cumsum(~is_wide)).astype(np.int32) - np.int32(1)


class CodeFinder:
    """Finds the codes of values, batch by batch; an index of the thresholds is made once per column and type of values."""

    def __init__(self, specs: list[BinSpec], num_threads: int) -> None:
        self._specs, self._num_threads = specs, num_threads
        self._indexes: dict[tuple[int, str], tuple[Any, ...]] = {}

    def find(self, column: int, values: NDArray[Any], out: NDArray[Any]) -> None:
        """Put the codes of a column's ``values`` into ``out``."""
        spec = self._specs[column]
        if spec.n_categories:
            out[:] = values
            return
        index = self._indexes.get((column, values.dtype.char))
        if index is None:
            index = self._indexes[column, values.dtype.char] = index_thresholds(spec.thresholds, values.dtype)
        bin_values(values, *index, spec.n_codes - 1, out, self._num_threads)


def index_thresholds(thresholds: Floats, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """The arguments of :func:`bin_values` that say where values of this ``dtype`` belong.

    A float32 is at or above a threshold if and only if it is at or above the smallest float32 that is, so float32 is compared as it is.
    """
    edges: NDArray[Any] = thresholds
    if dtype == np.float32:
        edges = round_up(thresholds)
    starts = np.empty(min(max(64, 1 << (8 * len(edges)).bit_length()), MOST_BUCKETS), dtype=np.uint16)
    low, scale, most = index_edges(edges, starts)
    return np.concatenate([edges, np.full(most, np.nan, dtype=dtype)]), starts, low, scale, most


def round_up(values: Floats) -> NDArray[np.float32]:
    """The least float32 at or above each value: a float32 is below the one if and only if it is below the other."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
        return np.where(near < values, np.nextafter(near, np.float32(np.inf)), near)
