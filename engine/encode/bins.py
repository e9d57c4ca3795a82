"""Binning: thresholds chosen from all rows, and this rank's rows as small codes in the layouts that the tree kernels read."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.binning import bin_values, cut_quantiles, find_distinct, split_distinct
from engine._kernels.exact import hash_counters
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.encode.encoding import Encoding
from engine.encode.features import Floats
from engine.encode.panels import fill_panels, plan_panels

NARROW_CODES = 256
# Quantiles are exact up to this many rows; above it they are those of this many rows chosen by hash.
QUANTILE_ROWS = 262_144
BATCH_BYTES = 1 << 26


@dataclass(frozen=True)
class BinSpec:
    """The bins of one encoded column, the same on every rank.

    Numbers: code b holds the values with ``b`` thresholds at or below them, and the last code the missing ones if there are any.
    Categories: the code is the category's number, and there are no thresholds.
    """

    thresholds: Floats  # ascending
    has_missing: bool
    n_categories: int = 0

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
    panel: NDArray[np.int64]  # where the panels of narrow columns lie (engine.encode.panels)
    panels: NDArray[np.uint8]


def fit_bins(
    table: pa.Table, encoding: Encoding, *, max_bins: int, seed: int, first_row: int, n_rows: int, comm: Communicator
) -> list[BinSpec]:
    """Choose the bins of every encoded column from all ranks' rows; collective.

    Numbers are cut between their distinct values where those fit ``max_bins`` codes, else at quantiles. Columns go in batches, which
    bounds what is sampled at once. ``first_row``: global id of this rank's first row.
    """
    rows = sample_rows(table.num_rows, first_row=first_row, n_rows=n_rows, seed=seed, comm=comm)
    size = max(1, BATCH_BYTES // (8 * max(1, min(n_rows, QUANTILE_ROWS))))
    specs: list[BinSpec] = []
    columns = zip(encoding.columns, encoding.values(table), strict=True)
    for _ in range(0, len(encoding.columns), size):
        with agree(comm, "binning"):
            batch = [
                (column, sketch_column(values, rows, max_bins) if column.kind != "category" else None)
                for column, values in itertools.islice(columns, size)
            ]
        fitted = iter(fit_batch([sketch for _, sketch in batch if sketch], max_bins=max_bins, comm=comm))
        specs += [next(fitted) if sketch else BinSpec(np.empty(0), False, len(column.categories)) for column, sketch in batch]
    return specs


@dataclass(frozen=True)
class ColumnSketch:
    """What one rank knows of a column of numbers, enough to choose its bins together."""

    has_missing: bool
    distinct: Floats | None  # None: more than fit
    sample: Floats


def sketch_column(values: Floats, rows: NDArray[np.int64] | None, max_bins: int) -> ColumnSketch:
    """Sketch this rank's values; ``rows`` are those sampled for quantiles, None for all."""
    missing = np.isnan(values)
    sampled = values if rows is None else values[rows]
    return ColumnSketch(bool(missing.any()), distinct_values(values, max_bins), sampled[~np.isnan(sampled)])


def fit_batch(sketches: list[ColumnSketch], *, max_bins: int, comm: Communicator) -> list[BinSpec]:
    """Choose thresholds for a batch of columns from all ranks' sketches; each rank merges the columns dealt to it. Collective."""
    if not sketches:
        return []
    owners = deal_columns(len(sketches), comm.size)
    mine = range(owners[comm.rank], owners[comm.rank + 1])
    facts = np.array([[s.has_missing for s in sketches], [s.distinct is None for s in sketches]], dtype=np.int64)
    comm.allreduce_max(facts, name="compare columns")
    has_missing, overflow = facts
    limits = max_bins - has_missing
    none = np.empty(0)
    parts = exchange_columns([none if s.distinct is None else s.distinct for s in sketches], owners, comm, name="exchange distinct values")
    unions = [np.unique(np.concatenate(part)) for part in parts]
    for c, union in zip(mine, unions, strict=True):
        overflow[c] |= len(union) > limits[c]
    comm.allreduce_max(overflow, name="compare columns")
    samples = [s.sample if many else none for s, many in zip(sketches, overflow, strict=True)]
    parts = exchange_columns(samples, owners, comm, name="exchange sampled values")
    cuts = [
        quantile_thresholds(np.concatenate(part), int(limits[c])) if overflow[c] else distinct_thresholds(union)
        for c, union, part in zip(mine, unions, parts, strict=True)
    ]
    return [BinSpec(cut, bool(missing)) for cut, missing in zip(gather_columns(cuts, comm), has_missing, strict=True)]


def deal_columns(n_columns: int, n_ranks: int) -> list[int]:
    """Contiguous shares of columns: rank r owns columns ``result[r]`` to ``result[r + 1]``."""
    return [n_columns * r // n_ranks for r in range(n_ranks + 1)]


def sample_rows(n_rows_local: int, *, first_row: int, n_rows: int, seed: int, comm: Communicator) -> NDArray[np.int64] | None:
    """This rank's share of the ``QUANTILE_ROWS`` rows with the smallest hashes; None where all rows are taken. Collective.

    The hash is a bijection of the row id, so there are no ties. The threshold is found by counting, 16 bits at a time.
    """
    if n_rows <= QUANTILE_ROWS:
        return None
    hashes = np.empty(n_rows_local, dtype=np.uint64)
    hash_counters(seed, first_row, hashes)
    low, wanted = 0, QUANTILE_ROWS
    candidates = hashes
    for shift in (48, 32, 16, 0):
        digits = ((candidates >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
        counts = np.bincount(digits, minlength=1 << 16).astype(np.int64)
        comm.allreduce_sum(counts, name="choose rows for quantiles")
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, wanted))
        wanted -= int(below[digit] - counts[digit])
        low += digit << shift
        candidates = candidates[digits == digit]
    return np.flatnonzero(hashes <= np.uint64(low))


def distinct_values(values: Floats, most: int) -> Floats | None:
    """The distinct values that are not NaN, sorted; None if there are more than ``most``."""
    size = 1 << (2 * most + 1).bit_length()
    table = np.empty(size)
    count = find_distinct(values, most, table, np.zeros(size, dtype=np.uint8))
    return None if count < 0 else np.sort(table[:count])


def distinct_thresholds(union: Floats) -> Floats:
    """Thresholds between every two neighbours of sorted distinct values."""
    out = np.empty(max(len(union) - 1, 0))
    split_distinct(union, out)
    return out


def quantile_thresholds(sample: Floats, n_bins: int) -> Floats:
    """Thresholds that cut ``sample`` into at most ``n_bins`` bins of nearly equal counts."""
    out = np.empty(max(n_bins - 1, 0))
    return out[: cut_quantiles(np.sort(sample), out)]


def exchange_columns(columns: list[Floats], owners: list[int], comm: Communicator, *, name: str) -> list[list[Floats]]:
    """Send every column's values to its owner; return, for each column owned here, what every rank sent. Collective."""
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


def encode_bins(table: pa.Table, encoding: Encoding, specs: list[BinSpec], *, num_threads: int) -> BinMatrix:
    """This rank's rows as codes; one column at a time, so that no float copy of the table is ever held."""
    n = table.num_rows
    wide = np.array([spec.n_codes > NARROW_CODES for spec in specs], dtype=bool)
    position = np.where(wide, np.cumsum(wide), np.cumsum(~wide)).astype(np.int32) - np.int32(1)
    narrow_codes = np.empty((int((~wide).sum()), n), dtype=np.uint8)
    wide_codes = np.empty((int(wide.sum()), n), dtype=np.uint16)
    for j, values in enumerate(encoding.values(table)):
        spec, out = specs[j], (wide_codes if wide[j] else narrow_codes)[position[j]]
        if spec.n_categories:
            out[:] = values
        else:
            bin_values(values, spec.thresholds, spec.n_codes - 1, out, num_threads)
    panel = plan_panels(len(narrow_codes), n)
    return BinMatrix(
        specs=specs,
        n_rows_local=n,
        position=position,
        is_wide=wide.astype(np.uint8),
        narrow=narrow_codes,
        wide=wide_codes,
        panel=panel,
        panels=fill_panels(narrow_codes, panel, num_threads=num_threads),
    )
