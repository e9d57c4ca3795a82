"""Files of rows that we write: CSV and Parquet, batch by batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import DataError


class Writer(Protocol):
    """An open file that takes rows."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Add the rows."""

    def close(self) -> None:
        """End the file."""


def _open_csv(path: str, schema: pa.Schema) -> Writer:
    from pyarrow import csv

    return csv.CSVWriter(path, schema)


def _open_parquet(path: str, schema: pa.Schema) -> Writer:
    from pyarrow import parquet

    return parquet.ParquetWriter(path, schema)


_OPENERS: dict[str, Callable[[str, pa.Schema], Writer]] = {"csv": _open_csv, "parquet": _open_parquet}
FORMATS = tuple(_OPENERS)


@contextlib.contextmanager
def open_table_file(path: str, schema: pa.Schema, format: str) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """A new file at a local ``path``, of one of :data:`FORMATS`: the function that adds rows to it.

    In CSV, lists of one length become columns, one for each place, as ``probability_vector[0]``: it knows no lists. Raises
    ``DataError`` for types that the format has no text for.
    """
    shape = _flat if format == "csv" else _as_it_is
    with _explained(format):
        writer = _OPENERS[format](path, shape(_no_rows(schema)).schema)
    try:
        with _explained(format):
            yield lambda batch: writer.write_batch(shape(batch))
    finally:
        writer.close()


def check_types(schema: pa.Schema, format: str) -> None:
    """Raise ``DataError`` for a type that the format has no text for."""
    if format == "csv":
        from pyarrow import csv

        with _explained(format):
            csv.write_csv(pa.Table.from_batches([_flat(_no_rows(schema))]), pa.BufferOutputStream())


def write_table(table: pa.Table, path: str, format: str) -> None:
    """Write a table to a local file, as :func:`open_table_file` does."""
    with open_table_file(path, table.schema, format) as write:
        for batch in table.to_batches():
            write(batch)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch([pa.nulls(0, field.type) for field in schema], schema=schema)


def _as_it_is(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def _flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns of lists of one length as columns of their places."""
    columns: dict[str, Any] = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if not pa.types.is_fixed_size_list(field.type):
            columns[field.name] = column
            continue
        columns.update({f"{field.name}[{place}]": pc.list_element(column, place) for place in range(field.type.list_size)})
    return pa.record_batch(list(columns.values()), names=list(columns))


@contextlib.contextmanager
def _explained(format: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        hint = "; save as 'parquet', which keeps every type" if format == "csv" else ""
        raise DataError(f"expected columns that {format} can hold, got one that it cannot: {error}{hint}") from error
