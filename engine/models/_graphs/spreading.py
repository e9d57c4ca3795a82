"""Label propagation on all ranks' vertices: from labels and rows to a distribution of classes for every vertex.

A labelled vertex is sure of its class for good. All others start with 1/K of each of K classes, and in every step become

    x_i = (a x_i + sum over edges j -> i of w_ji x_j) / its sum,    a: the weight of a vertex for itself

all at once; undirected, edges i -> j count too. A vertex whose sum is 0 stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine._kernels.label_rows import CLASS_BLOCK, propagate_rows
from engine.collectives.communicator import Communicator
from engine.models._graphs.exchange import NeighbourValues
from engine.models._graphs.fixed_point import sum_of_limbs, unit_exponent
from engine.models._graphs.rows import GraphRows

# Rows are skipped where no neighbour has changed once fewer vertices than this share change: to look costs a tenth of a row.
FEW_CHANGED = 0.25


@dataclass(frozen=True)
class Step:
    """What one step did, over all ranks' vertices."""

    change: float  # sum of the Euclidean distances to the values before the step
    leap: float  # and to those before the step before it
    n_changed: int  # vertices of which any bit is new
    n_computed: int  # vertices that were not known to stay as they are


class Spreading:
    """Distributions of this rank's vertices, step by step."""

    def __init__(
        self,
        rows: GraphRows,
        codes: NDArray[np.int32],
        *,
        n_vertices: int,
        n_classes: int,
        self_weight: float,
        num_threads: int,
        comm: Communicator,
    ) -> None:
        """``codes``: [n_local] numbers of classes by vertex, -1 where there is no label. Collective."""
        self._rows, self._comm, self._num_threads = rows, comm, num_threads
        self._n_vertices, self._n_classes, self._self_weight = n_vertices, n_classes, self_weight
        stride = -(-n_classes // CLASS_BLOCK) * CLASS_BLOCK
        own_codes = rows.in_rows(codes)
        self._fixed = (own_codes >= 0).astype(np.uint8)
        first = np.zeros((len(codes), stride))
        first[:, :n_classes] = np.where(own_codes[:, None] < 0, 1.0 / n_classes, 0.0)
        labelled = np.flatnonzero(own_codes >= 0)
        first[labelled, own_codes[labelled]] = 1.0
        self._values = NeighbourValues(rows.plan, comm, width=stride)
        self._marks = NeighbourValues(rows.plan, comm, dtype=np.uint8)
        self._scratch = np.zeros((num_threads, stride))
        self._unit = unit_exponent(1.0)
        for _ in range(2):
            self._values.following[:] = first
            self._values.turn(name="give classes")
        self._n_changed = n_vertices

    @property
    def values(self) -> NDArray[np.float64]:
        """[n_local, n_classes], by vertex."""
        return self._rows.by_vertex(np.ascontiguousarray(self._values.own[:, : self._n_classes]))

    @property
    def values_before(self) -> NDArray[np.float64]:
        """[n_local, n_classes], by vertex: one step earlier."""
        return self._rows.by_vertex(np.ascontiguousarray(self._values.following[:, : self._n_classes]))

    def go_on_from(self, values: NDArray[np.float64], before: NDArray[np.float64]) -> None:
        """Put an earlier run's values of the last two steps in place, by vertex; collective."""
        for given in (before, values):
            self._values.following[:, : self._n_classes] = self._rows.in_rows(given)
            self._values.turn(name="give classes")
        self._n_changed = self._n_vertices

    def step(self) -> Step:
        """Compute every distribution anew; collective."""
        few = self._n_changed < FEW_CHANGED * self._n_vertices
        if few:
            self._marks.turn(name="give marks of change")
        totals = np.zeros(6, dtype=np.int64)
        changed = self._marks.following
        propagate_rows(
            self._rows.indptr,
            self._rows.slots,
            self._rows.weights,
            self._values.current,
            self._rows.plan.offset,
            self._n_classes,
            self._self_weight,
            self._fixed,
            self._marks.current if few else None,
            self._unit,
            self._values.following,
            changed,
            self._scratch,
            self._rows.cuts,
            totals[:5],
            self._num_threads,
        )
        totals[5] = np.count_nonzero(changed)
        self._values.turn(name="give classes")
        self._comm.allreduce_sum(totals, name="sum changes")
        self._n_changed = int(totals[5])
        change, leap = (sum_of_limbs(totals[at], totals[at + 1], self._unit) for at in (0, 2))
        return Step(change, leap, self._n_changed, int(totals[4]))

    def close(self) -> None:
        """Give memory back that ranks share; collective."""
        self._values.close()
        self._marks.close()
