"""Rows as the linear kernels read them, taken batch by batch: dense columns in blocks, codes of strings, entries of maps and lists."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.linear import BLOCK_ROWS, Features, collect_entries, measure_entries, scale_entries, square_entries
from engine.data.stream import Stream
from engine.encode.dense_columns import DenseColumn, address_table, block_values
from engine.encode.design_encoding import Layout
from engine.encode.features import Floats, category_codes, list_entries, map_entries, near, numbers, shorten, vector_matrix
from engine.encode.key_places import KeyPlaces
from engine.errors import DataError

FEATURE_PARTS = ("addresses", "onehot", "start", "index", "value")


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
