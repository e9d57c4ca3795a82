"""What a solver may ask of an objective: a sum over all rows of all ranks, at points of its own choosing.

Coefficients ``w`` are one vector of ``n_coefficients`` in scaled space (the objective divides every column by its scale). It consists of
``n_outputs`` parts of equal length, one for each class but the reference class 0 (one part for two classes, and for numbers); in each
part come the columns of the design matrix, and the intercept last.

The objective is ``sum_i weight_i * loss(offset_i + x_i w, y_i)`` alone: penalties belong to the solver, so that a path of penalties needs
no other objective. Everything returned is the same, bit by bit, for any ranks and threads, and depends on the arguments of this call
only, never on calls before it: ``w`` is all the state that a checkpoint needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Order = Literal[0, 1, 2]


@dataclass(frozen=True)
class Metrics:
    """What the progress table shows of a set of rows; sums without weights."""

    n_rows: int
    n_right: int  # rows whose class is predicted right; 0 for numbers
    sum_squares: float  # of residuals; 0 for classes
    max_error: float  # the largest |residual|; 0 for classes
    loss: float  # with weights, without penalty

    @property
    def accuracy(self) -> float:
        """The share of rows predicted right; NaN without rows."""
        return self.n_right / self.n_rows if self.n_rows else float("nan")

    @property
    def rmse(self) -> float:
        """The root of the mean squared residual; NaN without rows."""
        return float(np.sqrt(self.sum_squares / self.n_rows)) if self.n_rows else float("nan")


@dataclass(frozen=True)
class Evaluation:
    """The objective at a point. Arrays are read-only; ``is_finite`` is false where anything in them overflowed or is NaN."""

    loss: float
    gradient: Floats  # [n_coefficients]; empty for order 0
    hessian: Floats  # [n_coefficients, n_coefficients], symmetric, both halves; [0, 0] below order 2
    metrics: Metrics
    is_finite: bool


@dataclass(frozen=True)
class LinePoint:
    """The objective at ``w + step * direction``, and its derivative by ``step``."""

    step: float
    loss: float
    slope: float
    is_finite: bool


class Objective(Protocol):
    """A smooth convex sum over rows. A solver runs on one rank; the others follow what it asks."""

    @property
    def n_outputs(self) -> int:
        """Parts of ``w``: classes less one, or 1."""

    @property
    def n_coefficients(self) -> int:
        """Length of ``w``: ``n_outputs`` times (columns of the design matrix plus one)."""

    @property
    def is_intercept(self) -> NDArray[np.bool_]:
        """Which coefficients are intercepts, which have no penalty; [n_coefficients]."""

    @property
    def n_rows(self) -> int:
        """Rows of all ranks."""

    @property
    def is_quadratic(self) -> bool:
        """Whether the Hessian is the same everywhere (squared loss)."""

    @property
    def curvatures(self) -> Floats:
        """About the Hessian's diagonal at 0 if all weights are 1, from the columns' squares alone, all > 0; [n_coefficients].

        What a solver may scale its steps by.
        """

    @property
    def passes(self) -> int:
        """How often all rows' features were gone through."""

    def evaluate(self, w: Floats, order: Order) -> Evaluation:
        """Loss (0), gradient (1) and Hessian (2) at ``w``, in one pass over the features."""

    def search_line(self, w: Floats, direction: Floats) -> Line:
        """Prepare to look along a line: one pass over the features, and none for the points on it."""

    def multiply_hessian(self, w: Floats, vectors: Floats) -> Floats:
        """The Hessian at ``w`` times each of ``vectors`` [k, n_coefficients], [k, n_coefficients]; one pass."""

    def evaluate_folds(self, w: Floats, n_folds: int, seed: int) -> Sequence[Evaluation]:
        """Order 2 for the rows of each fold alone, in one pass; a row's fold is hash(seed, row) modulo ``n_folds``."""

    def measure_validation(self, w: Floats) -> Metrics | None:
        """The metrics of the validation rows; None without any."""


class Line(Protocol):
    """A line through coefficient space, whose margins are kept."""

    def look(self, steps: Sequence[float]) -> list[LinePoint]:
        """The objective at some steps along the line, without going through features; one exchange for all of them."""
