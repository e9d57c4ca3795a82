"""Losses of linear models: which kernel computes them at rows, and how large what it computes can be.

With margin m, class y (0 or 1, standing for -1 and +1 in the smoothed hinge) or number y, and weight w:

* squared: ``w (m - y)^2``
* logistic: ``w ln(1 + e^-t)``, t = m for class 1 and -m for class 0
* hinge: ``(w / 30) ln(1 + e^(-30 (y m - 1)))``
* softmax: ``w (ln(1 + sum of e^m_k) - m_y)``, margins of class 0 being 0
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from engine._kernels.linear import HINGE, LOGISTIC, SOFTMAX, SQUARED

LossName = Literal["squared", "logistic", "hinge"]
HINGE_SHARPNESS = 30.0
SLACK = 1.0 + 2.0**-20  # margins are rounded, so they may be a little beyond their bound


@dataclass(frozen=True)
class Bounds:
    """The most that a row's loss, squared residual, derivative and second derivative by a margin can be."""

    loss: float
    square: float
    gradient: float
    hessian: float


@dataclass(frozen=True)
class Loss:
    """One loss; ``kernel`` is its number in the kernels, ``n_outputs`` how many margins a row has."""

    name: str
    kernel: int
    n_outputs: int = 1

    @property
    def is_quadratic(self) -> bool:
        """Whether the second derivative is constant."""
        return self.kernel == SQUARED

    @property
    def curvature(self) -> float:
        """The second derivative of a row by its margins, about 0."""
        return {SQUARED: 2.0, HINGE: 1.0}.get(self.kernel, self.n_outputs / (self.n_outputs + 1.0) ** 2)

    def bounds(self, margin: float, y: float, weight: float) -> Bounds:
        """Bounds for margins within ``margin``, targets within ``y``, weights within ``weight``; infinite where that overflows."""
        if self.kernel == SQUARED:
            residual = (margin + y) * SLACK
            return Bounds(weight * residual * residual, residual * residual, 2.0 * weight * residual, 2.0 * weight)
        if self.kernel == HINGE:
            return Bounds(weight * (margin + 2.0) * SLACK, 1.0, weight, HINGE_SHARPNESS / 4.0 * weight)
        return Bounds(weight * (2.0 * margin + 1.0 + math.log(self.n_outputs + 1.0)) * SLACK, 1.0, weight, weight)


def make_loss(name: LossName, n_classes: int) -> Loss:
    """The loss of this name; logistic loss of more than two classes is softmax."""
    if name == "logistic" and n_classes > 2:
        return Loss("softmax", SOFTMAX, n_classes - 1)
    return Loss(name, {"squared": SQUARED, "logistic": LOGISTIC, "hinge": HINGE}[name])
