"""Losses: what a tree is fitted to, and the training metrics that fall out of the same pass over the rows.

Row sums are exact integers, added over ranks in one reduction; the scale of unbounded gradients comes from one global maximum before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from engine._kernels.exact import log_array, sigmoid_array
from engine._kernels.gradients import (
    N_LARGEST,
    N_STATS,
    compute_logistic,
    compute_quantile,
    compute_residuals,
    compute_softmax,
    fill_means,
    normalize_softmax,
    quantise_pairs,
    quantise_residuals,
    sum_logistic_metrics,
    sum_softmax_metrics,
    weigh_logistic,
    weigh_poisson,
    weigh_quantile,
    weigh_softmax,
    weigh_squared,
)
from engine._kernels.leaves import CONSTANT, OF_GRADIENT, STORED
from engine._kernels.prediction import fill_probabilities
from engine.collectives.agree import agree, raise_on_all
from engine.collectives.communicator import Communicator
from engine.collectives.exact import FIXED_POINT_BITS, exponent_above, limbs_to_float, limbs_to_int, normalize_limbs, sum_exact
from engine.errors import DataError
from engine.models._metrics.auc import compute_auc, compute_macro_auc
from engine.models._metrics.regression import compute_regression_metrics
from engine.models._metrics.tracked import check_metrics
from engine.models._metrics.weights import Weights, reduce_weights
from engine.models._trees.ensemble import LEAF, Link
from engine.models._trees.grown import GrownTree, LeafValues
from engine.models._trees.lanes import Gradients
from engine.models._trees.quantiles import residual_quantiles

LOSS_EXPONENT = 5  # clipped logistic losses are below 2**5
SMALLEST_WEIGHT, LARGEST_WEIGHT = 1e-30, 1e30
SMALLEST_MEAN = 1e-9  # where all counts are 0
NOTHING = LeafValues(np.empty(0, dtype=np.uint16), np.empty(0))
# The rows of a tree's leaves on this rank, the leaves in order: row numbers, and where each leaf's begin and end among them.
LeafRows = Callable[[GrownTree], tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]]
SMALLEST_FACTOR = 1e-3  # of means in one step: where all counts of a leaf are 0 and nothing regularises


class Objective(Protocol):
    """A loss over margins ``scores`` [n_outputs, n_rows_local]."""

    n_outputs: int
    base_score: float
    link: Link  # 'margin': predictions are made of scores as they are; 'log': they are e**score

    def evaluate(self, scores: NDArray[np.float64], added: LeafValues | None = None) -> dict[str, float]:
        """The tracked metrics, in the order asked, at ``scores`` over all ranks; collective. ``added`` is added to scores of one output.

        :meth:`gradients` then speaks of these scores. Raises :class:`DataError` where auc has no value: without rows of both kinds.
        """

    def gradients(self, output: int) -> Gradients:
        """Gradients of one output at the scores last evaluated; may be collective."""

    def refit_leaves(self, tree: GrownTree, leaf_rows: LeafRows, scores: NDArray[np.float64], step_size: float) -> GrownTree:
        """``tree`` with the leaf values that this loss wants, times ``step_size``; may be collective.

        ``tree`` was grown at these ``scores`` [n_outputs, n_rows_local]; ``rows``: the grower's order of rows, which its leaves cut.
        """


class _RowSums:
    """The sums of one pass over rows, reduced over ranks."""

    def __init__(self, comm: Communicator) -> None:
        self.comm = comm
        self.stats = np.zeros(N_STATS, dtype=np.int64)
        self.largest = np.zeros(N_LARGEST, dtype=np.int64)

    def reduce(self) -> None:
        """Add up over ranks; collective."""
        self.comm.allreduce_sum(self.stats, name="sum gradients")
        self.comm.allreduce_max(self.largest, name="largest gradient")

    def gradients(self, values: NDArray[np.int64], *, g_exponent: int, h_exponent: int, hessian: int = STORED) -> Gradients:
        """The reduced sums beside this rank's ``values``."""
        return Gradients(
            values=values,
            g_exponent=g_exponent,
            h_exponent=h_exponent,
            sums=normalize_limbs(self.stats[:4].reshape(1, 4).copy())[0],
            abs_g=limbs_to_int(int(self.stats[4]), int(self.stats[5])),
            max_g=int(self.largest[0]),
            max_h=int(self.largest[1]),
            hessian=hessian,
        )

    def class_metrics(self, n_rows: int, weights: Weights | None) -> dict[str, float]:
        """Accuracy and log_loss; with ``weights``, those predicted right are in the place of g."""
        if weights is None:
            return {"accuracy": int(self.stats[8]) / n_rows, "log_loss": self.mean_loss(LOSS_EXPONENT, n_rows)}
        right, loss = (limbs_to_int(int(self.stats[at]), int(self.stats[at + 1])) for at in (0, 6))
        return {"accuracy": right / weights.total, "log_loss": (loss << LOSS_EXPONENT) / weights.total}

    def mean_loss(self, exponent: int, n_rows: int) -> float:
        """The loss in units of ``2**(exponent - 50)``, per row."""
        return limbs_to_float(int(self.stats[6]), int(self.stats[7]), exponent) / n_rows


class _Loss:
    """What all losses share: rows, weights and tracked metrics."""

    name: ClassVar[str]
    n_outputs = 1
    base_score = 0.0
    link: Link = "margin"

    def __init__(
        self,
        y: NDArray[Any],
        *,
        n_rows: int,
        num_threads: int,
        comm: Communicator,
        weights: Weights | None = None,
        metrics: Sequence[str] | None = None,
    ) -> None:
        self.y, self.weights, self.n_rows, self.num_threads, self.comm = y, weights, n_rows, num_threads, comm
        self.metrics = check_metrics("auto", self.name) if metrics is None else metrics

    def refit_leaves(self, tree: GrownTree, leaf_rows: LeafRows, scores: NDArray[np.float64], step_size: float) -> GrownTree:
        """``tree``: its leaves are already the best."""
        return tree

    def _take(self, scores: NDArray[np.float64], added: LeafValues | None) -> None:
        self._scores = scores
        if added is not None:
            added.add_to(scores[0], self.num_threads)

    @cached_property
    def _values(self) -> NDArray[np.int64]:
        """Room for gradients and hessians; rows that are only evaluated need none."""
        return np.empty((len(self.y), 2), dtype=np.int64)

    @cached_property
    def _column(self) -> NDArray[np.int64]:
        """Room for gradients without hessians."""
        return np.empty((len(self.y), 1), dtype=np.int64)

    @cached_property
    def _whole_weights(self) -> NDArray[np.int64] | None:
        return None if self.weights is None else self.weights.whole(self.n_rows)

    def _quantise(self, largest: NDArray[np.float64]) -> Gradients:
        """Turn the doubles in ``_values``, on this rank at most ``largest``, into integers; collective."""
        self.comm.allreduce_max(largest, name="largest gradient and hessian")
        g_exponent, h_exponent = map(exponent_above, largest.tolist())
        sums = _RowSums(self.comm)
        quantise_pairs(self._values, g_exponent, h_exponent, sums.stats, sums.largest, self.num_threads)
        sums.reduce()
        return sums.gradients(self._values, g_exponent=g_exponent, h_exponent=h_exponent)


class SquaredError(_Loss):
    """Half the squared error of a prediction: g = w (prediction - y), h = w."""

    name = "squared_error"
    base_score = 0.5

    def evaluate(self, scores: NDArray[np.float64], added: LeafValues | None = None) -> dict[str, float]:
        """The tracked ones of max_error and rmse; collective."""
        self._take(scores, added)
        if self.weights is not None:
            return compute_regression_metrics(
                self.comm, scores[0], self.y, self.metrics, self.n_rows, weights=self.weights, num_threads=self.num_threads
            )
        largest = np.array([compute_residuals(scores[0], self.y, self._column, self.num_threads)])
        self.comm.allreduce_max(largest, name="largest residual")
        exponent = exponent_above(float(largest[0]))
        sums = _RowSums(self.comm)
        quantise_residuals(self._column, exponent, sums.stats, sums.largest, self.num_threads)
        sums.reduce()
        self._gradients = sums.gradients(self._column, g_exponent=exponent, h_exponent=0, hessian=CONSTANT)
        found = {"max_error": float(largest[0]), "rmse": math.ldexp(math.sqrt(sums.mean_loss(0, self.n_rows)), exponent)}
        return {name: found[name] for name in self.metrics}

    def gradients(self, output: int) -> Gradients:
        """The residuals; collective."""
        if self.weights is None:
            return self._gradients
        largest = np.zeros(2)
        weigh_squared(self._scores[0], self.y, self.weights.values, self._values, largest, self.num_threads)
        return self._quantise(largest)


class PoissonLoss(_Loss):
    """Negative log likelihood of counts whose mean is e**score: g = w (mean - y), h = w mean."""

    name = "poisson"
    link: Link = "log"

    def __init__(self, y: NDArray[np.float64], **shared: Any) -> None:
        super().__init__(y, **shared)
        self._means = np.empty(len(y))
        rows = y if self.weights is None else y * self.weights.values
        total = sum_exact(self.comm, rows, name="sum targets")
        mean = total / (self.n_rows if self.weights is None else math.ldexp(self.weights.total, self.weights.exponent - FIXED_POINT_BITS))
        self.base_score = _log(mean if mean > 0.0 else SMALLEST_MEAN)

    def evaluate(self, scores: NDArray[np.float64], added: LeafValues | None = None) -> dict[str, float]:
        """The tracked ones of max_error, rmse and poisson_deviance, of means; collective."""
        self._take(scores, added)
        if not self.metrics:
            return {}
        fill_means(scores[0], self._means, self.num_threads)
        return compute_regression_metrics(
            self.comm, self._means, self.y, self.metrics, self.n_rows, weights=self.weights, num_threads=self.num_threads
        )

    def gradients(self, output: int) -> Gradients:
        """The gradients of the score; collective."""
        largest = np.zeros(2)
        weights = None if self.weights is None else self.weights.values
        weigh_poisson(self._scores[0], self.y, weights, self._values, largest, self.num_threads)
        return self._quantise(largest)

    def refit_leaves(self, tree: GrownTree, leaf_rows: LeafRows, scores: NDArray[np.float64], step_size: float) -> GrownTree:
        """``tree`` with steps that cannot overshoot: ln(1 + v) instead of Newton's v.

        Newton's v = -G / (H + lambda) makes e**v times too much of a leaf whose counts are far above its mean. As G = H - sum(w y),
        1 + v is (sum(w y) + lambda) / (H + lambda): the best factor for the leaf's means if they have a gamma prior of that weight.
        """
        if step_size == 0.0:
            return tree
        factor = np.maximum(1.0 + tree.value[tree.kind == LEAF] / step_size, SMALLEST_FACTOR)
        steps = np.empty(len(factor))
        log_array(factor, steps)
        return _with_leaves(tree, steps * step_size)


class QuantileLoss(_Loss):
    """Quantile (pinball) loss: g = w (1 - quantile) where y < score, else -w quantile; h = w.

    Its second derivative is 0, so trees split by gradients alone, and each leaf then gets the quantile of its residuals.
    """

    name = "quantile"

    def __init__(self, y: NDArray[np.float64], *, quantile: float, **shared: Any) -> None:
        super().__init__(y, **shared)
        self.quantile = quantile
        everyone = np.arange(len(y), dtype=np.uint32)
        self.base_score = float(self._quantiles(np.zeros(len(y)), everyone, np.zeros(1, np.int64), np.array([len(y)]))[0])

    def evaluate(self, scores: NDArray[np.float64], added: LeafValues | None = None) -> dict[str, float]:
        """The tracked ones of max_error, rmse and quantile_loss; collective."""
        self._take(scores, added)
        return compute_regression_metrics(
            self.comm,
            scores[0],
            self.y,
            self.metrics,
            self.n_rows,
            weights=self.weights,
            quantile=self.quantile,
            num_threads=self.num_threads,
        )

    def gradients(self, output: int) -> Gradients:
        """The sides of the score that rows lie on; collective."""
        if self.weights is not None:
            largest = np.zeros(2)
            weigh_quantile(self._scores[0], self.y, self.quantile, self.weights.values, self._values, largest, self.num_threads)
            return self._quantise(largest)
        sums = _RowSums(self.comm)
        compute_quantile(self._scores[0], self.y, self.quantile, self._column, sums.stats, sums.largest, self.num_threads)
        sums.reduce()
        return sums.gradients(self._column, g_exponent=0, h_exponent=0, hessian=CONSTANT)

    def refit_leaves(self, tree: GrownTree, leaf_rows: LeafRows, scores: NDArray[np.float64], step_size: float) -> GrownTree:
        """``tree`` with the exact quantiles of its leaves' residuals ``y - scores``; collective."""
        return _with_leaves(tree, self._quantiles(scores[0], *leaf_rows(tree)) * step_size)

    def _quantiles(
        self, scores: NDArray[np.float64], rows: NDArray[np.uint32], begin: NDArray[np.int64], end: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Quantiles of ``y - scores``; collective."""
        return residual_quantiles(
            self.y,
            scores,
            rows,
            begin,
            end,
            quantile=self.quantile,
            weights=self._whole_weights,
            num_threads=self.num_threads,
            comm=self.comm,
        )


class LogisticLoss(_Loss):
    """Negative log likelihood of two classes: g = w (p - y), h = w p (1 - p), p = 1 / (1 + e^-score)."""

    name = "logistic"

    def evaluate(self, scores: NDArray[np.float64], added: LeafValues | None = None) -> dict[str, float]:
        """The tracked ones of accuracy, log_loss and auc; collective."""
        sums = _RowSums(self.comm)
        if self.weights is None:
            leaf, values = added or NOTHING
            compute_logistic(scores[0], leaf, values, self.y, self._column, sums.stats, sums.largest, self.num_threads)
            sums.reduce()
            self._gradients = sums.gradients(self._column, g_exponent=0, h_exponent=-2, hessian=OF_GRADIENT)
        else:
            self._take(scores, added)
            if self.metrics:
                weights = self.weights
                sum_logistic_metrics(scores[0], self.y, weights.values, weights.exponent, sums.stats, sums.largest, self.num_threads)
                sums.reduce()
        found = sums.class_metrics(self.n_rows, self.weights)
        if "auc" in self.metrics:
            probabilities = np.empty(len(self.y))
            sigmoid_array(scores[0], probabilities)
            found["auc"] = check_auc(self.comm, compute_auc(self.comm, probabilities, self.y == 1, self._whole_weights))
        return {name: found[name] for name in self.metrics}

    def gradients(self, output: int) -> Gradients:
        """The gradients of the margin; collective."""
        if self.weights is None:
            return self._gradients
        largest = np.zeros(2)
        weigh_logistic(self._scores[0], self.y, self.weights.values, self._values, largest, self.num_threads)
        return self._quantise(largest)


class SoftmaxLoss(_Loss):
    """Negative log likelihood of K classes: g = w (p_k - [y = k]), h = 2 w p_k (1 - p_k), p = softmax(scores)."""

    name = "softmax"

    def __init__(self, y: NDArray[np.int32], *, n_classes: int, **shared: Any) -> None:
        super().__init__(y, **shared)
        self.n_outputs = n_classes
        self._row_max = np.empty(len(y))
        self._row_sum = np.empty(len(y))

    def evaluate(self, scores: NDArray[np.float64], added: LeafValues | None = None) -> dict[str, float]:
        """The tracked ones of accuracy, log_loss and auc; collective."""
        self._take(scores, added)
        sums = _RowSums(self.comm)
        normalize_softmax(scores, self.y, self._row_max, self._row_sum, sums.stats, sums.largest, self.num_threads)
        if self.weights is not None:
            sums = _RowSums(self.comm)
            sum_softmax_metrics(
                scores, self.y, self._row_max, self._row_sum, self.weights.values, self.weights.exponent, sums.stats, sums.largest,
                self.num_threads,
            )  # fmt: skip
        sums.reduce()
        found = sums.class_metrics(self.n_rows, self.weights)
        if "auc" in self.metrics:
            probabilities = np.empty((len(self.y), self.n_outputs))
            fill_probabilities(np.ascontiguousarray(scores.T), probabilities, self.num_threads)
            found["auc"] = check_auc(self.comm, compute_macro_auc(self.comm, probabilities, self.y, self._whole_weights))
        return {name: found[name] for name in self.metrics}

    def gradients(self, output: int) -> Gradients:
        """The gradients of one class's margin, whose scores must not have changed since :meth:`evaluate`; collective."""
        scores, rows = self._scores[output], (self._row_max, self._row_sum)
        if self.weights is not None:
            largest = np.zeros(2)
            weigh_softmax(scores, self.y, output, *rows, self.weights.values, self._values, largest, self.num_threads)
            return self._quantise(largest)
        sums = _RowSums(self.comm)
        compute_softmax(scores, self.y, output, *rows, self._values, sums.stats, sums.largest, self.num_threads)
        sums.reduce()
        return sums.gradients(self._values, g_exponent=0, h_exponent=-1)


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
    quantile: float = 0.5,
    first_row: int = 0,
) -> Objective:
    """The loss 'logistic', 'softmax', 'squared_error', 'poisson' or 'quantile' over this rank's rows; collective.

    ``y``: class numbers (int32) or finite float64 [n_rows_local]. ``weights`` [n_rows_local]: None for 1 everywhere. ``metrics``: to be
    tracked, of :data:`engine.models._metrics.tracked.METRICS`. ``n_rows``: over all ranks, 1 or more; ``first_row``: the number of this
    rank's first row in the input. Raises :class:`DataError` on every rank for weights that are not 0 or in [1e-30, 1e30], for weights
    that are all 0, and for negative counts.
    """
    with agree(comm, "reading the target"):
        if weights is not None:
            check_weights(weights, first_row)
        if loss == "poisson":
            check_counts(y, first_row)
    shared: dict[str, Any] = {
        "weights": None if weights is None else reduce_weights(comm, weights),
        "metrics": list(metrics),
        "n_rows": n_rows,
        "num_threads": num_threads,
        "comm": comm,
    }
    if loss == "softmax":
        return SoftmaxLoss(y, n_classes=n_classes, **shared)
    if loss == "quantile":
        return QuantileLoss(y, quantile=quantile, **shared)
    losses: dict[str, type[LogisticLoss | SquaredError | PoissonLoss]]
    losses = {"logistic": LogisticLoss, "squared_error": SquaredError, "poisson": PoissonLoss}
    return losses[loss](y, **shared)


def check_weights(weights: NDArray[np.float64], first_row: int) -> None:
    """Refuse weights that are negative or not finite, and those with which sums of squares would overflow or vanish."""
    wrong = np.flatnonzero(~((weights == 0.0) | ((weights >= SMALLEST_WEIGHT) & (weights <= LARGEST_WEIGHT))))
    if len(wrong):
        raise DataError(
            f"weight {float(weights[wrong[0]])!r} of row {first_row + int(wrong[0])}: expected 0 or a number in "
            f"[{SMALLEST_WEIGHT}, {LARGEST_WEIGHT}]; scale the weights or drop such rows"
        )


def check_counts(y: NDArray[np.float64], first_row: int) -> None:
    """Refuse targets that no Poisson mean can lead to."""
    wrong = np.flatnonzero(~(y >= 0.0))
    if len(wrong):
        raise DataError(
            f"target {float(y[wrong[0]])!r} of row {first_row + int(wrong[0])}: expected a number >= 0 for objective 'poisson'; "
            "drop such rows or use objective 'squared_error'"
        )


def check_auc(comm: Communicator, auc: float | None) -> float:
    """Refuse to track what has no value; collective."""
    if auc is not None:
        return auc
    error = DataError("metric 'auc' has no value: expected rows of two classes or more, got one; leave 'auc' out of metric")
    raise_on_all(comm, error, "tracking metrics")
    raise error


def _with_leaves(tree: GrownTree, leaf_value: NDArray[np.float64]) -> GrownTree:
    """``tree`` with other leaf values, in the order of its leaves."""
    value = tree.value.copy()
    value[tree.kind == LEAF] = leaf_value
    return replace(tree, value=value)


def _log(x: float) -> float:
    out = np.empty(1)
    log_array(np.array([x]), out)
    return float(out[0])
