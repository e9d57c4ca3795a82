"""From the edges and vertices that each rank has read to its part of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine._kernels.edge_sort import count_numbers
from engine.collectives.communicator import Communicator
from engine.data.pool import run_all
from engine.encode.edge_rows import EdgeBlock, build_rows, number_type
from engine.encode.graph_partition import Adjacency, GraphPartition
from engine.encode.id_lists import cut_at_places, exchange
from engine.encode.ownership import Ownership, exchange_edges, send_rows, share_vertices
from engine.encode.vertex_ids import Collector, Local, number_ids, renumber
from engine.errors import warn


@dataclass
class EdgeRows:
    """This rank's edges as read, their ends numbered by a collector of ids. Emptied when the partition is made."""

    blocks: list[EdgeBlock]
    attributes: pa.Table  # a row for each edge; no columns if there are none


@dataclass(frozen=True)
class VertexRows:
    """This rank's rows of the vertex table as read, numbered by the same collector."""

    blocks: list[Local]
    attributes: pa.Table
    first_row: int  # global id of the first local row


def build_partition(
    comm: Communicator, edges: EdgeRows, vertices: VertexRows | None, collector: Collector, *, num_threads: int
) -> GraphPartition:
    """Number the vertices by sorted id, share them out, send edges and attributes to their ranks and sort them. Collective."""
    places, ids, n_vertices = number_ids(comm, collector.settle(num_threads))
    blocks = edges.blocks
    n_edges = np.array([sum(len(block.sources) for block in blocks)])
    comm.allreduce_sum(n_edges, name="partition: number of edges")
    if comm.size > 1:
        _renumber_blocks(blocks, places, n_vertices, num_threads)
    owned = share_vertices(comm, blocks, n_vertices)
    first, stop = owned.bounds[comm.rank : comm.rank + 2].tolist()
    attributes, out_degrees = exchange_edges(comm, owned, blocks, edges.attributes, n_vertices)
    edges.attributes = edges.attributes.slice(0, 0)
    if comm.size == 1:
        out_degrees = _count_sources(blocks, n_vertices, num_threads)
    rows = build_rows(blocks, first, stop - first, n_vertices, num_threads=num_threads, keep_order=attributes.num_columns > 0)
    own_ids = _deliver_ids(comm, owned, ids)
    table, positions = pa.table({}), None
    if vertices is not None:
        empty = np.empty(0, dtype=number_type(n_vertices))
        numbers = np.concatenate([empty, *(renumber(block, places, n_vertices) for block in vertices.blocks)])
        table, positions = _place_vertices(comm, owned, vertices, numbers)
    return GraphPartition(
        n_vertices=n_vertices,
        n_edges=int(n_edges[0]),
        rank=comm.rank,
        bounds=owned.bounds,
        edges_in=Adjacency(rows.indptr, rows.neighbours, None),
        out_degrees=out_degrees,
        ids=own_ids,
        positions=positions,
        edge_attributes=attributes if rows.order is None else attributes.take(pa.array(rows.order)).combine_chunks(),
        vertex_attributes=table,
    )


def _renumber_blocks(blocks: list[EdgeBlock], places: NDArray[np.int64], n_vertices: int, num_threads: int) -> None:
    def renumber_block(index: int) -> None:
        blocks[index] = EdgeBlock(*(renumber(numbers, places, n_vertices) for numbers in blocks[index]))

    run_all(renumber_block, range(len(blocks)), num_threads)


def _count_sources(blocks: list[EdgeBlock], n_vertices: int, num_threads: int) -> NDArray[np.int64]:
    """Out-degrees where one rank has all edges; threads count by themselves where that takes less room than the edges."""
    n_edges = sum(len(block.sources) for block in blocks)
    n_parts = max(1, min(num_threads, n_edges // (4 * max(n_vertices, 1))))
    counts = np.zeros((n_parts, n_vertices), dtype=np.int64)

    def count(part: int) -> None:
        for block in blocks[part::n_parts]:
            count_numbers(block.sources, 0, counts[part])

    run_all(count, range(n_parts), num_threads)
    return counts[0] if n_parts == 1 else counts.sum(axis=0)


def _deliver_ids(comm: Communicator, owned: Ownership, ids: pa.Array) -> pa.Array:
    """Ids in order, cut where numbering left them, to the ranks that hold the vertices. Collective."""
    if comm.size == 1:
        return ids
    counts = [int(part[0]) for part in comm.allgather(np.array([len(ids)]), name="partition: ids of each rank")]
    inner = owned.bounds[1:-1] - sum(counts[: comm.rank])
    return pa.concat_arrays(exchange(comm, cut_at_places(ids, np.clip(inner, 0, len(ids))), name="partition: ids"))


def _place_vertices(
    comm: Communicator, owned: Ownership, vertices: VertexRows, numbers: NDArray[Any]
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Attributes of this rank's vertices, null where the table has none, and every vertex's row in tables of all. Collective.

    Of rows for one vertex the last wins. Vertices of the table come first, in its order, then the others, ascending.
    """
    first, stop = owned.bounds[comm.rank : comm.rank + 2].tolist()
    ids = np.arange(vertices.first_row, vertices.first_row + len(numbers))
    extra = [pa.array(numbers.astype(np.int64)), pa.array(ids)]
    sent = pa.table([*vertices.attributes.columns, *extra], names=[*vertices.attributes.schema.names, "number", "row"])
    found = pa.concat_tables(send_rows(comm, sent, *owned.order(numbers), name="partition: vertices")).combine_chunks()
    width = found.num_columns - 2
    own, rows = found.column(width).to_numpy(), found.column(width + 1).to_numpy()
    last = np.full(stop - first, -1, dtype=np.int64)
    last[own - first] = np.arange(len(own))  # rows arrive ascending: the last one stays
    attributes = found.select(range(width))
    _warn_of_doubles(comm, attributes, last[own - first])
    taken = attributes.take(pa.array(last, mask=last < 0))
    positions = np.empty(stop - first, dtype=np.int64)
    is_listed = last >= 0
    positions[is_listed], n_listed = _places_of_rows(comm, rows[last[is_listed]], vertices.first_row, len(numbers))
    n_others = [int(part[0]) for part in comm.allgather(np.array([(~is_listed).sum()]), name="partition: vertices of edges only")]
    positions[~is_listed] = n_listed + sum(n_others[: comm.rank]) + np.arange(n_others[comm.rank])
    return taken, positions


def _warn_of_doubles(comm: Communicator, attributes: pa.Table, winners: NDArray[np.int64]) -> None:
    """Say so where rows for one vertex differ. Collective."""
    doubled = np.flatnonzero(winners != np.arange(len(winners)))
    lost, won = attributes.take(pa.array(doubled)), attributes.take(pa.array(winners[doubled]))
    differs = np.zeros(len(doubled), dtype=bool)
    for left, right in zip(lost.columns, won.columns, strict=True):
        differs |= _differing(left, right)
    n_differ = np.array([differs.sum()], dtype=np.int64)
    comm.allreduce_sum(n_differ, name="partition: vertices twice")
    if n_differ[0] and comm.rank == 0:
        warn(f"{n_differ[0]} rows of the vertex table are for vertices that a later row describes differently; the last row is used")


def _differing(left: pa.ChunkedArray, right: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Where two columns differ; nulls are alike, and so is what is not a number."""
    if pa.types.is_nested(left.type):
        return np.array([repr(a) != repr(b) for a, b in zip(left.to_pylist(), right.to_pylist(), strict=True)], dtype=bool)
    same = pc.or_(pc.fill_null(pc.equal(left, right), False), pc.and_(left.is_null(), right.is_null()))
    if pa.types.is_floating(left.type):
        same = pc.or_(same, pc.and_(pc.fill_null(pc.is_nan(left), False), pc.fill_null(pc.is_nan(right), False)))
    return ~same.to_numpy().astype(bool)


def _places_of_rows(comm: Communicator, rows: NDArray[np.int64], first_row: int, n_read: int) -> tuple[NDArray[np.int64], int]:
    """For rows of the vertex table that are used: how many used ones come before each; and how many are used in all. Collective."""
    first_rows = [int(part[0]) for part in comm.allgather(np.array([first_row]), name="partition: rows of vertices")]
    order = np.argsort(rows, kind="stable")
    cuts = np.searchsorted(rows[order], first_rows[1:])
    asked = comm.alltoall(np.split(rows[order], cuts), name="partition: rows in use")
    is_used = np.zeros(n_read, dtype=np.int64)
    is_used[np.concatenate(asked) - first_row] = 1
    counts = [int(part[0]) for part in comm.allgather(np.array([is_used.sum()]), name="partition: rows in use")]
    before = np.cumsum(is_used) - is_used + sum(counts[: comm.rank])
    answers = comm.alltoall([before[part - first_row] for part in asked], name="partition: places of rows")
    places = np.empty(len(rows), dtype=np.int64)
    places[order] = np.concatenate(answers)
    return places, sum(counts)
