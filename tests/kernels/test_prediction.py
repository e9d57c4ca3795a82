"""Prediction kernels: a tree walked by hand, the naive twins, and bits that no split of the rows can change."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine._kernels.prediction import BLOCK, PackedTrees, fill_probabilities
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.models._trees.ensemble import CATEGORY, LEAF, NUMERIC, SUBSET, TreeEnsemble
from engine.models._trees.packing import CodedTrees
from tests.oracles import naive_margins, walk_tree
from tests.random_trees import random_ensemble, random_matrix


def frozen(ensemble: TreeEnsemble) -> TreeEnsemble:
    """The ensemble with read-only arrays: kernels must not ask for more."""
    for array in ensemble.arrays().values():
        array.flags.writeable = False
    return ensemble


def margins_of(ensemble: TreeEnsemble, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.full((len(matrix), ensemble.n_outputs), ensemble.base_score)
    CodedTrees(frozen(ensemble)).add_values(np.ascontiguousarray(matrix.T), out)
    return out


def leaves_of(ensemble: TreeEnsemble, matrix: NDArray[np.float64]) -> NDArray[np.int32]:
    out = np.full((len(matrix), ensemble.n_trees), -1, dtype=np.int32)
    CodedTrees(frozen(ensemble)).store_leaves(np.ascontiguousarray(matrix.T), out)
    return out


def by_hand() -> TreeEnsemble:
    """Tree 0: x0 < 2 ? (x1 is category 1 ? 10 : 20) : (x1 is 0 or 70 ? 30 : 40), missing x0 to the latter. Tree 1: the constant 0.5."""
    return TreeEnsemble(
        n_outputs=1,
        base_score=100.0,
        tree_start=np.array([0, 7, 8]),
        kind=np.array([NUMERIC, CATEGORY, SUBSET, LEAF, LEAF, LEAF, LEAF, LEAF], dtype=np.uint8),
        column=np.array([0, 1, 1, -1, -1, -1, -1, -1], dtype=np.int32),
        threshold=np.array([2.0, 1.0, 1.0, 0, 0, 0, 0, 0]),
        missing_yes=np.array([0, 1, 0, 0, 0, 0, 0, 0], dtype=np.uint8),
        yes=np.array([1, 3, 5, -1, -1, -1, -1, -1], dtype=np.int32),
        no=np.array([2, 4, 6, -1, -1, -1, -1, -1], dtype=np.int32),
        value=np.array([0.0, 0.0, 0.0, 10.0, 20.0, 30.0, 40.0, 0.5]),
        gain=np.zeros(8),
        cover=np.zeros(8),
        set_start=np.array([0, 1, 3]),
        set_bits=np.array([7, 1, 1 << 6], dtype=np.uint64),
    )


def test_margins_by_hand() -> None:
    nan = np.nan
    matrix = np.array([[1, 1], [1, 0], [2, 1], [nan, 0], [1, nan], [1, -1], [2, 70], [2, 6], [2, 128], [2, nan], [2, -1], [nan, 71]])
    expected = [10, 20, 40, 30, 10, 20, 30, 40, 40, 40, 40, 40]
    assert margins_of(by_hand(), matrix)[:, 0].tolist() == [100.5 + value for value in expected]
    assert leaves_of(by_hand(), matrix).tolist() == [[{10: 3, 20: 4, 30: 5, 40: 6}[value], 0] for value in expected]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.sampled_from([0, 1, 7, 8, 31, 32, 50]),
    n_outputs=st.sampled_from([1, 3]),
    columns=st.text("ncs", min_size=1, max_size=5),
    cuts=st.sampled_from([0, 400, 70_000]),
)
def test_margins_are_the_naive_twins_bits(seed: int, n_rows: int, n_outputs: int, columns: str, cuts: int) -> None:
    """Few, many and very many codes a column, which take 8, 16 and 32 bits; few rows and many, which are walked and swept."""
    ensemble = random_ensemble(seed, n_trees=2 * n_outputs, n_outputs=n_outputs, columns=columns)
    matrix = random_matrix(seed + 1, n_rows, columns=columns)
    wider = with_thresholds(ensemble, cuts)
    assert margins_of(wider, matrix).tobytes() == naive_margins(ensemble, matrix).tobytes()
    leaves = [[walk_tree(ensemble, tree, row) for tree in range(ensemble.n_trees)] for row in matrix]
    assert leaves_of(wider, matrix)[:, : ensemble.n_trees].tolist() == leaves


def with_thresholds(ensemble: TreeEnsemble, n: int) -> TreeEnsemble:
    """The ensemble with more outputs' worth of stumps that ask the first column of numbers for ``n`` thresholds and add nothing."""
    numeric = np.flatnonzero(ensemble.kind == NUMERIC)
    if n == 0 or len(numeric) == 0:
        return ensemble
    column, n = int(ensemble.column[numeric[0]]), n * ensemble.n_outputs
    stumps = {
        "kind": np.tile(np.array([NUMERIC, LEAF, LEAF], dtype=np.uint8), n),
        "column": np.tile(np.array([column, -1, -1], dtype=np.int32), n),
        "threshold": np.stack([np.linspace(-3, 3, n), np.zeros(n), np.zeros(n)], axis=1).reshape(-1),
        "missing_yes": np.tile(np.array([1, 0, 0], dtype=np.uint8), n),
        "yes": np.tile(np.array([1, -1, -1], dtype=np.int32), n),
        "no": np.tile(np.array([2, -1, -1], dtype=np.int32), n),
        **{name: np.zeros(3 * n) for name in ("value", "gain", "cover")},
    }
    arrays = ensemble.arrays()
    joined = {name: np.concatenate([arrays[name], stumps[name]]) for name in stumps}
    starts = np.concatenate([ensemble.tree_start, ensemble.tree_start[-1] + 3 * np.arange(1, n + 1)])
    return TreeEnsemble(ensemble.n_outputs, ensemble.base_score, **{**arrays, **joined, "tree_start": starts})


@pytest.mark.parametrize("max_nodes", [31, 1023])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 700), max_size=4))
def test_any_split_of_the_rows_gives_the_same_bits(max_nodes: int, seed: int, cuts: list[int]) -> None:
    ensemble = random_ensemble(seed, n_trees=9, max_nodes=max_nodes)
    matrix = random_matrix(seed, 700)
    bounds = [0, *sorted(cuts), 700]
    parts = [margins_of(ensemble, matrix[a:b]) for a, b in itertools.pairwise(bounds)]
    assert np.concatenate(parts).tobytes() == margins_of(ensemble, matrix).tobytes()
    some = np.arange(0, 700, 90)
    assert margins_of(ensemble, matrix)[some].tobytes() == naive_margins(ensemble, matrix[some]).tobytes()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([8, 16, 32]),
    n_rows=st.sampled_from([1, 40, 600]),
    shape=st.sampled_from(["normal", "skewed", "far apart", "close", "one"]),
    infinite=st.booleans(),
)
def test_codes_of_numbers(seed: int, bits: int, n_rows: int, shape: str, infinite: bool) -> None:
    rng = np.random.default_rng(seed)
    size = 1 if shape == "one" else int(rng.integers(1, 255 if bits == 8 else 3000))
    made = {"normal": 1.0, "skewed": np.exp(rng.normal(0, 40, size)), "far apart": 1e308, "close": 1e-310, "one": 1.0}[shape]
    thresholds = np.unique(np.concatenate([np.clip(rng.normal(size=size), -1.7, 1.7) * made, [np.inf] if infinite else []]))
    values = np.concatenate([rng.choice(thresholds, n_rows), rng.normal(size=n_rows), [np.nan, np.inf, -np.inf, 1.7e308, -1.7e308, 0.0]])
    rng.shuffle(values)
    starts, none = np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int32)
    packed = PackedTrees(bits, 3, starts, none.astype(np.uint8), none, none, none, none, np.empty(0), np.array([1], dtype=np.uint64))
    codes = np.zeros(packed.n_bytes(len(values)), dtype=np.uint8)
    packed.code_numbers(values, thresholds, 2, 1, codes)
    planes = (codes.view(f"u{bits // 8}").astype(np.int64) ^ (1 << (bits - 1))).reshape(-1, 3, BLOCK).transpose(1, 0, 2).reshape(3, -1)
    expected = np.array([sum(t <= v for t in thresholds) for v in values])
    assert planes[2, : len(values)].tolist() == expected.tolist()
    assert planes[1, : len(values)].tolist() == np.where(np.isnan(values), len(thresholds), expected).tolist()


def test_large_trees_are_the_naive_twins() -> None:
    ensemble = random_ensemble(5, n_trees=3, max_nodes=4095, columns="nnnnnncs")
    assert max(np.diff(ensemble.tree_start)) > 1000
    matrix = random_matrix(6, BLOCK + 44, columns="nnnnnncs")
    assert margins_of(ensemble, matrix).tobytes() == naive_margins(ensemble, matrix).tobytes()


def test_no_rows_no_trees_no_columns() -> None:
    ensemble = random_ensemble(1)
    assert margins_of(ensemble, np.empty((0, 3))).shape == (0, 1)
    constant = random_ensemble(1, columns="", n_trees=2)
    expected = constant.base_score + constant.value[0] + constant.value[1]
    assert margins_of(constant, np.empty((3, 0))).tolist() == [[expected]] * 3
    assert margins_of(constant, np.empty((300, 0))).tolist() == [[expected]] * 300
    empty = random_ensemble(1, n_trees=0)
    assert margins_of(empty, np.zeros((2, 3))).tolist() == [[empty.base_score]] * 2


def test_shapes_that_do_not_fit_are_refused() -> None:
    ensemble = by_hand()
    with pytest.raises(ValueError, match="expected at least 2 columns, got 1"):
        margins_of(ensemble, np.zeros((3, 1)))
    packed = CodedTrees(ensemble).packed
    with pytest.raises(ValueError, match=f"expected {4 * BLOCK} bytes of codes for 300 rows, got 3"):
        packed.add_values(np.zeros(3, dtype=np.uint8), np.zeros((300, 1)))
    with pytest.raises(ValueError, match="expected a plane below 2, got 2"):
        packed.code_categories(np.zeros(1), 1, 2, np.zeros(packed.n_bytes(1), dtype=np.uint8))
    with pytest.raises(ValueError, match="expected at least one threshold, got none"):
        packed.code_numbers(np.zeros(1), np.empty(0), 0, 1, np.zeros(packed.n_bytes(1), dtype=np.uint8))
    with pytest.raises(ValueError, match="expected room for 3 rows"):
        fill_probabilities(np.zeros((3, 1)), np.empty((3, 1)), 1)


@pytest.mark.parametrize("branches", [([1, -1, -1], [1, -1, -1]), ([2, 2, -1], [1, 2, -1])])
def test_branches_that_are_no_tree_are_refused(branches: tuple[list[int], list[int]]) -> None:
    kind = np.array([NUMERIC if child > 0 else LEAF for child in branches[0]], dtype=np.uint8)
    yes, no = (np.array(side, dtype=np.int32) for side in branches)
    places = np.zeros(3, dtype=np.int32)
    with pytest.raises(ValueError, match="the branches of tree 0 do not form a tree"):
        PackedTrees(8, 1, np.array([0, 3]), kind, places, places, yes, no, np.zeros(3), np.array([1], dtype=np.uint64))


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
