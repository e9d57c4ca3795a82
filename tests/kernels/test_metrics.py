"""Metric kernels: orders, bins and losses one row at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from engine._kernels.metrics import (
    NO_LOSS,
    POISSON_LOSS,
    QUANTILE_LOSS,
    count_thresholds,
    fill_log_losses,
    fill_score_keys,
    measure_errors,
    sum_errors,
    sum_products,
)
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.floats(allow_nan=False), max_size=20))
def test_keys_order_as_scores_do(scores: list[float]) -> None:
    values = np.array(scores)
    values.flags.writeable = False
    keys = np.empty(len(scores), dtype=np.uint64)
    fill_score_keys(values, keys)
    for i, a in enumerate(scores):
        for j, b in enumerate(scores):
            assert (a < b) == bool(keys[i] < keys[j])
            assert (a == b) == bool(keys[i] == keys[j])


@given(st.lists(st.tuples(st.floats(0, 1) | st.integers(0, 1000).map(lambda i: i / 1000), st.booleans()), max_size=30))
def test_rows_are_counted_at_the_last_threshold_they_reach(rows: list[tuple[float, bool]]) -> None:
    counts = np.zeros((2, 1001), dtype=np.int64)
    scores, positive = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], dtype=np.uint8)
    count_thresholds(scores, positive, counts)
    expected = np.zeros_like(counts)
    for score, is_positive in rows:
        expected[int(is_positive), max(b for b in range(1001) if b / 1000 <= score)] += 1
    assert counts.tolist() == expected.tolist()


def test_log_losses_by_hand() -> None:
    probabilities = np.array([[0.25, 0.75], [1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    out = np.empty(5)
    fill_log_losses(probabilities, np.array([1, 0, 1, 2, -1]), out)
    expected = [-math.log(0.75), -math.log(1 - 1e-9), -math.log(1e-9), -math.log(1e-9), -math.log(1e-9)]
    np.testing.assert_allclose(out, expected, rtol=1e-14)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="expected arrays of one length, got 2, 1 and 2"):
        fill_log_losses(np.zeros((2, 2)), np.zeros(1, dtype=np.int64), np.zeros(2))
    with pytest.raises(ValueError, match="one length"):
        fill_score_keys(np.zeros(2), np.zeros(1, dtype=np.uint64))
    with pytest.raises(ValueError, match="one length"):
        count_thresholds(np.zeros(2), np.zeros(1, dtype=np.uint8), np.zeros((2, 1001), dtype=np.int64))


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**60)), max_size=20), st.sampled_from([1, 3000]))
def test_products_are_summed_exactly(rows: list[tuple[int, int]], times: int) -> None:
    limbs = np.zeros(4, dtype=np.int64)
    a, b = np.array([r[0] for r in rows] * times, dtype=np.uint64), np.array([r[1] // times for r in rows] * times, dtype=np.int64)
    sum_products(a, b, limbs)
    assert sum(int(limb) << 32 * k for k, limb in enumerate(limbs)) == sum(x * (y // times) for x, y in rows) * times


@pytest.mark.parametrize("loss", [NO_LOSS, POISSON_LOSS, QUANTILE_LOSS])
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_errors_do_not_depend_on_blocks_and_threads(loss: int, weighted: bool) -> None:
    rng = np.random.default_rng(2)
    n = 2 * 4096 + 77
    predictions, y = rng.gamma(1.0, 3.0, n), rng.poisson(3.0, n).astype(float)
    weights = rng.integers(0, 3, n) / 2.0 if weighted else None

    def sums(rows: slice, num_threads: int) -> tuple[list[float], list[int]]:
        own = None if weights is None else weights[rows].copy()
        largest, limbs = np.zeros(2), np.zeros(4, dtype=np.int64)
        measure_errors(predictions[rows].copy(), y[rows].copy(), own, loss, 0.25, largest, num_threads)
        sum_errors(predictions[rows].copy(), y[rows].copy(), own, 0, loss, 0.25, 8, 8, limbs, num_threads)
        return largest.tolist(), [int(limbs[0] << 26) + int(limbs[1]), int(limbs[2] << 26) + int(limbs[3])]

    whole = sums(slice(0, n), 1)
    assert sums(slice(0, n), 3) == whole
    parts = [sums(slice(a, b), 1) for a, b in itertools.pairwise([0, 0, 1, 38, 4096, n])]
    assert [max(part[0][i] for part in parts) for i in range(2)] == whole[0]
    assert [sum(part[1][i] for part in parts) for i in range(2)] == whole[1]
    w = np.ones(n) if weights is None else weights
    errors = predictions - y
    assert whole[0][0] == np.abs(errors[w > 0]).max()
    assert whole[1][0] * 2.0**-34 == pytest.approx(math.fsum(w * errors**2), rel=1e-10)
    charged = {
        NO_LOSS: np.zeros(n),
        POISSON_LOSS: 2 * (np.where(y > 0, y * np.log(np.maximum(y, 0.5) / predictions), 0.0) - y + predictions),
        QUANTILE_LOSS: np.where(y < predictions, 0.75 * errors, -0.25 * errors),
    }[loss]
    assert whole[1][1] * 2.0**-42 == pytest.approx(math.fsum(w * charged), rel=1e-10, abs=0)
