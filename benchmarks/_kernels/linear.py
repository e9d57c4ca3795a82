"""Cases of linear models: passes over rows and dense systems."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from _kernels.case import COLUMNS, Case
from engine._kernels import (
    dense_solve,
    linear,
)


def dense_cases(random: np.random.Generator) -> Iterator[Case]:
    """Dense algebra of solvers, one thread and a fixed order, beside LAPACK; elements are multiplications of the textbook's loops."""
    n = 500
    x = random.normal(size=(2 * n, n))
    a, b = np.ascontiguousarray(x.T @ x), random.normal(size=n)
    lower, pivots, least, out = a.copy(), np.empty(n), 1e-13 * np.diag(a), np.empty(n)

    def factor() -> None:
        lower[:] = a
        dense_solve.factor_ldlt(lower, pivots, least)

    def solve() -> None:
        out[:] = b
        dense_solve.solve_ldlt(lower, pivots, out)

    yield Case("factor_ldlt", factor, lambda: np.linalg.cholesky(a), n**3 // 6)
    yield Case("solve_ldlt", solve, lambda: np.linalg.solve(a, b), n * n)
    yield Case("fill_inverse_diagonal", lambda: dense_solve.fill_inverse_diagonal(lower, pivots, out), lambda: np.linalg.inv(a), n**3 // 6)
    slope, chosen, penalty = -b, np.arange(n), np.full(n, 0.1)
    every = lambda: dense_solve.sweep_coordinates(a, chosen, penalty, slope, out)  # noqa: E731
    yield Case("sweep_coordinates", every, lambda: a @ b, n * n)
    yield Case("dot", lambda: dense_solve.dot(b, out), lambda: b @ out, n)


def linear_cases(random: np.random.Generator, n: int, threads: int) -> Iterator[Case]:
    """Passes over rows of numbers, and of five indicators a row; elements are values of the matrix."""
    y, order, levels = random.integers(0, 2, n).astype(float), [0, 1, 2], 1000
    columns = [random.normal(size=n) for _ in range(COLUMNS)]
    starts = np.arange(0, n, linear.BLOCK_ROWS) * 8
    address = np.ascontiguousarray(np.array([column.ctypes.data + starts for column in columns]).T)
    onehot = random.integers(0, levels, (n, 5)).astype(np.int32) + np.arange(5, dtype=np.int32) * levels
    none = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0)
    dense = linear.Features(n, 0, address, np.empty((n, 0), np.int32), *none)
    sparse = linear.Features(n, 5 * levels, address[:, :0].copy(), onehot, *none)
    matrix = np.stack([*columns, np.ones(n)], axis=1)

    def dense_in_numpy(derivatives: int) -> object:
        p = 1 / (1 + np.exp(-(matrix @ np.full(COLUMNS + 1, 0.1))))
        gradient = matrix.T @ (p - y) if derivatives else None
        return gradient, (matrix * (p * (1 - p))[:, None]).T @ matrix if derivatives == 2 else None

    def sparse_in_numpy() -> object:
        p = 1 / (1 + np.exp(-np.full(5 * levels, 0.1)[onehot].sum(axis=1)))
        return np.bincount(onehot.reshape(-1), np.repeat(p - y, 5))

    for derivatives in order:
        name = f"logistic pass, {('loss', 'gradient', 'Hessian')[derivatives]}"
        yield Case(name, partial(pass_rows, dense, derivatives, y, threads), partial(dense_in_numpy, derivatives), n * COLUMNS)
    yield Case("logistic pass of strings", partial(pass_rows, sparse, 1, y, threads), sparse_in_numpy, n * 5)
    sums, largest, bad = np.zeros((len(address), COLUMNS, 2)), np.zeros(COLUMNS), np.zeros(COLUMNS, np.int64)
    measure_all = partial(linear.measure_columns, dense, sums, largest, bad, threads)
    yield Case("moments of columns", measure_all, lambda: [(c.sum(), c @ c, np.abs(c).max()) for c in columns], n * COLUMNS)


def pass_rows(features: linear.Features, order: int, y: NDArray[np.float64], threads: int) -> None:
    """One pass of logistic loss, with bounds that hold for normal columns."""
    nd, ns, n_hessians = features.n_dense + 1, features.n_sparse, int(order == 2)
    one = np.full(1, 2.0**20)
    ask = linear.Ask(
        loss=linear.LOGISTIC, order=order, coefficients=np.full((1, nd + ns), 0.1), vectors=np.empty((0, 1, nd + ns)),
        column_factor=np.full(nd, 2.0**-3), gradient_factor=one, entry_factor=np.full(1, 2.0**46), loss_factor=2.0**18,
        squares_factor=1.0, hessian_factor=2.0**23, pair_factor=2.0**40,
    )  # fmt: skip
    gradients_of = [np.zeros((1, min(order, 1), size, 2), np.int64) for size in (nd, ns)]
    pairs = np.zeros((1, n_hessians, nd * (nd + 1) // 2, 2), np.int64), np.zeros((1, n_hessians, ns, nd), np.int64)
    sparse_pairs = np.zeros((1, n_hessians, ns * (ns + 1) // 2), np.int64)
    scalars = np.zeros((1, linear.N_SCALARS), np.int64)
    linear.pass_rows(features, ask, y, None, None, None, scalars, *gradients_of, *pairs, sparse_pairs, np.zeros(1), threads)
    assert scalars[0, linear.BAD] == 0
