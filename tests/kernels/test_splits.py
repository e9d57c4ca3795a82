"""The split kernels: by hand, and against every possible split in float64."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from engine._kernels.splits import expand_siblings, find_best_splits
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray


class Column(NamedTuple):
    """A column's histogram: (g, h) of every code, the missing values' last."""

    pairs: list[tuple[int, int]]
    is_category: bool = False
    has_missing: bool = False


class Best(NamedTuple):
    gain: float
    column: int
    code: int
    missing_yes: int


def best_splits(
    nodes: list[list[Column]], *, g_unit=1.0, h_unit=1.0, reg_lambda=1.0, min_child_weight=0.0, min_gain=1e-5, num_threads=1
) -> list[Best]:
    columns = nodes[0] if nodes else []
    starts = np.concatenate([[0], np.cumsum([len(c.pairs) for c in columns])]).astype(np.int64)
    hist = np.array([[pair for c in node for pair in c.pairs] for node in nodes], dtype=np.int64).reshape(len(nodes), int(starts[-1]), 2)
    hist.flags.writeable = False
    n = len(nodes)
    gain, column, code, missing = np.full(n, np.nan), np.full(n, -9, np.int32), np.full(n, -9, np.int32), np.full(n, 9, np.uint8)
    is_category, has_missing = (np.array([getattr(c, name) for c in columns], dtype=np.uint8) for name in ("is_category", "has_missing"))
    find_best_splits(
        hist, starts, is_category, has_missing, g_unit, h_unit, reg_lambda,
        min_child_weight, min_gain, gain, column, code, missing, num_threads,
    )  # fmt: skip
    return [Best(*best) for best in zip(gain.tolist(), column.tolist(), code.tolist(), missing.tolist(), strict=True)]


def naive_best(columns: list[Column], *, g_unit=1.0, h_unit=1.0, reg_lambda=1.0, min_child_weight=0.0, min_gain=1e-5) -> Best:
    """Try every split, the lowest column and code first; only a larger gain takes its place."""
    best = Best(min_gain, -1, 0, 0)
    for j, (pairs, is_category, has_missing) in enumerate(columns):
        codes = range(len(pairs))
        values = codes[:-1] if has_missing else codes
        missing_here = has_missing and pairs[-1][1] > 0
        for code in codes if is_category else values:
            yes = {code} if is_category else set(range(code + 1))
            for direction in (0, 1) if missing_here and not is_category else (0,):
                gain = naive_gain(
                    pairs, yes | ({codes[-1]} if direction else set()), g_unit=g_unit, h_unit=h_unit, reg_lambda=reg_lambda,
                    min_child_weight=min_child_weight,
                )  # fmt: skip
                if gain > best.gain:
                    best = Best(gain, j, code, direction if missing_here or is_category else 2)
    return best


def naive_gain(pairs, yes, *, g_unit, h_unit, reg_lambda, min_child_weight) -> float:
    sides = [[pairs[c] for c in range(len(pairs)) if (c in yes) == side] for side in (True, False)]
    sums = [(sum(g for g, _ in side), sum(h for _, h in side)) for side in sides]
    if any(h == 0 or h * h_unit < min_child_weight for _, h in sums):
        return -math.inf
    (g1, h1), (g2, h2) = sums
    score = [(g * g_unit) ** 2 / (h * h_unit + reg_lambda) for g, h in ((g1, h1), (g2, h2), (g1 + g2, h1 + h2))]
    return score[0] + score[1] - score[2]


def test_a_number_by_hand() -> None:
    # 4/3 + 9/2 - 1/4 after code 0; 25/5... : G 2 -3 0, H 2 1 1
    column = Column([(2, 2), (-3, 1), (0, 1)])
    (best,) = best_splits([[column]])
    assert best == (pytest.approx(4 / 3 + 9 / 3 - 1 / 5), 0, 0, 2)
    (best,) = best_splits([[column]], min_child_weight=2.5)
    assert best.column == -1


def test_missing_values_by_hand() -> None:
    # values 0 and 1 alike, missing ones different: ask whether there is a value
    assert best_splits([[Column([(2, 1), (2, 1), (-4, 1)], has_missing=True)]])[0][1:] == (0, 1, 0)
    # missing ones like value 0: yes is value 0 and missing
    assert best_splits([[Column([(2, 1), (-4, 1), (2, 1)], has_missing=True)]])[0][1:] == (0, 0, 1)
    # missing ones like value 1
    assert best_splits([[Column([(4, 1), (-2, 1), (-2, 1)], has_missing=True)]])[0][1:] == (0, 0, 0)
    # none in this node: nothing is learned, and no split sends everything one way
    assert best_splits([[Column([(4, 1), (-2, 1), (0, 0)], has_missing=True)]])[0][1:] == (0, 0, 2)
    assert best_splits([[Column([(4, 1), (0, 0)], has_missing=True)]])[0].column == -1


def test_categories_by_hand() -> None:
    column = Column([(1, 1), (1, 1), (-4, 1), (2, 1)], is_category=True)
    assert best_splits([[column]])[0] == (pytest.approx(16 / 2 + 16 / 4 - 0), 0, 2, 0)
    # of two categories either would do: the first
    assert best_splits([[Column([(1, 1), (-1, 1)], is_category=True)]])[0][1:] == (0, 0, 0)
    assert best_splits([[Column([(1, 1)], is_category=True)]])[0].column == -1


def test_ties_go_to_the_lowest_column_and_code() -> None:
    twin = Column([(1, 1), (0, 0), (-1, 1)])
    assert best_splits([[twin, twin]])[0][1:3] == (0, 0)
    mirrored = Column([(-1, 1), (0, 0), (1, 1)])
    assert best_splits([[mirrored, twin]])[0][1:3] == (0, 0)
    symmetric = Column([(1, 1), (-2, 2), (1, 1)])
    assert best_splits([[symmetric]])[0][1:3] == (0, 0)


def test_gains_must_be_above_the_smallest() -> None:
    column = Column([(1, 1), (-1, 1)])
    gain = best_splits([[column]])[0].gain
    assert best_splits([[column]], min_gain=gain)[0] == (gain, -1, 0, 0)
    assert best_splits([[column]], min_gain=np.nextafter(gain, 0))[0].column == 0


def test_units_scale_sums() -> None:
    column = Column([(3 << 20, 1 << 22), (-5 << 20, 2 << 22)])
    (best,) = best_splits([[column]], g_unit=2.0**-20, h_unit=2.0**-22)
    assert best.gain == 9 / 2 + 25 / 3 - 4 / 4
    assert best_splits([[column]], g_unit=2.0**-20, h_unit=2.0**-22, min_child_weight=1.0)[0].column == 0
    assert best_splits([[column]], g_unit=2.0**-20, h_unit=2.0**-22, min_child_weight=1.01)[0].column == -1


pair = st.tuples(st.integers(-4, 4), st.integers(1, 3)) | st.just((0, 0))
columns = st.builds(
    lambda pairs, kind: Column(pairs, is_category=kind == 1, has_missing=kind == 2),
    st.lists(pair, min_size=1, max_size=6),
    st.integers(0, 2),
)


@given(
    st.lists(columns, min_size=1, max_size=4),
    st.sampled_from([0.0, 1.0, 2.5, 4.0]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([1.0, 0.25]),
)
@example([Column([(0, 0), (3, 1), (-3, 1)], has_missing=True)], 0.0, 1.0, 1.0)
@example([Column([(3, 1), (0, 0), (-3, 1)], has_missing=True)], 0.0, 1.0, 1.0)
@example([Column([(-3, 1)], has_missing=True)], 0.0, 1.0, 1.0)
def test_best_splits_are_the_naive_twins(node: list[Column], min_child_weight: float, reg_lambda: float, unit: float) -> None:
    options = {"g_unit": unit, "h_unit": unit, "reg_lambda": reg_lambda, "min_child_weight": min_child_weight}
    assert best_splits([node], **options)[0] == naive_best(node, **options)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.sampled_from([1, 2]))
def test_nodes_do_not_depend_on_each_other_nor_on_threads(seed: int, n_nodes: int, num_threads: int) -> None:
    rng = np.random.default_rng(seed)
    shape = [(7, False, True), (4, True, False), (30, False, False)]
    nodes = [
        [Column(list(zip(rng.integers(-9, 9, n).tolist(), rng.integers(1, 9, n).tolist(), strict=True)), c, m) for n, c, m in shape]
        for _ in range(n_nodes)
    ]
    together = best_splits(nodes, num_threads=num_threads)
    assert together == [best_splits([node])[0] for node in nodes]
    assert together == [naive_best(node) for node in nodes]


def test_no_columns_and_no_nodes() -> None:
    assert best_splits([[], []]) == [Best(1e-5, -1, 0, 0)] * 2
    assert best_splits([]) == []


def test_sums_of_the_largest_gradients_choose_the_right_split() -> None:
    # 2**31 rows of 2**30 units on each side: sums of 2**61
    column = Column([(2**61, 2**61), (-(2**61), 2**61)])
    (best,) = best_splits([[column]], g_unit=2.0**-30, h_unit=2.0**-30)
    assert best == (pytest.approx(2 * 2.0**62 / (2.0**31 + 1)), 0, 0, 2)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_siblings_add_up_to_their_parents(num_threads: int) -> None:
    rng = np.random.default_rng(2)
    parents: NDArray[np.int64] = rng.integers(-(2**62), 2**62, (4, 10))
    small = rng.integers(-(2**60), 2**60, (3, 10))
    parent, place = np.array([3, 0, 2]), np.array([1, 2, 4])
    for array in (parents, small, parent, place):
        array.flags.writeable = False
    out = np.empty((6, 10), dtype=np.int64)
    expand_siblings(parents, parent, small, place, out, num_threads)
    assert (out[place] == small).all()
    assert (out[place ^ 1] == parents[parent] - small).all()
    expand_siblings(parents, parent[:0], small[:0], place[:0], out[:0], num_threads)
