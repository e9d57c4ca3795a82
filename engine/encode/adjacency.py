"""The adjacencies that algorithms walk, made from a rank's part of a graph when they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine._kernels.edge_sort import order_parallel
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.schema import check_columns
from engine.encode.edge_rows import EdgeBlock, build_rows, number_type
from engine.encode.graph_partition import Adjacency, GraphPartition
from engine.encode.ownership import ownership_of
from engine.errors import DataError

_ROUND_EDGES = 1 << 20  # of a rank that are sent at once


def load_edges_in(partition: GraphPartition, comm: Communicator, weight_field: str | None = None) -> Adjacency:
    """Rows of the edges into this rank's vertices; neighbours are their sources. Collective.

    Raises ``DataError`` on every rank for a field that the edges do not have, or weights that are null, negative or not finite.
    """
    weights = _load_weights(partition, comm, weight_field)
    edges = partition.edges_in
    return edges if weights is None else _ordered(Adjacency(edges.indptr, edges.neighbours, weights.copy()))


def load_edges_out(partition: GraphPartition, comm: Communicator, weight_field: str | None = None, *, num_threads: int = 1) -> Adjacency:
    """Rows of the edges out of this rank's vertices; neighbours are their destinations. Collective. Raises as :func:`load_edges_in`."""
    weights = _load_weights(partition, comm, weight_field)
    blocks, sent = _turned(partition, comm, weights)
    return _rows_of(partition, blocks, sent, num_threads)


def load_edges_both(partition: GraphPartition, comm: Communicator, weight_field: str | None = None, *, num_threads: int = 1) -> Adjacency:
    """Rows of the edges in and out of this rank's vertices: each edge is an entry in the rows of both its ends. Collective.

    A self-loop is two entries of its row. Raises as :func:`load_edges_in`.
    """
    weights = _load_weights(partition, comm, weight_field)
    blocks, sent = _turned(partition, comm, weights)
    own = EdgeBlock(partition.edges_in.neighbours, _row_numbers(partition))
    both = None if weights is None or sent is None else np.concatenate([weights, sent])
    return _rows_of(partition, [own, *blocks], both, num_threads)


def _load_weights(partition: GraphPartition, comm: Communicator, field: str | None) -> NDArray[np.float64] | None:
    """The weights of this rank's edges, checked. Collective."""
    if field is None:
        return None
    weights = np.empty(0)
    with agree(comm, "reading weights"):
        check_columns([field], partition.edge_attributes.schema.names, "the edges")
        column = partition.edge_attributes.column(field)
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)):
            raise DataError(f"weight_field {field!r}: expected a column of numbers, got {str(column.type)!r}")
        if column.null_count:
            raise DataError(f"weight_field {field!r}: expected a weight for every edge, got null for {column.null_count}; fill them in")
        # adding zero makes -0.0, which is no negative weight, the same as 0.0
        weights = pc.cast(column, pa.float64(), safe=False).to_numpy() + 0.0
        wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if len(wrong):
            raise DataError(
                f"weight_field {field!r}: expected finite weights of 0 or more, got {float(weights[wrong[0]])!r} for "
                f"the edge {_edge_text(partition, int(wrong[0]))}; mend or remove it"
            )
    return weights


def _edge_text(partition: GraphPartition, edge: int) -> str:
    """An edge in words: its destination by id, and its source if it is on this rank."""
    row = int(np.searchsorted(partition.edges_in.indptr, edge, side="right")) - 1
    source = int(partition.edges_in.neighbours[edge]) - partition.first
    known = f"from {partition.ids[source].as_py()!r} " if 0 <= source < partition.n_local else ""
    return f"{known}to {partition.ids[row].as_py()!r}"


def _row_numbers(partition: GraphPartition) -> NDArray[Any]:
    """The destination of each of this rank's edges."""
    kind = number_type(partition.n_vertices)
    numbers = np.arange(partition.first, partition.first + partition.n_local, dtype=kind)
    return np.repeat(numbers, np.diff(partition.edges_in.indptr))


def _turned(
    partition: GraphPartition, comm: Communicator, weights: NDArray[np.float64] | None
) -> tuple[list[EdgeBlock], NDArray[np.float64] | None]:
    """All edges out of this rank's vertices, turned round, with their weights. Collective."""
    sources, destinations = partition.edges_in.neighbours, _row_numbers(partition)
    if comm.size == 1:
        return [EdgeBlock(destinations, sources)], weights
    owned = ownership_of(partition.bounds)
    rounds = np.array([-(-len(sources) // _ROUND_EDGES)])
    comm.allreduce_max(rounds, name="partition: rounds")
    blocks, parts = [], []
    for at in range(0, int(rounds[0]) * _ROUND_EDGES, _ROUND_EDGES):
        own, other = sources[at : at + _ROUND_EDGES], destinations[at : at + _ROUND_EDGES]
        ends = zip(owned.deal(own, other), owned.deal(own, own), strict=True)
        blocks += [EdgeBlock(*np.split(part, 2)) for part in comm.alltoall([np.concatenate(pair) for pair in ends], name="edges out")]
        if weights is not None:
            order, stops = owned.order(own)
            parts += comm.alltoall(np.split(weights[at : at + _ROUND_EDGES][order], stops[:-1]), name="edges out: weights")
    return blocks, None if weights is None else np.concatenate([np.empty(0), *parts])


def _rows_of(partition: GraphPartition, blocks: list[EdgeBlock], weights: NDArray[np.float64] | None, num_threads: int) -> Adjacency:
    rows = build_rows(
        blocks, partition.first, partition.n_local, partition.n_vertices, num_threads=num_threads, keep_order=weights is not None
    )
    if weights is None:
        return Adjacency(rows.indptr, rows.neighbours, None)
    return _ordered(Adjacency(rows.indptr, rows.neighbours, weights[rows.order]))


def _ordered(edges: Adjacency) -> Adjacency:
    """The weights of parallel edges, in the order of their bits; in place."""
    assert edges.weights is not None
    bits = edges.weights.view(np.uint64)
    order_parallel(edges.indptr, edges.neighbours, bits, np.empty_like(bits))
    return edges
