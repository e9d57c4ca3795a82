"""A rank's part of a graph: the edges into a contiguous range of vertices, which are numbered by sorted id.

Numbers, orders and attributes depend on the input alone; only where one rank's range ends and the next one's begins depends on how many
ranks there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class Adjacency:
    """Rows of a sparse matrix, one for each of this rank's vertices.

    Entries of a row are ordered by (the neighbour's number, the bits of the weight as an integer, edges in before edges out), so that a sum
    over a row that goes from left to right is the same wherever the row is.
    """

    indptr: NDArray[np.int64]  # n_local + 1; row i holds entries indptr[i] to indptr[i + 1]
    neighbours: NDArray[Any]  # their numbers among all vertices, uint32, or uint64 where there are more than 2**32 vertices
    weights: NDArray[np.float64] | None  # aligned with neighbours; None: every weight is 1


@dataclass(frozen=True)
class GraphPartition:
    """What one rank holds of a graph."""

    n_vertices: int  # of all ranks
    n_edges: int  # of all ranks
    rank: int
    bounds: NDArray[np.int64]  # rank r holds vertices bounds[r] to bounds[r + 1]; the same on every rank
    edges_in: Adjacency  # without weights: row i holds the sources of the edges into vertex first + i
    out_degrees: NDArray[np.int64]  # n_local; edges out of each of this rank's vertices, parallel ones counted one by one
    ids: pa.Array  # n_local; int64 or large_string
    positions: NDArray[np.int64] | None  # n_local; row of each vertex in tables of all vertices; None: its number
    edge_attributes: pa.Table  # aligned with edges_in.neighbours; parallel edges are in input order here
    vertex_attributes: pa.Table  # n_local rows; null where the vertex is not in the vertex table

    @property
    def first(self) -> int:
        """Number of this rank's first vertex."""
        return int(self.bounds[self.rank])

    @property
    def n_local(self) -> int:
        """Number of this rank's vertices."""
        return int(self.bounds[self.rank + 1] - self.bounds[self.rank])

    @property
    def n_edges_local(self) -> int:
        """Number of edges into this rank's vertices."""
        return int(self.edges_in.indptr[-1])
