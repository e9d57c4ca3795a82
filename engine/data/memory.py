"""Tables that are in memory already: Arrow, anything that speaks its PyCapsule interface, dictionaries of arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.scan import OpenRows, scan_table
from engine.data.schema import cast_table, check_columns, check_names, join_over_ranks, settle_unsigned
from engine.data.shard_plan import cut, gather_json
from engine.errors import DataError

_WHERE = "the table"
Progress = Callable[[int], None]


def is_tabular(data: object) -> bool:
    """Whether :func:`to_table` takes ``data``."""
    return isinstance(data, Mapping) or hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")


def to_table(data: Any) -> pa.Table:
    """An Arrow table of ``data``, without a copy where its memory is Arrow already; a stream is used up.

    The index of a pandas frame is left out, as it is no column. Raises ``DataError`` for values that no one type holds.
    """
    try:
        table = _table_of_arrays(data) if isinstance(data, Mapping) else pa.table(data)
    except DataError:
        raise
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"expected a table whose columns hold one type each, got a {type(data).__name__}: {error}") from error
    check_names(table.schema.names, _WHERE)
    return _without_index(table).replace_schema_metadata(None)


def _table_of_arrays(columns: Mapping[str, Any]) -> pa.Table:
    arrays = {}
    for name, values in columns.items():
        if not isinstance(name, str):
            raise DataError(f"expected column names to be strings, got {name!r}")
        try:
            arrays[name] = _array(values)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise DataError(f"column {name!r}: expected values of one type, got a {type(values).__name__}: {error}") from error
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"expected columns of one length, got {lengths}")
    return pa.table(arrays)


def _array(values: Any) -> pa.Array | pa.ChunkedArray:
    """One column: a two-dimensional array gives vectors; NaN among objects is a missing value."""
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    if hasattr(values, "__arrow_c_stream__"):
        return pa.chunked_array(values)
    if hasattr(values, "__arrow_c_array__"):
        return pa.array(values)
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise TypeError("expected an array or a list")
    if not isinstance(values, np.ndarray):
        return pa.array(values, from_pandas=True)
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])
    if values.ndim != 1:
        raise ValueError(f"expected one dimension, or two for vectors, got {values.ndim}")
    return pa.array(values, from_pandas=values.dtype == object)


def _without_index(table: pa.Table) -> pa.Table:
    described = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    index = {name for name in described.get("index_columns", []) if isinstance(name, str)}
    return table.select([name for name in table.schema.names if name not in index]) if index else table


class MemorySource:
    """A table in memory: the whole of it on every rank, or with ``sharded`` each rank's own rows."""

    def __init__(self, table: pa.Table, *, sharded: bool) -> None:
        self.table = table
        self.sharded = sharded

    def names(self) -> list[str]:
        """Column names."""
        return list(self.table.schema.names)

    def input_bytes(self) -> int:
        """Bytes of the columns."""
        return int(self.table.nbytes)

    def read(self, comm: Communicator, columns: list[str] | None, on_bytes: Progress | None, *, keep: bool) -> tuple[pa.Table, int]:
        """This rank's rows with the joined types, and their number. Collective."""
        part, schema = self._share(comm, columns)
        with agree(comm, "reading"):
            part = cast_table(part, schema)
        if on_bytes is not None:
            on_bytes(part.nbytes)
        return (part if keep else schema.empty_table()), part.num_rows

    def open_rows(self, comm: Communicator, columns: list[str] | None, keep_bytes: int, on_bytes: Progress | None) -> OpenRows:
        """This rank's rows, as they are in memory. Collective."""
        part, schema = self._share(comm, columns)
        if on_bytes is not None:
            on_bytes(part.nbytes)
        return OpenRows(schema, part.num_rows, scan_table(part))

    def _share(self, comm: Communicator, columns: list[str] | None) -> tuple[pa.Table, pa.Schema]:
        """This rank's rows in their own types, and the joined types."""
        counts = gather_json(comm, self.table.num_rows, name="reading: rows")
        part, schema = self.table, self.table.schema
        with agree(comm, "reading"):
            if not self.sharded and len(set(counts)) > 1:
                raise DataError(f"expected the same table on every rank, got {counts} rows; pass Dataset(table, sharded=True) for parts")
            part = self.table.select(self._checked(columns))
            if not self.sharded:
                begin, end = cut(part.num_rows, comm.size, comm.rank)
                part = part.slice(begin, end - begin)
            schema = settle_unsigned(part)
        return part, join_over_ranks(comm, schema)

    def head(self, n_rows: int, columns: list[str] | None, schema: pa.Schema | None) -> pa.Table:
        """The first rows, of this rank if sharded."""
        part = self.table.select(self._checked(columns))
        return cast_table(part.slice(0, n_rows), schema if schema is not None else settle_unsigned(part))

    def _checked(self, columns: list[str] | None) -> list[str]:
        names = self.names() if columns is None else columns
        check_columns(names, self.names(), _WHERE)
        return names
