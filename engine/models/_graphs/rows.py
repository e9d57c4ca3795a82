"""This rank's rows of a graph in the order in which they are fastest to go through: those whose vertices are read most first.

Values that many rows read lie side by side, in lines that stay in the nearest caches. Of vertices that are read about as often, rows of
like lengths follow each other, so the processor guesses where each ends. The order of the entries within a row, which is the order of
additions, stays that of their numbers among all vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._kernels.ranks import AHEAD
from engine._kernels.row_layout import move_entries, order_rows
from engine.collectives.communicator import Communicator
from engine.encode.graph_partition import Adjacency, GraphPartition
from engine.models._graphs.exchange import Plan, Reach, make_plan

ENTRIES_A_PART = 1 << 16  # between two cuts, a row counting as so many entries more:
ENTRIES_A_ROW = 4


@dataclass(frozen=True)
class GraphRows:
    """Rows of a graph as kernels take them."""

    order: NDArray[np.uint32]  # row k is this rank's vertex order[k]
    indptr: NDArray[np.int64]
    slots: NDArray[np.uint32]  # with AHEAD more at the end
    weights: NDArray[np.float64] | None
    cuts: NDArray[np.int64]  # rows from 0 to n_local, between which threads share the work
    plan: Plan

    @property
    def n_entries(self) -> int:
        """Entries of all of this rank's rows."""
        return int(self.indptr[-1])

    def in_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values by vertex, row by row."""
        return np.ascontiguousarray(values[self.order])

    def by_vertex(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values row by row, by vertex."""
        out = np.empty_like(values)
        out[self.order] = values
        return out


def arrange_rows(
    partition: GraphPartition,
    adjacency: Adjacency,
    reads: NDArray[np.int64],
    comm: Communicator,
    *,
    num_threads: int,
    reach: Reach = "auto",
) -> GraphRows:
    """Order the rows and agree on what ranks will tell each other; collective.

    ``reads``: [n_local] in how many entries of all ranks' rows each of this rank's vertices is.
    """
    n = partition.n_local
    order, indptr = np.empty(n, dtype=np.uint32), np.empty(n + 1, dtype=np.int64)
    order_rows(adjacency.indptr, reads, order, indptr)
    position = np.empty(n, dtype=np.uint32)
    position[order] = np.arange(n, dtype=np.uint32)
    plan = make_plan(partition, adjacency.neighbours, position, comm, reach)
    slots = np.empty(int(indptr[-1]) + AHEAD, dtype=np.uint32)
    slots[indptr[-1] :] = 0
    weights = None if adjacency.weights is None else np.empty(int(indptr[-1]))
    move_entries(adjacency.indptr, adjacency.neighbours, adjacency.weights, order, indptr, plan.places, slots, weights, num_threads)
    return GraphRows(order, indptr, slots, weights, cut_rows(indptr), plan)


def cut_rows(indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows from 0 to all of them, with about ``ENTRIES_A_PART`` entries between one and the next."""
    work = indptr + ENTRIES_A_ROW * np.arange(len(indptr), dtype=np.int64)
    n_parts = int(work[-1]) // ENTRIES_A_PART + 1
    inner = np.searchsorted(work, np.arange(1, n_parts) * (int(work[-1]) // n_parts))
    return np.concatenate([[0], inner, [len(indptr) - 1]]).astype(np.int64)
