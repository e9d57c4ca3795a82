"""Passes over a design matrix: by hand, against NumPy, on every instruction set, for any cut of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._kernels import linear as kernels

COLUMN, GRADIENT, LOSS, HESSIAN, PAIR = 3, 4, 12, 5, 40  # exponents of bounds
KINDS = {"squared": kernels.SQUARED, "logistic": kernels.LOGISTIC, "hinge": kernels.HINGE, "given": kernels.GIVEN}


class Matrix:
    """Dense columns, indicators and entries, and the same as one dense array with the intercept after the dense columns."""

    def __init__(self, n, n_dense, sizes=(), n_entries=0, seed=0):
        draw = np.random.default_rng(seed)
        self.n, ns = n, sum(sizes) + n_entries
        self.dense = [np.clip(draw.normal(size=n), -7, 7) for _ in range(n_dense)]
        starts = np.cumsum([0, *sizes])
        onehot = np.full((n, len(sizes)), -1, dtype=np.int32)
        for k, size in enumerate(sizes):
            onehot[:, k] = draw.integers(-1, size, n)
            onehot[:, k] = np.where(onehot[:, k] >= 0, onehot[:, k] + starts[k], -1)
        values = np.where(draw.random((n, n_entries)) < 0.4, draw.uniform(-1, 1, (n, n_entries)), 0.0)
        rows, places = np.nonzero(values)
        start = np.searchsorted(rows, np.arange(n + 1)) if n_entries else np.empty(0, dtype=np.int64)
        sparse = np.zeros((n, ns))
        for k in range(len(sizes)):
            there = np.flatnonzero(onehot[:, k] >= 0)
            sparse[there, onehot[there, k]] = 1.0
        sparse[:, sum(sizes) :] = values
        self.array = np.concatenate([np.stack([*self.dense, np.ones(n)], axis=1), sparse], axis=1)
        address = [[column.ctypes.data + 8 * b for column in self.dense] for b in range(0, n, kernels.BLOCK_ROWS)]
        entries = ((places + sum(sizes)).astype(np.int32), values[rows, places]) if n_entries else (np.empty(0, np.int32), np.empty(0))
        table = np.array(address, dtype=np.int64).reshape(-(-n // kernels.BLOCK_ROWS), n_dense)
        for array in (*self.dense, onehot, *entries):
            array.flags.writeable = False
        self.features = kernels.Features(n, ns, table, onehot, start.astype(np.int64), *entries)


def go(matrix, loss, order, w, y, *, weight=None, offset=None, vectors=None, fold=None, n_folds=1, threads=1, instructions=0):
    """Sums of a pass as doubles: scalars, gradients [n_gradients, n], Hessians [pairs of outputs, n, n], largest errors."""
    w = np.ascontiguousarray(np.atleast_2d(w), dtype=float)
    c, nd, ns = len(w), matrix.features.n_dense + 1, matrix.features.n_sparse
    vectors = np.empty((0, *w.shape)) if vectors is None else np.ascontiguousarray(vectors)
    n_g, n_h = (c * max(1, len(vectors)) if order else 0), (c * (c + 1) // 2 if order == 2 else 0)
    shapes = [(kernels.N_SCALARS,), (n_g, nd, 2), (n_g, ns, 2), (n_h, nd * (nd + 1) // 2, 2), (n_h, ns, nd), (n_h, ns * (ns + 1) // 2)]
    sums = [np.zeros((n_folds, *shape), dtype=np.int64) for shape in shapes]
    errors = np.zeros(n_folds)
    n_all = c * max(1, len(vectors))
    ask = kernels.Ask(
        loss=loss,
        order=order,
        coefficients=w,
        vectors=vectors,
        column_factor=np.append(np.full(nd - 1, 2.0**-COLUMN), 1.0),
        gradient_factor=np.full(n_all, 2.0 ** (36 - 13 - GRADIENT)),
        entry_factor=np.full(n_all, 2.0 ** (46 - GRADIENT)),
        loss_factor=2.0 ** (36 - 13 - LOSS),
        squares_factor=2.0 ** (36 - 13 - LOSS),
        hessian_factor=2.0 ** (36 - 13 - HESSIAN),
        pair_factor=2.0 ** (PAIR - HESSIAN),
        instructions=instructions,
    )
    kernels.pass_rows(matrix.features, ask, y, weight, offset, fold, *sums, errors, threads)
    found = [as_floats(matrix, sums, number, c) for number in range(n_folds)]
    return [(*each, float(error)) for each, error in zip(found, errors, strict=True)], values_of(sums)


def values_of(sums):
    """The sums as whole numbers: limbs of equal sums need not be equal."""
    as_ints = [sums[0][:, 4:]] + [each[..., 0].astype(object) * 2**36 + each[..., 1] for each in sums[1:4]]
    limbs = sums[0][:, [0, 2]].astype(object) * 2**36 + sums[0][:, [1, 3]]
    return [each.tolist() for each in (*as_ints, limbs, *sums[4:])]


def as_floats(matrix, sums, number, c):
    nd, ns = matrix.features.n_dense + 1, matrix.features.n_sparse
    exponents = np.append(np.full(nd - 1, COLUMN), 0)
    scalars, dg, sg, dh, mh, sh = (each[number] for each in sums)
    unit = lambda limbs, e: (limbs[..., 0] * 2.0**36 + limbs[..., 1]) * 2.0**e  # noqa: E731
    gradient = np.concatenate([unit(dg, GRADIENT + 13.0 - 72 + exponents), unit(sg, GRADIENT - 46)], axis=1)
    rows, columns = np.triu_indices(nd)
    hessian = np.zeros((len(dh), nd + ns, nd + ns))
    for k in range(len(dh)):
        hessian[k][rows, columns] = unit(dh[k], HESSIAN + 13.0 - 72 + exponents[rows] + exponents[columns])
        hessian[k][:nd, nd:] = mh[k].T * 2.0 ** (HESSIAN - PAIR + exponents[:, None])
        upper = np.triu_indices(ns)
        hessian[k][nd + upper[0], nd + upper[1]] = sh[k] * 2.0 ** (HESSIAN - PAIR)
        hessian[k] += np.triu(hessian[k], 1).T
    return scalars, [float(unit(scalars[at : at + 2], LOSS + 13 - 72)) for at in (0, 2)], gradient, hessian


def parts(kind, m, y):
    """Loss, first and second derivative of rows, by the formulas."""
    if kind == "squared":
        return (m - y) ** 2, 2 * (m - y), np.full_like(m, 2.0)
    if kind == "given":
        return np.zeros_like(m), y, y
    s = 30.0 if kind == "hinge" else 1.0
    t = s * ((2 * y - 1) * m - (kind == "hinge"))
    p = np.exp(-np.logaddexp(0, t))
    return np.logaddexp(0, -t) / s, -(2 * y - 1) * p, s * p * (1 - p)


def test_a_pass_computed_by_hand():
    matrix = Matrix(2, 1)
    x = matrix.dense[0]
    y = np.array([1.0, 0.0])
    [(scalars, (loss, squares), gradient, hessian, largest)], _ = go(matrix, kernels.SQUARED, 2, [2.0, -1.0], y)
    r = 2 * x - 1 - y
    assert loss == pytest.approx((r**2).sum(), rel=1e-14)
    assert squares == pytest.approx(loss, rel=1e-14)
    assert largest == np.abs(r).max()
    np.testing.assert_allclose(gradient[0], [2 * (r * x).sum(), 2 * r.sum()], rtol=1e-13)
    np.testing.assert_allclose(hessian[0], [[2 * (x * x).sum(), 2 * x.sum()], [2 * x.sum(), 4.0]], rtol=1e-13)
    assert scalars[kernels.ROWS] == 2
    assert scalars[kernels.BAD] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n", "n_dense", "sizes", "n_entries"),
    [(0, 3, (), 0), (1, 2, (3,), 2), (300, 0, (4, 2), 0), (8200, 5, (), 3), (9001, 28, (3, 5), 4), (8193, 63, (), 0), (500, 131, (2,), 0)],
)
def test_sums_are_those_of_numpy(kind, n, n_dense, sizes, n_entries):
    matrix = Matrix(n, n_dense, sizes, n_entries)
    draw = np.random.default_rng(1)
    w, weight, offset = draw.normal(size=matrix.array.shape[1]) * 0.1, draw.random(n), draw.normal(size=n)
    y = draw.integers(0, 2, n).astype(float)
    m = matrix.array @ w + offset
    loss, g, h = (each * (weight if kind != "given" else 1.0) for each in parts(kind, m, y))
    expected = (loss.sum(), matrix.array.T @ g, matrix.array.T @ (h[:, None] * matrix.array))
    results = []
    for threads, instructions in [(1, 0), (2, 0), (1, 2), (1, 3)]:
        found, values = go(matrix, KINDS[kind], 2, w, y, weight=weight, offset=offset, threads=threads, instructions=instructions)
        results.append(values)
        scalars, (total, _), gradient, hessian, _ = found[0]
        assert total == pytest.approx(expected[0], rel=1e-12, abs=1e-12)
        np.testing.assert_allclose(gradient[0], expected[1], rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(hessian[0], expected[2], rtol=1e-9, atol=1e-6)
        assert scalars[kernels.BAD] == 0
        if kind in ("logistic", "hinge"):
            assert scalars[kernels.RIGHT] == ((m >= 0) == (y == 1)).sum()
    assert all(values == results[0] for values in results)


def test_softmax_and_products_with_its_hessian():
    n, c = 9000, 3
    matrix = Matrix(n, 6, (4,), 2)
    draw = np.random.default_rng(2)
    w, weight, y = draw.normal(size=(c, matrix.array.shape[1])) * 0.3, draw.random(n), draw.integers(0, c + 1, n)
    m = np.concatenate([np.zeros((n, 1)), matrix.array @ w.T], axis=1)
    p = np.exp(m - np.logaddexp.reduce(m, axis=1)[:, None])
    [(scalars, (loss, _), gradient, hessian, _)], _ = go(matrix, kernels.SOFTMAX, 2, w, y.astype(float), weight=weight, threads=2)
    assert loss == pytest.approx(-(weight * np.log(p[np.arange(n), y])).sum(), rel=1e-12)
    assert scalars[kernels.RIGHT] == (m.argmax(axis=1) == y).sum()
    pairs = [(k, j) for k in range(c) for j in range(k, c)]
    curves = {(k, j): weight * p[:, k + 1] * ((k == j) - p[:, j + 1]) for k, j in pairs}
    for k in range(c):
        np.testing.assert_allclose(gradient[k], matrix.array.T @ (weight * (p[:, k + 1] - (y == k + 1))), rtol=1e-10, atol=1e-9)
    for number, pair in enumerate(pairs):
        np.testing.assert_allclose(hessian[number], matrix.array.T @ (curves[pair][:, None] * matrix.array), rtol=1e-9, atol=1e-6)
    vectors = draw.normal(size=(2, *w.shape)) * 0.1
    [(_, _, products, _, _)], _ = go(matrix, kernels.SOFTMAX, 1, w, y.astype(float), weight=weight, vectors=vectors)
    for v in range(2):
        for k in range(c):
            t = sum(curves[min(k, j), max(k, j)] * (matrix.array @ vectors[v, j]) for j in range(c))
            np.testing.assert_allclose(products[v * c + k], matrix.array.T @ t, rtol=1e-9, atol=1e-8)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 3), st.integers(0, 30_000), st.integers(0, 2**31))
def test_blocks_may_be_shared_out_in_any_way(n_parts, n, seed):
    matrix = Matrix(n, 3, (3,), 2, seed=1)
    draw = np.random.default_rng(seed)
    w, y = draw.normal(size=matrix.array.shape[1]) * 0.2, draw.integers(0, 2, n).astype(float)
    _, whole = go(matrix, kernels.LOGISTIC, 2, w, y)
    fold = (np.arange(n) // kernels.BLOCK_ROWS % n_parts).astype(np.int32)
    _, split = go(matrix, kernels.LOGISTIC, 2, w, y, fold=fold, n_folds=n_parts)
    add = lambda part: [sum(each) for each in zip(*part, strict=True)] if isinstance(part[0], list) else sum(part)  # noqa: E731
    assert add(split[0]) == whole[0][0]
    assert [np.sum(np.array(each, dtype=object), axis=0).tolist() for each in split[1:]] == [each[0] for each in whole[1:]]


def test_what_does_not_fit_is_counted_and_left_out():
    matrix = Matrix(100, 2, (2,))
    y = np.zeros(100)
    for size in (1e300, np.nan, np.inf):
        [(scalars, *_)], _ = go(matrix, kernels.SQUARED, 2, np.full(5, size), y)
        assert scalars[kernels.BAD] > 0


def test_products_with_coefficients():
    matrix = Matrix(8500, 3, (4, 2), 3)
    w = np.random.default_rng(0).normal(size=(2, matrix.array.shape[1]))
    offset, out = np.arange(8500.0), np.empty((2, 8500))
    kernels.multiply_rows(matrix.features, w, offset, out, 2)
    np.testing.assert_allclose(out, w @ matrix.array.T + offset, rtol=1e-11, atol=1e-11)


def test_shapes_and_columns_are_checked():
    table, none = np.zeros((1, 0), np.int64), (np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0))
    with pytest.raises(ValueError, match="columns below 2"):
        kernels.Features(1, 2, table, np.array([[2]], np.int32), *none)
    with pytest.raises(ValueError, match="1 blocks"):
        kernels.Features(1, 2, np.zeros((2, 0), np.int64), np.array([[1]], np.int32), *none)
    matrix = Matrix(10, 2)
    with pytest.raises(ValueError, match="expected 10 rows"):
        go(matrix, kernels.SQUARED, 0, np.zeros(3), np.zeros(9))
    with pytest.raises(ValueError, match="coefficients"):
        go(matrix, kernels.SQUARED, 0, np.zeros(4), np.zeros(10))


def test_columns_are_measured():
    matrix = Matrix(9000, 2)
    sums, largest, n_bad = np.zeros((2, 2, 2)), np.zeros(2), np.zeros(2, dtype=np.int64)
    kernels.measure_columns(matrix.features, sums, largest, n_bad, 2)
    for j, column in enumerate(matrix.dense):
        assert largest[j] == np.abs(column).max()
        assert sums[:, j, 0].sum() == pytest.approx(column.sum(), rel=1e-11)
        assert sums[:, j, 1].sum() == pytest.approx((column**2).sum(), rel=1e-13)
    assert n_bad.tolist() == [0, 0]
    for n in (3, 11):
        column = np.arange(float(n))
        column[[1, 2]] = np.nan, -np.inf
        features = kernels.Features(n, 0, np.array([[column.ctypes.data]]), np.empty((n, 0), np.int32), *empty_entries())
        largest, n_bad = np.zeros(1), np.zeros(1, dtype=np.int64)
        kernels.measure_columns(features, np.zeros((1, 1, 2)), largest, n_bad, 1)
        assert (n_bad[0], largest[0]) == (2, max(0.0, n - 1.0) if n > 3 else 0.0)


def empty_entries():
    return np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0)


def test_entries_are_collected_measured_and_scaled():
    row = np.array([0, 0, 0, 1, 1, 3], dtype=np.int64)
    column = np.array([1, 0, 1, -1, 0, 1], dtype=np.int32)
    value = np.array([1.0, 2.0, 3.0, 4.0, -8.0, 6.0])
    index, kept, count, seen = np.empty(6, np.int32), np.empty(6), np.zeros(4, np.int64), np.zeros(2, np.int64)
    n = kernels.collect_entries(row, column, value, 0, seen, index, kept, count)
    assert (n, index[:n].tolist(), kept[:n].tolist(), count.tolist()) == (4, [0, 1, 0, 1], [2.0, 3.0, -8.0, 6.0], [2, 1, 0, 1])
    largest = np.zeros(2)
    assert kernels.measure_entries(index[:n], kept[:n], largest) == 0
    assert largest.tolist() == [8.0, 6.0]
    kernels.scale_entries(index[:n], kept[:n], np.array([0.125, 0.125]))
    assert kept[:n].tolist() == [0.25, 0.375, -1.0, 0.75]
    squares = np.zeros((2, 2), np.int64)
    kernels.square_entries(index[:n], kept[:n], squares)
    assert (squares[:, 0] * 2.0**36 + squares[:, 1]).tolist() == [1.0625 * 2**50, (0.140625 + 0.5625) * 2**50]
    assert kernels.measure_entries(np.zeros(2, np.int32), np.array([np.nan, np.inf]), largest) == 2
