"""Objectives of small dense data in plain NumPy, as the solvers see them: their oracle, and what they are tried on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.models._linear.objective_protocol import Evaluation, Floats, LinePoint, Metrics, Order

GAMMA = 30.0


def squared(m: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Loss of each row, and its two derivatives by the margin."""
    return (m[:, 0] - y) ** 2, 2.0 * (m - y[:, None]), np.full((len(y), 1, 1), 2.0)


def softmax(m: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Classes 0 to K - 1; class 0 has margin 0. Two classes are the logistic loss."""
    z = np.concatenate([np.zeros((len(m), 1)), m], axis=1)
    top = z.max(axis=1, keepdims=True)
    total = np.log(np.exp(z - top).sum(axis=1)) + top[:, 0]
    p = np.exp(z - total[:, None])[:, 1:]
    hit = y[:, None] == np.arange(1, z.shape[1])
    curvature = p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None, :]
    return total - z[np.arange(len(y)), y.astype(int)], p - hit, curvature


def hinge(m: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """The smooth hinge loss of classes 0 and 1."""
    s = 2.0 * y - 1.0
    t = GAMMA * (1.0 - s * m[:, 0])
    p = 1.0 / (1.0 + np.exp(-t))
    return np.logaddexp(0.0, t) / GAMMA, (-s * p)[:, None], (GAMMA * p * (1.0 - p))[:, None, None]


LOSSES: dict[str, Any] = {"squared": squared, "softmax": softmax, "hinge": hinge}


class PlainObjective:
    """A sum over the rows of ``x`` [n, d], with an intercept last."""

    def __init__(self, x: Floats, y: Floats, loss: str, *, weights: Floats | None = None, offset: Floats | None = None) -> None:
        self.x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        self.y, self.loss, self.rows = np.asarray(y, dtype=float), loss, LOSSES[loss]
        self.weights = np.ones(len(x)) if weights is None else weights
        self.offset = np.zeros(len(x)) if offset is None else offset
        self.n_outputs = max(1, int(self.y.max(initial=0))) if loss == "softmax" else 1
        self.n_rows, self.passes = len(x), 0
        self.is_quadratic = loss == "squared"
        self.n_coefficients = self.n_outputs * self.x.shape[1]
        self.curvatures = np.tile(np.maximum((self.x**2).sum(axis=0), 1e-12), self.n_outputs)
        self.is_intercept = np.arange(self.n_coefficients) % self.x.shape[1] == self.x.shape[1] - 1

    def margins(self, w: Floats) -> Floats:
        return self.x @ w.reshape(self.n_outputs, -1).T + self.offset[:, None]

    def evaluate(self, w: Floats, order: Order) -> Evaluation:
        self.passes += 1
        with np.errstate(all="ignore"):
            return self._sum(self.margins(w), order, np.arange(self.n_rows))

    def _sum(self, m: Floats, order: Order, chosen: Any) -> Evaluation:
        x, y, weights = self.x[chosen], self.y[chosen], self.weights[chosen]
        loss, slope, curvature = self.rows(m[chosen], y)
        total = float(np.sum(weights * loss))
        gradient = ((weights[:, None] * slope).T @ x).reshape(-1) if order else np.empty(0)
        hessian = np.empty((0, 0))
        if order == 2:
            hessian = np.einsum("n,nab,ni,nj->aibj", weights, curvature, x, x, optimize=True).reshape(2 * (self.n_coefficients,))
            hessian = (hessian + hessian.T) / 2.0
        return Evaluation(total, gradient, hessian, self._measure(m[chosen], y, total), bool(np.isfinite(total)))

    def _measure(self, m: Floats, y: Floats, loss: float) -> Metrics:
        if self.loss == "squared":
            residual = m[:, 0] - y
            return Metrics(len(y), 0, float(residual @ residual), float(np.abs(residual).max(initial=0.0)), loss)
        z = np.concatenate([np.zeros((len(m), 1)), m], axis=1)
        return Metrics(len(y), int(np.sum(np.argmax(z, axis=1) == y)), 0.0, 0.0, loss)

    def search_line(self, w: Floats, direction: Floats) -> PlainLine:
        self.passes += 1
        return PlainLine(self, self.margins(w), self.margins(direction) - self.offset[:, None])

    def multiply_hessian(self, w: Floats, vectors: Floats) -> Floats:
        return vectors @ self.evaluate(w, 2).hessian

    def evaluate_folds(self, w: Floats, n_folds: int, seed: int) -> Sequence[Evaluation]:
        m = self.margins(w)
        return [self._sum(m, 2, np.arange(self.n_rows) % n_folds == fold) for fold in range(n_folds)]

    def measure_validation(self, w: Floats) -> Metrics | None:
        return None


class PlainLine:
    """Margins that are linear in the step."""

    def __init__(self, objective: PlainObjective, margins: Floats, change: Floats) -> None:
        self.objective, self.margins, self.change = objective, margins, change

    def look(self, steps: Sequence[float]) -> list[LinePoint]:
        with np.errstate(all="ignore"):
            return [self._at(step) for step in steps]

    def _at(self, step: float) -> LinePoint:
        loss, slope, _ = self.objective.rows(self.margins + step * self.change, self.objective.y)
        total = float(np.sum(self.objective.weights * loss))
        rises = float(np.sum(self.objective.weights[:, None] * slope * self.change))
        return LinePoint(step, total, rises, bool(np.isfinite(total) and np.isfinite(rises)))
