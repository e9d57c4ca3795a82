"""Gradient kernels: integers by hand and against Python's floats, exact sums, the same bits for any block and thread."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from engine._kernels.gradients import (
    N_LARGEST,
    N_STATS,
    compute_logistic,
    compute_quantile,
    compute_residuals,
    compute_softmax,
    normalize_softmax,
    quantise_pairs,
    quantise_residuals,
    sum_logistic_metrics,
    sum_softmax_metrics,
    weigh_logistic,
    weigh_poisson,
    weigh_quantile,
    weigh_softmax,
    weigh_squared,
)
from engine._kernels.leaves import logistic_hessian
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.collectives.exact import exponent_above, limbs_to_int

ONE = 2**50
NO_LEAVES = np.empty(0, dtype=np.uint16), np.empty(0)


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
    """Gradients with the hessians that they stand for, and sums."""
    out, sums = np.empty((len(scores), 1), dtype=np.int64), Sums()
    compute_logistic(np.array(scores, dtype=float), *NO_LEAVES, frozen(y, np.int32), out, sums.stats, sums.largest, num_threads)
    return [[g, logistic_hessian(g)] for g in out[:, 0].tolist()], sums.read()


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


@given(st.integers(-ONE, ONE))
def test_a_logistic_gradient_stands_for_its_hessian(g: int) -> None:
    p = abs(g) / ONE
    assert logistic_hessian(g) == logistic_hessian(-g) == max(1, round(p * (1.0 - p) * 2**52))
    assert (logistic_hessian(0), logistic_hessian(ONE), logistic_hessian(ONE // 2)) == (1, 1, ONE)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_leaves_are_added_before_the_loss(dtype: type, num_threads: int) -> None:
    rng = np.random.default_rng(3)
    n = 2 * 4096 + 5
    scores, y, values = rng.normal(size=n), rng.integers(0, 2, n).astype(np.int32), frozen(rng.normal(size=6))
    leaf = frozen(rng.integers(0, 6, n), dtype)
    expected, sums = scores + values[leaf], Sums()
    out = np.empty((n, 1), dtype=np.int64)
    compute_logistic(scores, leaf, values, y, out, sums.stats, sums.largest, num_threads)
    assert np.array_equal(scores, expected)
    pairs, read = logistic(expected, y)
    assert (out[:, 0].tolist(), sums.read()) == ([pair[0] for pair in pairs], read)


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
    out, sums = np.empty((n, 1), dtype=np.int64), Sums()
    compute_logistic(np.full(n, 1000.0), *NO_LEAVES, np.zeros(n, dtype=np.int32), out, sums.stats, sums.largest, 2)
    read = sums.read()
    assert (read["g"], read["abs_g"], read["h"], read["max_g"]) == (n * ONE, n * ONE, n, ONE)
    compute_logistic(np.zeros(n), *NO_LEAVES, np.zeros(n, dtype=np.int32), out, sums.stats, sums.largest, 2)
    assert sums.read()["h"] == n + n * ONE


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared", "poisson", "poisson without weights", "quantile"])
def test_weighted_rows_do_not_depend_on_blocks_and_threads(loss: str) -> None:
    rng = np.random.default_rng(13)
    n = 2 * 4096 + 37
    scores, y, classes = rng.normal(size=n), rng.normal(size=n), rng.integers(0, 2, n).astype(np.int32)
    weights, row_max, row_sum = rng.lognormal(sigma=2.5, size=n), np.maximum(scores, 0.0), rng.random(n) + 1.0
    row_sum = np.exp(scores - row_max) + row_sum

    def weigh(rows: slice, num_threads: int) -> tuple[list[list[int]], list[float], dict[str, int]]:
        s, t, k, w, top, total = (array[rows].copy() for array in (scores, y, classes, weights, row_max, row_sum))
        out, largest, sums = np.empty((len(s), 2), dtype=np.int64), np.zeros(2), Sums()
        end = (out, largest, num_threads)
        {
            "logistic": lambda: weigh_logistic(s, k, w, *end),
            "softmax": lambda: weigh_softmax(s, k, 1, top, total, w, *end),
            "squared": lambda: weigh_squared(s, t, w, *end),
            "poisson": lambda: weigh_poisson(s, t, w, *end),
            "poisson without weights": lambda: weigh_poisson(s, t, None, *end),
            "quantile": lambda: weigh_quantile(s, t, 0.3, w, *end),
        }[loss]()
        assert largest.tolist() == np.abs(out.view(np.float64)).max(axis=0).tolist()
        quantise_pairs(out, 20, 20, sums.stats, sums.largest, num_threads)
        check_sums(out.tolist(), sums.read())
        return out.tolist(), largest.tolist(), sums.read()

    whole = weigh(slice(0, n), 1)
    assert weigh(slice(0, n), 3) == whole
    for length in (1, 2, 5, 31, 4095, 4097):
        assert weigh(slice(17, 17 + length), 1)[0] == whole[0][17 : 17 + length]


def test_pairs_of_any_scale_keep_fifty_bits_and_positive_hessians() -> None:
    for scale in (1e-300, 1e-250, 1.0, 1e250):
        out, sums = np.array([[-scale, scale], [scale / 2, scale * 1e-30], [0.0, 0.0]]).view(np.int64), Sums()
        exponent = exponent_above(scale)
        quantise_pairs(out, exponent, exponent, sums.stats, sums.largest, 1)
        assert math.ldexp(-int(out[0, 0]), exponent - 50) == pytest.approx(scale, rel=2.0**-49, abs=0)
        assert out[0, 1] == -out[0, 0]
        assert out[1].tolist() == [pytest.approx(out[0, 1] / 2, abs=1), 1 if scale * 1e-30 > 0 else 0]
        assert out[2].tolist() == [0, 0]


@pytest.mark.parametrize("n", [0, 1, 5000])
def test_quantile_gradients_by_hand(n: int) -> None:
    y = np.arange(n) % 3 - 1.0
    out, sums = np.empty((n, 1), dtype=np.int64), Sums()
    compute_quantile(np.zeros(n), y, 0.25, out, sums.stats, sums.largest, 2)
    assert out[:, 0].tolist() == [3 * ONE // 4 if v < 0 else -ONE // 4 for v in y]
    check_sums([[v, 1] for v in out[:, 0].tolist()], sums.read())


def test_weighted_class_metrics_against_the_plain_ones() -> None:
    rng = np.random.default_rng(14)
    n = 4096 + 99
    margins, y, y3, scores = rng.normal(size=n), rng.integers(0, 2, n), rng.integers(0, 3, n), np.round(rng.normal(size=(3, n)), 1)
    weights = rng.integers(0, 4, n).astype(float)
    counts = weights.astype(int)
    row_max, row_sum, unused = np.empty(n), np.empty(n), Sums()
    normalize_softmax(scores, y3.astype(np.int32), row_max, row_sum, unused.stats, unused.largest, 1)
    for num_threads in (1, 3):
        two, three = Sums(), Sums()
        sum_logistic_metrics(margins, y.astype(np.int32), weights, 2, two.stats, two.largest, num_threads)
        sum_softmax_metrics(scores, y3.astype(np.int32), row_max, row_sum, weights, 2, three.stats, three.largest, num_threads)
        plain = (
            logistic(np.repeat(margins, counts), np.repeat(y, counts))[1],
            softmax(np.repeat(scores, counts, axis=1), np.repeat(y3, counts))[2],
        )
        for found, expected in zip((two.read(), three.read()), plain, strict=True):
            assert found["g"] == expected["right"] * ONE // 4
            assert found["loss"] * 4 == pytest.approx(expected["loss"], rel=1e-12)
