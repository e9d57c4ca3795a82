"""Least squares from sums alone: once the Gram matrix is known, every penalty and every fold is solved without the rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from engine._kernels.dense_solve import dot, multiply_symmetric
from engine.models._linear.newton import solve_step
from engine.models._linear.objective_protocol import Evaluation, Floats
from engine.models._linear.proximal_newton import minimize_model


@dataclass(frozen=True)
class Quadratic:
    """``loss + g'w + w'Hw / 2``: weighted squared errors of coefficients w, from their value, gradient and Hessian at w = 0."""

    loss: float
    gradient: Floats
    hessian: Floats

    @classmethod
    def of(cls, sums: Iterable[Evaluation]) -> Quadratic:
        """The sum of some folds, added in their order."""
        parts = list(sums)
        loss, gradient, hessian = parts[0].loss, np.array(parts[0].gradient), np.array(parts[0].hessian)
        for part in parts[1:]:
            loss, gradient, hessian = loss + part.loss, gradient + part.gradient, hessian + part.hessian
        return cls(loss, gradient, hessian)

    @property
    def weight(self) -> float:
        """The sum of the rows' weights: half the curvature of the intercept, which is last."""
        return float(self.hessian[-1, -1]) / 2.0

    def value(self, w: Floats) -> float:
        """Weighted squared errors; no less than 0, whatever rounding says."""
        return max(self.loss + dot(self.gradient, w) + 0.5 * dot(self._times(w), w), 0.0)

    def rmse(self, w: Floats) -> float:
        """The root of the weighted mean squared error; NaN without rows."""
        return math.sqrt(self.value(w) / self.weight) if self.weight > 0.0 else math.nan

    def minimize(self, l1: Floats, l2: Floats, near: Floats) -> Floats:
        """The coefficients that minimise it with penalties [n] of each; ``near``: where to look first."""
        bent = Quadratic(self.loss, self.gradient, self.hessian + 2.0 * np.diag(l2))
        if not l1.any():
            return solve_step(bent.hessian, bent.gradient)[0]
        return minimize_model(bent.hessian, bent.gradient + bent._times(near), near, l1)

    def _times(self, w: Floats) -> Floats:
        out = np.empty_like(w)
        multiply_symmetric(self.hessian, w, out)
        return out
