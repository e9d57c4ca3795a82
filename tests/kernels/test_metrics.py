"""Metric kernels: orders, bins and losses one row at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from engine._kernels.metrics import count_thresholds, fill_log_losses, fill_score_keys
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
