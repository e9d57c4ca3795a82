"""The sums of a pass over rows: one buffer of integers that ranks add up, and the numbers that it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine._kernels.linear import BAD, BLOCK_ROWS, ENTRY_BITS, LIMB_BITS, LOSS, N_SCALARS, RIGHT, ROWS, SQUARES, Ask
from engine.collectives.exact import exponent_above
from engine.encode.design_fitting import limbs_to_floats
from engine.encode.design_matrix import DesignMatrix
from engine.encode.features import Floats
from engine.models._linear.loss import Bounds
from engine.models._linear.objective_protocol import Evaluation, Metrics, Order

BLOCK_BITS = BLOCK_ROWS.bit_length() - 1
LEAST, MOST = -300, 200  # exponents of bounds; beyond them products of factors might leave the range of doubles
PAIR_BITS, MOST_PAIR_BITS = 62, 50
FAILED = N_SCALARS  # place after the scalars: how many ranks could not do their part


@dataclass(frozen=True)
class Units:
    """Powers of two that bound what is added up; None of a bound that is not finite."""

    loss: int
    square: int
    gradient: tuple[int, ...]  # one for each gradient
    hessian: int
    pair_bits: int

    @classmethod
    def of(cls, bounds: Bounds, gradients: list[float], n_rows: int) -> Units | None:
        """The units for bounds, those of ``gradients`` being one for each; None if the sums may overflow whatever the unit."""
        everything = [bounds.loss, bounds.square, *gradients, bounds.hessian]
        if not all(math.isfinite(each) and each <= 2.0**MOST for each in everything):
            return None
        loss, square, *others, hessian = (max(exponent_above(each), LEAST) for each in everything)
        return cls(loss, square, tuple(others), hessian, min(MOST_PAIR_BITS, PAIR_BITS - max(n_rows - 1, 1).bit_length()))


class PassSums:
    """The sums of one pass for ``n_folds`` sets of rows, in one buffer, so that ranks exchange it at once."""

    def __init__(self, design: DesignMatrix, n_outputs: int, order: Order, *, n_gradients: int, n_folds: int = 1) -> None:
        self.design, self.n_outputs, self.order = design, n_outputs, order
        nd, ns = design.layout.n_dense + 1, design.features.n_sparse
        n_hessians = n_outputs * (n_outputs + 1) // 2 if order == 2 else 0
        n_gradients = n_gradients if order > 0 else 0
        shapes = [
            (n_folds, N_SCALARS),
            (n_folds, n_gradients, nd, 2),
            (n_folds, n_gradients, ns, 2),
            (n_folds, n_hessians, nd * (nd + 1) // 2, 2),
            (n_folds, n_hessians, ns, nd),
            (n_folds, n_hessians, ns * (ns + 1) // 2),
        ]
        sizes = [math.prod(shape) for shape in shapes]
        self.buffer = np.zeros(sum(sizes) + 1, dtype=np.int64)  # the last is for ranks that failed
        places = np.cumsum([0, *sizes])
        parts = [self.buffer[begin:end].reshape(shape) for begin, end, shape in zip(places[:-1], places[1:], shapes, strict=True)]
        self.scalars, self.dense_gradient, self.sparse_gradient, self.dense_hessian, self.mixed_hessian, self.sparse_hessian = parts
        self.max_error = np.zeros(n_folds)

    def ask(self, loss: int, coefficients: Floats, vectors: Floats, units: Units) -> Ask:
        """What the kernel is told."""
        return Ask(
            loss=loss,
            order=self.order,
            coefficients=coefficients,
            vectors=vectors,
            column_factor=np.ldexp(1.0, -self.design.exponents[: self.design.layout.n_dense + 1]),
            gradient_factor=np.array([2.0 ** (LIMB_BITS - BLOCK_BITS - each) for each in units.gradient]),
            entry_factor=np.array([2.0 ** (ENTRY_BITS - each) for each in units.gradient]),
            loss_factor=2.0 ** (LIMB_BITS - BLOCK_BITS - units.loss),
            squares_factor=2.0 ** (LIMB_BITS - BLOCK_BITS - units.square),
            hessian_factor=2.0 ** (LIMB_BITS - BLOCK_BITS - units.hessian),
            pair_factor=2.0 ** (units.pair_bits - units.hessian),
        )

    def evaluation(self, fold: int, units: Units, factors: Floats) -> Evaluation:
        """What the sums of all ranks say of a set of rows.

        ``factors`` [n_columns + 1] take stored columns to scaled ones, in kernel order.
        """
        scalars = self.scalars[fold]
        loss = block_sum(scalars[LOSS : LOSS + 2], units.loss)
        squares = block_sum(scalars[SQUARES : SQUARES + 2], units.square)
        metrics = Metrics(int(scalars[ROWS]), int(scalars[RIGHT]), squares, float(self.max_error[fold]), loss)
        gradient = self.gradients(fold, units, factors).reshape(-1) if self.order > 0 else np.empty(0)
        hessian = self._hessian(fold, units, factors) if self.order == 2 else np.empty((0, 0))
        finite = scalars[BAD] == 0 and math.isfinite(loss) and bool(np.isfinite(gradient).all()) and bool(np.isfinite(hessian).all())
        for array in (gradient, hessian):
            array.flags.writeable = False
        return Evaluation(loss, gradient, hessian, metrics, finite)

    def gradients(self, fold: int, units: Units, factors: Floats) -> Floats:
        """[n_gradients, n_columns + 1] in the model's order."""
        nd, exponents = self.design.layout.n_dense + 1, np.array(units.gradient, dtype=np.int64)[:, None]
        dense = np.ldexp(limbs_to_floats(self.dense_gradient[fold]), exponents + self.design.exponents[:nd] + BLOCK_BITS - 2 * LIMB_BITS)
        sparse = np.ldexp(limbs_to_floats(self.sparse_gradient[fold]), exponents - ENTRY_BITS)
        out = np.empty((len(dense), len(factors)))
        out[:, self.design.layout.order] = np.concatenate([dense, sparse], axis=1) * factors
        return out

    def _hessian(self, fold: int, units: Units, factors: Floats) -> Floats:
        n, c = len(factors), self.n_outputs
        out = np.empty((c, n, c, n))
        order = self.design.layout.order
        numbers = iter(range(c * (c + 1) // 2))
        for k in range(c):
            for j in range(k, c):
                out[k, :, j, :][np.ix_(order, order)] = self._curvature(fold, next(numbers), units) * np.outer(factors, factors)
                if j > k:
                    out[j, :, k, :] = out[k, :, j, :]
        return out.reshape(c * n, c * n)

    def _curvature(self, fold: int, number: int, units: Units) -> Floats:
        """One part of the Hessian in kernel order, symmetric."""
        nd, ns = self.design.layout.n_dense + 1, self.design.features.n_sparse
        out = np.empty((nd + ns, nd + ns))
        rows, columns = np.triu_indices(nd)
        exponents = self.design.exponents[:nd]
        dense = np.ldexp(
            limbs_to_floats(self.dense_hessian[fold, number]),
            exponents[rows] + exponents[columns] + units.hessian + BLOCK_BITS - 2 * LIMB_BITS,
        )
        out[rows, columns] = out[columns, rows] = dense
        if ns:
            mixed = np.ldexp(self.mixed_hessian[fold, number].astype(np.float64), exponents + units.hessian - units.pair_bits)
            out[nd:, :nd], out[:nd, nd:] = mixed, mixed.T
            rows, columns = np.triu_indices(ns)
            sparse = np.ldexp(self.sparse_hessian[fold, number].astype(np.float64), units.hessian - units.pair_bits)
            out[nd + rows, nd + columns] = out[nd + columns, nd + rows] = sparse
        return out


def block_sum(limbs: NDArray[np.int64], exponent: int) -> float:
    """A sum over blocks of what is at most ``2**exponent`` for a row."""
    return float(np.ldexp(limbs_to_floats(limbs), exponent + BLOCK_BITS - 2 * LIMB_BITS))
