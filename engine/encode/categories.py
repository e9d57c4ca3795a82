"""Fitting an encoding: the categories, keys, elements and vector lengths of all rows, the same on every rank."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.encode.encoding import ColumnKind, EncodedColumn, Encoding, SourceType, item_name
from engine.encode.features import as_text, is_list, list_entries, map_entries, single_chunk, source_type
from engine.errors import DataError

MAX_CATEGORIES = 65_535


def fit_encoding(table: pa.Table, features: list[str], comm: Communicator) -> Encoding:
    """Choose the encoded columns for ``features`` from all ranks' rows; collective.

    ``table``: this rank's rows, of the same schema on every rank. Raises :class:`DataError`, on every rank, for vectors of
    different lengths, too many categories, or types that cannot be features.
    """
    with agree(comm, "encoding"):
        sources: dict[str, SourceType] = {name: source_type(name, table.schema.field(name).type) for name in features}
        local = {name: local_items(single_chunk(table.column(name)), kind, name) for name, kind in sources.items()}
    gathered = comm.gather_objects(local, name="gather categories")
    with agree(comm, "encoding"):
        columns: list[EncodedColumn] = []
        for name, kind in sources.items():
            columns += encode_source(name, kind, table.schema.field(name).type, merge_items(part[name] for part in gathered))
    return Encoding(sources=sources, columns=tuple(columns))


def local_items(column: pa.Array, kind: SourceType, name: str) -> list[str | int | None]:
    """What this rank's rows add to a column's encoding: categories, keys, elements, or the lengths of its vectors."""
    if kind == "str":
        return list(pc.unique(as_text(column)).to_pylist())
    if kind == "dict":
        return list(pc.unique(map_entries(column, name)[1]).to_pylist())
    if kind == "list":
        return list(pc.unique(list_entries(column, name)[1]).to_pylist())
    if kind == "vector" and is_list(column.type):
        return sorted(pc.unique(pc.list_value_length(column).drop_null()).to_pylist())
    return []


def merge_items(parts: Iterable[list[str | int | None]]) -> list[str | int | None]:
    """The union of all ranks' items: strings sorted by their UTF-8 bytes, None last; numbers ascending."""
    items = {item for part in parts for item in part}
    return sorted(items, key=lambda item: (item is None, item.encode("utf-8") if isinstance(item, str) else item))


def encode_source(name: str, kind: SourceType, arrow: pa.DataType, items: list[str | int | None]) -> list[EncodedColumn]:
    """The encoded columns of one source column, given the items of all rows."""
    if kind in ("str", "dict", "list") and len(items) > MAX_CATEGORIES:
        raise DataError(f"column {name!r} has {len(items)} different values, expected at most {MAX_CATEGORIES}; leave it out of features")
    if kind == "str":
        return [EncodedColumn(name, name, "category", categories=tuple(items))]  # type: ignore[arg-type]
    if kind == "dict":
        return [EncodedColumn(item_name(name, kind, key), name, "float", item=key) for key in items if key is not None]
    if kind == "list":
        return [EncodedColumn(item_name(name, kind, item), name, "indicator", item=item) for item in items if item is not None]
    if kind == "vector":
        if len(items) > 1:
            raise DataError(f"column {name!r}: expected vectors of one length, got lengths {', '.join(map(str, items[:5]))}")
        length = items[0] if items else 0
        element: ColumnKind = "integer" if pa.types.is_integer(arrow.value_type) else "float"
        return [EncodedColumn(item_name(name, kind, i), name, element, item=i) for i in range(int(length or 0))]
    return [EncodedColumn(name, name, "integer" if kind == "int" else "float")]


def all_missing(table: pa.Table, features: list[str], comm: Communicator) -> list[str]:
    """The features in which every row of every rank is null; collective."""
    present = np.array([table.num_rows - table.column(name).null_count for name in features], dtype=np.int64)
    comm.allreduce_sum(present, name="count present values")
    return [name for name, count in zip(features, present, strict=True) if count == 0]
