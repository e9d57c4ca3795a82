"""How far predictions are from numbers: root-mean-square error and largest error, over all ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.collectives.communicator import Communicator
from engine.collectives.exact import exponent_above, sum_exact

REGRESSION_METRICS = ("max_error", "rmse")


def compute_regression_metrics(
    comm: Communicator, predictions: NDArray[np.float64], actual: NDArray[np.float64], names: Sequence[str], n_rows: int
) -> dict[str, Any]:
    """The metrics ``names`` of this rank's ``predictions`` and ``actual`` numbers, over all ``n_rows`` rows of all ranks; collective."""
    errors = np.abs(predictions - actual)
    largest = np.array([errors.max() if len(errors) else 0.0])
    comm.allreduce_max(largest, name="evaluate: largest error")
    max_error = float(largest[0])
    values: dict[str, Any] = {"max_error": max_error}
    if "rmse" in names:
        values["rmse"] = reduce_rmse(comm, errors, max_error, n_rows)
    return {name: values[name] for name in names}


def reduce_rmse(comm: Communicator, errors: NDArray[np.float64], max_error: float, n_rows: int) -> float:
    """sqrt(sum(errors^2) / n_rows), the sum being exact up to one rounding a row; ``max_error`` is that of all ranks.

    Errors are first divided by the power of two at or above the largest, so that no square overflows and none that matters vanishes.
    """
    if max_error == 0.0 or not math.isfinite(max_error):
        return max_error
    exponent = exponent_above(max_error)
    scaled = np.ldexp(errors, -exponent)
    mean = sum_exact(comm, scaled * scaled, bound=1.0, name="evaluate: squared errors") / n_rows
    return math.ldexp(math.sqrt(mean), exponent)
