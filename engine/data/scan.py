"""Going through this rank's rows batch by batch, any number of times: what every source offers besides reading them whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from engine import storage
from engine.errors import DataError

Scan = Callable[[list[str], int], Iterator[pa.RecordBatch]]  # of these columns, in batches of at most so many rows
Stamp = tuple[int | str, ...]


@dataclass(frozen=True)
class OpenRows:
    """What a source knows of this rank's rows without splits, and how to go through them."""

    schema: pa.Schema  # types joined over ranks; batches may still have those of the source
    n_rows: int  # of this rank
    scan: Scan


def scan_table(table: pa.Table) -> Scan:
    """Goes through a table, without a copy."""
    return lambda columns, most_rows: iter(table.select(columns).to_batches(max_chunksize=most_rows))


@contextlib.contextmanager
def unchanged(path: str, stamp: Stamp) -> Iterator[None]:
    """Read a file once more. Raises ``DataError`` if it is not, before or after the block, as it was when ``stamp`` was taken."""
    _check(path, stamp)
    try:
        yield
    except DataError:
        _check(path, stamp)  # this explains whatever else seems wrong
        raise
    _check(path, stamp)


def _check(path: str, stamp: Stamp) -> None:
    now = storage.stamp(path)
    if now != stamp:
        what = f"{stamp[0]} bytes, got {now[0]}" if now[0] != stamp[0] else f"{stamp[0]} bytes as they were, got other ones"
        raise DataError(f"{path}: expected {what}: the file changed while it was being read; train when nothing writes to it")
