"""Which rank holds which vertices, and sending what belongs to a vertex to the rank that holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine._kernels.edge_sort import count_numbers, count_owners, deal_numbers
from engine.collectives.communicator import Communicator
from engine.encode.edge_rows import EdgeBlock, number_type

GRAINS = 1 << 16  # ranges of vertices between which cuts may lie


class Ownership(NamedTuple):
    """Contiguous ranges of vertices, one for each rank: those of rank r are ``bounds[r]`` to ``bounds[r + 1]``."""

    bounds: NDArray[np.int64]
    shift: int  # vertices of a grain, as a power of two
    owners: NDArray[np.int32]  # by grain

    def counts(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """How many of these vertices each rank holds."""
        counts = np.zeros(len(self.bounds) - 1, dtype=np.int64)
        count_owners(numbers, self.shift, self.owners, counts)
        return counts

    def deal(self, numbers: NDArray[Any], payload: NDArray[Any]) -> list[NDArray[Any]]:
        """``payload``, aligned with ``numbers``, in parts for the ranks that hold these; orders are kept."""
        counts = self.counts(numbers)
        ends = np.cumsum(counts)
        out = np.empty_like(payload)
        deal_numbers(numbers, payload, self.shift, self.owners, ends - counts, out)
        return np.split(out, ends[:-1])

    def order(self, numbers: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of ``numbers`` by rank, orders kept, and where each rank's end."""
        owners = self.owners[(numbers >> numbers.dtype.type(self.shift)).astype(np.int64)]
        return np.argsort(owners, kind="stable"), np.cumsum(self.counts(numbers))


def share_vertices(comm: Communicator, blocks: Sequence[EdgeBlock], n_vertices: int) -> Ownership:
    """Cut the vertices so that each rank holds about as many edges and vertices as the others. Collective."""
    shift, n_grains = _grains_of(n_vertices)
    grains = np.arange(n_grains, dtype=np.int32)
    weights = np.zeros(n_grains, dtype=np.int64)
    for block in blocks if comm.size > 1 else ():
        count_owners(block.destinations, shift, grains, weights)
    comm.allreduce_sum(weights, name="partition: edges by destination")
    return _share_grains(weights, comm.size, n_vertices)


def cuts_between(n_vertices: int) -> NDArray[np.int64]:
    """The vertices before which cuts may lie, ascending, and the number of vertices at the end."""
    shift, n_grains = _grains_of(n_vertices)
    return np.minimum(np.arange(n_grains + 1, dtype=np.int64) << shift, n_vertices)


def share_by_ends(ends: NDArray[np.int64], size: int, n_vertices: int) -> Ownership:
    """The same cuts where it is known how many edges, ``ends[i]``, go into vertices before the i-th of :func:`cuts_between`."""
    return _share_grains(np.diff(ends), size, n_vertices)


def _grains_of(n_vertices: int) -> tuple[int, int]:
    """Vertices of a grain, as a power of two, and how many grains there are."""
    shift = max(0, max(n_vertices - 1, 0).bit_length() - GRAINS.bit_length() + 1)
    return shift, ((n_vertices - 1) >> shift) + 1 if n_vertices else 0


def _share_grains(edges: NDArray[np.int64], size: int, n_vertices: int) -> Ownership:
    """Cut between grains with so many edges each."""
    shift, n_grains = _grains_of(n_vertices)
    weights = edges + np.minimum(1 << shift, n_vertices - (np.arange(n_grains) << shift))
    middles = np.cumsum(weights) - (weights + 1) // 2
    owners = (middles * size // max(int(weights.sum()), 1)).astype(np.int32)
    firsts = np.searchsorted(owners, np.arange(size + 1)).astype(np.int64)
    return Ownership(np.minimum(firsts << shift, n_vertices), shift, owners)


def ownership_of(bounds: NDArray[np.int64]) -> Ownership:
    """The ownership that has these bounds, in the coarsest grains that they allow."""
    common = int(np.bitwise_or.reduce(bounds[1:-1])) if len(bounds) > 2 else 0
    shift = (common & -common).bit_length() - 1 if common else int(bounds[-1]).bit_length()
    firsts = np.arange(0, max(int(bounds[-1]), 1), 1 << shift)
    return Ownership(bounds, shift, (np.searchsorted(bounds, firsts, side="right") - 1).clip(0, len(bounds) - 2).astype(np.int32))


def exchange_edges(
    comm: Communicator, owned: Ownership, blocks: list[EdgeBlock], attributes: pa.Table, n_vertices: int
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Send edges, block by block, to the ranks that hold their destinations. Collective.

    ``blocks`` is replaced by the edges into this rank's vertices, in the order of the input; the attributes of these and the out-degrees of
    this rank's vertices are returned.
    """
    first, stop = owned.bounds[comm.rank : comm.rank + 2].tolist()
    out_degrees = np.zeros(stop - first, dtype=np.int64)
    if comm.size == 1:
        return attributes, out_degrees
    rounds = np.array([len(blocks)])
    comm.allreduce_max(rounds, name="partition: rounds")
    received: list[list[EdgeBlock]] = [[] for _ in range(comm.size)]
    tables: list[list[pa.Table]] = [[] for _ in range(comm.size)]
    blocks.reverse()
    row = 0
    empty = np.empty(0, dtype=number_type(n_vertices))
    for _ in range(int(rounds[0])):
        block = blocks.pop() if blocks else EdgeBlock(empty, empty)
        _count_sources(comm, owned, block, first, out_degrees)
        ends = zip(owned.deal(block.destinations, block.sources), owned.deal(block.destinations, block.destinations), strict=True)
        for rank, part in enumerate(comm.alltoall([np.concatenate(pair) for pair in ends], name="partition: edges")):
            received[rank].append(EdgeBlock(*np.split(part, 2)))
        if attributes.num_columns:
            own = attributes.slice(row, len(block.destinations))
            for rank, table in enumerate(send_rows(comm, own, *owned.order(block.destinations), name="partition: attributes")):
                tables[rank].append(table)
        row += len(block.destinations)
    blocks.extend(block for rank in received for block in rank)
    parts = [table for rank in tables for table in rank]
    return (pa.concat_tables(parts) if parts else attributes.slice(0, 0)), out_degrees


def send_rows(comm: Communicator, table: pa.Table, order: NDArray[np.int64], ends: NDArray[np.int64], *, name: str) -> list[pa.Table]:
    """Send rows of ``table``, taken in ``order`` and cut at ``ends``, one part to each rank; what each rank sent here. Collective."""
    taken = table.take(pa.array(order))
    begins = [0, *ends[:-1].tolist()]
    sent = [pack_rows(taken.slice(begin, end - begin)) for begin, end in zip(begins, ends.tolist(), strict=True)]
    return [unpack_rows(part) for part in comm.alltoall(sent, name=name)]


def _count_sources(comm: Communicator, owned: Ownership, block: EdgeBlock, first: int, out_degrees: NDArray[np.int64]) -> None:
    for part in comm.alltoall(owned.deal(block.sources, block.sources), name="partition: out-degrees"):
        count_numbers(part, first, out_degrees)


def pack_rows(table: pa.Table) -> NDArray[np.uint8]:
    """A table as bytes to send."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def unpack_rows(data: NDArray[np.uint8]) -> pa.Table:
    """The inverse of :func:`pack_rows`."""
    return pa.ipc.open_stream(pa.py_buffer(data)).read_all()
