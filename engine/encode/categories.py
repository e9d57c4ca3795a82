"""Fitting an encoding: the categories, keys, elements and vector lengths of all rows, the same on every rank."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.stream import Stream
from engine.encode.encoding import ColumnKind, EncodedColumn, Encoding, SourceType
from engine.encode.features import as_text, list_entries, map_entries, source_type
from engine.errors import DataError

MAX_CATEGORIES = 65_535
MOST_COUNTED = 1 << 22  # different values of a column that a rank keeps, just to say how many there are


def fit_encoding(rows: Stream, features: list[str], comm: Communicator, *, max_categories: int = MAX_CATEGORIES) -> Encoding:
    """Choose the encoded columns for ``features`` from all ranks' rows; collective.

    Raises :class:`DataError`, on every rank, for vectors of different lengths, columns of strings, keys or elements with more than
    ``max_categories`` different ones, or types that cannot be features.
    """
    texts: dict[str, DistinctText] = {}
    lengths: dict[str, set[int]] = {}
    with agree(comm, "encoding"):
        sources: dict[str, SourceType] = {name: source_type(name, rows.schema.field(name).type) for name in features}
        texts = {name: DistinctText() for name, kind in sources.items() if kind in ("str", "dict", "list")}
        lengths = {name: set() for name, kind in sources.items() if kind == "vector"}
        for batch in rows.batches([*texts, *lengths]) if texts or lengths else ():
            for name, found in texts.items():
                found.add(values_of(batch.column(name), sources[name], name))
            for name, known in lengths.items():
                known.update(pc.unique(pc.list_value_length(batch.column(name)).drop_null()).to_pylist())
    items = gather_texts(texts, comm, max_categories)
    gathered = comm.gather_objects({name: sorted(known) for name, known in lengths.items()}, name="gather lengths of vectors")
    columns: list[EncodedColumn] = []
    with agree(comm, "encoding"):
        for name, kind in sources.items():
            if kind == "vector":
                columns += encode_vector(name, rows.schema.field(name).type, sorted({each for part in gathered for each in part[name]}))
            else:
                columns += encode_source(name, kind, items.get(name, []))
    pa.default_memory_pool().release_unused()  # that of texts: the rows are encoded next, and want room
    return Encoding(sources=sources, columns=tuple(columns))


class DistinctText:
    """The different values of a column so far, all of one type, as text at the end; those beyond ``MOST_COUNTED`` are dropped."""

    def __init__(self) -> None:
        self._known: pa.Array = pa.array([], pa.large_string())
        self._parts: list[pa.Array] = []
        self._n_parts = 0

    def add(self, values: pa.Array) -> None:
        """Look at more values."""
        if len(self._known) <= MOST_COUNTED:
            found = pc.unique(values)
            alike = pa.large_string() if pa.types.is_string(found.type) else pa.int64() if pa.types.is_integer(found.type) else found.type
            self._parts.append(found.cast(alike))
            self._n_parts += len(self._parts[-1])
            if self._n_parts > len(self._known) + (1 << 16):  # so that merging costs as much as adding
                self._merge()

    def items(self) -> pa.Array:
        """The different values as text, a null among them if there was one."""
        self._merge()
        return self._known if pa.types.is_large_string(self._known.type) else pc.unique(self._known.cast(pa.large_string()))

    def _merge(self) -> None:
        parts = [self._known, *self._parts] if len(self._known) else self._parts
        if parts:
            self._known, self._parts, self._n_parts = pc.unique(pa.concat_arrays(parts)), [], 0


def values_of(column: pa.Array, kind: SourceType, name: str) -> pa.Array:
    """A column's categories, keys or elements; keys in their own type, of which many are told apart faster than of text."""
    if kind == "dict":
        return map_entries(column, name, as_they_are=True)[1]
    return as_text(column) if kind == "str" else list_entries(column, name)[1]


def gather_texts(texts: dict[str, DistinctText], comm: Communicator, max_categories: int) -> dict[str, list[str | None]]:
    """The union of all ranks' values, by column, sorted by their UTF-8 bytes, None last; collective.

    Each rank merges some of the columns, so that no rank holds more than its share of what is then refused, by name and count.
    """
    names = list(texts)
    bounds = [len(names) * rank // comm.size for rank in range(comm.size + 1)]
    local = [texts[name].items() for name in names]
    sent = [pack_texts(local[bounds[rank] : bounds[rank + 1]]) for rank in range(comm.size)]
    parts = [unpack_texts(message) for message in comm.alltoall(sent, name="gather categories")]
    mine = [pc.unique(pa.concat_arrays(same)) for same in zip(*parts, strict=True)]
    counts = np.zeros((2, len(names)), dtype=np.int64)
    counts[0, bounds[comm.rank] : bounds[comm.rank + 1]] = [len(items) for items in mine]
    counts[1] = [len(items) > MOST_COUNTED for items in local]
    comm.allreduce_max(counts, name="count categories")
    with agree(comm, "encoding"):
        for name, count, is_more in zip(names, *counts.tolist(), strict=True):
            if count > max_categories:
                found = f"more than {MOST_COUNTED}" if is_more else str(count)
                raise DataError(
                    f"column {name!r} has {found} different values, expected at most {max_categories} (max_categories); "
                    "leave it out of features, or group its rare values"
                )
        mine = [items.take(pc.array_sort_indices(items, null_placement="at_end")) for items in mine]
    merged = [items for part in comm.allgather(pack_texts(mine), name="gather categories") for items in unpack_texts(part)]
    return {name: items.to_pylist() for name, items in zip(names, merged, strict=True)}


def pack_texts(columns: Sequence[pa.Array]) -> NDArray[np.uint8]:
    """Arrays of text as bytes."""
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in columns], dtype=np.int64)])
    values = pa.concat_arrays([pa.array([], pa.large_string()), *columns])
    batch = pa.record_batch([pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)], names=["items"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def unpack_texts(message: NDArray[np.uint8]) -> list[pa.Array]:
    """The inverse of :func:`pack_texts`."""
    lists = pa.ipc.open_stream(pa.py_buffer(message)).read_next_batch().column(0)
    offsets = lists.offsets.to_pylist()
    return [lists.values.slice(begin, end - begin) for begin, end in itertools.pairwise(offsets)]


def encode_source(name: str, kind: SourceType, items: list[str | None]) -> list[EncodedColumn]:
    """The encoded columns of one source column, given the items of all rows."""
    if kind == "str":
        return [EncodedColumn(name, "category", categories=tuple(items))]
    if kind in ("dict", "list"):
        made: ColumnKind = "float" if kind == "dict" else "indicator"
        return [EncodedColumn(name, made, item) for item in items if item is not None]
    return [EncodedColumn(name, "integer" if kind == "int" else "float")]


def encode_vector(name: str, arrow: pa.DataType, lengths: list[int]) -> list[EncodedColumn]:
    """The encoded columns of a column of vectors, given the lengths of all rows' vectors."""
    if len(lengths) > 1:
        raise DataError(f"column {name!r}: expected vectors of one length, got lengths {', '.join(map(str, lengths[:5]))}")
    if not lengths:
        return []
    element: ColumnKind = "integer" if pa.types.is_integer(arrow.value_type) else "float"
    return [EncodedColumn(name, element, item=i) for i in range(lengths[0])]
