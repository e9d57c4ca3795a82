"""Tables with a row for each vertex, whole on every rank, in the order that users know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collectives.communicator import Communicator
from engine.encode.graph_partition import GraphPartition
from engine.encode.ownership import pack_rows, unpack_rows


def gather_vertices(partition: GraphPartition, comm: Communicator, columns: Mapping[str, Any], *, id_name: str = "__id") -> pa.Table:
    """A row for each vertex of all ranks: its id, and ``columns``, which each rank has for its vertices. Collective.

    The vertex table's order comes first, then the other vertices, ids ascending.
    """
    ids = partition.ids.cast(pa.string()) if pa.types.is_large_string(partition.ids.type) else partition.ids
    own = pa.table([ids, *(_column(values) for values in columns.values())], names=[id_name, *columns])
    if comm.size == 1:
        table = own
    else:
        parts = comm.allgather(pack_rows(own), name="gather vertices")
        table = pa.concat_tables([unpack_rows(part) for part in parts])
    if partition.positions is None:
        return table.combine_chunks()
    positions = np.concatenate(comm.allgather(partition.positions, name="gather vertices: order"))
    order = np.empty_like(positions)
    order[positions] = np.arange(len(positions))
    return table.take(pa.array(order)).combine_chunks()


def _column(values: Any) -> Any:
    return values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
