"""A rank's part of a dataset, and the collective read that makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.dataset import Dataset
from engine.data.shard_plan import first_row_and_total
from engine.errors import DataError


@dataclass(frozen=True)
class Shard:
    """Contiguous rows of a dataset: those of rank 0 come first, then rank 1's, and so on. A rank may have none."""

    table: pa.Table  # this rank's rows; names and types are the same on every rank
    first_row: int  # global id of the first local row
    n_rows: int  # of all ranks


def read_shard(
    dataset: Dataset,
    comm: Communicator,
    columns: list[str] | None = None,
    *,
    on_bytes: Callable[[int], None] | None = None,
    allow_empty: bool = False,
) -> Shard:
    """Read this rank's rows. Collective.

    ``columns`` picks some of the dataset's; None means all. ``on_bytes`` is called with the number of bytes after each piece that is read,
    for a progress bar: over all ranks they add up to about ``dataset.input_bytes``. Raises on every rank: ``MissingFileError``,
    ``StorageError``, or ``DataError`` for unknown columns, files without rows (unless ``allow_empty``), ragged rows, text that is not
    UTF-8, values that do not fit ``column_types``.
    """
    table, splits = dataset.read_local(comm, columns, on_bytes)
    first_row, n_rows = first_row_and_total(comm, table.num_rows, name="reading: rows")
    with agree(comm, "reading"):
        if n_rows == 0 and not allow_empty and dataset.is_from_files:
            raise DataError(f"expected rows in {dataset!r}, got none (a header only?)")
    for split in splits:
        table = table.filter(pa.array(split.keeps(first_row, table.num_rows)))
        first_row, n_rows = first_row_and_total(comm, table.num_rows, name="reading: rows of the split")
    return Shard(table, first_row, n_rows)
