"""PageRank on all ranks' vertices: from rules and rows to ranks.

With t_i the share of vertex i in what is reset (T in all; T = n, or 1 if normalised), r the reset probability, and s_j the sum of the
weights of the edges out of j:

    rank_i = r t_i + (1 - r) (sum over edges j -> i of w_ji rank_j / s_j  +  t_i D / T)

D is the rank of all vertices without edges out (or of weight 0) if theirs is redistributed, else 0. All vertices change at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine._kernels.ranks import rank_rows, spread_ranks
from engine.collectives.communicator import Communicator
from engine.models._graphs.exchange import NeighbourValues
from engine.models._graphs.fixed_point import sum_of_limbs, unit_exponent
from engine.models._graphs.rows import GraphRows

PRECISIONS: dict[str, type] = {"float64": np.float64, "float32": np.float32}


@dataclass(frozen=True)
class Start:
    """What ranks start from, by vertex of this rank."""

    out_weights: NDArray[np.float64]  # [n_local] sums of the weights of the edges out
    teleport: NDArray[np.float64] | None  # [n_local] shares of what is reset, T in all; None: all alike
    ranks: NDArray[np.float64]  # [n_local]
    total: float  # T, or the sum of the first ranks where that is more: no rank is ever larger


class Ranking:
    """Ranks of this rank's vertices, step by step."""

    def __init__(
        self,
        rows: GraphRows,
        start: Start,
        *,
        n_vertices: int,
        reset_probability: float,
        redistribute: bool,
        normalize: bool,
        precision: str,
        num_threads: int,
        comm: Communicator,
    ) -> None:
        """Collective."""
        self._rows, self._comm, self._num_threads, self._redistribute = rows, comm, num_threads, redistribute
        self._reset, self._damping = reset_probability, 1.0 - reset_probability
        self._total = 1.0 if normalize else float(n_vertices)
        self._even = 1.0 / max(n_vertices, 1) if normalize else 1.0
        self._teleport = None if start.teleport is None else rows.in_rows(start.teleport)
        out = rows.in_rows(start.out_weights)
        self._inverse_out = np.divide(1.0, out, out=np.zeros_like(out), where=out > 0.0)
        self._unit = unit_exponent(max(start.total, self._total) / max(n_vertices, 1))
        self._ranks = rows.in_rows(start.ranks)
        self._deltas = np.zeros_like(self._ranks)
        self._given = NeighbourValues(rows.plan, comm, dtype=PRECISIONS[precision])
        self._give()

    @property
    def ranks(self) -> NDArray[np.float64]:
        """[n_local], by vertex."""
        return self._rows.by_vertex(self._ranks)

    @property
    def deltas(self) -> NDArray[np.float64]:
        """[n_local], by vertex: how much each rank changed in the last step."""
        return self._rows.by_vertex(self._deltas)

    def go_on_from(self, ranks: NDArray[np.float64], deltas: NDArray[np.float64]) -> None:
        """Put ranks and deltas of an earlier run in place, by vertex; collective."""
        self._ranks, self._deltas = self._rows.in_rows(ranks), self._rows.in_rows(deltas)
        self._give()

    def step(self) -> float:
        """Compute every rank anew; the sum of |change| over all vertices. Collective."""
        lost = self._damping * self._dangling / self._total if self._redistribute and self._total > 0.0 else 0.0
        base = self._reset + lost
        totals = np.zeros(4, dtype=np.int64)
        rank_rows(
            self._rows.indptr,
            self._rows.slots,
            self._rows.weights,
            self._given.current,
            base if self._teleport is not None else base * self._even,
            self._teleport,
            self._damping,
            self._inverse_out,
            self._unit,
            self._ranks,
            self._deltas,
            self._given.following,
            self._rows.cuts,
            totals,
            self._num_threads,
        )
        return self._tell(totals)

    def close(self) -> None:
        """Give memory back that ranks share; collective."""
        self._given.close()

    def _give(self) -> None:
        """Compute what the vertices give to their neighbours; collective."""
        totals = np.zeros(4, dtype=np.int64)
        spread_ranks(self._ranks, self._inverse_out, self._unit, self._given.following, totals)
        self._tell(totals)

    def _tell(self, totals: NDArray[Any]) -> float:
        """Tell what each vertex gives, and add up changes and what dangling vertices keep; the sum of |change|."""
        self._given.turn(name="give ranks")
        self._comm.allreduce_sum(totals, name="sum changes")
        self._dangling = sum_of_limbs(totals[2], totals[3], self._unit)
        return sum_of_limbs(totals[0], totals[1], self._unit)
