"""TreeSHAP beside Shapley's own formula: every set of columns, one after the other."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from engine._kernels.contributions import explain_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.models._trees.ensemble import LEAF, TreeEnsemble
from tests.oracles import goes_yes, naive_margins
from tests.random_trees import random_ensemble, random_matrix


def expected_value(ensemble: TreeEnsemble, tree: int, row: NDArray[np.float64], known: set[int], node: int = 0) -> float:
    """What a tree is expected to say if the columns ``known`` are known, branch by branch."""
    i = int(ensemble.tree_start[tree]) + node
    if ensemble.kind[i] == LEAF:
        return float(ensemble.value[i])
    yes, no = int(ensemble.yes[i]), int(ensemble.no[i])
    if int(ensemble.column[i]) in known:
        return expected_value(ensemble, tree, row, known, yes if goes_yes(ensemble, i, row) else no)
    covers = ensemble.cover[ensemble.tree_start[tree] + np.array([yes, no])]
    shares = covers / covers.sum() if covers.sum() > 0 else np.array([0.5, 0.5])
    return sum(float(share) * expected_value(ensemble, tree, row, known, child) for share, child in zip(shares, (yes, no), strict=True))


def naive_contributions(ensemble: TreeEnsemble, row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shapley values of every column for every output, [n_outputs, n_columns + 1], the expected value last."""
    n = len(row)
    out = np.zeros((ensemble.n_outputs, n + 1))
    for tree in range(ensemble.n_trees):
        output = out[tree % ensemble.n_outputs]
        values = {
            known: expected_value(ensemble, tree, row, set(known))
            for size in range(n + 1)
            for known in itertools.combinations(range(n), size)
        }
        output[n] += values[()]
        for c in range(n):
            for known, value in values.items():
                if c not in known:
                    weight = math.factorial(len(known)) * math.factorial(n - len(known) - 1) / math.factorial(n)
                    output[c] += weight * (values[tuple(sorted({*known, c}))] - value)
    return out


def contributions_of(ensemble: TreeEnsemble, matrix: NDArray[np.float64], features: list[int] | None = None) -> NDArray[np.float64]:
    features = list(range(matrix.shape[1])) if features is None else features
    arrays = {name: array for name, array in ensemble.arrays().items() if name != "gain"}
    for array in (matrix, *arrays.values()):
        array.flags.writeable = False
    out = np.zeros((len(matrix), ensemble.n_outputs, max(features, default=-1) + 2))
    explain_rows(matrix, **arrays, feature=np.array(features, dtype=np.int32), out=out)
    return out


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), columns=st.text("ncs", min_size=1, max_size=4), n_outputs=st.sampled_from([1, 2]))
def test_every_set_of_columns(seed: int, columns: str, n_outputs: int) -> None:
    ensemble = random_ensemble(seed, n_trees=2 * n_outputs, n_outputs=n_outputs, columns=columns)
    matrix = random_matrix(seed + 1, 3, columns=columns)
    found = contributions_of(ensemble, matrix)
    expected = np.array([naive_contributions(ensemble, row) for row in matrix])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.sum(axis=2) + ensemble.base_score, naive_margins(ensemble, matrix), rtol=1e-9, atol=1e-11)


def test_large_trees_sum_to_the_margin_and_rows_do_not_matter() -> None:
    ensemble = random_ensemble(3, n_trees=4, max_nodes=600, columns="nnnnnncs")
    matrix = random_matrix(4, 40, columns="nnnnnncs")
    found = contributions_of(ensemble, matrix)
    np.testing.assert_allclose(found.sum(axis=2) + ensemble.base_score, naive_margins(ensemble, matrix), rtol=1e-9, atol=1e-10)
    assert contributions_of(ensemble, matrix[7:9].copy()).tobytes() == found[7:9].tobytes()
    joined = contributions_of(ensemble, matrix, [0, 0, 1, 1, 2, 2, 2, 0])
    np.testing.assert_allclose(joined[:, :, 1], found[:, :, 2] + found[:, :, 3], rtol=1e-12)


def test_branches_that_no_training_row_took() -> None:
    ensemble = random_ensemble(8, n_trees=3, columns="nn")
    for cover in (np.zeros_like(ensemble.cover), np.where(np.arange(len(ensemble.cover)) % 2, ensemble.cover, 0.0)):
        ensemble.__dict__["cover"] = cover
        matrix = random_matrix(9, 20, columns="nn")
        found = contributions_of(ensemble, matrix)
        np.testing.assert_allclose(found, np.array([naive_contributions(ensemble, row) for row in matrix]), rtol=1e-9, atol=1e-11)


def test_nothing_to_explain_and_shapes_that_do_not_fit() -> None:
    ensemble = random_ensemble(1)
    assert contributions_of(ensemble, np.empty((0, 3))).shape == (0, 1, 4)
    assert not contributions_of(random_ensemble(1, n_trees=0), np.zeros((2, 3))).any()
    arrays = {name: array for name, array in ensemble.arrays().items() if name != "gain"}
    with pytest.raises(ValueError, match="expected features below 1, got 1"):
        explain_rows(np.zeros((1, 3)), **arrays, feature=np.array([0, 0, 1], dtype=np.int32), out=np.zeros((1, 1, 2)))
