"""An objective with its penalties: ``f(w) + l2 |w|^2 + l1 |w|_1``, intercepts left out of both.

Solvers minimise it. The sum of the first two terms is smooth; the third is left to those solvers that know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine._kernels.dense_solve import dot
from engine.models._linear.objective_protocol import Floats, Line, LinePoint, Metrics, Objective, Order


@dataclass(frozen=True)
class Point:
    """The penalised objective at ``w``; gradient and Hessian are those of the smooth part."""

    w: Floats
    smooth: float
    value: float  # the smooth part and the l1 penalty
    gradient: Floats
    hessian: Floats  # of order 2, else [0, 0]
    metrics: Metrics
    is_finite: bool


class Penalised:
    """``passes`` counts how often the features were gone through, also over interruptions."""

    def __init__(self, objective: Objective, *, l1: float, l2: float) -> None:
        free = np.asarray(objective.is_intercept, dtype=bool)
        self.objective = objective
        self.l1 = np.where(free, 0.0, l1)
        self.l2 = np.where(free, 0.0, l2)
        self.n = objective.n_coefficients
        self.passes = 0

    def at(self, w: Floats, order: Order) -> Point:
        """Evaluate, in one pass over the features."""
        self.passes += 1
        found = self.objective.evaluate(w, order)
        smooth = found.loss + dot(self.l2 * w, w)
        gradient, hessian = np.array(found.gradient), found.hessian
        if order:
            gradient += 2.0 * self.l2 * w
        if order == 2:
            hessian = np.array(hessian)
            hessian[np.diag_indices(self.n)] += 2.0 * self.l2
        value = smooth + self.l1_of(w)
        return Point(w, smooth, value, gradient, hessian, found.metrics, found.is_finite and bool(np.isfinite(value)))

    def along(self, w: Floats, direction: Floats) -> PenalisedLine:
        """The objective on a line, one pass over the features however many points are looked at."""
        self.passes += 1
        return PenalisedLine(self.objective.search_line(w, direction), self.l1, self.l2, w, direction)

    def l1_of(self, w: Floats) -> float:
        """The l1 penalty at ``w``."""
        return dot(self.l1, np.abs(w))

    def subgradient(self, point: Point) -> Floats:
        """The shortest subgradient; 0 exactly at an optimum."""
        g, w = point.gradient, point.w
        shrunk = np.sign(g) * np.maximum(np.abs(g) - self.l1, 0.0)
        return np.where(w != 0.0, g + self.l1 * np.sign(w), shrunk)


class PenalisedLine:
    """The objective at ``w + step * direction``; its slope is that to the right, where the l1 penalty has a kink."""

    def __init__(self, line: Line, l1: Floats, l2: Floats, w: Floats, direction: Floats) -> None:
        self._line, self._l1, self._w, self._direction = line, l1, w, direction
        self._square, self._mixed, self._bend = (dot(l2 * a, b) for a, b in ((w, w), (w, direction), (direction, direction)))

    def look(self, steps: Sequence[float]) -> list[LinePoint]:
        """Values and slopes at some steps, in one exchange."""
        return [self._penalise(point) for point in self._line.look(steps)]

    def _penalise(self, point: LinePoint) -> LinePoint:
        t, d = point.step, self._direction
        w = self._w + t * d
        signs = np.where(w != 0.0, np.sign(w), np.sign(d))
        loss = point.loss + (self._square + t * (2.0 * self._mixed + t * self._bend)) + dot(self._l1, np.abs(w))
        slope = point.slope + 2.0 * (self._mixed + t * self._bend) + dot(self._l1 * signs, d)
        return LinePoint(t, loss, slope, point.is_finite and bool(np.isfinite(loss) and np.isfinite(slope)))


def largest(values: Floats) -> float:
    """The largest absolute value; 0 of none."""
    return float(np.abs(values).max(initial=0.0))
