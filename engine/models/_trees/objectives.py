"""Losses: what a tree is fitted to, and the training metrics that fall out of the same pass over the rows.

Row sums are exact integers, added over ranks in one reduction; the scale of unbounded gradients comes from one global maximum before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine._kernels.gradients import (
    N_LARGEST,
    N_STATS,
    compute_logistic,
    compute_residuals,
    compute_softmax,
    normalize_softmax,
    quantise_residuals,
)
from engine.collectives.communicator import Communicator
from engine.collectives.exact import exponent_above, limbs_to_float, limbs_to_int, normalize_limbs
from engine.models._trees.grown import GrownTree
from engine.models._trees.lanes import Gradients

LOSS_EXPONENT = 5  # clipped logistic losses are below 2**5


class Objective(Protocol):
    """A loss over margins ``scores`` [n_outputs, n_rows_local]."""

    n_outputs: int
    base_score: float
    link: str  # 'margin': predictions are made of scores as they are; 'log': they are e**score

    def evaluate(self, scores: NDArray[np.float64]) -> dict[str, float]:
        """The tracked metrics at ``scores``, over all ranks; collective. :meth:`gradients` then speaks of these scores."""

    def gradients(self, output: int) -> Gradients:
        """Gradients of one output at the scores last evaluated; may be collective."""

    def refit_leaves(self, tree: GrownTree, rows: NDArray[np.uint32], scores: NDArray[np.float64], step_size: float) -> GrownTree:
        """``tree`` with the leaf values that this loss wants; ``rows``: those of the leaves; may be collective."""


def make_objective(
    loss: str,
    y: NDArray[Any],
    *,
    weights: NDArray[np.float64] | None,
    metrics: Sequence[str],
    n_classes: int,
    n_rows: int,
    num_threads: int,
    comm: Communicator,
) -> Objective:
    """The loss 'squared_error', 'logistic' or 'softmax' over this rank's targets ``y``."""
    shared: dict[str, Any] = {"metrics": metrics, "n_rows": n_rows, "num_threads": num_threads, "comm": comm}
    if loss == "squared_error":
        return SquaredError(y, **shared)
    return LogisticLoss(y, **shared) if loss == "logistic" else SoftmaxLoss(y, n_classes=n_classes, **shared)


class _RowSums:
    """The sums of one pass over rows, reduced over ranks."""

    def __init__(self, comm: Communicator) -> None:
        self.comm = comm
        self.stats = np.zeros(N_STATS, dtype=np.int64)
        self.largest = np.zeros(N_LARGEST, dtype=np.int64)

    def reduce(self) -> None:
        """Add up over ranks; the one place where objectives talk, beside the scale of residuals."""
        self.comm.allreduce_sum(self.stats, name="sum gradients")
        self.comm.allreduce_max(self.largest, name="largest gradient")

    def gradients(self, values: NDArray[np.int64], *, g_exponent: int, h_exponent: int) -> Gradients:
        """The reduced sums beside this rank's ``values``."""
        return Gradients(
            values=values,
            g_exponent=g_exponent,
            h_exponent=h_exponent,
            sums=normalize_limbs(self.stats[:4].reshape(1, 4).copy())[0],
            abs_g=limbs_to_int(int(self.stats[4]), int(self.stats[5])),
            max_g=int(self.largest[0]),
            max_h=int(self.largest[1]),
        )

    def mean_loss(self, exponent: int, n_rows: int) -> float:
        """The loss in units of ``2**(exponent - 50)``, per row."""
        return limbs_to_float(int(self.stats[6]), int(self.stats[7]), exponent) / n_rows


class _Loss:
    """What all losses share."""

    base_score = 0.0
    link = "margin"

    def refit_leaves(self, tree: GrownTree, rows: NDArray[np.uint32], scores: NDArray[np.float64], step_size: float) -> GrownTree:
        """``tree``: its leaves are already the best."""
        return tree


class SquaredError(_Loss):
    """Half the squared error of a prediction: g = prediction - y, h = 1."""

    n_outputs = 1
    base_score = 0.5

    def __init__(
        self, y: NDArray[np.float64], *, metrics: Sequence[str] = ("max_error", "rmse"), n_rows: int, num_threads: int, comm: Communicator
    ) -> None:
        self.metrics = metrics
        self.y, self.n_rows, self.num_threads, self.comm = y, n_rows, num_threads, comm
        self._values = np.empty((len(y), 1), dtype=np.int64)

    def evaluate(self, scores: NDArray[np.float64]) -> dict[str, float]:
        """The metrics max_error and rmse; collective."""
        largest = np.array([compute_residuals(scores[0], self.y, self._values, self.num_threads)])
        self.comm.allreduce_max(largest, name="largest residual")
        exponent = exponent_above(float(largest[0]))
        sums = _RowSums(self.comm)
        quantise_residuals(self._values, exponent, sums.stats, sums.largest, self.num_threads)
        sums.reduce()
        self._gradients = sums.gradients(self._values, g_exponent=exponent, h_exponent=0)
        found = {"max_error": float(largest[0]), "rmse": math.ldexp(math.sqrt(sums.mean_loss(0, self.n_rows)), exponent)}
        return {name: found[name] for name in self.metrics}

    def gradients(self, output: int) -> Gradients:
        """The residuals."""
        return self._gradients


class LogisticLoss(_Loss):
    """Negative log likelihood of two classes: g = p - y, h = p (1 - p), p = 1 / (1 + e^-score)."""

    n_outputs = 1

    def __init__(
        self, y: NDArray[np.int32], *, metrics: Sequence[str] = ("accuracy", "log_loss"), n_rows: int, num_threads: int, comm: Communicator
    ) -> None:
        self.metrics = metrics
        self.y, self.n_rows, self.num_threads, self.comm = y, n_rows, num_threads, comm
        self._values = np.empty((len(y), 2), dtype=np.int64)

    def evaluate(self, scores: NDArray[np.float64]) -> dict[str, float]:
        """The metrics accuracy and log_loss; collective."""
        sums = _RowSums(self.comm)
        compute_logistic(scores[0], self.y, self._values, sums.stats, sums.largest, self.num_threads)
        sums.reduce()
        self._gradients = sums.gradients(self._values, g_exponent=0, h_exponent=-2)
        found = {"accuracy": int(sums.stats[8]) / self.n_rows, "log_loss": sums.mean_loss(LOSS_EXPONENT, self.n_rows)}
        return {name: found[name] for name in self.metrics}

    def gradients(self, output: int) -> Gradients:
        """The gradients of the margin."""
        return self._gradients


class SoftmaxLoss(_Loss):
    """Negative log likelihood of K classes: g = p_k - [y = k], h = 2 p_k (1 - p_k), p = softmax(scores)."""

    def __init__(
        self,
        y: NDArray[np.int32],
        *,
        n_classes: int,
        metrics: Sequence[str] = ("accuracy", "log_loss"),
        n_rows: int,
        num_threads: int,
        comm: Communicator,
    ) -> None:
        self.metrics = metrics
        self.y, self.n_outputs, self.n_rows, self.num_threads, self.comm = y, n_classes, n_rows, num_threads, comm
        self._values = np.empty((len(y), 2), dtype=np.int64)
        self._row_max = np.empty(len(y))
        self._row_sum = np.empty(len(y))

    def evaluate(self, scores: NDArray[np.float64]) -> dict[str, float]:
        """The metrics accuracy and log_loss; collective."""
        sums = _RowSums(self.comm)
        normalize_softmax(scores, self.y, self._row_max, self._row_sum, sums.stats, sums.largest, self.num_threads)
        sums.reduce()
        self._scores = scores
        found = {"accuracy": int(sums.stats[8]) / self.n_rows, "log_loss": sums.mean_loss(LOSS_EXPONENT, self.n_rows)}
        return {name: found[name] for name in self.metrics}

    def gradients(self, output: int) -> Gradients:
        """The gradients of one class's margin, whose scores must not have changed since :meth:`evaluate`; collective."""
        sums = _RowSums(self.comm)
        compute_softmax(
            self._scores[output], self.y, output, self._row_max, self._row_sum, self._values, sums.stats, sums.largest, self.num_threads
        )
        sums.reduce()
        return sums.gradients(self._values, g_exponent=0, h_exponent=-1)
