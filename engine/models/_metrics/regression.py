"""How far predictions are from numbers, over all ranks: largest error, root-mean-square error, Poisson deviance, quantile loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine._kernels.metrics import NO_LOSS, POISSON_LOSS, QUANTILE_LOSS, measure_errors, sum_errors
from engine.collectives.communicator import Communicator
from engine.collectives.exact import exponent_above, limbs_to_float, limbs_to_int
from engine.models._metrics.weights import Weights

LOSSES = {"poisson_deviance": POISSON_LOSS, "quantile_loss": QUANTILE_LOSS}


def compute_regression_metrics(
    comm: Communicator,
    predictions: NDArray[np.float64],
    actual: NDArray[np.float64],
    names: Sequence[str],
    n_rows: int,
    *,
    weights: Weights | None = None,
    quantile: float = 0.5,
    num_threads: int = 1,
) -> dict[str, float]:
    """The metrics ``names`` of this rank's ``predictions`` and ``actual`` numbers, over all ``n_rows`` rows of all ranks; collective.

    max_error: the largest absolute error of rows of positive weight. rmse: the square root of the weighted mean of squared errors.
    poisson_deviance: the weighted mean of 2 (y ln(y / prediction) - y + prediction), predictions being above 0. quantile_loss: the weighted
    mean of quantile (y - prediction), or (1 - quantile) (prediction - y) where y is below. One of the last two can be asked for at once.
    Terms are rounded once, to 2**-50 of the power of two above the largest; nothing else is rounded before the result.
    """
    if not names:
        return {}
    loss = next((kind for name, kind in LOSSES.items() if name in names), NO_LOSS)
    predictions, actual = np.ascontiguousarray(predictions), np.ascontiguousarray(actual)
    rows = None if weights is None else weights.values
    largest = np.zeros(2)
    measure_errors(predictions, actual, rows, loss, quantile, largest, num_threads)
    comm.allreduce_max(largest, name="largest error")
    max_error, max_loss = largest.tolist()
    found: dict[str, float] = {"max_error": max_error, "rmse": max_error, **dict.fromkeys(LOSSES, max_loss)}
    if max_error > 0.0 and math.isfinite(max_error) and set(names) != {"max_error"}:
        summed = loss if math.isfinite(max_loss) else NO_LOSS
        exponents = exponent_above(max_error), exponent_above(max_loss) if summed else 0
        limbs = np.zeros(4, dtype=np.int64)
        scale = 0 if weights is None else weights.exponent
        sum_errors(predictions, actual, rows, scale, summed, quantile, *exponents, limbs, num_threads)
        comm.allreduce_sum(limbs, name="sum errors")
        found["rmse"] = math.ldexp(math.sqrt(mean(limbs[:2], n_rows, weights)), exponents[0])
        if summed:
            found.update(dict.fromkeys(LOSSES, math.ldexp(mean(limbs[2:], n_rows, weights), exponents[1] - scale)))
    return {name: found[name] for name in names}


def mean(limbs: NDArray[np.int64], n_rows: int, weights: Weights | None) -> float:
    """A sum of weighted terms, its limbs in units of 2**-50, over the sum of weights (as fractions of a power of two, for both)."""
    if weights is None:
        return limbs_to_float(int(limbs[0]), int(limbs[1]), 0) / n_rows
    return limbs_to_int(int(limbs[0]), int(limbs[1])) / weights.total
