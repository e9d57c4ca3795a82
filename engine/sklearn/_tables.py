"""What users of scikit-learn pass, as Arrow tables: frames as they are, arrays as columns x0, x1, ..., a sparse matrix as maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.data.memory import to_table
from engine.errors import DataError

SPARSE = "X"  # the column that holds a sparse matrix, its columns being keys
TARGET, WEIGHT = "y", "sample_weight"
ROWS_AT_ONCE = 1024


def is_frame(data: Any) -> bool:
    """Whether ``data`` has named columns that Arrow can see: pandas, polars, Arrow tables."""
    return hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns")


def array_names(n_columns: int) -> list[str]:
    """The names of an array's columns, which are those that scikit-learn would give them."""
    return [f"x{j}" for j in range(n_columns)]


def frame_table(frame: Any, names: Sequence[str]) -> pa.Table:
    """A frame as a table whose columns are called ``names``; what pandas calls categories are strings, whatever they hold."""
    table = to_table(frame)
    return pa.table([category_text(column) for column in table.columns], names=list(names))


def category_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of categories that are no strings as one of strings; any other as it is."""
    if not pa.types.is_dictionary(column.type) or pa.types.is_string(column.type.value_type) or len(column) == 0:
        return column
    chunks = [pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.string())) for chunk in column.chunks]
    return pa.chunked_array(chunks)


def array_table(X: NDArray[Any], names: Sequence[str]) -> pa.Table:
    """An array [n_rows, n_columns] as a table of the columns ``names``; not copied where each of these lies together in memory."""
    columns = X.T
    if not columns.flags.c_contiguous:
        columns = np.empty(X.shape[::-1], X.dtype)
        for begin in range(0, len(X), ROWS_AT_ONCE):  # what is read stays in the cache while it is written
            columns[:, begin : begin + ROWS_AT_ONCE] = X[begin : begin + ROWS_AT_ONCE].T
    return pa.table([pa.array(column) for column in columns], names=list(names))


def sparse_table(X: Any) -> pa.Table:
    """A sparse matrix as a table of one column of maps: column number to value. Raises :class:`DataError` for 2**31 entries and more."""
    X = X.tocsr()
    if not X.has_canonical_format:  # entries of a row in order, one for each column
        X = X.copy()
        X.sum_duplicates()
    try:
        offsets = pa.array(X.indptr).cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise DataError(
            f"expected fewer than {1 << 31} entries in a sparse matrix, got {X.nnz}: fit on Parquet files with create"
        ) from error
    maps = pa.MapArray.from_arrays(offsets, pa.array(X.indices), pa.array(X.data))
    return pa.table({SPARSE: maps})


def target_column(y: NDArray[Any]) -> pa.Array:
    """The target as an Arrow column: numbers, strings or booleans. Raises :class:`DataError` for several kinds among each other."""
    try:
        return pa.array(y)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"y: expected numbers, or classes of one kind, got {y.dtype}: {error}") from error


def name_of(column: Any, default: str, taken: Iterable[str]) -> str:
    """What a model calls ``column``: its own name, as a Series has one, else ``default``, with underscores until it is no feature's."""
    own = getattr(column, "name", None)
    name, others = own if isinstance(own, str) and own else default, set(taken)
    while name in others:
        name += "_"
    return name
