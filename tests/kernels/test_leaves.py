"""Leaf kernels: exact sums by leaf, and what leaves add to scores."""

from __future__ import annotations

import numpy as np
import pytest
from engine._kernels.leaves import CONSTANT, OF_GRADIENT, STORED, add_leaf_values, logistic_hessian, sum_leaves
from hypothesis import given
from hypothesis import strategies as st

from engine.collectives.exact import limbs_to_int

ONE = 2**50


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.one_of(st.integers(0, 200), st.integers(4090, 4100)),
    n_leaves=st.sampled_from([1, 2, 9, 256, 257]),
    hessian=st.sampled_from([STORED, CONSTANT, OF_GRADIENT]),
    dtype=st.sampled_from([np.uint16, np.uint32]),
    num_threads=st.sampled_from([1, 2, 5]),
)
def test_sums_are_the_naive_twins(seed: int, n_rows: int, n_leaves: int, hessian: int, dtype: type, num_threads: int) -> None:
    """Rows numbered ``n_leaves`` are in no leaf."""
    rng = np.random.default_rng(seed)
    gh = rng.integers(-ONE, ONE + 1, (n_rows, 2 if hessian == STORED else 1))
    leaf = rng.integers(0, n_leaves + 1, n_rows)
    sums = np.zeros((n_leaves, 4), dtype=np.int64)
    sum_leaves(frozen(gh), hessian, frozen(leaf.astype(dtype)), sums, num_threads)
    for k in range(n_leaves):
        rows = gh[leaf == k].tolist()
        assert limbs_to_int(*sums[k, :2].tolist()) == sum(row[0] for row in rows)
        hessians = [row[1] if hessian == STORED else 1 if hessian == CONSTANT else logistic_hessian(row[0]) for row in rows]
        assert limbs_to_int(*sums[k, 2:].tolist()) == sum(hessians)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_sums_of_many_largest_gradients(sign: int, num_threads: int) -> None:
    n_rows = 200_000
    gh = np.full((n_rows, 2), ONE)
    gh[:, 0] *= sign
    sums = np.zeros((2, 4), dtype=np.int64)
    sum_leaves(frozen(gh), STORED, frozen(np.ones(n_rows, dtype=np.uint16)), sums, num_threads)
    assert sums[0].tolist() == [0, 0, 0, 0]
    assert (limbs_to_int(*sums[1, :2].tolist()), limbs_to_int(*sums[1, 2:].tolist())) == (sign * n_rows * ONE, n_rows * ONE)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_leaf_values_are_added_to_every_row(dtype: type, num_threads: int) -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    add_leaf_values(frozen(np.array([2, 0, 0, 1], dtype=dtype)), frozen(np.array([0.5, -1.0, 10.0])), scores, num_threads)
    assert scores.tolist() == [11.0, 2.5, 3.5, 3.0]
    add_leaf_values(frozen(np.empty(0, dtype=dtype)), frozen(np.empty(0)), np.empty(0), num_threads)
