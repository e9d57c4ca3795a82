"""Prediction kernels: a tree walked by hand, the naive twins, and bits that no split of the rows can change."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from engine._kernels.prediction import fill_probabilities, predict_leaves, predict_margins
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, TreeEnsemble
from tests.oracles import naive_margins, walk_tree
from tests.random_trees import random_ensemble, random_matrix

WALKED = ("tree_start", "kind", "column", "threshold", "missing_yes", "yes", "no")


def frozen(ensemble: TreeEnsemble, *names: str) -> list[NDArray[Any]]:
    """Read-only copies of an ensemble's arrays: kernels must not ask for more."""
    arrays = [ensemble.arrays()[name].copy() for name in names]
    for array in arrays:
        array.flags.writeable = False
    return arrays


def margins_of(ensemble: TreeEnsemble, matrix: NDArray[np.float64], num_threads: int = 1) -> NDArray[np.float64]:
    matrix = matrix.copy()
    matrix.flags.writeable = False
    out = np.full((len(matrix), ensemble.n_outputs), np.nan)
    predict_margins(matrix, ensemble.base_score, *frozen(ensemble, *WALKED, "value"), out, num_threads)
    return out


def leaves_of(ensemble: TreeEnsemble, matrix: NDArray[np.float64], num_threads: int = 1) -> NDArray[np.int32]:
    out = np.full((len(matrix), ensemble.n_trees), -1, dtype=np.int32)
    predict_leaves(matrix, *frozen(ensemble, *WALKED), out, num_threads)
    return out


def by_hand() -> TreeEnsemble:
    """Tree 0: x0 < 2 ? (x1 is category 1 ? 10 : 20) : 40, missing x0 to 40. Tree 1: the constant 0.5."""
    return TreeEnsemble(
        n_outputs=1,
        base_score=100.0,
        tree_start=np.array([0, 5, 6]),
        kind=np.array([NUMERIC, CATEGORY, LEAF, LEAF, LEAF, LEAF], dtype=np.uint8),
        column=np.array([0, 1, -1, -1, -1, -1], dtype=np.int32),
        threshold=np.array([2.0, 1.0, 0, 0, 0, 0]),
        missing_yes=np.array([0, 1, 0, 0, 0, 0], dtype=np.uint8),
        yes=np.array([1, 3, -1, -1, -1, -1], dtype=np.int32),
        no=np.array([2, 4, -1, -1, -1, -1], dtype=np.int32),
        value=np.array([0.0, 0.0, 40.0, 10.0, 20.0, 0.5]),
        gain=np.zeros(6),
        cover=np.zeros(6),
        set_start=np.zeros(1, dtype=np.int64),
        set_bits=np.empty(0, dtype=np.uint64),
    )


def test_margins_by_hand() -> None:
    nan = np.nan
    matrix = np.array([[1.0, 1.0], [1.0, 0.0], [2.0, 1.0], [nan, 1.0], [1.0, nan], [1.0, -1.0]])
    assert margins_of(by_hand(), matrix)[:, 0].tolist() == [110.5, 120.5, 140.5, 140.5, 110.5, 120.5]
    assert leaves_of(by_hand(), matrix).tolist() == [[3, 0], [4, 0], [2, 0], [2, 0], [3, 0], [4, 0]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.integers(0, 40),
    n_outputs=st.sampled_from([1, 3]),
    columns=st.text("nc", min_size=1, max_size=5),
    num_threads=st.sampled_from([1, 2]),
)
def test_margins_are_the_naive_twins_bits(seed: int, n_rows: int, n_outputs: int, columns: str, num_threads: int) -> None:
    ensemble = random_ensemble(seed, n_trees=2 * n_outputs, n_outputs=n_outputs, columns=columns)
    matrix = random_matrix(seed + 1, n_rows, columns=columns)
    expected = naive_margins(ensemble, matrix)
    assert margins_of(ensemble, matrix, num_threads).tobytes() == expected.tobytes()
    leaves = [[walk_tree(ensemble, tree, row) for tree in range(ensemble.n_trees)] for row in matrix]
    assert leaves_of(ensemble, matrix, num_threads).tolist() == leaves


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 700), max_size=4))
def test_any_split_of_the_rows_gives_the_same_bits(seed: int, cuts: list[int]) -> None:
    ensemble = random_ensemble(seed, n_trees=9)
    matrix = random_matrix(seed, 700)
    bounds = [0, *sorted(cuts), 700]
    parts = [margins_of(ensemble, matrix[a:b], 2) for a, b in itertools.pairwise(bounds)]
    assert np.concatenate(parts).tobytes() == margins_of(ensemble, matrix).tobytes()


def test_no_rows_no_trees_no_columns() -> None:
    ensemble = random_ensemble(1)
    assert margins_of(ensemble, np.empty((0, 3))).shape == (0, 1)
    constant = random_ensemble(1, columns="", n_trees=2)
    expected = constant.base_score + constant.value[0] + constant.value[1]
    assert margins_of(constant, np.empty((3, 0))).tolist() == [[expected]] * 3
    empty = random_ensemble(1, n_trees=0)
    assert margins_of(empty, np.zeros((2, 3))).tolist() == [[empty.base_score]] * 2


def test_shapes_that_do_not_fit_are_refused() -> None:
    ensemble = by_hand()
    with pytest.raises(ValueError, match="expected at least 2 columns, got 1"):
        margins_of(ensemble, np.zeros((3, 1)))
    with pytest.raises(ValueError, match="expected room for 3 rows, got 2"):
        predict_leaves(np.zeros((3, 2)), *frozen(ensemble, *WALKED), np.empty((2, 2), dtype=np.int32), 1)
    with pytest.raises(ValueError, match="expected room for 3 rows"):
        fill_probabilities(np.zeros((3, 1)), np.empty((3, 1)), 1)


def test_binary_probabilities() -> None:
    margins = np.array([[0.0], [1.0], [-1.0], [800.0], [-800.0]])
    out = np.empty((5, 2))
    fill_probabilities(margins, out, 2)
    assert out[0].tolist() == [0.5, 0.5]
    assert out[3].tolist() == [0.0, 1.0]
    assert out[4].tolist() == [1.0, 0.0]
    np.testing.assert_allclose(out[:3, 1], 1 / (1 + np.exp(-margins[:3, 0])), rtol=1e-15)
    np.testing.assert_allclose(out.sum(axis=1), 1.0, rtol=1e-15)


@given(st.lists(st.lists(st.floats(-900, 900), min_size=3, max_size=3), min_size=1, max_size=20))
def test_softmax_against_numpy(rows: list[list[float]]) -> None:
    margins = np.array(rows)
    out = np.empty_like(margins)
    fill_probabilities(margins, out, 1)
    exponentials = np.exp(margins - margins.max(axis=1, keepdims=True))
    np.testing.assert_allclose(out, exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-13, atol=1e-300)
