"""Gradient kernels: integers by hand and against Python's floats, exact sums, the same bits for any block and thread."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from engine._kernels.gradients import (
    N_LARGEST,
    N_STATS,
    add_leaf_values,
    compute_logistic,
    compute_residuals,
    compute_softmax,
    normalize_softmax,
    quantise_residuals,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.collectives.exact import exponent_above, limbs_to_int

ONE = 2**50


class Sums:
    """What kernels add up, read back as integers."""

    def __init__(self) -> None:
        self.stats = np.zeros(N_STATS, dtype=np.int64)
        self.largest = np.zeros(N_LARGEST, dtype=np.int64)

    def read(self) -> dict[str, int]:
        sums = [limbs_to_int(int(high), int(low)) for high, low in self.stats[:8].reshape(4, 2)]
        return dict(zip(("g", "h", "abs_g", "loss"), sums, strict=True)) | {
            "right": int(self.stats[8]),
            "max_g": int(self.largest[0]),
            "max_h": int(self.largest[1]),
        }


def frozen(values: object, dtype: type = np.float64) -> NDArray:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def logistic(scores: object, y: object, num_threads: int = 1) -> tuple[list[list[int]], dict[str, int]]:
    out, sums = np.empty((len(scores), 2), dtype=np.int64), Sums()
    compute_logistic(frozen(scores), frozen(y, np.int32), out, sums.stats, sums.largest, num_threads)
    return out.tolist(), sums.read()


def softmax(scores: NDArray, y: object, num_threads: int = 1) -> tuple[list[list[list[int]]], list[dict[str, int]], dict[str, int]]:
    """Pairs and sums of every class, and the sums of the loss."""
    n_classes, n = scores.shape
    row_max, row_sum, loss = np.empty(n), np.empty(n), Sums()
    normalize_softmax(frozen(scores), frozen(y, np.int32), row_max, row_sum, loss.stats, loss.largest, num_threads)
    pairs, sums = [], []
    for k in range(n_classes):
        out, each = np.empty((n, 2), dtype=np.int64), Sums()
        compute_softmax(
            frozen(scores[k]), frozen(y, np.int32), k, frozen(row_max), frozen(row_sum), out, each.stats, each.largest, num_threads
        )
        pairs.append(out.tolist())
        sums.append(each.read())
    return pairs, sums, loss.read()


def squares(scores: object, y: object, num_threads: int = 1) -> tuple[list[int], float, int, dict[str, int]]:
    """Integers, largest residual, exponent, sums."""
    out, sums = np.empty((len(scores), 1), dtype=np.int64), Sums()
    largest = compute_residuals(frozen(scores), frozen(y), out, num_threads)
    exponent = exponent_above(largest)
    quantise_residuals(out, exponent, sums.stats, sums.largest, num_threads)
    return out[:, 0].tolist(), largest, exponent, sums.read()


def check_sums(pairs: list[list[int]], sums: dict[str, int]) -> None:
    g, h = [p[0] for p in pairs], [p[1] for p in pairs]
    assert (sums["g"], sums["h"], sums["abs_g"]) == (sum(g), sum(h), sum(map(abs, g)))
    assert (sums["max_g"], sums["max_h"]) == (max(map(abs, g), default=0), max(h, default=0))


def test_logistic_by_hand() -> None:
    # p = 1/2: g = -+ 1/2, h = 1/4, in units of 2**-50 and 2**-52; the loss is ln 2 in units of 2**-45
    pairs, sums = logistic([0.0, 0.0], [0, 1])
    assert pairs == [[ONE // 2, ONE], [-ONE // 2, ONE]]
    assert sums["loss"] == 2 * round(math.log(2) * 2**45)
    assert sums["right"] == 1  # a margin of 0 says class 1
    assert logistic([], [])[1] == dict.fromkeys(("g", "h", "abs_g", "loss", "right", "max_g", "max_h"), 0)


def test_a_saturated_hessian_is_positive_and_its_loss_finite() -> None:
    pairs, sums = logistic([1000.0, -1000.0, 1000.0, np.inf], [1, 0, 0, 1])
    assert pairs == [[0, 1], [0, 1], [ONE, 1], [0, 1]]
    assert sums["loss"] / 2**45 == pytest.approx(-math.log(1e-9) + 3e-9, rel=1e-12)
    assert sums["right"] == 3


@given(st.lists(st.tuples(st.floats(-45, 45), st.integers(0, 1)), max_size=30), st.sampled_from([1, 2]))
def test_logistic_against_python(rows: list[tuple[float, int]], num_threads: int) -> None:
    pairs, sums = logistic([r[0] for r in rows], [r[1] for r in rows], num_threads)
    check_sums(pairs, sums)
    loss = 0.0
    for (score, y), (g, h) in zip(rows, pairs, strict=True):
        p = 1 / (1 + math.exp(-score))
        assert g / ONE == pytest.approx(p - y, abs=2**-49)
        assert h / 2**52 == pytest.approx(max(p * (1 - p), 2**-52), abs=2**-49)
        assert h >= 1
        loss -= math.log(min(max(p if y else 1 - p, 1e-9), 1 - 1e-9))
    assert sums["loss"] / 2**45 == pytest.approx(loss, rel=1e-6, abs=1e-12)
    assert sums["right"] == sum((score >= 0) == bool(y) for score, y in rows)


def test_softmax_by_hand() -> None:
    third = 1.0 / 3.0
    pairs, sums, loss = softmax(np.zeros((3, 1)), [1])
    assert [p[0] for p in pairs] == [
        [round(third * ONE), round(third * (1 - third) * 4 * ONE)],
        [round((third - 1) * ONE), round(third * (1 - third) * 4 * ONE)],
        [round(third * ONE), round(third * (1 - third) * 4 * ONE)],
    ]
    assert loss["loss"] == pytest.approx(math.log(3) * 2**45, abs=2)
    assert loss["right"] == 0  # ties go to class 0
    assert sums[0]["h"] / 2**51 == pytest.approx(2 * third * (1 - third), rel=1e-15)


@given(st.integers(2, 5), st.integers(0, 20), st.integers(0, 2**32 - 1), st.sampled_from([1, 2]))
def test_softmax_against_python(n_classes: int, n: int, seed: int, num_threads: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_classes, n)) * rng.choice([0.1, 5, 50])
    scores[:, rng.random(n) < 0.2] = 1.5  # ties
    y = rng.integers(0, n_classes, n)
    pairs, sums, loss = softmax(scores, y, num_threads)
    expected_loss, right = 0.0, 0
    for i in range(n):
        top = scores[:, i].max()
        e = [math.exp(s - top) for s in scores[:, i]]
        p = [v / math.fsum(e) for v in e]
        for k in range(n_classes):
            assert pairs[k][i][0] / ONE == pytest.approx(p[k] - (y[i] == k), abs=2**-48)
            assert pairs[k][i][1] / 2**51 == pytest.approx(max(2 * p[k] * (1 - p[k]), 2**-51), abs=2**-48)
            assert pairs[k][i][1] >= 1
        expected_loss -= math.log(min(max(p[y[i]], 1e-9), 1 - 1e-9))
        right += int(np.argmax(scores[:, i]) == y[i])
    assert loss["loss"] / 2**45 == pytest.approx(expected_loss, rel=1e-6, abs=1e-12)
    assert loss["right"] == right
    for k in range(n_classes):
        check_sums(pairs[k], sums[k])


def test_two_classes_of_softmax_are_the_logistic_loss() -> None:
    margins = np.linspace(-30, 30, 121)
    y = np.arange(121) % 2
    two, _, loss = softmax(np.stack([np.zeros(121), margins]), y)
    one, sums = logistic(margins, y)
    np.testing.assert_allclose(np.array(two[1])[:, 0], np.array(one)[:, 0], atol=4)
    assert loss["loss"] == pytest.approx(sums["loss"], rel=1e-9)


def test_squares_by_hand() -> None:
    values, largest, exponent, sums = squares([0.5, 0.5, 0.5], [1.0, -2.5, 0.5])
    # residuals -0.5, 3, 0; the largest lies below 2**2, so units are 2**-48
    assert (largest, exponent) == (3.0, 2)
    assert values == [-(2**47), 3 * 2**48, 0]
    check_sums([[v, 1] for v in values], sums | {"max_h": 1})
    assert sums["h"] == 3
    assert sums["loss"] * 4.0**exponent / ONE == 0.25 + 9
    assert squares([], [])[:3] == ([], 0.0, 0)
    assert squares([2.0], [2.0])[:3] == ([0], 0.0, 0)


@pytest.mark.parametrize("scale", [1e-310, 5e-324, 1e-300, 1.0, 1e300])
def test_residuals_of_any_scale_keep_fifty_bits(scale: float) -> None:
    values, largest, exponent, _ = squares([0.0, 0.0], [-scale, scale])
    assert largest == scale
    assert [math.ldexp(v, exponent - 50) for v in values] == pytest.approx([scale, -scale], rel=2.0**-49, abs=0)


@given(st.lists(st.floats(-1e6, 1e6), max_size=30), st.sampled_from([1, 2]))
def test_squares_against_python(y: list[float], num_threads: int) -> None:
    values, largest, exponent, sums = squares([0.5] * len(y), y, num_threads)
    unit = 2.0 ** (exponent - 50)
    assert largest == max((abs(0.5 - v) for v in y), default=0.0)
    for value, target in zip(values, y, strict=True):
        assert value * unit == pytest.approx(0.5 - target, abs=unit)
    assert (sums["g"], sums["abs_g"], sums["max_g"]) == (sum(values), sum(map(abs, values)), max(map(abs, values), default=0))
    assert sums["loss"] * 2.0 ** (2 * exponent - 50) == pytest.approx(
        math.fsum((0.5 - v) ** 2 for v in y), rel=1e-9, abs=len(y) * unit**2 * ONE
    )


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_blocks_threads_and_lengths_change_no_bit(num_threads: int) -> None:
    rng = np.random.default_rng(6)
    n = 4096 * 2 + 37
    margins, y, y3 = rng.normal(size=n) * 10, rng.integers(0, 2, n), rng.integers(0, 3, n)
    scores3 = rng.normal(size=(3, n))
    pairs, sums = logistic(margins, y, num_threads)
    assert (pairs, sums) == logistic(margins, y)
    assert softmax(scores3, y3, num_threads) == softmax(scores3, y3)
    assert squares(margins, scores3[0], num_threads) == squares(margins, scores3[0])
    for length in [*range(1, 41), 4095, 4096, 4097]:
        start = 17
        part = slice(start, start + length)
        assert logistic(margins[part], y[part])[0] == pairs[part], length
    joined = [logistic(margins[a:b], y[a:b])[1] for a, b in itertools.pairwise([0, 0, 1, 4096, 5000, n])]
    for name in ("g", "h", "abs_g", "loss", "right"):
        assert sum(part[name] for part in joined) == sums[name]


def test_all_gradients_at_their_largest_do_not_overflow() -> None:
    n = 300_000
    out, sums = np.empty((n, 2), dtype=np.int64), Sums()
    compute_logistic(np.full(n, 1000.0), np.zeros(n, dtype=np.int32), out, sums.stats, sums.largest, 2)
    read = sums.read()
    assert (read["g"], read["abs_g"], read["h"], read["max_g"]) == (n * ONE, n * ONE, n, ONE)
    compute_logistic(np.zeros(n), np.zeros(n, dtype=np.int32), out, sums.stats, sums.largest, 2)
    assert sums.read()["h"] == n + n * ONE


def test_leaf_values_are_added_to_their_rows() -> None:
    rows = np.array([3, 0, 4, 1, 2], dtype=np.uint32)
    rows.flags.writeable = False
    scores = np.zeros(5)
    begin, end = np.array([0, 2, 2]), np.array([2, 2, 4])
    for num_threads in (1, 2):
        add_leaf_values(rows, begin, end, frozen([10.0, 99.0, 0.5]), scores, num_threads)
    assert scores.tolist() == [20.0, 1.0, 0.0, 20.0, 1.0]
    add_leaf_values(rows[:0], begin[:0], end[:0], np.empty(0), scores, 2)
    assert scores.tolist() == [20.0, 1.0, 0.0, 20.0, 1.0]
