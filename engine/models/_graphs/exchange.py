"""What ranks tell each other about their vertices: the values that rows of other ranks read. The one place where they do so.

Either all ranks share one array of all vertices' values, or each rank gets just the values that its rows read, over a plan made once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine._kernels.row_layout import mark_neighbours
from engine.collectives.communicator import Communicator
from engine.encode.graph_partition import GraphPartition

Reach = Literal["auto", "all", "needed"]
MOST_NEEDED = 0.5  # a rank that reads a larger share of the other ranks' vertices is sent all of them


@dataclass(frozen=True)
class Plan:
    """Where values of vertices are found on this rank.

    ``places[v]``: the row of vertex v in the array that this rank reads, for its own vertices and the neighbours of its rows.
    ``send`` None: the array has all vertices, rank by rank. Else it has this rank's first, then those it is sent: ``send[r]`` are the
    rows of its own that rank r reads, and ``received`` is how many it gets.
    """

    counts: list[int]
    offset: int  # row of this rank's first vertex
    places: NDArray[np.uint32]
    send: list[NDArray[np.uint32]] | None
    received: int


def make_plan(
    partition: GraphPartition, neighbours: NDArray[Any], position: NDArray[np.uint32], comm: Communicator, reach: Reach = "auto"
) -> Plan:
    """Agree on who needs what; collective. ``position[i]``: the row that this rank gives its vertex i."""
    bounds, n = partition.bounds, partition.n_vertices
    counts = np.diff(bounds).tolist()
    marks = np.zeros(n, dtype=np.uint8)
    if reach == "needed" or (reach == "auto" and comm.ranks_on_node < comm.size):
        mark_neighbours(neighbours, marks)
    marks[partition.first : partition.first + partition.n_local] = 0
    needed = np.flatnonzero(marks)
    share = np.array([len(needed) / max(n - partition.n_local, 1)])
    comm.allreduce_max(share, name="neighbours of other ranks")
    if reach == "all" or (reach == "auto" and (comm.ranks_on_node == comm.size or share[0] > MOST_NEEDED)):
        parts = comm.allgather(position, name="order of rows")
        shifted = [part + np.uint32(first) for part, first in zip(parts, bounds[:-1], strict=True)]
        return Plan(counts, partition.first, np.concatenate(shifted), None, 0)
    places = np.zeros(n, dtype=np.uint32)
    places[partition.first : partition.first + partition.n_local] = position
    places[needed] = partition.n_local + np.arange(len(needed), dtype=np.uint32)
    cuts = np.searchsorted(needed, bounds)
    wanted = [(needed[a:b] - first).astype(np.uint32) for (a, b), first in zip(itertools.pairwise(cuts), bounds[:-1], strict=True)]
    asked = comm.alltoall(wanted, name="neighbours of other ranks")
    return Plan(counts, 0, places, [position[rows] for rows in asked], len(needed))


class NeighbourValues:
    """Values of vertices, ``width`` to each: this rank writes its own into ``following``, and reads its neighbours' from ``current``.

    ``following`` holds what ``current`` had before the last turn; nothing else is ever written there.
    """

    def __init__(self, plan: Plan, comm: Communicator, *, width: int = 1, dtype: type = np.float64) -> None:
        self._plan, self._comm, self._width = plan, comm, width
        if plan.send is None:
            counts = [count * width for count in plan.counts]
            self._arrays = [comm.common_array(counts, dtype) for _ in range(2)]
            self._wholes, self._mines = ([getattr(array, part) for array in self._arrays] for part in ("whole", "mine"))
        else:
            own = plan.counts[comm.rank] * width
            self._wholes = [np.zeros(own + plan.received * width, dtype=dtype) for _ in range(2)]
            self._mines = [whole[:own] for whole in self._wholes]
        self._turn = 0

    @property
    def current(self) -> NDArray[Any]:
        """What is read: [n_rows, width], or [n_rows] where the width is 1."""
        return self._shaped(self._wholes[self._turn])

    @property
    def own(self) -> NDArray[Any]:
        """This rank's rows of ``current``."""
        return self._shaped(self._mines[self._turn])

    @property
    def following(self) -> NDArray[Any]:
        """What is written: this rank's rows."""
        return self._shaped(self._mines[1 - self._turn])

    def turn(self, *, name: str) -> None:
        """Tell the other ranks what was written, and read it from now on; collective."""
        following = 1 - self._turn
        if self._plan.send is None:
            self._arrays[following].publish(name=name)
        else:
            mine = self._shaped(self._mines[following])
            received = self._comm.alltoall([mine[rows].reshape(-1) for rows in self._plan.send], name=name)
            at = len(self._mines[following])
            for part in received:
                self._wholes[following][at : at + len(part)] = part
                at += len(part)
        self._turn = following

    def close(self) -> None:
        """Give the memory back; collective."""
        if self._plan.send is None:
            for array in self._arrays:
                array.close()

    def _shaped(self, array: NDArray[Any]) -> NDArray[Any]:
        return array if self._width == 1 else array.reshape(-1, self._width)
