"""This rank's rows as record batches of bounded size, as often as they are asked for, so that nobody needs to hold the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.dataset import Dataset
from engine.data.scan import Scan, scan_table
from engine.data.schema import cast_column
from engine.data.shard_plan import first_row_and_total
from engine.data.splits import Split
from engine.errors import DataError

BATCH_BYTES = 16 << 20
MOST_BATCH_ROWS = 1 << 16
LEAST_BATCH_ROWS = 1 << 12  # of very many columns, each of which costs some calls per batch
ENTRIES_BATCH_ROWS = 1 << 13  # of maps and lists: their entries take several times their room while they are looked up
_SLICE = 1 << 20  # rows whose split is decided at once


@dataclass(frozen=True)
class Stream:
    """Contiguous rows of a dataset: those of rank 0 come first, then rank 1's, and so on. A rank may have none."""

    schema: pa.Schema  # names and types, the same on every rank
    n_rows_local: int
    first_row: int  # global id of the first local row
    n_rows: int  # of all ranks
    scan: Scan

    def batches(self, columns: list[str] | None = None, most_rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, in order, with these columns (None: all) in their types, but float32 and integer keys of maps as the source has them.

        A batch has at most ``most_rows``, by default as many as take about 16 MiB.

        Raises ``DataError`` for a file that is not what it was when the stream was opened.
        """
        names = self.schema.names if columns is None else columns
        fields = [self.schema.field(name) for name in names]
        for batch in self.scan(names, most_rows or batch_rows(fields)):
            yield pa.record_batch([_cast(array, field) for array, field in zip(batch.columns, fields, strict=True)], names=names)
        pa.default_memory_pool().release_unused()

    def table(self) -> pa.Table:
        """The rows as one table, as :meth:`batches` gives them, and without a copy of what is in memory in such types already."""
        batches = list(self.batches(most_rows=max(1, self.n_rows_local)))
        return pa.Table.from_batches(batches) if batches else self.schema.empty_table()


def open_stream(
    dataset: Dataset,
    comm: Communicator,
    columns: list[str] | None = None,
    *,
    keep_bytes: int = 0,
    on_bytes: Callable[[int], None] | None = None,
    allow_empty: bool = False,
) -> Stream:
    """Find out this rank's rows, their types and their ids. Collective.

    Text must be parsed for this; what that gives is kept if it fits ``keep_bytes``, otherwise every pass parses it again. ``on_bytes``
    and what is raised are as for :func:`engine.data.shard.read_shard`.
    """
    opened, splits = dataset.open_local(comm, columns, keep_bytes, on_bytes)
    first_row, n_rows = first_row_and_total(comm, opened.n_rows, name="reading: rows")
    with agree(comm, "reading"):
        if n_rows == 0 and not allow_empty and dataset.is_from_files:
            raise DataError(f"expected rows in {dataset!r}, got none (a header only?)")
    stream = Stream(opened.schema, opened.n_rows, first_row, n_rows, opened.scan)
    for split in splits:
        stream = split_stream(stream, split, comm)
    return stream


def split_stream(stream: Stream, split: Split, comm: Communicator) -> Stream:
    """The rows that a side of a random split keeps. Collective."""
    first, n = stream.first_row, stream.n_rows_local
    kept = sum(int(split.keeps(first + at, min(_SLICE, n - at)).sum()) for at in range(0, n, _SLICE))
    first_row, n_rows = first_row_and_total(comm, kept, name="reading: rows of the split")
    return Stream(stream.schema, kept, first_row, n_rows, _scan_side(stream.scan, split, first))


def table_stream(table: pa.Table, first_row: int = 0, n_rows: int | None = None) -> Stream:
    """This rank's rows from a table that holds them; ``n_rows`` None: there are no others."""
    return Stream(table.schema, table.num_rows, first_row, table.num_rows if n_rows is None else n_rows, scan_table(table))


def batch_rows(fields: list[pa.Field]) -> int:
    """Rows of a batch of such columns."""
    has_entries = any(pa.types.is_map(field.type) or pa.types.is_list(field.type) for field in fields)
    most = ENTRIES_BATCH_ROWS if has_entries else MOST_BATCH_ROWS
    return min(most, max(LEAST_BATCH_ROWS, BATCH_BYTES // (8 * max(1, len(fields)))))


def _scan_side(scan: Scan, split: Split, first_row: int) -> Scan:
    def scan_side(columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        at = first_row
        for batch in scan(columns, most_rows):
            yield batch.filter(pa.array(split.keeps(at, batch.num_rows)))
            at += batch.num_rows

    return scan_side


def _cast(array: pa.Array, field: pa.Field) -> pa.Array:
    return array if _is_read_alike(array.type, field.type) else cast_column(pa.chunked_array([array]), field).combine_chunks()


def _is_read_alike(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether what reads a type reads another without being told: a cast of the entries of maps is several times their room."""
    if pa.types.is_map(given) and pa.types.is_map(wanted):
        keys = (given.key_type, wanted.key_type)
        are_integers = all(pa.types.is_integer(each) and not pa.types.is_uint64(each) for each in keys)
        return (are_integers or keys[0] == keys[1]) and _is_read_alike(given.item_type, wanted.item_type)
    return bool(given == wanted or (pa.types.is_float32(given) and pa.types.is_float64(wanted)))
