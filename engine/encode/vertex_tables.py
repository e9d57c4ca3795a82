"""Tables with a row for each vertex, whole on every rank, in the order that users know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collectives.communicator import Communicator
from engine.encode.graph_partition import GraphPartition
from engine.encode.id_lists import INT, exchange
from engine.encode.ownership import ownership_of, pack_rows, unpack_rows


def gather_vertices(partition: GraphPartition, comm: Communicator, columns: Mapping[str, Any], *, id_name: str = "__id") -> pa.Table:
    """A row for each vertex of all ranks: its id, and ``columns``, which each rank has for its vertices. Collective.

    The vertex table's order comes first, then the other vertices, ids ascending.
    """
    own = pa.table([plain_ids(partition.ids), *(_column(values) for values in columns.values())], names=[id_name, *columns])
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


def fetch_ids(partition: GraphPartition, comm: Communicator, numbers: NDArray[Any]) -> pa.Array:
    """The ids of vertices that any ranks hold, by number. Collective."""
    if comm.size == 1:
        return partition.ids.take(pa.array(numbers))
    distinct, places = np.unique(numbers, return_inverse=True)
    owned = ownership_of(partition.bounds)
    asked = comm.alltoall(owned.deal(distinct, distinct), name="ids of other vertices: numbers")
    answers = [partition.ids.take(pa.array(part.astype(np.int64) - partition.first)) for part in asked]
    return pa.concat_arrays(exchange(comm, answers, name="ids of other vertices")).take(pa.array(places))


def plain_ids(ids: pa.Array) -> Any:
    """Ids as users know them: text as ``string`` where its 32-bit offsets do."""
    return ids if ids.type == INT or ids.nbytes >= 1 << 31 else ids.cast(pa.string())


def _column(values: Any) -> Any:
    return values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
