"""A design matrix: this rank's blocks of rows as the linear kernels read them, and what all ranks know of its columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.linear import (
    BLOCK_ROWS,
    GIVEN,
    LIMB_BITS,
    Ask,
    Features,
    collect_entries,
    measure_columns,
    measure_entries,
    multiply_rows,
    pass_rows,
    scale_entries,
    square_entries,
)
from engine.collectives.agree import agree, raise_on_all
from engine.collectives.communicator import Communicator
from engine.collectives.exact import exponents_above
from engine.data.stream import Stream, table_stream
from engine.encode.dense_columns import DenseColumn, address_table, block_values
from engine.encode.design_encoding import DesignEncoding, Layout
from engine.encode.encoding import Encoding
from engine.encode.features import Floats, category_codes, list_entries, map_entries, near, numbers, shorten, vector_matrix
from engine.encode.key_places import KeyPlaces
from engine.errors import DataError, warn

LEAST_EXPONENT, LARGEST_EXPONENT = -300, 400  # of column maxima: products of two of them, times weights and rows, are finite
LEAST_SCALE = 1e-5  # sqrt(1e-10), of columns that are 0 nearly everywhere
CONSTANT = 1e-7  # a stdev below this share of the scale: the column hardly varies
FEATURE_PARTS = ("addresses", "onehot", "start", "index", "value")
ENTRY_UNIT, SQUARE_UNIT = 46, 50  # bits of sums of sparse values and of their squares


@dataclass(frozen=True)
class DesignMatrix:
    """This rank's rows, whole blocks of them by global id. Columns are in the order of the kernels (:attr:`Layout.order`).

    A column's values, as they are kept, are at most ``2**exponents``; those of sparse columns are kept divided by ``2**powers``.
    """

    layout: Layout
    features: Features
    n_rows: int  # of all ranks
    first_row: int
    exponents: NDArray[np.int64]  # [n_columns + 1]
    powers: NDArray[np.int64]  # [n_columns + 1]
    most_entries: int  # in a row of any rank, indicators not counted
    onehot_starts: NDArray[np.int64]  # where the indicators of each column of strings begin among sparse columns, and where they end
    onehot_ends: NDArray[np.int64]
    addresses: NDArray[np.int64] = field(repr=False)  # [n_blocks, n_dense]
    onehot: NDArray[np.int32] = field(repr=False)  # [n_rows_local, columns of strings]
    start: NDArray[np.int64] = field(repr=False)  # [n_rows_local + 1], or empty
    index: NDArray[np.int32] = field(repr=False)
    value: Floats = field(repr=False)
    kept: list[Any] = field(repr=False)  # memory that the addresses point to
    squares: Floats = field(default_factory=lambda: np.empty(0), repr=False)  # mean of squares, in the model's order; of training rows

    @property
    def n_rows_local(self) -> int:
        """Rows on this rank."""
        return int(self.features.n_rows)

    def matvec(self, coefficients: Floats, offset: Floats | None, *, num_threads: int) -> Floats:
        """``X w`` for each row of ``coefficients`` [k, n_columns + 1], in the order and powers of the kernels: [k, n_rows_local]."""
        out = np.empty((len(coefficients), self.n_rows_local))
        multiply_rows(self.features, np.ascontiguousarray(coefficients), offset, out, num_threads)
        return out

    def block_parts(self, block: int) -> Iterator[NDArray[Any]]:
        """Everything that is kept of a block of rows, for hashing."""
        begin = block * BLOCK_ROWS
        end = min(begin + BLOCK_ROWS, self.n_rows_local)
        yield from (block_values(address, end - begin) for address in self.addresses[block].tolist())
        yield self.onehot[begin:end]
        if len(self.start):
            entries = slice(self.start[begin], self.start[end])
            yield self.start[begin : end + 1] - self.start[begin]
            yield self.index[entries]
            yield self.value[entries]


class DesignBuilder:
    """Takes rows batch by batch; ``means`` None refuses missing values, else they are imputed by these (in the model's order)."""

    def __init__(self, layout: Layout, stream: Stream, *, borrow: bool, means: Floats | None) -> None:
        self.layout, self.stream, self.means = layout, stream, means
        self._borrow = borrow
        self._dense = [DenseColumn() for _ in range(layout.n_dense)]
        kinds = layout.encoding.sources
        self._texts = [name for name, kind in kinds.items() if kind == "str"]
        self._items = [name for name, kind in kinds.items() if kind in ("dict", "list")]
        self._places = {name: KeyPlaces([str(column.item) for column in layout.sources[name][1]]) for name in self._items}
        self.n_sparse = layout.n_columns - layout.n_dense
        self._onehot = np.empty((stream.n_rows_local, len(self._texts)), dtype=np.int32)
        self._count = np.zeros(stream.n_rows_local if self._items else 0, dtype=np.int64)
        self._seen = np.zeros(self.n_sparse if self._items else 0, dtype=np.int64)
        self._index, self._value = np.empty(0, dtype=np.int32), np.empty(0)
        self._n_entries = 0
        self._at = 0

    def read(self) -> None:
        """Go through all rows once. Raises :class:`DataError` for values that are no numbers, and missing ones if they are refused."""
        missing = set(self.layout.encoding.sources) - set(self.stream.schema.names)
        if missing:
            name = sorted(missing)[0]
            names = self.stream.schema.names
            raise DataError(f"column {name!r} was used in training and is not in the data{near(name, names)}; columns: {shorten(names)}")
        names = list(self.layout.encoding.sources)
        is_in_place = self._borrow and all(pa.types.is_float64(self.stream.schema.field(name).type) for name in names)
        for batch in self.stream.batches(names, max(1, self.stream.n_rows_local) if is_in_place else None):  # no batch takes memory there
            self._add(batch)
        for column in self._dense:
            column.close()
        self._index.resize(self._n_entries, refcheck=False)
        self._value.resize(self._n_entries, refcheck=False)

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The arrays of all rows, by their names in :class:`DesignMatrix`; once they are read."""
        start = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self._count)]) if self._items else np.empty(0, dtype=np.int64)
        return {
            "addresses": address_table(self._dense, -(-self.stream.n_rows_local // BLOCK_ROWS)),
            "onehot": self._onehot,
            "start": start,
            "index": self._index,
            "value": self._value,
            "kept": list(self._dense),
        }

    @cached_property
    def features(self) -> Features:
        """The kernels' view of all rows; once they are read."""
        return Features(self.stream.n_rows_local, self.n_sparse, *(self.parts[name] for name in FEATURE_PARTS))

    def onehot_parts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the indicators of each column of strings begin and end, among sparse columns."""
        starts = [self.layout.sparse_start[name] for name in self._texts]
        ends = [start + self.layout.sources[name][2] for start, name in zip(starts, self._texts, strict=True)]
        return np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)

    @property
    def most_entries(self) -> int:
        """The most entries in a row."""
        return int(self._count.max(initial=0))

    def largest_entries(self) -> Floats:
        """The largest ``|value|`` of every sparse column, 1 for indicators. Raises :class:`DataError` for infinite values."""
        largest = np.zeros(self.n_sparse)
        for begin, end in zip(*self.onehot_parts(), strict=True):
            largest[begin:end] = 1.0
        if measure_entries(self._index, self._value, largest):
            at = int(np.flatnonzero(~np.isfinite(self._value))[0])
            row = int(np.searchsorted(np.cumsum(self._count), at, side="right"))
            name = np.array(self.layout.column_names, dtype=object)[~self.layout.is_dense][self._index[at]]
            raise DataError(f"column {name!r} has {float(self._value[at])!r} in row {self.stream.first_row + row}: expected finite numbers")
        return largest

    def scale_entries(self, powers: NDArray[np.int64]) -> None:
        """Divide sparse values by ``2**powers`` [n_sparse], in place."""
        if powers.any():
            scale_entries(self._index, self._value, np.ldexp(1.0, -powers))

    def square_entries(self) -> NDArray[np.int64]:
        """Limbs of the sums of squares of scaled sparse values, [n_sparse, 2]; indicators have none."""
        out = np.zeros((self.n_sparse, 2), dtype=np.int64)
        square_entries(self._index, self._value, out)
        return out

    def find_bad(self, column: int) -> tuple[int, float]:
        """The first local row of a dense column that is NaN or infinite, and its value."""
        n = self.stream.n_rows_local
        for block, address in enumerate(self._dense[column].addresses):
            values = block_values(address, min(BLOCK_ROWS, n - block * BLOCK_ROWS))
            wrong = np.flatnonzero(~np.isfinite(values))
            if len(wrong):
                return block * BLOCK_ROWS + int(wrong[0]), float(values[wrong[0]])
        raise AssertionError("a column was counted to hold what it does not")

    def _add(self, batch: pa.RecordBatch) -> None:
        dense = text = place = 0
        entries: list[tuple[NDArray[np.int64], NDArray[np.int32], Floats]] = []
        for name, (is_dense, columns, n) in self.layout.sources.items():
            column = batch.column(name)
            if is_dense:
                for values in self._numbers(name, column, n):
                    self._append(dense, values, place, borrowed=self._borrow and pa.types.is_float64(column.type) and not column.null_count)
                    dense, place = dense + 1, place + 1
                continue
            start = self.layout.sparse_start[name]
            if name in self._texts:
                codes = category_codes(column, columns[0].categories) if columns else np.full(len(column), -1, dtype=np.int32)
                np.add(codes, start - 1, out=self._onehot[self._at : self._at + len(codes), text], where=codes > 0)
                self._onehot[self._at : self._at + len(codes), text][codes <= 0] = -1
                text += 1
            else:
                self._refuse_null(name, column)
                entries.append(self._entries(name, column, start))
            place += n
        if entries:
            self._add_entries(entries, batch.num_rows)
        self._at += batch.num_rows

    def _numbers(self, name: str, column: pa.Array, n: int) -> list[Floats]:
        if self.layout.encoding.sources[name] == "vector":
            return list(vector_matrix(column, n, name))
        return [numbers(column, name)]

    def _append(self, number: int, values: Floats, place: int, *, borrowed: bool) -> None:
        values = np.ascontiguousarray(values, dtype=np.float64)
        if self.means is not None:
            missing = np.isnan(values)
            if missing.any():
                values, borrowed = np.where(missing, self.means[place], values), False
        self._dense[number].append(values, borrowed=borrowed)

    def _refuse_null(self, name: str, column: pa.Array) -> None:
        if column.null_count and self.means is None:
            row = int(np.flatnonzero(np.asarray(column.is_null().to_numpy(zero_copy_only=False)))[0])
            raise missing_error(name, self.stream.first_row + self._at + row)

    def _entries(self, name: str, column: pa.Array, start: int) -> tuple[NDArray[np.int64], NDArray[np.int32], Floats]:
        """Row, sparse column (-1 for what training has not seen) and value of a batch's entries."""
        if self.layout.encoding.sources[name] == "dict":
            rows, keys, values = map_entries(column, name, as_they_are=True)
        else:
            rows, keys = list_entries(column, name)
            values = np.ones(len(rows))
        places = self._places[name].find(keys)
        return rows, np.where(places >= 0, places + np.int32(start), np.int32(-1)), np.ascontiguousarray(values)

    def _add_entries(self, entries: list[tuple[NDArray[np.int64], NDArray[np.int32], Floats]], n_rows: int) -> None:
        rows, index, value = (np.concatenate(parts) for parts in zip(*entries, strict=True)) if len(entries) > 1 else entries[0]
        if len(rows) and (np.diff(rows) < 0).any():
            order = np.argsort(rows, kind="stable")
            rows, index, value = rows[order], index[order], value[order]
        end = self._n_entries + len(rows)
        if end > len(self._index):
            left = max(0, self.stream.n_rows_local - self._at - n_rows)  # about as many entries again in the rows to come
            room = int(1.02 * (end + end * left / max(1, self._at + n_rows)))
            self._index.resize(room, refcheck=False)
            self._value.resize(room, refcheck=False)
        count = self._count[self._at : self._at + n_rows]
        first, free = self.stream.first_row + self._at, slice(self._n_entries, None)
        rows = rows.astype(np.int64, copy=False)
        self._n_entries += collect_entries(rows, index, value, first, self._seen, self._index[free], self._value[free], count)


def missing_error(name: str, row: int) -> DataError:
    """The error for a missing value in training."""
    return DataError(
        f"column {name!r} has a missing value in row {row}: expected a value in every row of the training data; "
        "drop such rows, or fill them"
    )


def fit_design(
    stream: Stream, encoding: Encoding, comm: Communicator, *, rescale: bool, borrow: bool, num_threads: int
) -> tuple[DesignMatrix, DesignEncoding]:
    """Encode training rows, which lie in whole blocks, and find the mean and scale of every column; collective.

    ``scale = sqrt(mean^2 + stdev^2)``, the root of the mean of squares, but at least 1e-5; 1 without ``rescale``. ``borrow``: the memory
    of the rows stays while the matrix is used. Raises :class:`DataError` on every rank for missing, infinite and far too large values.
    """
    layout = Layout(encoding)
    builder = DesignBuilder(layout, stream, borrow=borrow, means=None)
    n_blocks = -(-stream.n_rows_local // BLOCK_ROWS)
    largest, sums = np.zeros(layout.n_columns + 1), np.zeros((n_blocks, layout.n_dense, 2))
    with agree(comm, "encoding"):
        builder.read()
        largest[: layout.n_dense] = measure_dense(builder, sums, num_threads)
        largest[layout.n_dense] = 1.0
        largest[layout.n_dense + 1 :] = builder.largest_entries()
    design = close_design(builder, largest, comm)
    means, squares = reduce_moments(builder, design, sums, comm, num_threads)
    stdevs = np.sqrt(np.maximum(squares - means * means, 0.0))
    roots = np.sqrt(squares)
    warn_constant(layout, stdevs, roots, comm)
    scales = np.maximum(roots, LEAST_SCALE) if rescale else np.ones(layout.n_columns)
    return replace(design, squares=squares), DesignEncoding(encoding, means, scales)


def apply_design(stream: Stream, encoding: DesignEncoding, comm: Communicator, *, borrow: bool, num_threads: int) -> DesignMatrix:
    """Encode more rows, in whole blocks, as training rows were; collective.

    Missing values are imputed by the mean; categories and keys that training has not seen count as 0.
    """
    layout = encoding.layout
    builder = DesignBuilder(layout, stream, borrow=borrow, means=encoding.means)
    largest = np.zeros(layout.n_columns + 1)
    with agree(comm, "encoding"):
        builder.read()
        largest[: layout.n_dense] = measure_dense(
            builder, np.zeros((-(-stream.n_rows_local // BLOCK_ROWS), layout.n_dense, 2)), num_threads
        )
        largest[layout.n_dense] = 1.0
        largest[layout.n_dense + 1 :] = builder.largest_entries()
    return close_design(builder, largest, comm)


def measure_dense(builder: DesignBuilder, sums: Floats, num_threads: int) -> Floats:
    """The largest ``|value|`` of every dense column, and ``sums`` by block. Raises :class:`DataError` for the first NaN or infinity."""
    layout = builder.layout
    largest, n_bad = np.zeros(layout.n_dense), np.zeros(layout.n_dense, dtype=np.int64)
    measure_columns(builder.features, sums, largest, n_bad, num_threads)
    found = [(*builder.find_bad(column), column) for column in np.flatnonzero(n_bad).tolist()]
    if found:
        row, value, column = min(found, key=lambda each: (each[0], each[2]))
        name, item = layout.coefficient_index[np.flatnonzero(layout.is_dense)[column]]
        if np.isnan(value):
            raise missing_error(name, builder.stream.first_row + row)
        where = name if item is None else f"{name}[{item}]"
        raise DataError(f"column {where!r} has {value!r} in row {builder.stream.first_row + row}: expected finite numbers; drop such rows")
    return largest


def close_design(builder: DesignBuilder, largest: Floats, comm: Communicator) -> DesignMatrix:
    """Agree on the largest values, and scale sparse ones by them; collective."""
    layout = builder.layout
    together = np.append(largest, float(builder.most_entries))
    comm.allreduce_max(together, name="largest values of columns")
    largest, most_entries = together[:-1], int(together[-1])
    huge = np.flatnonzero(largest > 2.0**LARGEST_EXPONENT)
    if len(huge):
        name = [*layout.column_names, ""][layout.order[huge[0]]]
        error = DataError(
            f"column {name!r} has values up to {float(largest[huge[0]])!r}, whose mean or mean of squares overflows: "
            f"expected at most {2.0**LARGEST_EXPONENT:.3g}; divide the column by a power of ten"
        )
        raise_on_all(comm, error, "encoding")
    exponents = np.where(largest > 0.0, np.maximum(exponents_above(largest), LEAST_EXPONENT), LEAST_EXPONENT)
    powers = np.zeros_like(exponents)
    powers[layout.n_dense + 1 :] = exponents[layout.n_dense + 1 :]
    exponents[layout.n_dense + 1 :] = 0
    builder.scale_entries(powers[layout.n_dense + 1 :])
    starts, ends = builder.onehot_parts()
    return DesignMatrix(
        layout=layout,
        features=builder.features,
        n_rows=builder.stream.n_rows,
        first_row=builder.stream.first_row,
        exponents=exponents,
        powers=powers,
        most_entries=most_entries,
        onehot_starts=starts,
        onehot_ends=ends,
        **builder.parts,
    )


def reduce_moments(
    builder: DesignBuilder, design: DesignMatrix, sums: Floats, comm: Communicator, num_threads: int
) -> tuple[Floats, Floats]:
    """The mean and the mean of squares of every column over all ranks' rows, in the model's order; collective."""
    layout, n_dense = design.layout, design.layout.n_dense
    limbs = np.zeros((2, layout.n_columns + 1, 2), dtype=np.int64)  # sums, then squares
    exponents = design.exponents[:n_dense]
    for k in (0, 1):
        limbs[k, :n_dense] = sum_blocks(sums[:, :, k], (k + 1) * exponents + 13)
    limbs[0, n_dense + 1 :] = sum_sparse(design, num_threads)
    limbs[1, n_dense + 1 :] = builder.square_entries()
    comm.allreduce_sum(limbs, name="moments of columns")
    for begin, end in zip(design.onehot_starts, design.onehot_ends, strict=True):  # a square of an indicator is itself
        limbs[1, n_dense + 1 + begin : n_dense + 1 + end] = limbs[0, n_dense + 1 + begin : n_dense + 1 + end] << (SQUARE_UNIT - ENTRY_UNIT)
    totals = limbs_to_floats(limbs)
    n = float(max(1, design.n_rows))
    units = np.empty((2, layout.n_columns + 1), dtype=np.int64)
    for k in (0, 1):
        units[k, :n_dense] = (k + 1) * exponents + 13 - 2 * LIMB_BITS
    units[:, n_dense] = 0
    units[0, n_dense + 1 :], units[1, n_dense + 1 :] = -ENTRY_UNIT, -SQUARE_UNIT
    units += np.array([[1], [2]]) * design.powers
    moments = np.empty((2, layout.n_columns + 1))
    moments[:, layout.order] = np.ldexp(totals, units) / n
    return moments[0, :-1], moments[1, :-1]


def sum_blocks(sums: Floats, exponents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Limbs of sums over blocks [n_blocks, k], each at most ``2**exponents`` [k], in units of ``2**(exponents - 72)``."""
    scaled = np.ldexp(sums, LIMB_BITS - exponents)
    high = np.rint(scaled)
    low = np.rint((scaled - high) * 2.0**LIMB_BITS)
    return np.stack([high.astype(np.int64).sum(axis=0), low.astype(np.int64).sum(axis=0)], axis=1)


def sum_sparse(design: DesignMatrix, num_threads: int) -> NDArray[np.int64]:
    """Limbs of the sums of every sparse column, in units of ``2**-46``."""
    features, n = design.features, design.features.n_sparse
    out = np.zeros((1, 1, n, 2), dtype=np.int64)
    if n and features.n_rows:
        alone = features.without_dense()
        one = np.ones(1)
        ask = Ask(
            loss=GIVEN,
            order=1,
            coefficients=np.zeros((1, n + 1)),
            vectors=np.empty((0, 1, n + 1)),
            column_factor=one,
            gradient_factor=one,
            entry_factor=np.full(1, 2.0**ENTRY_UNIT),
            loss_factor=1.0,
            squares_factor=1.0,
            hessian_factor=1.0,
            pair_factor=1.0,
        )
        none = np.zeros((1, 0, 0, 0), dtype=np.int64)
        pass_rows(
            alone,
            ask,
            np.ones(features.n_rows),
            None,
            None,
            None,
            np.zeros((1, 7), dtype=np.int64),
            np.zeros((1, 1, 1, 2), dtype=np.int64),
            out,
            none,
            none,
            none[0],
            np.zeros(1),
            num_threads,
        )
    return out[0, 0]


def limbs_to_floats(limbs: NDArray[np.int64]) -> Floats:
    """``high * 2**36 + low`` of pairs of limbs [..., 2], which are carried first, so that equal sums are equal doubles."""
    carry = limbs[..., 1] >> LIMB_BITS
    low = limbs[..., 1] - (carry << LIMB_BITS)
    return (limbs[..., 0] + carry).astype(np.float64) * 2.0**LIMB_BITS + low.astype(np.float64)


def warn_constant(layout: Layout, stdevs: Floats, roots: Floats, comm: Communicator) -> None:
    """Warn, once, of dense columns that hardly vary."""
    constant = np.flatnonzero((stdevs <= CONSTANT * roots) & layout.is_dense)
    if len(constant) and comm.rank == 0:
        names = [layout.column_names[place] for place in constant[:12].tolist()]
        more = f" and {len(constant) - 12} more" if len(constant) > 12 else ""
        warn(f"column {', '.join(map(repr, names))}{more} has almost no variance: its coefficient says little; consider leaving it out")


def predict_margins(table: pa.Table, encoding: DesignEncoding, coefficients: Floats, *, num_threads: int = 1) -> Floats:
    """Margins of rows, [n_rows, n_outputs], from ``coefficients`` [n_outputs, n_columns + 1] of the columns as they are, intercept last.

    Missing values are imputed by the training mean; categories and keys that training has not seen count as 0.
    """
    builder = DesignBuilder(encoding.layout, table_stream(table), borrow=True, means=encoding.means)
    builder.read()
    ordered = np.ascontiguousarray(coefficients[:, encoding.layout.order])
    out = np.empty((len(ordered), table.num_rows))
    multiply_rows(builder.features, ordered, None, out, num_threads)
    return np.ascontiguousarray(out.T)
