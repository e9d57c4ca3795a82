"""Values of all vertices on every rank, and ids as arrays of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.communicator import Communicator
from engine.encode.graph_partition import GraphPartition
from engine.encode.vertex_tables import gather_vertices
from engine.model_io import Arrays

ID = "__id"


def gather_results(partition: GraphPartition, values: Mapping[str, NDArray[Any]], comm: Communicator) -> Arrays:
    """Ids and values ([n_local] or [n_local, width]) of all ranks' vertices, in the order of results, as arrays of a model; collective."""
    columns = {name: _as_column(own) for name, own in values.items()}
    table = gather_vertices(partition, comm, columns, id_name=ID)
    return {**_id_arrays(table.column(ID)), **{name: _as_array(table.column(name)) for name in values}}


def gather_by_number(partition: GraphPartition, values: NDArray[Any], comm: Communicator, *, name: str) -> NDArray[Any]:
    """Values ([n_local] or [n_local, width]) of all ranks' vertices by their numbers; collective."""
    parts = comm.allgather(np.ascontiguousarray(values).reshape(-1), name=name)
    return np.concatenate(parts).reshape(partition.n_vertices, *values.shape[1:])


def ids_of(arrays: Mapping[str, NDArray[Any]]) -> pa.Array:
    """The ids among arrays of :func:`gather_results`: int64 or strings."""
    if "ids" in arrays:
        return pa.array(arrays["ids"])
    ends = np.concatenate([[0], arrays["id_ends"]]).astype(np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(arrays["id_bytes"]))]
    return pa.Array.from_buffers(pa.large_string(), len(ends) - 1, buffers).cast(pa.string())


def _id_arrays(ids: pa.ChunkedArray) -> Arrays:
    """Integers as ``ids``; of strings ``id_bytes``, UTF-8 one after the other, and ``id_ends``, where each ends."""
    if pa.types.is_integer(ids.type):
        return {"ids": ids.to_numpy().astype(np.int64)}
    whole = pa.concat_arrays([pa.array([], pa.large_binary()), *ids.cast(pa.large_binary()).chunks])
    _, ends, data = whole.buffers()
    return {"id_bytes": np.frombuffer(data or b"", dtype=np.uint8), "id_ends": np.frombuffer(ends or bytes(8), dtype=np.int64)[1:]}


def _as_column(values: NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])


def _as_array(column: pa.ChunkedArray) -> NDArray[Any]:
    if not pa.types.is_fixed_size_list(column.type):
        return np.ascontiguousarray(column.to_numpy())
    flat = [chunk.flatten().to_numpy() for chunk in column.chunks]
    return np.concatenate([np.empty(0), *flat]).reshape(-1, column.type.list_size)
