"""The split kernels: by hand, and against every possible split in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from engine._kernels.nodes import OFFER
from engine._kernels.splits import (
    CATEGORY,
    MAX_LEVELS,
    MIN_LEVEL_WEIGHT,
    NUMBER,
    PARTITION,
    PARTITION_LAMBDA,
    SMOOTHING,
    expand_siblings,
    find_best_splits,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray


class Column(NamedTuple):
    """A column's histogram: (g, h) of every code, the missing values' last."""

    pairs: list[tuple[int, int]]
    kind: int = NUMBER
    has_missing: bool = False
    monotone: int = 0
    searched: bool = True


class Rules(NamedTuple):
    """What all nodes share."""

    g_unit: float = 1.0
    h_unit: float = 1.0
    reg_lambda: float = 1.0
    reg_alpha: float = 0.0
    min_child_weight: float = 0.0
    min_gain: float = 1e-5


class Best(NamedTuple):
    gain: float
    column: int
    code: int
    missing_yes: int
    middle: float = 0.0
    subset: frozenset[int] = frozenset()


Bounds = tuple[float, float]
FREE: Bounds = (-math.inf, math.inf)


def best_splits(nodes: list[list[Column]], *, bounds: list[Bounds] | None = None, num_threads: int = 1, **rules: float) -> list[Best]:
    """The kernel's choice. With ``bounds``, and where a column has a direction, it minds them; else it cannot know them."""
    columns = nodes[0] if nodes else []
    starts = np.concatenate([[0], np.cumsum([len(c.pairs) for c in columns])]).astype(np.int64)
    hist = np.array([[pair for c in node for pair in c.pairs] for node in nodes], dtype=np.int64).reshape(len(nodes), int(starts[-1]), 2)
    kind, has_missing, searched = (np.array([getattr(c, name) for c in columns], np.uint8) for name in ("kind", "has_missing", "searched"))
    bounded = bounds is not None or any(c.monotone for c in columns)
    monotone = np.array([c.monotone for c in columns] if bounded else [], dtype=np.int8)
    lower, upper = np.array(bounds or [FREE] * len(nodes)).reshape(-1, 2).T.copy() if bounded else (np.empty(0), np.empty(0))
    for array in (hist, starts, kind, has_missing, searched, monotone, lower, upper):
        array.flags.writeable = False
    n, n_words = len(nodes), max((len(c.pairs) + 63) // 64 for c in columns) if columns else 0
    offer, subset = np.full(n, -9, OFFER), np.full((n, n_words), 2**64 - 1, np.uint64)
    first = 7  # of the columns of another rank
    find_best_splits(hist, starts, kind, has_missing, searched, monotone, lower, upper, *Rules(**rules), first, offer, subset, num_threads)
    gain, middle, column, code, missing = (offer[name] for name in ("gain", "middle", "column", "code", "missing_yes"))
    column[column >= 0] -= first
    bits = np.unpackbits(subset.view(np.uint8), axis=1, bitorder="little")
    sets = [frozenset(np.flatnonzero(row).tolist()) for row in bits]
    return [Best(*b) for b in zip(gain.tolist(), column.tolist(), code.tolist(), missing.tolist(), middle.tolist(), sets, strict=True)]


def naive_best(columns: list[Column], *, bounds: Bounds | None = None, **options: float) -> Best:
    """Try every split, the lowest column and code first; only a larger gain takes its place."""
    rules = Rules(**options)
    bounded = bounds is not None or any(c.monotone for c in columns)
    best = Best(rules.min_gain, -1, 0, 0)
    for j, column in enumerate(columns):
        if column.searched:
            for code, missing_yes, yes in naive_questions(column, rules):
                gain, middle = naive_gain(column, yes, rules, (bounds or FREE) if bounded else None)
                if gain > best.gain:
                    best = Best(gain, j, code, missing_yes, middle, frozenset(yes if column.kind == PARTITION else ()))
    return best


def naive_questions(column: Column, rules: Rules) -> Iterator[tuple[int, int, set[int]]]:
    """Code, side of missing values and codes that say yes of every question that a column allows, in order."""
    pairs, codes = column.pairs, range(len(column.pairs))
    if column.kind == CATEGORY:
        yield from ((code, 0, {code}) for code in codes)
    elif column.kind == PARTITION:
        order = naive_order(column, rules)
        for ordered in (order, order[::-1]):
            yield from ((n, 0, set(ordered[:n])) for n in range(1, min(len(order), MAX_LEVELS) + 1))
    else:
        missing_here = column.has_missing and pairs[-1][1] > 0
        for code in codes[:-1] if column.has_missing else codes:
            yes = set(range(code + 1))
            yield code, 0 if missing_here else 2, yes
            if missing_here:
                yield code, 1, yes | {codes[-1]}


def naive_order(column: Column, rules: Rules) -> list[int]:
    """Levels with enough weight by their smoothed mean gradient, in single precision."""
    weights = [h * rules.h_unit for _, h in column.pairs]
    levels = [c for c, w in enumerate(weights) if w > 0 and w >= MIN_LEVEL_WEIGHT]
    return sorted(levels, key=lambda c: (np.float32(column.pairs[c][0] / (weights[c] + SMOOTHING)), c))


def naive_gain(column: Column, yes: set[int], rules: Rules, bounds: Bounds | None) -> tuple[float, float]:
    """Gain of a question and, with bounds, the middle between the children's weights; minus infinity where it is not allowed."""
    pairs = column.pairs
    extra = PARTITION_LAMBDA if column.kind == PARTITION else 0.0
    rules = rules._replace(reg_lambda=rules.reg_lambda + extra)
    sides = [[pairs[c] for c in range(len(pairs)) if (c in yes) == side] for side in (True, False)]
    sums = [(sum(g for g, _ in side), sum(h for _, h in side)) for side in sides]
    if any(h == 0 or h * rules.h_unit < rules.min_child_weight for _, h in sums):
        return -math.inf, 0.0
    sums.append((sums[0][0] + sums[1][0], sums[0][1] + sums[1][1]))
    (s1, w1), (s2, w2), (s3, _) = (naive_score(g * rules.g_unit, h * rules.h_unit, rules, bounds) for g, h in sums)
    against = bounds is not None and column.monotone * w1 > column.monotone * w2
    return -math.inf if against else s1 + s2 - s3, w1 * 0.5 + w2 * 0.5 if bounds else 0.0


def naive_score(g: float, h: float, rules: Rules, bounds: Bounds | None) -> tuple[float, float]:
    """What a leaf takes off the loss, twice, and its weight."""
    shrunk = max(abs(g) - rules.reg_alpha, 0.0)
    if bounds is None:
        return shrunk * shrunk / (h + rules.reg_lambda), 0.0
    weight = -math.copysign(shrunk / (h + rules.reg_lambda), g)
    weight = min(max(weight, bounds[0]), bounds[1])
    return -(2.0 * g * weight + (h + rules.reg_lambda) * weight * weight + 2.0 * rules.reg_alpha * abs(weight)), weight


def test_a_number_by_hand() -> None:
    # 4/3 + 9/2 - 1/4 after code 0; 25/5... : G 2 -3 0, H 2 1 1
    column = Column([(2, 2), (-3, 1), (0, 1)])
    (best,) = best_splits([[column]])
    assert best[:4] == (pytest.approx(4 / 3 + 9 / 3 - 1 / 5), 0, 0, 2)
    (best,) = best_splits([[column]], min_child_weight=2.5)
    assert best.column == -1


def test_missing_values_by_hand() -> None:
    # values 0 and 1 alike, missing ones different: ask whether there is a value
    assert best_splits([[Column([(2, 1), (2, 1), (-4, 1)], has_missing=True)]])[0][1:4] == (0, 1, 0)
    # missing ones like value 0: yes is value 0 and missing
    assert best_splits([[Column([(2, 1), (-4, 1), (2, 1)], has_missing=True)]])[0][1:4] == (0, 0, 1)
    # missing ones like value 1
    assert best_splits([[Column([(4, 1), (-2, 1), (-2, 1)], has_missing=True)]])[0][1:4] == (0, 0, 0)
    # none in this node: nothing is learned, and no split sends everything one way
    assert best_splits([[Column([(4, 1), (-2, 1), (0, 0)], has_missing=True)]])[0][1:4] == (0, 0, 2)
    assert best_splits([[Column([(4, 1), (0, 0)], has_missing=True)]])[0].column == -1


def test_categories_by_hand() -> None:
    column = Column([(1, 1), (1, 1), (-4, 1), (2, 1)], kind=CATEGORY)
    assert best_splits([[column]])[0][:4] == (pytest.approx(16 / 2 + 16 / 4 - 0), 0, 2, 0)
    # of two categories either would do: the first
    assert best_splits([[Column([(1, 1), (-1, 1)], kind=CATEGORY)]])[0][1:4] == (0, 0, 0)
    assert best_splits([[Column([(1, 1)], kind=CATEGORY)]])[0].column == -1


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
    assert best_splits([[column]], min_gain=gain)[0][:4] == (gain, -1, 0, 0)
    assert best_splits([[column]], min_gain=np.nextafter(gain, 0))[0].column == 0


def test_units_scale_sums() -> None:
    column = Column([(3 << 20, 1 << 22), (-5 << 20, 2 << 22)])
    (best,) = best_splits([[column]], g_unit=2.0**-20, h_unit=2.0**-22)
    assert best.gain == 9 / 2 + 25 / 3 - 4 / 4
    assert best_splits([[column]], g_unit=2.0**-20, h_unit=2.0**-22, min_child_weight=1.0)[0].column == 0
    assert best_splits([[column]], g_unit=2.0**-20, h_unit=2.0**-22, min_child_weight=1.01)[0].column == -1


def test_an_l1_penalty_shrinks_gradients() -> None:
    column = Column([(5, 1), (-3, 2)])
    assert best_splits([[column]], reg_alpha=1.0)[0][:4] == (pytest.approx(16 / 2 + 4 / 3 - 1 / 4), 0, 0, 2)
    assert best_splits([[column]], reg_alpha=4.0)[0][:3] == (pytest.approx(1 / 2), 0, 0)
    assert best_splits([[column]], reg_alpha=5.0)[0].column == -1


def test_directions_by_hand() -> None:
    falling, rising = [(-2, 1), (2, 1)], [(2, 1), (-2, 1)]  # weights 1, -1 and -1, 1
    for pairs, direction, allowed in ((falling, 1, False), (falling, -1, True), (rising, 1, True), (rising, -1, False)):
        (best,) = best_splits([[Column(pairs, monotone=direction)]])
        assert best == ((4.0, 0, 0, 2) if allowed else (1e-5, -1, 0, 0)) + (0.0, frozenset())
    # a column without a direction beside one with it is free
    (best,) = best_splits([[Column(falling, monotone=1), Column([(-3, 1), (2, 1)])]])
    assert best == (pytest.approx(9 / 2 + 4 / 2 - 1 / 3), 1, 0, 2, (1.5 - 1.0) / 2, frozenset())


def test_bounds_hold_weights_back() -> None:
    column = Column([(-2, 1), (2, 1)])  # weights 1 and -1; within 0 and 0.5: 0.5 and 0
    (best,) = best_splits([[column]], bounds=[(0.0, 0.5)])
    assert best == (-(2 * -2 * 0.5 + 2 * 0.25), 0, 0, 2, 0.25, frozenset())
    first, second = best_splits([[column], [column]], bounds=[(0.5, 0.5), (-math.inf, math.inf)])
    assert first.column == -1
    assert second[:4] == (4.0, 0, 0, 2)


def test_columns_left_out_are_not_searched() -> None:
    good, better = Column([(1, 1), (-1, 1)]), Column([(3, 1), (-3, 1)])
    assert best_splits([[better._replace(searched=False), good]])[0].column == 1
    assert best_splits([[better._replace(searched=False), good._replace(searched=False)]])[0].column == -1


def test_sets_of_categories_by_hand() -> None:
    # levels 0 and 2 alike, as are 1 and 3; the first ones in order are those with the lowest gradients; level 4 is too light to tell
    heavy = 4 * int(MIN_LEVEL_WEIGHT + 1)
    column = Column([(-60, heavy), (50, heavy), (-60, heavy), (50, heavy), (1, 1), (0, 0)], kind=PARTITION)
    (best,) = best_splits([[column]])
    assert best[1:] == (0, 2, 0, 0.0, {0, 2})
    # last levels may be the better set: those without enough weight are always with the other side
    (best,) = best_splits([[Column([(-2, heavy), (-2, heavy), (0, 1), (90, heavy)], kind=PARTITION)]])
    assert best[1:] == (0, 1, 0, 0.0, {3})
    assert best_splits([[Column([(-60, 1), (60, 1)], kind=PARTITION)]], h_unit=2.0**-9)[0].column == -1


pair = st.tuples(st.integers(-4, 4), st.integers(1, 3)) | st.just((0, 0))
columns = st.builds(
    lambda pairs, kind, has_missing, monotone, searched: Column(
        pairs, kind, has_missing and kind == NUMBER, monotone if kind == NUMBER else 0, searched
    ),
    st.lists(pair, min_size=1, max_size=6),
    st.sampled_from([NUMBER, CATEGORY, PARTITION]),
    st.booleans(),
    st.sampled_from([0, 0, 1, -1]),
    st.sampled_from([True, True, False]),
)


@given(
    st.lists(columns, min_size=1, max_size=4),
    st.sampled_from([0.0, 1.0, 2.5, 4.0]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 0.0, 0.5, 3.0]),
    st.sampled_from([(1.0, 1.0), (0.25, 0.25), (2.0**-9, 4.0)]),
    st.sampled_from([None, None, FREE, (-0.5, 0.25), (0.0, math.inf)]),
)
@example([Column([(0, 0), (3, 1), (-3, 1)], has_missing=True)], 0.0, 1.0, 0.0, (1.0, 1.0), None)
@example([Column([(3, 1), (0, 0), (-3, 1)], has_missing=True)], 0.0, 1.0, 0.0, (1.0, 1.0), None)
@example([Column([(-3, 1)], has_missing=True)], 0.0, 1.0, 0.0, (1.0, 1.0), None)
@example([Column([(0, 0), (0, 0)], has_missing=True)], 0.0, 0.0, 0.0, (1.0, 1.0), FREE)
def test_best_splits_are_the_naive_twins(
    node: list[Column], min_child_weight: float, reg_lambda: float, reg_alpha: float, units: tuple[float, float], bounds: Bounds | None
) -> None:
    rules = Rules(*units, reg_lambda, reg_alpha, min_child_weight)._asdict()
    assert best_splits([node], bounds=None if bounds is None else [bounds], **rules)[0] == naive_best(node, bounds=bounds, **rules)


def random_column(rng: np.random.Generator, n_codes: int, share_empty: float, scale: int, **fields: int) -> Column:
    """Many codes, some of them empty, with gradients up to ``scale``."""
    full = rng.random(n_codes) >= share_empty
    g, h = rng.integers(-scale, scale + 1, n_codes) * full, rng.integers(1, 99, n_codes) * full
    return Column(list(zip(g.tolist(), h.tolist(), strict=True)), **fields)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 0.98]), st.sampled_from([1, 30, 2**40, 2**52]), st.booleans())
@example(1457, 0.98, 2**40, False)  # the missing values alone, before many empty codes
def test_many_codes_are_searched_as_by_the_naive_twin(seed: int, share_empty: float, scale: int, directed: bool) -> None:
    rng = np.random.default_rng(seed)
    node = [
        random_column(rng, 70, share_empty, scale, monotone=int(directed)),
        random_column(rng, 129, share_empty, scale, has_missing=1),
        random_column(rng, 48, share_empty, scale, kind=CATEGORY),
        random_column(rng, 150, share_empty, scale, kind=PARTITION),
        random_column(rng, 30, share_empty, scale, kind=PARTITION),
    ]
    for columns in (node, node[3:], node[4:]):
        assert best_splits([columns])[0] == naive_best(columns)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.sampled_from([2, 3, 7]))
def test_nodes_do_not_depend_on_each_other_nor_on_threads(seed: int, n_nodes: int, num_threads: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [(7, NUMBER, 1), (4, CATEGORY, 0), (1500, NUMBER, 0), (90, PARTITION, 0), (2000, NUMBER, 0)]
    nodes = [[random_column(rng, n, 0.1, 9, kind=kind, has_missing=missing) for n, kind, missing in shapes] for _ in range(n_nodes)]
    together = best_splits(nodes, num_threads=num_threads)
    assert together == [best_splits([node])[0] for node in nodes]


def test_equal_columns_tie_whatever_threads_search_them() -> None:
    twin = random_column(np.random.default_rng(3), 3000, 0.0, 9)
    for num_threads in (1, 2, 4):
        assert best_splits([[twin] * 5], num_threads=num_threads)[0].column == 0


def test_no_columns_and_no_nodes() -> None:
    assert best_splits([[], []]) == [Best(1e-5, -1, 0, 0)] * 2
    assert best_splits([]) == []


def test_sums_of_the_largest_gradients_choose_the_right_split() -> None:
    # 2**31 rows of 2**30 units on each side: sums of 2**61
    column = Column([(2**61, 2**61), (-(2**61), 2**61)])
    (best,) = best_splits([[column]], g_unit=2.0**-30, h_unit=2.0**-30)
    assert best[:4] == (pytest.approx(2 * 2.0**62 / (2.0**31 + 1)), 0, 0, 2)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("columns", [[1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]])
def test_siblings_add_up_to_their_parents(num_threads: int, columns: list[int]) -> None:
    rng = np.random.default_rng(2)
    parents: NDArray[np.int64] = rng.integers(-(2**62), 2**62, (4, 10, 2))
    small = rng.integers(-(2**60), 2**60, (3, 10, 2))
    parent, place, start = np.array([3, 0, 2]), np.array([1, 2, 4]), np.array([0, 2, 5, 6, 10])
    searched = np.array(columns, dtype=np.uint8)
    for array in (parents, small, parent, place, start, searched):
        array.flags.writeable = False
    out = np.full((6, 10, 2), 7)
    expand_siblings(parents, parent, small, place, start, searched, out, num_threads)
    codes = np.repeat(searched, np.diff(start)) == 1
    assert (out[place][:, codes] == small[:, codes]).all()
    assert (out[place ^ 1][:, codes] == (parents[parent] - small)[:, codes]).all()
    assert (out[:, ~codes] == 7).all()
    expand_siblings(parents, parent[:0], small[:0], place[:0], start, searched, out[:0], num_threads)
