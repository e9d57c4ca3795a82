"""Rows as a folder of part files: each rank writes its own, and reading the folder gives the rows in their order."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from engine import storage
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.common_folder import INCOMPLETE, CommonFolder
from engine.data.shard_plan import gather_json
from engine.data.table_files import FORMATS, check_types, open_table_file
from engine.errors import OptionError, StorageError
from engine.storage.replacing import names_to_replace

MANIFEST = "_SUCCESS"  # the name that others know as well: readers skip it, its being there says that all is there
FORMAT, FORMAT_VERSION = "samesum rows", 1
_PART = re.compile(r"part-\d+\.(" + "|".join(FORMATS) + ")")
_STAGE = "saving the rows"


def check_folder_of_rows(address: str) -> None:
    """Refuse to write over anything but a folder of rows that we wrote, or an empty folder. Raises ``StorageError``."""
    names = names_to_replace(address, "rows")
    ours = {MANIFEST, INCOMPLETE} if INCOMPLETE in names or (MANIFEST in names and _is_ours(address)) else set()
    foreign = [name for name in names if name not in ours and not (ours and _PART.fullmatch(name))]
    if foreign:
        raise StorageError(f"cannot save the rows to {address!r}: {foreign[0]!r} is there, which no saved rows are; choose another path")


def save_table(table: pa.Table, address: str, comm: Communicator, format: str = "parquet") -> None:
    """Save each rank's ``table``, as :func:`save_rows` does. Collective."""
    save_rows(table.schema, table.to_batches, address, comm, format=format)


def save_rows(schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]], address: str, comm: Communicator, *, format: str) -> None:
    """Save each rank's ``batches`` of one ``schema`` to ``part-<rank>.<format>`` in the folder ``address``. Collective.

    A rank without rows writes no file, but the first rank always does. The folder appears whole or not at all, in place of saved rows or an
    empty folder. Raises ``OptionError``, ``DataError`` for types that the format has no text for, ``StorageError``.
    """
    if format not in FORMATS:
        raise OptionError(f"format: expected one of {', '.join(map(repr, FORMATS))}, got {format!r}")
    with agree(comm, _STAGE):
        check_types(schema, format)
    folder = CommonFolder(comm, address, manifest=MANIFEST, stage=_STAGE, check=lambda: check_folder_of_rows(address))
    name, n_rows_local = f"part-{comm.rank:05d}.{format}", 0
    with folder.agree():
        rows = (batch for batch in batches() if batch.num_rows)
        first = next(rows, None)
        if first is not None or comm.rank == 0:
            given = [] if first is None else itertools.chain([first], rows)
            n_rows_local = folder.put(name, lambda path: _write_part(path, schema, given, format))
    parts = gather_json(comm, [name, n_rows_local], name=f"{_STAGE}: parts")

    def describe() -> dict[str, Any]:
        described = [{"name": part, "rows": n_rows} for rank, (part, n_rows) in enumerate(parts) if n_rows or rank == 0]
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "columns": schema.names, "parts": described}

    folder.publish(describe)


def _write_part(path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], format: str) -> int:
    """Write a part; its number of rows."""
    n_rows = 0
    with open_table_file(path, schema, format) as write:
        for batch in batches:
            write(batch)
            n_rows += batch.num_rows
    return n_rows


def _is_ours(address: str) -> bool:
    try:
        said = json.loads(storage.read_bytes(storage.join(address, MANIFEST)))
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("format") == FORMAT
