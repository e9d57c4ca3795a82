"""LDLT, dot products and coordinate descent: by hand, beside NumPy, and with the same bits whatever the machine chooses."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from engine._kernels.dense_solve import dot, factor_ldlt, fill_inverse_diagonal, multiply_symmetric, solve_ldlt, sweep_coordinates
from hypothesis import given
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).resolve().parents[2]


def definite(n, seed=0):
    x = np.random.default_rng(seed).normal(size=(n + 5, n))
    return np.ascontiguousarray(x.T @ x)


def factor(a):
    lower, pivots = a.copy(), np.empty(len(a))
    factor_ldlt(lower, pivots, 1e-13 * np.diag(a))
    return lower, pivots


def naive_ldlt(a):
    """The textbook's loop over columns."""
    n = len(a)
    lower, pivots = np.eye(n), np.zeros(n)
    for j in range(n):
        pivots[j] = a[j, j] - sum(lower[j, k] ** 2 * pivots[k] for k in range(j))
        for i in range(j + 1, n):
            lower[i, j] = (a[i, j] - sum(lower[i, k] * lower[j, k] * pivots[k] for k in range(j))) / pivots[j]
    return lower, pivots


def test_by_hand():
    lower, pivots = factor(np.array([[4.0, 2.0], [2.0, 5.0]]))
    assert (lower[1, 0], pivots.tolist()) == (0.5, [4.0, 4.0])
    x = np.array([8.0, 8.0])
    solve_ldlt(lower, pivots, x)
    assert x.tolist() == [1.5, 1.0]
    inverse = np.empty(2)
    fill_inverse_diagonal(lower, pivots, inverse)
    assert inverse.tolist() == [0.3125, 0.25]


@pytest.mark.parametrize("n", [1, 2, 7, 47, 48, 49, 97, 600])
def test_solves_beside_numpy(n):
    a, b = definite(n), np.random.default_rng(1).normal(size=n)
    lower, pivots = factor(a)
    whole = np.tril(lower, -1) + np.eye(n)
    assert np.abs(whole * pivots @ whole.T - a).max() < 1e-13 * np.abs(a).max() * n
    x = b.copy()
    solve_ldlt(lower, pivots, x)
    assert np.allclose(x, np.linalg.solve(a, b), rtol=1e-7)
    inverse = np.empty(n)
    fill_inverse_diagonal(lower, pivots, inverse)
    assert np.allclose(inverse, np.diag(np.linalg.inv(a)), rtol=1e-7)


@pytest.mark.parametrize("n", [1, 5, 60])
def test_factor_beside_the_naive_one(n):
    a = definite(n, 3)
    lower, pivots = factor(a)
    expected, diagonal = naive_ldlt(a)
    assert np.allclose(np.tril(lower, -1), np.tril(expected, -1), rtol=1e-9, atol=1e-12)
    assert np.allclose(pivots, diagonal, rtol=1e-9)


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_any_size_solves(n, seed):
    a, expected = definite(n, seed), np.random.default_rng(seed).normal(size=n)
    x = a @ expected
    lower, pivots = factor(a)
    solve_ldlt(lower, pivots, x)
    assert np.abs(a @ x - a @ expected).max() <= 1e-9 * np.abs(a).max()


def test_dependent_columns_are_left_out():
    x = np.random.default_rng(2).normal(size=(20, 3))
    x = np.column_stack([x[:, 0], x[:, 0], x[:, 1], np.zeros(20), x[:, 2]])
    a = x.T @ x
    lower, pivots = factor(np.ascontiguousarray(a))
    assert np.flatnonzero(pivots == 0.0).tolist() == [1, 3]
    b = a @ np.ones(5)
    y = b.copy()
    solve_ldlt(lower, pivots, y)
    assert y[1] == y[3] == 0.0
    assert np.allclose(a @ y, b)
    inverse = np.empty(5)
    fill_inverse_diagonal(lower, pivots, inverse)
    kept = [0, 2, 4]
    assert np.allclose(inverse[kept], np.diag(np.linalg.inv(a[np.ix_(kept, kept)])))


def test_nothing_and_read_only():
    empty = np.empty((0, 0))
    factor_ldlt(empty, np.empty(0), np.empty(0))
    solve_ldlt(empty, np.empty(0), np.empty(0))
    fill_inverse_diagonal(empty, np.empty(0), np.empty(0))
    multiply_symmetric(empty, np.empty(0), np.empty(0))
    assert dot(np.empty(0), np.empty(0)) == 0.0
    assert sweep_coordinates(empty, np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), np.empty(0)) == 0.0
    lower, pivots = factor(definite(3))
    lower.flags.writeable = pivots.flags.writeable = False
    solve_ldlt(lower, pivots, np.ones(3))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="expected arrays of length 3, got one of 2"):
        dot(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="length 3"):
        solve_ldlt(np.eye(3), np.ones(3), np.ones(4))
    with pytest.raises(IndexError, match="expected coordinates"):
        sweep_coordinates(np.eye(2), np.array([2]), np.ones(2), np.ones(2), np.ones(2))


@pytest.mark.parametrize("n", [1, 7, 8, 9, 100, 1001])
def test_dot_and_product_beside_numpy(n):
    draw = np.random.default_rng(n)
    x, y = draw.normal(size=(2, n))
    assert dot(x, y) == pytest.approx(float(x @ y), rel=1e-12, abs=1e-12)
    a, out = definite(n), np.empty(n)
    multiply_symmetric(a, x, out)
    assert np.allclose(out, a @ x)


def test_sweep_by_hand():
    """x'x / 2 - 3 x0 - x1 + |x0| + 2 |x1|: x0 = 2, x1 = 0."""
    slope, x = np.array([-3.0, -1.0]), np.zeros(2)
    assert sweep_coordinates(np.eye(2), np.arange(2), np.array([1.0, 2.0]), slope, x) == 4.0
    assert (x.tolist(), slope.tolist()) == ([2.0, 0.0], [-1.0, -1.0])


def test_sweeps_beside_a_naive_loop():
    h, g, penalty = definite(6), np.random.default_rng(9).normal(size=6), np.full(6, 0.7)
    slope, x, chosen = g.copy(), np.zeros(6), np.array([4, 0, 5, 2])
    naive = np.zeros(6)
    for _ in range(3):
        sweep_coordinates(h, chosen, penalty, slope, x)
        for j in chosen:
            z = h[j, j] * naive[j] - (g + h @ naive)[j]
            naive[j] = np.sign(z) * max(abs(z) - 0.7, 0.0) / h[j, j]
        assert np.allclose(x, naive, rtol=1e-12)
        assert np.allclose(slope, g + h @ x, rtol=1e-9)
    assert x[1] == x[3] == 0.0


def test_same_bits_in_other_environments():
    code = """
import hashlib, numpy as np
from engine._kernels.dense_solve import *
x = (np.arange(200 * 150) * 7919 % 10007).reshape(200, 150) / 10007.0
a = np.empty((150, 150))
for i in range(150):
    for j in range(150):
        a[i, j] = dot(np.ascontiguousarray(x[:, i]), np.ascontiguousarray(x[:, j]))
pivots, b, slope, c = np.empty(150), np.ones(150), np.ones(150), np.zeros(150)
sweep_coordinates(a, np.arange(150), np.full(150, 0.1), slope, c)
factor_ldlt(a, pivots, np.zeros(150))
solve_ldlt(a, pivots, b)
print(hashlib.sha256(b"".join(v.tobytes() for v in (np.tril(a), pivots, b, slope, c))).hexdigest())
"""
    changes = [{}, {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"}, {"OPENBLAS_CORETYPE": "Prescott"}]
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **change}, capture_output=True, text=True, check=True
        ).stdout
        for change in changes
    }
    assert len(printed) == 1
