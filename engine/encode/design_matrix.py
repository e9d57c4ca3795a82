"""A design matrix: this rank's blocks of rows as the linear kernels read them, and what all ranks know of its columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.linear import BLOCK_ROWS, Features, measure_columns, multiply_rows
from engine.collectives.agree import agree, raise_on_all
from engine.collectives.communicator import Communicator
from engine.collectives.exact import exponents_above
from engine.data.stream import Stream, table_stream
from engine.encode.dense_columns import block_values
from engine.encode.design_encoding import DesignEncoding, Layout
from engine.encode.design_rows import DesignBuilder, missing_error
from engine.encode.features import Floats
from engine.errors import DataError

LEAST_EXPONENT, LARGEST_EXPONENT = -300, 400  # of column maxima: products of two of them, times weights and rows, are finite


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


def apply_design(stream: Stream, encoding: DesignEncoding, comm: Communicator, *, borrow: bool, num_threads: int) -> DesignMatrix:
    """Encode more rows, in whole blocks, as training rows were; collective.

    Missing values are imputed by the mean; categories and keys that training has not seen count as 0.
    """
    layout = encoding.layout
    builder = DesignBuilder(layout, stream, borrow=borrow, means=encoding.means)
    return read_design(builder, np.zeros((-(-stream.n_rows_local // BLOCK_ROWS), layout.n_dense, 2)), comm, num_threads)


def read_design(builder: DesignBuilder, sums: Floats, comm: Communicator, num_threads: int) -> DesignMatrix:
    """Read all rows, and the sums of dense columns and of their squares by block to ``sums`` [n_blocks, n_dense, 2]; collective."""
    n_dense = builder.layout.n_dense
    largest = np.zeros(builder.layout.n_columns + 1)
    with agree(comm, "encoding"):
        builder.read()
        largest[:n_dense] = measure_dense(builder, sums, num_threads)
        largest[n_dense] = 1.0
        largest[n_dense + 1 :] = builder.largest_entries()
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
